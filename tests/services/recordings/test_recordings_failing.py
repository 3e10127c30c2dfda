"""What fails stands in the log, whatever becomes of its transaction: who tried, which bytes, what kind of failure."""

from __future__ import annotations

import pytest
from sqlalchemy import cast, func, select
from sqlalchemy.dialects.postgresql import JSONB

from src.errors import (
    Conflict,
    Forbidden,
    IntegrityFailure,
    InvalidInput,
    NoSpace,
    NotAudio,
    ObjectNotFound,
    StorageUnavailable,
    UnsupportedOperation,
)
from src.services import activity, cases, recordings
from src.storage import MemoryStorage
from tests.services.recordings.conftest import BYTES, details_of

pytestmark = pytest.mark.shared_database


def failed(db, case, kind):
    return [(detail["error"], detail["name"], detail["size_bytes"]) for detail in details_of(db, case, kind)]


@pytest.mark.parametrize(
    ("content", "fault", "options", "error"),
    [
        (b"no audio at all", None, {}, NotAudio),
        (b"", None, {}, NotAudio),
        (None, NoSpace("full"), {}, NoSpace),
        (None, StorageUnavailable("secret address"), {}, StorageUnavailable),
        (None, OSError("disk on fire"), {}, OSError),
        (None, None, {"language": "klingon"}, InvalidInput),
    ],
)
def test_an_ingest_that_fails(db, case, tone, storage, content, fault, options, error):  # noqa: PLR0917 - fixtures
    content = tone if content is None else content
    if fault is not None:
        storage.fail("put.after_bytes", fault)
    with pytest.raises(error), db.session(actor="alice") as session:
        recordings.ingest(session, case, content, name="a.wav", **options)
    size = None if options else len(content)
    assert failed(db, case, "audio.ingested") == [(error.__name__, "a.wav", size)]
    with db.session(actor="alice") as session:
        (entry,) = activity.feed(session, case=case, type="audio.ingested")
    assert str(entry) == f"alice ingested a.wav (failed: {error.__name__})"


def test_a_duplicate_that_is_refused_and_one_that_is_returned(db, case, tone):
    with db.session(actor="alice") as session:
        recordings.ingest(session, case, tone, name="a.wav")
    with pytest.raises(Conflict), db.session(actor="alice") as session:
        recordings.ingest(session, case, tone, name="b.wav", on_duplicate="refuse")
    with db.session(actor="alice") as session:
        recordings.ingest(session, case, tone, name="c.wav", on_duplicate="return")
    entries = [(detail["outcome"], detail["name"]) for detail in details_of(db, case, "audio.ingested")]
    assert entries == [("stored", "a.wav"), ("failed", "b.wav"), ("returned", "a.wav")]


def test_a_failure_that_the_caller_catches_is_logged_too(db, case, tone):
    with db.session(actor="alice") as session:
        with pytest.raises(NotAudio):
            recordings.ingest(session, case, b"noise", name="a.wav")
        recordings.ingest(session, case, tone, name="b.wav")
    assert sorted(detail["outcome"] for detail in details_of(db, case, "audio.ingested")) == ["failed", "stored"]


@pytest.mark.parametrize("step", ["put.before", "put.after"])
def test_receiving_that_fails(db, case, tone, storage, step):
    storage.fail(step, StorageUnavailable("gone"))
    with pytest.raises(StorageUnavailable):
        recordings.receive(db, case, tone, actor="alice", name="a.wav")
    assert failed(db, case, "audio.ingested") == [("StorageUnavailable", "a.wav", None)]


def test_what_becomes_of_a_recording_and_fails(db, case, audio, storage):
    def moved(session):
        recordings.move(session, audio, MemoryStorage())

    size = len(BYTES)
    storage.fail("copy.before", NoSpace("full"))
    deeds = (
        ("audio.archived", NoSpace, lambda s: recordings.archive(s, audio, reason="x")),
        ("audio.restored", Conflict, lambda s: recordings.restore(s, audio)),
        ("audio.moved", Conflict, moved),
        ("audio.opened", UnsupportedOperation, lambda s: recordings.url(s, audio)),
    )
    for kind, error, deed in deeds:
        with pytest.raises(error), db.session(actor="alice") as session:
            deed(session)
        assert failed(db, case, kind) == [(error.__name__, "interview.wav", size)]


def test_damaged_missing_and_silent(db, case, audio, storage):
    storage.fail("get.before", StorageUnavailable("gone"))
    with pytest.raises(StorageUnavailable), db.session(actor="alice") as session:
        recordings.verify(session, audio)
    storage.corrupt(audio.path)
    with pytest.raises(IntegrityFailure), db.session(actor="alice") as session:
        recordings.archive(session, audio, reason="x")
    storage.delete(audio.path)
    with pytest.raises(ObjectNotFound), db.session(actor="alice") as session:
        recordings.open(session, audio)
    kinds = ("audio.verified", "audio.archived", "audio.opened")
    assert [failed(db, case, kind)[0][0] for kind in kinds] == [
        "StorageUnavailable", "IntegrityFailure", "ObjectNotFound"
    ]  # fmt: skip


def test_refusals_by_a_hold_or_by_rights_are_logged_once(db, case, audio):
    with db.session(actor="alice") as session:
        cases.place_hold(session, case, reason="inquiry")
        cases.add_participant(session, case, "bob", role="viewer")
    with pytest.raises(Conflict, match="legal hold"), db.session(actor="alice") as session:
        recordings.delete(session, audio, reason="x")
    assert [error for error, _, _ in failed(db, case, "audio.deleted")] == ["Conflict"]
    with pytest.raises(Forbidden), db.session(actor="bob") as session:
        recordings.archive(session, audio, reason="x")
    with db.session(actor="root") as session:
        assert len(activity.feed(session, type="access.refused")) == 1
    assert details_of(db, case, "audio.archived") == []


@pytest.mark.own_database
def test_a_failure_in_a_case_that_was_rolled_back_stands_without_it(db):
    with pytest.raises(NotAudio), db.session(actor="alice") as session:
        recordings.ingest(session, cases.open_case(session, title="New"), b"noise", name="a.wav")
    with db.session(actor="root") as session:
        (entry,) = activity.feed(session, type="audio.ingested")
    assert (entry.actor, entry.case_id, entry.detail["error"]) == ("alice", None, "NotAudio")


@pytest.mark.parametrize("detail", [{}, {"outcome": "stored"}, {"outcome": None}])
def test_nobody_notes_a_success_that_way(db, case, detail):
    entries = [{"type": "audio.ingested", "case_id": case.id, "detail": detail}]
    with pytest.raises(InvalidInput, match="does not write entries of type"), db.session(actor="alice") as session:
        session.execute(select(func.public.record_reads(cast(entries, JSONB))))
    assert details_of(db, case, "audio.ingested") == []
