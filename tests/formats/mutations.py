"""Damage done to real results, and what must hold for whatever is still read: for the suite and for the torture."""

from __future__ import annotations

import copy
import json
import math
import random
from typing import Any

from src.formats import Parsed
from src.formats.values import LONGEST_MS, UNSTORABLE

VALUES: list[Any] = [
    None, True, -1, 0, 7, 1.5, -0.0, 1e308, 10**30, 2**63, float("nan"), float("inf"), -float("inf"), "", "x", "NaN",
    "1,5", "-3", "1e400", "a\0b", "\ud800", "\udfff\ud800", "-->", "<v x>", "\u2028", [], {}, [[]], [None], {"text": 5},
    [1, 2], "🎧" * 50, "word " * 500,
]  # fmt: skip
BYTES = [
    b"\0", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\n\n", b"\r", b"-->", b"<", b"&#xd800;", b'"', b"\\", b"{", b"]", b",",
    b"9" * 5000, b"1e999", b"NaN", b"-", b"\\u0000", b"\\ud800", b"[" * 3000, b"\xef\xbb\xbf", b"::", b"99:99:99",
]  # fmt: skip


def mutate(content: bytes, chance: random.Random) -> bytes:
    """Return the content damaged in one to four places: its bytes, or the values of the JSON that it is."""
    for _ in range(chance.choice([1, 1, 1, 2, 4])):
        content = chance.choice([_flipped, _cut, _replaced, _moved, _restructured, _restructured, _restructured])(
            content, chance
        )
    return content


def _flipped(content: bytes, chance: random.Random) -> bytes:
    damaged = bytearray(content)
    for _ in range(chance.choice([1, 1, 8])):
        if damaged:
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def _cut(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content) + 1)]


def _replaced(content: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(content) + 1)
    return content[:at] + chance.choice(BYTES) + content[at + chance.choice([0, 0, 1, 5, 40]) :]


def _moved(content: bytes, chance: random.Random) -> bytes:
    start, end, to = sorted(chance.randrange(len(content) + 1) for _ in range(3))
    return content[:start] + content[end:to] + content[start:end] + content[to:]


def _restructured(content: bytes, chance: random.Random) -> bytes:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return _flipped(content, chance)
    for _ in range(chance.choice([1, 1, 3])):
        document = _damaged(document, chance)
    return json.dumps(document, ensure_ascii=chance.random() < 0.7).encode("utf-8", "surrogatepass")


def _damaged(document: Any, chance: random.Random) -> Any:
    """Damage one value somewhere in a structure, deep ones as often as shallow ones."""
    place, steps = document, chance.choice([1, 2, 3, 4, 6])
    for step in range(steps):
        keys = list(place) if isinstance(place, dict) else list(range(len(place))) if isinstance(place, list) else []
        if not keys:
            break
        key = chance.choice(keys)
        if step + 1 < steps and isinstance(place[key], dict | list) and place[key]:
            place = place[key]
            continue
        _damage_at(place, key, keys, chance)
        return document
    return copy.deepcopy(chance.choice(VALUES))


def _damage_at(place: Any, key: Any, keys: list[Any], chance: random.Random) -> None:
    kind = chance.choice(["value", "neighbour", "text", "list", "gone", "twice"])
    if kind == "gone":
        place.pop(key)
    elif kind == "twice" and isinstance(place, list):
        place.insert(key, copy.deepcopy(place[key]))
    elif kind == "twice":
        place[f"{key} "] = copy.deepcopy(place[key])
    else:
        values = {
            # A copy: what is damaged next must not be the constant, nor hold itself.
            "value": copy.deepcopy(chance.choice(VALUES)),
            "neighbour": copy.deepcopy(place[chance.choice(keys)]),
            "text": str(place[key]),
            "list": [place[key]],
        }
        place[key] = values[kind]


def require_storable(parsed: Parsed) -> None:
    """Assert that every value could be stored: texts without NUL and half characters, numbers in their ranges."""
    for text in (parsed.dialect, parsed.language, parsed.model_name):
        _require_text(text)
    _require_moment(parsed.duration_ms)
    _require_share(parsed.language_probability)
    for segment in parsed.segments:
        assert isinstance(segment.text, str)
        assert len(set(segment.flags)) == len(segment.flags)
        for text in (segment.text, segment.speaker, *segment.flags):
            _require_text(text)
        _require_span(segment.start_ms, segment.end_ms)
        _require_share(segment.confidence)
        for word in segment.words or ():
            assert isinstance(word.text, str)
            _require_text(word.text)
            _require_text(word.speaker)
            _require_span(word.start_ms, word.end_ms)
            _require_share(word.confidence)


def _require_text(text: str | None) -> None:
    assert text is None or (isinstance(text, str) and UNSTORABLE.search(text) is None)


def _require_span(start: int | None, end: int | None) -> None:
    _require_moment(start)
    _require_moment(end)
    assert start is None or end is None or start <= end


def _require_moment(moment: int | None) -> None:
    assert moment is None or (type(moment) is int and 0 <= moment < LONGEST_MS)


def _require_share(share: float | None) -> None:
    assert share is None or (type(share) is float and math.isfinite(share) and 0 <= share <= 1)
