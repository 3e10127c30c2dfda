"""Print the SQL derived from the declarations of the models: tests/provisioning/protection.sql is reviewed like code.

A changed grant, policy or trigger is a changed line there. The first line contains the newest revision and the build of
the declarations (src/database/schema/derivation.py): when the content changes, one of the two must grow, since older
code never applies over newer.

python tests/provisioning/golden.py --write
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from src.database.models import Base
from src.database.schema import derivation, derived, head

FILE = Path(__file__).with_name("protection.sql")


def printed() -> str:
    """Return the content of the file for the current models."""
    parts = [f"-- {table.table}\n{table.create()}\n" for table in sorted(derived(Base.metadata), key=lambda t: t.table)]
    return f"-- revision {head()}, declarations of build {derivation.BUILD}\n\n" + "\n".join(parts)


def committed() -> str:
    """Return the last committed content, so that the file can be rewritten; without git, the current content."""
    shown = subprocess.run(
        ["git", "show", f"HEAD:./{FILE.name}"], cwd=FILE.parent, capture_output=True, encoding="utf-8", check=False
    )
    return shown.stdout if shown.returncode == 0 else FILE.read_text(encoding="utf-8")


def objection(recorded: str, now: str) -> str | None:
    """Return why the file may not be written; None if it may."""
    first, _, content = recorded.partition("\n")
    first_now, _, content_now = now.partition("\n")
    if content == content_now or _order(first) < _order(first_now):
        return None
    return (
        "the protection changed without a new revision or a greater BUILD in src/database/schema/derivation.py;"
        " increase BUILD"
    )


def _order(first_line: str) -> tuple[str, int]:
    found = re.search(r"revision (\d+), declarations of build (\d+)", first_line)
    return (found[1], int(found[2])) if found else ("", 0)


def main(arguments: list[str]) -> int:
    now = printed()
    if "--write" not in arguments:
        sys.stdout.write(now)
        return 0
    error = objection(committed(), now)
    if error is not None:
        sys.stderr.write(f"{error}\n")
        return 1
    FILE.write_text(now, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
