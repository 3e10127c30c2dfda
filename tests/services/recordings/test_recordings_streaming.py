"""Playback: ranges of a recording as an HTTP answer, logged once per playback."""

from __future__ import annotations

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from src.errors import IntegrityFailure, NotFound
from src.services import activity, cases, recordings
from tests.services.recordings.conftest import CONTENT

SIZE = len(CONTENT)


def ask(db, audio, header=None, *, actor="alice", **options):
    with db.session(actor=actor) as session:
        answer = recordings.stream(session, audio, header, **options)
    # After the session, as the answer of a web service is sent.
    return answer, b"".join(answer.iterator)


def playbacks(db, audio):
    with db.session(actor="root") as session:
        entries = activity.feed(session, case=audio.case_id, type="audio.opened")
    return [entry.actor for entry in entries if entry.entity_id == audio.id]


@pytest.mark.parametrize("header", [None, "", "bytes", "bytes=", "bytes=-", "bytes=5-2", "bytes=a-b", "items=0-1",
                                    "bytes=0-1,3-4", "bytes=٣-٤", "bytes=" + "9" * 30 + "-"])  # fmt: skip
def test_without_a_range_that_applies_the_whole_recording_is_sent(db, audio, header):
    answer, content = ask(db, audio, header)

    assert (answer.status, content) == (200, CONTENT)
    assert answer.headers["Content-Length"] == str(SIZE)
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert "Content-Range" not in answer.headers


@pytest.mark.parametrize("header", [f"bytes={SIZE}-", f"bytes={SIZE + 5}-{SIZE + 9}", "bytes=-0"])
def test_a_range_beyond_the_end_is_refused_with_the_size(db, audio, header):
    answer, content = ask(db, audio, header)

    assert (answer.status, content, answer.headers["Content-Range"]) == (416, b"", f"bytes */{SIZE}")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=st.integers(0, SIZE - 1), length=st.integers(1, 2 * SIZE), final=st.booleans())
def test_a_range_is_sent_as_a_slice_of_the_bytes(db, audio, first, length, final):
    header = f"bytes=-{length}" if final else f"Bytes={first}-{first + length - 1}"
    expected = CONTENT[-length:] if final else CONTENT[first : first + length]

    answer, content = ask(db, audio, header)

    assert (answer.status, content) == (206, expected)
    assert answer.headers["Content-Length"] == str(len(expected))
    begin, end, size = map(int, re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", answer.headers["Content-Range"]).groups())
    assert (CONTENT[begin : end + 1], size) == (expected, SIZE)


def test_a_range_of_other_bytes_is_answered_with_the_whole_recording(db, audio):
    current = ask(db, audio)[0].headers["ETag"]

    assert ask(db, audio, "bytes=0-1", if_range=current)[0].status == 206
    for other in ('"other"', f"W/{current}", "Fri, 27 Nov 2026 20:00:00 GMT", ""):
        assert ask(db, audio, "bytes=0-1", if_range=other)[0].status == 200


def test_a_playback_of_many_ranges_is_one_entry_per_user(db, case, audio):
    with db.session(actor="alice") as session:
        cases.add_participant(session, case, "bob", role="viewer")
    for actor in ("alice", "bob"):
        for header in (None, "bytes=3-", "bytes=0-1", "bytes=99-", "bytes=-2"):
            ask(db, audio, header, actor=actor)

    assert sorted(playbacks(db, audio)) == ["alice", "bob"]


def test_the_next_playback_is_a_new_entry(db, audio, owner):
    ask(db, audio)
    with owner.begin() as connection:
        # As if the playback had begun earlier: entries are never changed otherwise.
        connection.execute(text("ALTER TABLE activity_logs DISABLE TRIGGER refuse_change"))
        connection.execute(text("UPDATE activity_logs SET created_at = created_at - interval '61 minutes'"
                                " WHERE new ? 'playback'"))  # fmt: skip
        connection.execute(text("ALTER TABLE activity_logs ENABLE ALWAYS TRIGGER refuse_change"))

    ask(db, audio)

    assert playbacks(db, audio) == ["alice", "alice"]


def test_opening_a_recording_does_not_hide_its_playback(db, audio):
    with db.session(actor="alice") as session:
        recordings.open(session, audio).close()
    ask(db, audio)

    assert playbacks(db, audio) == ["alice", "alice"]


def test_a_recording_of_another_case_is_not_streamed(db, audio):
    with pytest.raises(NotFound), db.session(actor="bob") as session:
        recordings.stream(session, audio, "bytes=0-1")


def test_an_object_that_ends_too_early_is_never_sent_as_whole(db, audio, storage):
    storage.delete(audio.path)
    storage.put(audio.path, CONTENT[:-4])
    with db.session(actor="alice") as session:
        answer = recordings.stream(session, audio)

    with pytest.raises(IntegrityFailure, match="4 bytes too early"):
        b"".join(answer.iterator)


def test_a_recording_is_closed_whether_it_was_read_or_not(db, audio):
    with db.session(actor="alice") as session:
        answers = [recordings.stream(session, audio), recordings.stream(session, audio, "bytes=99-")]
    for answer in answers:
        answer.close()
        answer.close()
    with pytest.raises(ValueError, match="closed"):
        next(answers[0].iterator)
