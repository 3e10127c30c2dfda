"""The table of dependencies and their licences in docs/compatibility.md, made from the metadata of installed packages.

python tests/conventions/licences.py --write     renews the table after a change of requirements.txt
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageNotFoundError, metadata, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "compatibility.md"
BEGIN, END = "<!-- licences: begin -->", "<!-- licences: end -->"
# Classifiers and long texts, as SPDX writes them.
SHORT = {
    "Apache License 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "Apache Software License 2.0": "Apache-2.0",
    "BSD 3-Clause": "BSD-3-Clause",
    "BSD License": "BSD",
    "GNU Library or Lesser General Public License (LGPL)": "LGPL",
    "ISC License (ISCL)": "ISC",
    "LGPL with exceptions": "LGPL-3.0 with exceptions",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "PostgreSQL License": "PostgreSQL",
    "Python Software Foundation License": "PSF-2.0",
}


def direct() -> list[str]:
    """The packages that requirements.txt names."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    named = [re.split(r"\s+#", line)[0].strip() for line in lines]
    return sorted(
        canonicalize_name(Requirement(line).name) for line in named if line and not line.startswith(("#", "-"))
    )


def installed(names: list[str]) -> dict[str, set[str]]:
    """Each package of these and of what they require, with the direct ones that bring it."""
    found: dict[str, set[str]] = {}

    def add(name: str, origin: str) -> None:
        if origin in found.get(name, set()):
            return
        try:
            required = requires(name) or []
        except PackageNotFoundError:
            return  # for another platform or version of Python
        found.setdefault(name, set()).add(origin)
        for line in required:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                add(canonicalize_name(requirement.name), origin)

    for name in names:
        add(name, name)
    return found


def licence_of(name: str) -> str:
    about = metadata(name)
    if about.get("License-Expression"):
        return str(about["License-Expression"])
    classified = [
        value.rpartition(" :: ")[2] for value in about.get_all("Classifier") or [] if value.startswith("License :: ")
    ]
    named = [SHORT.get(value, value) for value in classified if value != "OSI Approved"]
    text = str(about.get("License") or "").strip().splitlines()
    return ", ".join(named) or (SHORT.get(text[0].strip(), text[0].strip()) if text else "unknown")


def table() -> str:
    names = direct()
    rows = [
        f"| {name} | {licence_of(name)} | {'direct' if name in names else 'by ' + ', '.join(sorted(origins))} |"
        for name, origins in sorted(installed(names).items())
    ]
    return "\n".join(["| package | licence | required |", "|---|---|---|", *rows])


def written(page: str) -> str:
    """The page with the table of now."""
    head, _, rest = page.partition(BEGIN)
    return f"{head}{BEGIN}\n\n{table()}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    if "--write" in sys.argv:
        PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(table())
