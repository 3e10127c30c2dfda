"""Mutations of real results, and the checks on parsed mutants; shared by the suite and tests/torture."""

from __future__ import annotations

import copy
import json
import math
import random
from typing import Any

from src.formats import Parsed
from src.formats.segments import LONGEST_MS, UNSTORABLE

VALUES: list[Any] = [
    None, True, -1, 0, 7, 1.5, -0.0, 1e308, 10**30, 2**63, float("nan"), float("inf"), -float("inf"), "", "x", "NaN",
    "1,5", "-3", "1e400", "a\0b", "\ud800", "\udfff\ud800", "-->", "<v x>", "\u2028", [], {}, [[]], [None], {"text": 5},
    [1, 2], "🎧" * 50, "word " * 500,
]  # fmt: skip
BYTES = [
    b"\0", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\n\n", b"\r", b"-->", b"<", b"&#xd800;", b'"', b"\\", b"{", b"]", b",",
    b"9" * 5000, b"1e999", b"NaN", b"-", b"\\u0000", b"\\ud800", b"[" * 3000, b"\xef\xbb\xbf", b"::", b"99:99:99",
]  # fmt: skip


def mutate(content: bytes, rng: random.Random) -> bytes:
    """Return the content with one to four mutations of its bytes or of its JSON values."""
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        content = rng.choice([_flipped, _cut, _replaced, _moved, _restructured, _restructured, _restructured])(
            content, rng
        )
    return content


def _flipped(content: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(content)
    for _ in range(rng.choice([1, 1, 8])):
        if damaged:
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def _cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def _replaced(content: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(content) + 1)
    return content[:at] + rng.choice(BYTES) + content[at + rng.choice([0, 0, 1, 5, 40]) :]


def _moved(content: bytes, rng: random.Random) -> bytes:
    start, end, to = sorted(rng.randrange(len(content) + 1) for _ in range(3))
    return content[:start] + content[end:to] + content[start:end] + content[to:]


def _restructured(content: bytes, rng: random.Random) -> bytes:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return _flipped(content, rng)
    for _ in range(rng.choice([1, 1, 3])):
        document = _damaged(document, rng)
    return json.dumps(document, ensure_ascii=rng.random() < 0.7).encode("utf-8", "surrogatepass")


def _damaged(document: Any, rng: random.Random) -> Any:
    """Mutate one value in a structure, deep values as often as shallow ones."""
    place, steps = document, rng.choice([1, 2, 3, 4, 6])
    for step in range(steps):
        keys = list(place) if isinstance(place, dict) else list(range(len(place))) if isinstance(place, list) else []
        if not keys:
            break
        key = rng.choice(keys)
        if step + 1 < steps and isinstance(place[key], dict | list) and place[key]:
            place = place[key]
            continue
        _damage_at(place, key, keys, rng)
        return document
    return copy.deepcopy(rng.choice(VALUES))


def _damage_at(place: Any, key: Any, keys: list[Any], rng: random.Random) -> None:
    kind = rng.choice(["value", "neighbour", "text", "list", "gone", "twice"])
    if kind == "gone":
        place.pop(key)
    elif kind == "twice" and isinstance(place, list):
        place.insert(key, copy.deepcopy(place[key]))
    elif kind == "twice":
        place[f"{key} "] = copy.deepcopy(place[key])
    else:
        values = {
            # A copy: the next mutation must neither change the constant nor create a cycle.
            "value": copy.deepcopy(rng.choice(VALUES)),
            "neighbour": copy.deepcopy(place[rng.choice(keys)]),
            "text": str(place[key]),
            "list": [place[key]],
        }
        place[key] = values[kind]


def assert_valid(parsed: Parsed) -> None:
    """Assert that a database can store every value: no NUL or unpaired surrogates, numbers within their ranges."""
    for text in (parsed.dialect, parsed.language, parsed.model_name):
        _assert_text(text)
    _assert_time(parsed.duration_ms)
    _assert_ratio(parsed.language_probability)
    for segment in parsed.segments:
        assert isinstance(segment.text, str)
        assert len(set(segment.flags)) == len(segment.flags)
        for text in (segment.text, segment.speaker, *segment.flags):
            _assert_text(text)
        _assert_span(segment.start_ms, segment.end_ms)
        _assert_ratio(segment.confidence)
        for word in segment.words or ():
            assert isinstance(word.text, str)
            _assert_text(word.text)
            _assert_text(word.speaker)
            _assert_span(word.start_ms, word.end_ms)
            _assert_ratio(word.confidence)


def _assert_text(text: str | None) -> None:
    assert text is None or (isinstance(text, str) and UNSTORABLE.search(text) is None)


def _assert_span(start: int | None, end: int | None) -> None:
    _assert_time(start)
    _assert_time(end)
    assert start is None or end is None or start <= end


def _assert_time(moment: int | None) -> None:
    assert moment is None or (type(moment) is int and 0 <= moment < LONGEST_MS)


def _assert_ratio(share: float | None) -> None:
    assert share is None or (type(share) is float and math.isfinite(share) and 0 <= share <= 1)
