"""Where the socket of the embedded server lies: beside the data if the path allows it."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from src.database.embedded.account import digest
from src.database.embedded.postmaster import SOCKET_NAME

LONGEST_SOCKET_PATH = 107  # bytes: sun_path of Linux without its NUL


def socket_directory(folder: Path) -> Path:
    """Return the folder itself, or a temporary one with the same name for all processes of this user and TMPDIR."""
    # TMPDIR may be unusable in the same ways.
    temporary = [Path(tempfile.gettempdir()).resolve(), Path("/tmp"), Path("/var/tmp")]  # noqa: S108 - for a private folder
    name = f"speech-{digest(folder)}"
    return next(filter(_can_hold_socket, (folder, *(parent / name for parent in temporary))))


def _can_hold_socket(folder: Path) -> bool:
    # PostgreSQL and libpq interpret some characters in this path as separators of a list.
    plain = re.fullmatch(r"[\w./+-]+", str(folder), re.ASCII)
    return plain is not None and len(os.fsencode(folder / SOCKET_NAME)) <= LONGEST_SOCKET_PATH
