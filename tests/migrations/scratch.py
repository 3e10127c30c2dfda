"""Other versions of the code: a copy of the checkout with additional revisions and functions, run as processes.

The baseline may still change in place, so upgrades are tested with revisions that exist only in tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from sqlalchemy import URL

from src.database.schema import head
from src.database.schema.sql_files import STAMP
from tests.conventions.sql_form import stamped
from tests.migrations.conftest import ROOT, outside

# Not literal numbers, so that a new revision does not break these tests.
NOW = head()
NEXT = str(int(NOW) + 1)

REVISION = '''"""{subject}."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from src.database.schema import update_in_batches

revision = "{number}"
down_revision = "{before}"
{oldest}

def upgrade() -> None:
    {up}


def downgrade() -> None:
    {down}
'''


class Copy:
    """A copy of the code that can be changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for part in ("src", "alembic"):
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "alembic.ini", folder)

    def add_revision(self, up: str, down: str, *, oldest: str | None = None, subject: str = "scratch") -> None:
        """Add the revision after the newest one."""
        text = REVISION.format(
            number=NEXT,
            before=NOW,
            subject=subject,
            up=up.replace("\n", "\n    "),
            down=down.replace("\n", "\n    "),
            oldest="" if oldest is None else f'oldest_code = "{oldest}"\n',
        )
        (self.folder / "alembic" / "versions" / f"2027_01_01_{NEXT}_{subject}.py").write_text(text, encoding="utf-8")

    def edit(self, file: str, old: str, new: str) -> None:
        """Change a file; an SQL file gets the stamp of its next build."""
        path = self.folder / file
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times in {file}"
        text = text.replace(old, new)
        path.write_text(stamped(text) if STAMP.match(text.partition("\n")[0]) else text, encoding="utf-8")

    def run(self, url: URL, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {**outside(url), "PYTHONPATH": os.fspath(self.folder), **variables}
        return subprocess.run(
            [sys.executable, *command], cwd=self.folder, env=environment, text=True, capture_output=True, check=False,
            stdin=subprocess.DEVNULL, timeout=120,
        )  # fmt: skip

    def alembic(self, url: URL, *arguments: str) -> str:
        done = self.run(url, "-m", "alembic", "-c", os.fspath(self.folder / "alembic.ini"), *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def build(self, url: URL) -> int:
        code = "from src.database.schema.creation import code_build; print(code_build())"
        return int(self.run(url, "-c", code).stdout)
