"""The result types shared by all dialects, and the normalisation of values that a database cannot store.

Each normalisation sets a flag on the segment. A time that is negative or not finite becomes None, and so does an end
before its start (`invalid_time`). A confidence outside 0 to 1 becomes None (`invalid_confidence`). NUL and unpaired
surrogates become U+FFFD (`replaced_characters`). The stored source file keeps the original values.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from decimal import Decimal
from numbers import Real
from types import GeneratorType
from typing import Any, BinaryIO

from src.errors import InvalidInput
from src.formats.languages import code_of

_RESULT_FIELDS = frozenset({"text", "word", "segments", "language"})
UNSTORABLE = re.compile("[\0\ud800-\udfff]")
LONGEST_MS = 2**53


@dataclass(frozen=True, slots=True)
class Word:
    """A word with its time in milliseconds and its confidence from 0 to 1, where they are known.

    `text` is unchanged from the source and includes a leading space. `speaker` is set only if the source names a
    speaker for the word itself.
    """

    text: str = field(repr=False)  # keeps recorded speech out of logs and tracebacks
    start_ms: int | None = None
    end_ms: int | None = None
    confidence: float | None = None
    speaker: str | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """A passage of speech. Times are milliseconds from the start of the recording; unknown values are None."""

    text: str = field(repr=False)
    start_ms: int | None = None
    end_ms: int | None = None
    speaker: str | None = None
    words: Sequence[Word] | None = field(default=None, repr=False)
    confidence: float | None = None
    flags: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Parsed:
    """A recogniser's result. `language` is the value of the source: a code, a name, or None.

    Segments are in the order of the source. `language_probability` (0 to 1), `model_name` and `duration_ms` are set if
    the source contains them.
    """

    dialect: str
    segments: Sequence[Segment]
    language: str | None = None
    model_name: str | None = None
    language_probability: float | None = None
    duration_ms: int | None = None

    @property
    def language_code(self) -> str | None:
        """The BCP 47 code of `language`: "english" and "EN" are `en`. None for an unknown name."""
        return code_of(self.language)


class Reading:
    """Converts the values of one segment and collects its flags; `place` names the segment in errors."""

    __slots__ = ("flags", "place")

    def __init__(self, place: str) -> None:
        self.place = place
        self.flags: list[str] = []

    def flag(self, name: str) -> None:
        if name not in self.flags:
            self.flags.append(name)

    def text(self, value: Any, place: str = "") -> str:
        """Return text that a database can store, '' for None. Raises InvalidInput for a value that is not a str."""
        if value is None:
            return ""
        if not isinstance(value, str):
            raise InvalidInput(
                f"{self.place}{place}: the text is {type(value).__name__}; a str is required.",
                field=f"{self.place}{place}",
            )
        if UNSTORABLE.search(value) is None:
            return value
        self.flag("replaced_characters")
        return UNSTORABLE.sub("\ufffd", value)

    def label(self, value: Any, place: str) -> str | None:
        """Return a name from a str or an int, None for an empty one. Raises InvalidInput for other types."""
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) < LONGEST_MS:
            value = str(value)
        return self.text(value, place) or None

    def span(self, start: Any, end: Any, per_unit: float, place: str = "") -> tuple[int | None, int | None]:
        """Return start and end in milliseconds; `per_unit` is the number of milliseconds per unit of the source."""
        start_ms, end_ms = self.time(start, per_unit, place), self.time(end, per_unit, place)
        if start_ms is not None and end_ms is not None and end_ms < start_ms:
            self.flag("invalid_time")
            end_ms = None
        return start_ms, end_ms

    def confidence(self, value: Any, place: str = "") -> float | None:
        """Return a number from 0 to 1; None, with a flag, for a number outside; None for None."""
        found = self.number(value, "confidence", place)
        if found is not None and not 0 <= found <= 1:
            self.flag("invalid_confidence")
            return None
        return found

    def time(self, value: Any, per_unit: float, place: str = "") -> int | None:
        """Return milliseconds; None, with a flag, for a time that a recording cannot have; None for None."""
        found = self.number(value, "time", place)
        if found is None:
            return None
        scaled = found * per_unit
        if not 0 <= scaled < LONGEST_MS:
            self.flag("invalid_time")
            return None
        return round(scaled)

    def number(self, value: Any, kind: str, place: str) -> float | None:
        """Return a finite number from a number or a str; None, with a flag, for one that is not finite."""
        if value is None:
            return None
        if type(value) is not float:
            value = self._float(value, kind, place)
        if not math.isfinite(value):
            self.flag(f"invalid_{kind}")
            return None
        return float(value)

    def _float(self, value: Any, kind: str, place: str) -> float:
        # Arrays of one element (numpy, torch) convert to a Python number without an import of their library.
        if not isinstance(value, str | Real | Decimal) and callable(getattr(value, "item", None)):
            try:
                value = value.item()
            except (TypeError, ValueError, RuntimeError) as error:
                raise InvalidInput(
                    f"{self.place}{place}: {value!r:.80} is not a {kind}; pass a number.", field=f"{self.place}{place}"
                ) from error
        if isinstance(value, bool) or not isinstance(value, str | Real | Decimal):
            raise InvalidInput(
                f"{self.place}{place}: {_short(value)} is not a {kind}; pass a number.", field=f"{self.place}{place}"
            )
        try:
            return float(value)
        except OverflowError:
            return math.inf  # an integer larger than any float: not finite, the caller sets the flag
        except ValueError as error:
            raise InvalidInput(
                f"{self.place}{place}: {_short(value)} is not a {kind}; pass a number.", field=f"{self.place}{place}"
            ) from error


def _short(value: Any) -> str:
    # Never the repr of a structure: it may be large, or nested deeper than repr supports.
    return repr(value[:60]) if isinstance(value, str) else type(value).__name__


def listed(value: Any, place: str) -> Iterable[Any]:
    """Return a list, tuple or other iterable unchanged, () for None. Raises InvalidInput for other types."""
    if value is None:
        return ()
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise InvalidInput(f"{place}: {type(value).__name__} found; a list is required.", field=place)
    return value


def opened(path: os.PathLike[str]) -> BinaryIO:
    """Open a file for reading. Raises InvalidInput if it cannot be opened.

    The error does not contain the path: a caller may pass content as a path by mistake, and content stays out of logs.
    """
    try:
        return open(path, "rb")  # noqa: PTH123 - os.PathLike has no open of its own
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidInput(
            f"The result cannot be read: {reason}; pass the path of a readable file, or the content as bytes."
        ) from error


def whole(file: Any, most: int = -1) -> bytes:
    """Return the rest of an open binary file, up to `most` bytes. Supports files whose `read` returns less than asked.

    Raises InvalidInput for a file in text mode, and for one that cannot be read.
    """
    parts: list[bytes] = []
    remaining = most
    while remaining:
        try:
            part = file.read(remaining)
        except (OSError, EOFError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InvalidInput(f"The result cannot be read: {reason}; pass a readable file.") from error
        if not isinstance(part, bytes | bytearray | memoryview):
            raise InvalidInput(f"The file returns {type(part).__name__}, not bytes; open it in binary mode.")
        if not part:
            break
        parts.append(bytes(part))
        remaining -= len(part) if most > 0 else 0
    return parts[0] if len(parts) == 1 else b"".join(parts)


def require_unused(value: Any, place: str) -> None:
    """Raise InvalidInput for a consumed generator, which would otherwise be read as a result without segments."""
    if isinstance(value, GeneratorType) and value.gi_frame is None:
        raise InvalidInput(
            f"{place}: the generator is already consumed; run the recogniser again, or pass a list.", field=place
        )


def filled(value: Any) -> bool:
    """Whether an iterable has elements, or may have: an iterator counts as filled and is not advanced."""
    return value is not None and (not isinstance(value, Sized) or len(value) > 0)


def named(value: Any, place: str) -> Mapping[str, Any]:
    """Return the fields of a dict, a dataclass, a named tuple, a pydantic model, or an object with fields of a result.

    Names with a leading underscore are skipped. Raises InvalidInput for other values.
    """
    if isinstance(value, Mapping):
        return value
    if not isinstance(value, type):
        if dataclasses.is_dataclass(value):
            return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return dict(zip(value._fields, value, strict=True))
        fields = _attributes(value)
        if _RESULT_FIELDS & fields.keys():
            return fields
    raise InvalidInput(f"{place}: {type(value).__name__} found; an object with fields is required.", field=place)


def _attributes(value: Any) -> Mapping[str, Any]:
    if callable(getattr(value, "model_dump", None)):  # also returns the extra fields that the model does not declare
        dumped = value.model_dump()
        return dumped if isinstance(dumped, Mapping) else {}
    slots = [slot for kind in type(value).__mro__ for slot in _names(kind.__dict__.get("__slots__", ()))]
    fields = {slot: getattr(value, slot) for slot in slots if hasattr(value, slot)} | getattr(value, "__dict__", {})
    return {name: field for name, field in fields.items() if not name.startswith("_")}


def _names(slots: Any) -> Iterable[str]:
    return (slots,) if isinstance(slots, str) else slots
