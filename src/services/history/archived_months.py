"""Read the file of an archived month; src/maintenance/log_archives.py defines and writes it."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from typing import IO, Any

from src.errors import IntegrityFailure

FORMAT = "speech-to-information/history"
VERSION = 1


def read_lines(source: IO[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the lines of an archive file. Raises IntegrityFailure for another format or a truncated file."""
    try:
        with gzip.open(source, "rt", encoding="utf-8") as lines:
            for index, line in enumerate(lines):
                document: dict[str, Any] = json.loads(line)
                if index == 0 and (document.get("format"), document.get("version")) != (FORMAT, VERSION):
                    raise IntegrityFailure(f"Not an archived month in the format {FORMAT}, version {VERSION}.")
                yield document
    except (OSError, EOFError, zlib.error, ValueError, AttributeError) as error:
        raise IntegrityFailure(f"The archived month is damaged ({error}); restore it from a backup.") from error
