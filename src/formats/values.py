"""What every dialect is read into, and how values that no database stores are made safe.

Normalisation, always with a flag on the segment: a time that is not a finite number from 0 on becomes absent, and so
does an end before its start (`invalid_time`); a confidence that is not a number from 0 to 1 becomes absent
(`invalid_confidence`); NUL and unpaired surrogates become U+FFFD (`replaced_characters`). The source bytes are kept.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real
from types import GeneratorType
from typing import Any, BinaryIO

from src.errors import InvalidInput
from src.formats.languages import code_of

_OF_A_RESULT = frozenset({"text", "word", "segments", "language"})
UNSTORABLE = re.compile("[\0\ud800-\udfff]")
LONGEST_MS = 2**53


@dataclass(frozen=True, slots=True)
class Word:
    """A word with its time in milliseconds and its confidence from 0 to 1, where they are known.

    `text` is as the source has it, a leading space included. `speaker` is there only where the source names one for
    the word itself.
    """

    text: str
    start_ms: int | None = None
    end_ms: int | None = None
    confidence: float | None = None
    speaker: str | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of speech. Times are milliseconds from the start of the recording; what is not known stays None."""

    text: str
    start_ms: int | None = None
    end_ms: int | None = None
    speaker: str | None = None
    words: Sequence[Word] | None = None
    confidence: float | None = None
    flags: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Parsed:
    """A recogniser's result. `language` is what the source says: a code, a name, or None.

    Segments stand in the order of the source. `language_probability` (0 to 1), `model_name` and `duration_ms` are
    there where the source states them.
    """

    dialect: str
    segments: Sequence[Segment]
    language: str | None = None
    model_name: str | None = None
    language_probability: float | None = None
    duration_ms: int | None = None

    @property
    def language_code(self) -> str | None:
        """The BCP 47 code of `language`: "english" and "EN" are `en`. None where the name is not known."""
        return code_of(self.language)


class Reading:
    """Reads the values of one segment and collects its flags; `place` names it in errors."""

    __slots__ = ("flags", "place")

    def __init__(self, place: str) -> None:
        self.place = place
        self.flags: list[str] = []

    def flag(self, name: str) -> None:
        if name not in self.flags:
            self.flags.append(name)

    def text(self, value: Any, place: str = "") -> str:
        """Return a text that can be stored, '' for None. Raises InvalidInput for other types."""
        if value is None:
            return ""
        if not isinstance(value, str):
            raise InvalidInput(f"{self.place}{place}: the text is {type(value).__name__}, not text.")
        if UNSTORABLE.search(value) is None:
            return value
        self.flag("replaced_characters")
        return UNSTORABLE.sub("\ufffd", value)

    def label(self, value: Any, place: str) -> str | None:
        """Return a name, also from a number; None where there is none. Raises InvalidInput for anything else."""
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) < LONGEST_MS:
            value = str(value)
        return self.text(value, place) or None

    def span(self, start: Any, end: Any, per_unit: float, place: str = "") -> tuple[int | None, int | None]:
        """Return start and end in milliseconds; `per_unit` is the milliseconds of one unit of the source."""
        start_ms, end_ms = self.time(start, per_unit, place), self.time(end, per_unit, place)
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

    def time(self, value: Any, per_unit: float, place: str = "") -> int | None:
        """Return milliseconds, None where there are none that a recording can have."""
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
        if type(value) is not float:
            value = self._float(value, kind, place)
        if not math.isfinite(value):
            self.flag(f"invalid_{kind}")
            return None
        return float(value)

    def _float(self, value: Any, kind: str, place: str) -> float:
        # Arrays of one number (numpy, torch) hand out a plain one without being imported here.
        if not isinstance(value, str | Real | Decimal) and callable(getattr(value, "item", None)):
            try:
                value = value.item()
            except (TypeError, ValueError, RuntimeError) as error:
                raise InvalidInput(f"{self.place}{place}: {value!r:.80} is not a {kind}.") from error
        if isinstance(value, bool) or not isinstance(value, str | Real | Decimal):
            raise InvalidInput(f"{self.place}{place}: {_short(value)} is not a {kind}.")
        try:
            return float(value)
        except OverflowError:
            return math.inf  # an integer beyond any float: not finite, flagged by the caller
        except ValueError as error:
            raise InvalidInput(f"{self.place}{place}: {_short(value)} is not a {kind}.") from error


