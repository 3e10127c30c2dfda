"""The revisions of the tables in this code, read from their file names.

In a checkout they are in `alembic/`, in an installed wheel in `src/database/migrations/`. The newest revision is not
stored anywhere else.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from src.errors import ConfigurationError, SchemaMismatch

BASELINE = "1001"
"""The first revision. Older databases, whose revisions begin with 0, cannot be upgraded."""

_PACKAGE = Path(__file__).resolve().parents[1]
_OLDEST_CODE = re.compile(r'^oldest_code = "(\d{4})"', re.MULTILINE)
_NAME = re.compile(r"\d{4}_\d{2}_\d{2}_(\d{4})_\w+\.py")


@cache
def migrations_folder() -> Path:
    """Return the folder with env.py and the revisions. Raises ConfigurationError when it is missing."""
    for folder in (_PACKAGE.parents[1] / "alembic", _PACKAGE / "migrations"):
        if (folder / "env.py").is_file() and _revisions_in(folder):
            return folder
    raise ConfigurationError("The migrations of this package are missing; reinstall it.")


@cache
def head() -> str:
    """Return the newest revision, which this code expects."""
    return max(_revisions_in(migrations_folder()))


@cache
def known() -> frozenset[str]:
    """Return all revisions of this code."""
    return frozenset(_revisions_in(migrations_folder()))


@cache
def oldest_code() -> str:
    """Return the oldest revision whose code can serve a database at `head()`.

    A revision that is incompatible with older code sets `oldest_code = "1007"` next to its `revision`.
    """
    files = (migrations_folder() / "versions").glob("*.py")
    stated = [found[1] for path in files if (found := _OLDEST_CODE.search(path.read_text(encoding="utf-8")))]
    return max([BASELINE, *stated])


def require_revision(revision: str | None, oldest_code: str | None) -> None:
    """Raise SchemaMismatch unless this code can serve a database at `revision`.

    The tables must be at least as new as the code, and the newest revision must allow code as old as this one
    (`oldest_code`): a deployment migrates first, and old and new code run at the same time until it is complete.
    """
    if revision is None:
        raise SchemaMismatch("The database has no schema yet. Run: alembic upgrade head")
    if revision < BASELINE:
        raise SchemaMismatch(
            f"The database is at revision {revision}, from before the first release, and cannot be upgraded."
            " Create a new one with init_db."
        )
    if revision < head():
        raise SchemaMismatch(
            f"The database is older than this code: it is at revision {revision}, the code expects {head()}."
            " Run: alembic upgrade head"
        )
    if oldest_code is not None and head() < oldest_code:
        raise SchemaMismatch(
            f"The database is newer than this code: it is at revision {revision} and requires code of revision"
            f" {oldest_code} or newer; this code is of {head()}. Install the newer version of this package."
        )


def _revisions_in(folder: Path) -> list[str]:
    return [found[1] for path in (folder / "versions").glob("*.py") if (found := _NAME.fullmatch(path.name))]
