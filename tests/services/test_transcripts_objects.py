"""Objects of a recogniser as canonical JSON: deterministic, and written while a generator runs."""

from __future__ import annotations

import dataclasses
import json
import weakref
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import PurePosixPath
from types import SimpleNamespace
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.errors import InvalidInput
from src.services import transcripts
from src.services.transcripts import Segment, sources


@dataclasses.dataclass
class Heard:
    text: str
    words: list


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["\ud800", "\x7fé\udfff🎧"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(VALUES)
def test_json_values_are_written_as_json_dumps_writes_them(value):
    try:
        expected = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        expected = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()

    assert sources.canonical(value) == expected


def test_segments_of_a_generator_are_written_one_by_one():
    heard: list[weakref.ref] = []

    def listening():
        for number in range(5):
            segment = Heard(f"word {number}", [SimpleNamespace(word="word", start=number)])
            heard.append(weakref.ref(segment))
            yield segment
            del segment
            assert sum(each() is not None for each in heard[:-1]) == 0

    content = sources.canonical((listening(), SimpleNamespace(language="en")))
    assert [each["text"] for each in json.loads(content)["segments"]] == [f"word {number}" for number in range(5)]


def test_decimals_dates_and_other_values_are_stored_as_text():
    beside = {
        "price": Decimal("0.10"), "made": datetime(2026, 11, 22, 23, 0, tzinfo=UTC), "day": date(2026, 11, 22),
        "job": UUID(int=7), "file": PurePosixPath("/a.wav"),
    }  # fmt: skip
    assert json.loads(sources.canonical({"segments": [{"start": Decimal("1.5")}], **beside})) == {
        "segments": [{"start": "1.5"}], "price": "0.10", "made": "2026-11-22T23:00:00+00:00", "day": "2026-11-22",
        "job": str(UUID(int=7)), "file": "/a.wav",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"segments": [{"start": 10**5000}]}, "segments, element 0, start: an integer of"),
        (
            {"segments": [{"words": [{}, {"start": object()}]}]},
            "segments, element 0, words, element 1, start: object",
        ),
        (([{"text": b"x"}], None), "segments, element 0, text: bytes"),
        ({"segments": [{"a": {"b": {"c": {1j}}}}]}, "segments, element 0, a, b, c, element 0: complex"),
    ],
)
def test_values_without_json_form_are_rejected_with_their_place(value, place):
    with pytest.raises(InvalidInput, match=place):
        sources.canonical(value)


def test_an_exhausted_generator_is_rejected(db, audio):
    def speaking():
        yield Segment("Good evening.")

    used, again = speaking(), speaking()
    assert list(used) == list(again)
    with db.session(actor="alice") as session:
        for store in (
            lambda: transcripts.import_result(session, audio, (used, {"language": "en"})),
            lambda: transcripts.add(session, audio, again),
        ):
            with pytest.raises(InvalidInput, match="already consumed"):
                store()
        assert transcripts.versions(session, audio) == []
        assert transcripts.add(session, audio, (each for each in ())).version == 1  # an empty result is valid