def _short(value: Any) -> str:
    # Never the text of a whole structure: it may be large, or nested deeper than repr can go.
    return repr(value[:60]) if isinstance(value, str) else type(value).__name__


def listed(value: Any, place: str) -> Iterable[Any]:
    """Return a list, a tuple or what a recogniser yields; empty for None. Raises InvalidInput for anything else."""
    if value is None:
        return ()
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise InvalidInput(f"{place} is {type(value).__name__}, not a list.")
    return value


def opened(path: os.PathLike[str]) -> BinaryIO:
    """Open a file for reading. Raises InvalidInput for one that does not open.

    The path is not named: it may be the content itself, taken for a path, and that stays out of logs.
    """
    try:
        return open(path, "rb")  # noqa: PTH123 - os.PathLike has no open of its own
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidInput(
            f"The result cannot be read: {reason}; give the path of a file, or content as bytes."
        ) from error


def whole(file: Any, most: int = -1) -> bytes:
    """Return what an open binary file holds from here on, up to `most` bytes; also one that hands out less at a time.

    Raises InvalidInput for a file of text, and for one that cannot be read.
    """
    parts: list[bytes] = []
    room = most
    while room:
        try:
            part = file.read(room)
        except (OSError, EOFError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InvalidInput(f"The result cannot be read: {reason}; give a file that opens.") from error
        if not isinstance(part, bytes | bytearray | memoryview):
            raise InvalidInput(f"The file hands out {type(part).__name__}, not bytes; open it in binary mode.")
        if not part:
            break
        parts.append(bytes(part))
        room -= len(part) if most > 0 else 0
    return parts[0] if len(parts) == 1 else b"".join(parts)


def require_unused(value: Any, place: str) -> None:
    """Raise InvalidInput for a generator that was used up: it would pass for silence."""
    if isinstance(value, GeneratorType) and value.gi_frame is None:
        raise InvalidInput(f"{place}: the generator was used up before; recognise again, or hand over a list.")


def filled(value: Any) -> bool:
    """Whether something listed has elements, or may have; an iterator is not touched to find out."""
    return value is not None and (not isinstance(value, Sized) or len(value) > 0)


def named(value: Any, place: str) -> Mapping[str, Any]:
    """Return an object's fields: of a dict, a dataclass, a named tuple, a model of pydantic or any object that has one
    of a result's; names that begin with an underscore are private.

    Raises InvalidInput for anything else.
    """
    if isinstance(value, Mapping):
        return value
    if not isinstance(value, type):
        if dataclasses.is_dataclass(value):
            return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return dict(zip(value._fields, value, strict=True))
        fields = _attributes(value)
        if _OF_A_RESULT & fields.keys():
            return fields
    raise InvalidInput(f"{place} is {type(value).__name__}, not an object.")


def _attributes(value: Any) -> Mapping[str, Any]:
    if callable(getattr(value, "model_dump", None)):  # knows the fields, too, that its model does not
        dumped = value.model_dump()
        return dumped if isinstance(dumped, Mapping) else {}
    slots = [slot for kind in type(value).__mro__ for slot in _names(kind.__dict__.get("__slots__", ()))]
    fields = {slot: getattr(value, slot) for slot in slots if hasattr(value, slot)} | getattr(value, "__dict__", {})
    return {name: field for name, field in fields.items() if not name.startswith("_")}


def _names(slots: Any) -> Iterable[str]:
    return (slots,) if isinstance(slots, str) else slots
