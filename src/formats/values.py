"""What every dialect is read into, and how values that no database stores are made safe.

Normalisation, always with a flag on the segment: a time that is not a finite number from 0 on becomes absent, and so
does an end before its start (`invalid_time`); a confidence that is not a number from 0 to 1 becomes absent
(`invalid_confidence`); NUL and half a character become U+FFFD (`replaced_characters`). The bytes keep what was written.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

from src.errors import InvalidInput

UNSTORABLE = re.compile("[\0\ud800-\udfff]")
LONGEST_MS = 2**53


@dataclass(frozen=True)
class Word:
    """A word with its time in milliseconds and its confidence from 0 to 1, where they are known."""

    text: str
    start_ms: int | None = None
    end_ms: int | None = None
    confidence: float | None = None


@dataclass(frozen=True)
class Segment:
    """A stretch of speech. Times are milliseconds from the start of the recording; what is not known stays None."""

    text: str
    start_ms: int | None = None
    end_ms: int | None = None
    speaker: str | None = None
    words: Sequence[Word] | None = None
    confidence: float | None = None
    flags: Sequence[str] = ()


@dataclass(frozen=True)
class Parsed:
    """A recogniser's result. `language` is what the source says: a code, a name, or None."""

    dialect: str
    segments: Sequence[Segment]
    language: str | None = None
    model_name: str | None = None


class Reading:
    """Reads the values of one segment and collects its flags; `place` names it in errors."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.flags: list[str] = []

    def flag(self, name: str) -> None:
        if name not in self.flags:
            self.flags.append(name)

    def text(self, value: Any, place: str = "") -> str:
        """Return a storable text, '' for None. Raises InvalidInput for what is no text."""
        if value is None:
            return ""
        if not isinstance(value, str):
            raise InvalidInput(f"{self.place}{place}: the text is {type(value).__name__}, not text.")
        safe = UNSTORABLE.sub("\ufffd", value)
        if safe != value:
            self.flag("replaced_characters")
        return safe

    def span(self, start: Any, end: Any, per_unit: float, place: str = "") -> tuple[int | None, int | None]:
        """Return start and end in milliseconds; `per_unit` is the milliseconds of one unit of the source."""
        start_ms, end_ms = self._time(start, per_unit, place), self._time(end, per_unit, place)
        if start_ms is not None and end_ms is not None and end_ms < start_ms:
            self.flag("invalid_time")
            end_ms = None
        return start_ms, end_ms

    def confidence(self, value: Any, place: str = "") -> float | None:
        """Return a number from 0 to 1, None where there is none: never an invented one."""
        found = self.number(value, "confidence", place)
        if found is not None and not 0 <= found <= 1:
            self.flag("invalid_confidence")
            return None
        return found

    def _time(self, value: Any, per_unit: float, place: str) -> int | None:
        found = self.number(value, "time", place)
        if found is None:
            return None
        scaled = found * per_unit
        if not 0 <= scaled < LONGEST_MS:
            self.flag("invalid_time")
            return None
        return round(scaled)

    def number(self, value: Any, kind: str, place: str) -> float | None:
        """Return a finite number, also from text; None, with a flag, for one that is not finite."""
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, str | Real):
            raise InvalidInput(f"{self.place}{place}: {value!r:.80} is not a {kind}.")
        try:
            found = float(value)
        except (ValueError, OverflowError) as error:
            raise InvalidInput(f"{self.place}{place}: {value!r:.80} is not a {kind}.") from error
        if not math.isfinite(found):
            self.flag(f"invalid_{kind}")
            return None
        return found


def listed(value: Any, place: str) -> list[Any]:
    """Return a list, empty for None. Raises InvalidInput for anything else."""
    if value is None:
        return []
    if not isinstance(value, list | tuple):
        raise InvalidInput(f"{place} is {type(value).__name__}, not a list.")
    return list(value)


def named(value: Any, place: str) -> dict[str, Any]:
    """Return an object with names. Raises InvalidInput for anything else."""
    if not isinstance(value, dict):
        raise InvalidInput(f"{place} is {type(value).__name__}, not an object.")
    return value
