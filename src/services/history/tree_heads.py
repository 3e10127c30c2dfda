"""Exported heads of the chain, stored outside the database: they reveal a missing end of the chain."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from src.errors import ConfigurationError


class Head(NamedTuple):
    """The id and hash of an exported seal."""

    id: int
    seal_hash: bytes


@dataclass(frozen=True)
class HeadFile:
    """A file that only ever grows: a line of JSON for each seal, in the order in which they were made."""

    path: Path

    def read(self) -> list[Head]:
        """Return all exported heads, oldest first. Raises ConfigurationError for an unreadable or malformed file."""
        try:
            lines = self.path.read_text(encoding="ascii").split("\n")
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"Cannot read the heads file {self.path}: {error}.") from error
        # Ignore an incomplete last line, left by a kill: every exported head ends in a newline.
        heads = []
        for line_number, line in enumerate(lines[:-1], 1):
            if not line:
                continue
            try:
                document = json.loads(line)
                heads.append(Head(int(document["seal"]), bytes.fromhex(document["seal_hash"])))
            except (ValueError, KeyError, TypeError) as error:
                raise ConfigurationError(
                    f"Line {line_number} of the heads file {self.path} is malformed; restore the file from a backup."
                ) from error
        return heads

    def append(self, lines: Sequence[dict[str, object]]) -> None:
        """Append heads and fsync. Raises ConfigurationError when the file cannot be written."""
        if not lines:
            return
        text = "".join(json.dumps(line) + "\n" for line in lines)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "rb+", buffering=0) as file:
                end = os.fstat(descriptor).st_size
                if end and os.pread(descriptor, 1, end - 1) != b"\n":
                    # Truncate the incomplete last line that an interrupted export left.
                    last = os.pread(descriptor, min(end, 65_536), max(0, end - 65_536)).rsplit(b"\n", 1)[-1]
                    os.ftruncate(descriptor, end - len(last))
                file.write(text.encode("ascii"))
                os.fsync(descriptor)
        except OSError as error:
            raise ConfigurationError(
                f"Cannot write the heads file {self.path} ({error.strerror}); set SEAL_HEADS_FILE to a writable path."
            ) from error
