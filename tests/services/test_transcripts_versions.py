"""Versions: accept, correct, restore, compare; versions are immutable."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text

from src.database import Transcription
from src.errors import Conflict, Forbidden, InvalidInput, LostUpdate, NotFound
from src.services import activity, cases, transcripts
from src.services.transcripts import Segment, Word
from src.services.transcripts.comparing import Spoken, compare

pytestmark = pytest.mark.shared_database

SAID = [
    Segment("the harbor was empty", 0, 2000, "A", [Word("the", 0, 300), Word("harbor", 300, 900, 0.4)], 0.6,
            ("low_confidence",)),
    Segment("at noon", 2000, 3000, "B"),
    Segment("they left", 3000, 4000, "B", [Word("they"), Word("left", 3500, 4000)]),
]  # fmt: skip


@pytest.fixture
def first(db, audio):
    with db.session(actor="alice") as session:
        return transcripts.add(session, audio, SAID, language="en", model_name="small", confidence=0.5)


def test_a_correction_is_a_new_version_based_on_the_corrected_one(db, audio, first):
    moved = Segment("at noon precisely", 2000, 3100, "C")
    with db.session(actor="alice") as session:
        second = transcripts.correct(session, first, {0: "the harbour was empty", 1: moved})
        corrected = transcripts.segments(session, second)

        assert (second.version, second.based_on_id, second.language.code, second.model_name) == (
            2,
            first.id,
            "en",
            None,
        )
        assert corrected == [Segment("the harbour was empty", 0, 2000, "A"), moved, SAID[2]]
        assert second.content == "the harbour was empty at noon precisely they left"
        assert transcripts.segments(session, first) == SAID
        assert [version.version for version in transcripts.versions(session, audio, language="en")] == [1, 2]
    with db.session(actor="alice") as session:
        assert session.get(Transcription, second.id).segments_sha256
        entry = [each for each in activity.feed(session) if each.type == "transcript.added"][-1]
    assert (entry.entity_id, entry.detail["corrects"], entry.detail["segments"]) == (second.id, 1, 2)


def test_a_correction_can_remove_a_segment(db, first):
    with db.session(actor="alice") as session:
        second = transcripts.correct(session, first, {1: None})
        assert transcripts.segments(session, second) == [SAID[0], SAID[2]]
        third = transcripts.correct(session, second, {1: "they had left"})
        assert [segment.text for segment in transcripts.segments(session, third)] == [SAID[0].text, "they had left"]


def test_an_older_version_is_corrected_only_with_although_newer(db, first):
    with db.session(actor="alice") as session:
        transcripts.correct(session, first, {1: "at one"})
        with pytest.raises(LostUpdate, match="base: version 1, but the newest is 2"):
            transcripts.correct(session, first, {1: "at two"})
        assert transcripts.correct(session, first, {1: "at two"}, although_newer=True).version == 3


def test_concurrent_corrections_of_a_version_raise_lost_update(db, first):
    def correct(text):
        try:
            with db.session(actor="alice") as session:
                return transcripts.correct(session, first, {1: text}).version
        except LostUpdate:
            return None

    with ThreadPoolExecutor(4) as pool:
        assert sorted(map(str, pool.map(correct, "abcd"))) == ["2", "None", "None", "None"]


@pytest.mark.parametrize("corrections", [{}, {3: "x"}, {-1: "x"}, {"0": "x"}, {True: "x"}, {0.0: "x"}])
def test_empty_corrections_and_unknown_positions_are_rejected(db, first, corrections):
    with pytest.raises(InvalidInput, match="segments 0 to 2"), db.session(actor="alice") as session:
        transcripts.correct(session, first, corrections)


def test_an_invalid_correction_is_rejected_with_its_place(db, first):
    with pytest.raises(InvalidInput, match="segment 2"), db.session(actor="alice") as session:
        transcripts.correct(session, first, {1: "fine", 2: Segment("x", 5, 4)})


def test_restoring_adds_a_copy_as_a_new_version(db, audio, first):
    with db.session(actor="alice") as session:
        transcripts.correct(session, first, {0: "something else"})
        third = transcripts.restore(session, first)

        assert (third.version, third.based_on_id, third.model_name, third.confidence) == (3, first.id, "small", 0.5)
        assert transcripts.segments(session, third) == SAID
        assert third.content == first.content
    with db.session(actor="alice") as session:
        detail = [entry.detail for entry in activity.feed(session) if entry.type == "transcript.added"][-1]
        assert (detail["version"], detail["restored"]) == (3, 1)
        digests = dict(session.execute(select(Transcription.version, Transcription.segments_sha256)).all())
        assert digests[1] == digests[3] != digests[2]


def test_the_version_that_was_accepted_last_is_the_current_one(db, audio, first):
    with db.session(actor="alice") as session:
        second = transcripts.add(session, audio, SAID[1:], language="en")
        # In one transaction, in which now() does not advance.
        transcripts.accept(session, second)
        transcripts.accept(session, first)
        assert transcripts.latest(session, audio, accepted=True).id == first.id
        accepted_at = first_accepted = transcripts.accept(session, first).accepted_at
    with db.session(actor="root") as session:
        assert transcripts.accept(session, first).accepted_at == first_accepted
        assert transcripts.latest(session, audio, accepted=True).accepted_by_id == audio.uploaded_by_id
        again = transcripts.accept(session, second)
        assert again.accepted_at > accepted_at
        assert again.accepted_by_id != audio.uploaded_by_id
        assert transcripts.latest(session, audio, accepted=True).id == second.id
    with db.session(actor="alice") as session:
        accepted_versions = [
            entry.detail["version"] for entry in activity.feed(session) if entry.type == "transcript.accepted"
        ]
        assert accepted_versions == [2, 1, 2]
        said = [str(entry) for entry in activity.feed(session, type="transcript.accepted")]
        assert said[0] == f"alice accepted version 2 of {audio.name}"


def test_versions_are_immutable(db, owner, first):
    for statement in (
        "UPDATE transcriptions SET content = 'forged'",
        "UPDATE transcriptions SET version = 9",
        "UPDATE transcription_segments SET text = 'forged'",
        "DELETE FROM transcription_segments WHERE position = 1",
    ):
        for actor in ("alice", "root"):
            with pytest.raises(Forbidden), db.session(actor=actor) as session:
                session.execute(text(statement))
    added = text(
        "INSERT INTO transcription_segments (case_id, transcription_id, position, text)"
        " SELECT case_id, id, 99, 'late' FROM transcriptions"
    )
    with pytest.raises(Conflict, match="finished"), db.session(actor="root") as session:
        session.execute(added)


def test_based_on_must_be_a_version_of_the_same_recording(db, audio, first, make_audio):
    with db.session(actor="alice") as session:
        other = make_audio(session, session.get_one(type(audio.case), audio.case.id))
        with pytest.raises(InvalidInput, match="based_on: belongs to another recording"):
            transcripts.add(session, other, SAID, based_on=first)
        translated = transcripts.add(session, audio, SAID, language="de", based_on=first)
        assert (translated.version, translated.based_on_id) == (1, first.id)
        with pytest.raises(InvalidInput, match="model_name"):
            transcripts.add(session, audio, SAID, model_name=5)


def test_viewers_can_only_compare_and_other_users_nothing(db, audio, first):
    acts = (
        lambda session: transcripts.correct(session, first, {0: "x"}),
        lambda session: transcripts.restore(session, first),
        lambda session: transcripts.diff(session, first, first),
    )
    for act in acts:
        with pytest.raises(NotFound), db.session(actor="bob") as session:
            act(session)
    with db.session(actor="alice") as session:
        cases.add_participant(session, audio.case, "bob", role="viewer")
    for act in acts[:2]:
        with pytest.raises(Forbidden), db.session(actor="bob") as session:
            act(session)
    with db.session(actor="bob") as session:
        assert [change.operation for change in transcripts.diff(session, first, first)] == ["equal"]


def test_a_diff_compares_words_with_times(db, audio, first):
    with db.session(actor="alice") as session:
        second = transcripts.correct(session, first, {0: "the harbour was quite empty", 2: None})
        changes = transcripts.diff(session, first, second)

    said = [(c.operation, " ".join(w.text for w in c.before), " ".join(w.text for w in c.after)) for c in changes]
    assert said == [
        ("equal", "the", "the"),
        ("replace", "harbor", "harbour was quite empty"),
        ("equal", "at noon", "at noon"),
        ("delete", "they left", ""),
    ]
    assert changes[1].before == (Spoken("harbor", 300, 900),)
    assert (changes[1].start_ms, changes[1].end_ms) == (0, 2000)
    assert (changes[3].start_ms, changes[3].end_ms) == (3000, 4000)
    assert str(changes[1]) == "- harbor\n+ harbour was quite empty"


def test_a_diff_compares_characters_in_scripts_without_spaces(db, audio):
    with db.session(actor="alice") as session:
        first = transcripts.add(session, audio, [Segment("港は空だった", 0, 1000)], language="ja")
        second = transcripts.add(session, audio, [Segment("港は満だった", 0, 1000)], language="ja")
        (change,) = [each for each in transcripts.diff(session, first, second) if each.operation != "equal"]
    assert (change.before[0].text, change.after[0].text) == ("空", "満")


def test_versions_of_two_recordings_cannot_be_compared(db, audio, first, make_audio):
    with db.session(actor="alice") as session:
        other = make_audio(session, session.get_one(type(audio.case), audio.case.id))
        other_version = transcripts.add(session, other, SAID)
        with pytest.raises(InvalidInput, match="two recordings"):
            transcripts.diff(session, first, other_version)


def spoken(words):
    return [Spoken(word, None, None) for word in words]


words = st.lists(st.sampled_from("abcde"), max_size=40)


@given(words, words)
@settings(max_examples=300, deadline=None)
def test_the_passages_of_a_diff_contain_all_words_of_both_versions(before, after):
    changes = compare(spoken(before), spoken(after))

    assert [word.text for change in changes for word in change.before] == before
    assert [word.text for change in changes for word in change.after] == after
    for change, following in pairwise(changes):
        assert "equal" in {change.operation, following.operation}
        assert change.operation != following.operation
    for change in changes:
        old, new = ([word.text for word in side] for side in (change.before, change.after))
        assert (old == new) == (change.operation == "equal")
    if before == after:
        assert {change.operation for change in changes} <= {"equal"}


@pytest.mark.parametrize(("before", "after", "expected"), [
    ("", "", []),
    ("", "a", ["+ a"]),
    ("a", "", ["- a"]),
    ("a b x c d", "a b y c d", ["  a b", "- x\n+ y", "  c d"]),
    ("a b c d", "c d a b", ["- a b", "  c d", "+ a b"]),
    ("a a a a", "a a", ["  a a", "- a a"]),
    ("x c d", "y z c d", ["- x\n+ y z", "  c d"]),
    ("Hello, all", "hello all", ["- Hello,\n+ hello", "  all"]),
])  # fmt: skip
def test_a_diff_finds_common_words(before, after, expected):
    assert [str(change) for change in compare(spoken(before.split()), spoken(after.split()))] == expected


def test_three_hours_of_speech_are_compared_in_seconds():
    chance = random.Random(6)
    vocabulary = [f"w{rank}" for rank in range(8_000)]
    weights = [1 / (rank + 1) for rank in range(8_000)]
    before = chance.choices(vocabulary, weights, k=30_000)
    changed = [word if chance.random() > 0.05 else "other" for word in before]
    loop = ["one", "two"] * 15_000
    started = time.process_time()
    changes = compare(spoken(before), spoken(changed))
    compare(spoken(before), spoken(chance.choices(vocabulary, weights, k=30_000)))
    compare(spoken(loop), spoken(["two", "one", "three"] * 10_000))

    assert time.process_time() - started < 20  # takes about 3; without anchors minutes
    same = sum(len(change.before) for change in changes if change.operation == "equal")
    assert same >= sum(old == new for old, new in zip(before, changed, strict=True))
