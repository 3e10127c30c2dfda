"""Heads of the chain, kept where the database cannot reach: without them a missing end would not be noticed."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from src.errors import ConfigurationError


class Head(NamedTuple):
    """A seal as it was when it was exported."""

    id: int
    seal_hash: bytes


@dataclass(frozen=True)
class HeadFile:
    """A file that only ever grows: a line of JSON for each seal, in the order in which they were made."""

    path: Path

    def read(self) -> list[Head]:
        """Return all heads that were exported, oldest first. Raises ConfigurationError for a file that is none."""
        try:
            lines = self.path.read_text(encoding="ascii").split("\n")
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"The heads of seals in {self.path} cannot be read: {error}.") from error
        # A line that a kill cut short was never a head: what was exported ends in a newline.
        heads = []
        for number, line in enumerate(lines[:-1], 1):
            if not line:
                continue
            try:
                document = json.loads(line)
                heads.append(Head(int(document["seal"]), bytes.fromhex(document["seal_hash"])))
            except (ValueError, KeyError, TypeError) as error:
                raise ConfigurationError(
                    f"Line {number} of {self.path} is no head of a seal; restore the file from its copy."
                ) from error
        return heads

    def append(self, lines: Sequence[dict[str, object]]) -> None:
        """Append heads, durably. Raises ConfigurationError when the file cannot be written."""
        if not lines:
            return
        text = "".join(json.dumps(line) + "\n" for line in lines)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "rb+", buffering=0) as file:
                end = os.fstat(descriptor).st_size
                if end and os.pread(descriptor, 1, end - 1) != b"\n":
                    # An earlier export was cut short: its line ends here, empty of meaning, and ours begins below.
                    last = os.pread(descriptor, min(end, 65_536), max(0, end - 65_536)).rsplit(b"\n", 1)[-1]
                    os.ftruncate(descriptor, end - len(last))
                file.write(text.encode("ascii"))
                os.fsync(descriptor)
        except OSError as error:
            raise ConfigurationError(
                f"The heads of seals cannot be written to {self.path} ({error.strerror}); set SEAL_HEADS_FILE to a"
                " place that can."
            ) from error
