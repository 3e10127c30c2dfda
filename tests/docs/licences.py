"""The licences of what requirements.txt installs, as a table of docs/compatibility.md.

python tests/docs/licences.py [--write]     prints the table, or writes it into the page
"""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "compatibility.md"
TABLE = re.compile(r"(?<=<!-- licences -->\n).*?(?=<!-- end of licences -->)", re.DOTALL)
SPDX = {"Apache License 2.0": "Apache-2.0", "ISC License": "ISC", "MIT License": "MIT"}


def required(file: str) -> list[Requirement]:
    """The requirements that a file names itself."""
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    named = [line.partition("#")[0].strip() for line in lines if not line.startswith("-r")]
    return [Requirement(line) for line in named if line]


def installed() -> dict[str, metadata.Distribution]:
    """Everything that is installed for requirements.txt, by its normalised name."""
    found: dict[str, metadata.Distribution] = {}
    waiting = required("requirements.txt")
    while waiting:
        requirement = waiting.pop()
        name = normalised(requirement.name)
        if name in found or not (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            continue
        found[name] = metadata.distribution(name)
        waiting += [Requirement(line) for line in found[name].requires or ()]
    return dict(sorted(found.items()))


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def licence_of(package: metadata.Distribution) -> str:
    """What a package declares: an SPDX expression, else its own words, else its classifiers."""
    declared = package.metadata.get("License-Expression") or package.metadata.get("License") or ""
    classifiers = [
        line.rpartition(" :: ")[2]
        for line in package.metadata.get_all("Classifier") or ()
        if line.startswith("License")
    ]
    if not declared or "\n" in declared or (declared == "Dual License" and classifiers):
        declared = " or ".join(classifiers)
    return SPDX.get(declared, declared)


def table() -> str:
    direct = {normalised(requirement.name) for requirement in required("requirements.txt")}
    tools = sorted(normalised(requirement.name) for requirement in required("requirements-dev.txt"))
    rows = [
        (name, licence_of(package), "direct" if name in direct else "indirect") for name, package in installed().items()
    ]
    rows += [(name, licence_of(metadata.distribution(name)), "development") for name in tools]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(["", "| package | licence | required |", "|---|---|---|", *lines, "", ""])


def main() -> None:
    if "--write" in sys.argv[1:]:
        PAGE.write_text(TABLE.sub(lambda _: table(), PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(table())


if __name__ == "__main__":
    main()
