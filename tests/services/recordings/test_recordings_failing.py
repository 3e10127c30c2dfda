"""Failed operations are logged even if their transaction is rolled back: actor, name, size and class of the error."""

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
from tests.services.recordings.conftest import CONTENT, log_details

pytestmark = pytest.mark.shared_database


def failures(db, case, entry_type):
    return [(detail["error"], detail["name"], detail["size_bytes"]) for detail in log_details(db, case, entry_type)]


@pytest.mark.parametrize(
    ("content", "fault", "options", "error"),
    [
        (b"this is text", None, {}, NotAudio),
        (b"", None, {}, NotAudio),
        (None, NoSpace("full"), {}, NoSpace),
        (None, StorageUnavailable("secret address"), {}, StorageUnavailable),
        (None, OSError("input/output error"), {}, OSError),
        (None, None, {"language": "klingon"}, InvalidInput),
    ],
)
def test_a_failed_ingest_is_logged(db, case, tone, storage, content, fault, options, error):  # noqa: PLR0917 - fixtures
    content = tone if content is None else content
    if fault is not None:
        storage.fail("put.after_bytes", fault)
    with pytest.raises(error), db.session(actor="alice") as session:
        recordings.ingest(session, case, content, name="a.wav", **options)
    size = None if options else len(content)
    assert failures(db, case, "audio.ingested") == [(error.__name__, "a.wav", size)]
    with db.session(actor="alice") as session:
        (entry,) = activity.feed(session, case=case, type="audio.ingested")
    assert str(entry) == f"alice ingested a.wav (failed: {error.__name__})"


def test_rejected_and_returned_duplicates_are_logged(db, case, tone):
    with db.session(actor="alice") as session:
        recordings.ingest(session, case, tone, name="a.wav")
    with pytest.raises(Conflict), db.session(actor="alice") as session:
        recordings.ingest(session, case, tone, name="b.wav", on_duplicate="refuse")
    with db.session(actor="alice") as session:
        recordings.ingest(session, case, tone, name="c.wav", on_duplicate="return")
    entries = [(detail["outcome"], detail["name"]) for detail in log_details(db, case, "audio.ingested")]
    assert entries == [("stored", "a.wav"), ("failed", "b.wav"), ("returned", "a.wav")]


def test_a_failure_that_the_caller_catches_is_logged_too(db, case, tone):
    with db.session(actor="alice") as session:
        with pytest.raises(NotAudio):
            recordings.ingest(session, case, b"noise", name="a.wav")
        recordings.ingest(session, case, tone, name="b.wav")
    assert sorted(detail["outcome"] for detail in log_details(db, case, "audio.ingested")) == ["failed", "stored"]


@pytest.mark.parametrize("step", ["put.before", "put.after"])
def test_a_failed_receive_is_logged(db, case, tone, storage, step):
    storage.fail(step, StorageUnavailable("gone"))
    with pytest.raises(StorageUnavailable):
        recordings.receive(db, case, tone, actor="alice", name="a.wav")
    assert failures(db, case, "audio.ingested") == [("StorageUnavailable", "a.wav", None)]


def test_failed_lifecycle_operations_are_logged(db, case, audio, storage):
    size = len(CONTENT)
    storage.fail("copy.before", NoSpace("full"))
    operations = (
        ("audio.archived", NoSpace, lambda s: recordings.archive(s, audio, reason="x")),
        ("audio.restored", Conflict, lambda s: recordings.restore(s, audio)),
        ("audio.moved", Conflict, lambda s: recordings.move(s, audio, MemoryStorage())),
        ("audio.opened", UnsupportedOperation, lambda s: recordings.url(s, audio)),
    )
    for entry_type, error, operation in operations:
        with pytest.raises(error), db.session(actor="alice") as session:
            operation(session)
        assert failures(db, case, entry_type) == [(error.__name__, "interview.wav", size)]


def test_failures_of_the_storage_are_logged(db, case, audio, storage):
    storage.fail("get.before", StorageUnavailable("gone"))
    with pytest.raises(StorageUnavailable), db.session(actor="alice") as session:
        recordings.verify(session, audio)
    storage.corrupt(audio.path)
    with pytest.raises(IntegrityFailure), db.session(actor="alice") as session:
        recordings.archive(session, audio, reason="x")
    storage.delete(audio.path)
    with pytest.raises(ObjectNotFound), db.session(actor="alice") as session:
        recordings.open(session, audio)
    entry_types = ("audio.verified", "audio.archived", "audio.opened")
    assert [failures(db, case, entry_type)[0][0] for entry_type in entry_types] == [
        "StorageUnavailable", "IntegrityFailure", "ObjectNotFound"
    ]  # fmt: skip


def test_refusals_by_a_hold_or_by_rights_are_logged_once(db, case, audio):
    with db.session(actor="alice") as session:
        cases.place_hold(session, case, reason="inquiry")
        cases.add_participant(session, case, "bob", role="viewer")
    with pytest.raises(Conflict, match="legal hold"), db.session(actor="alice") as session:
        recordings.delete(session, audio, reason="x")
    assert [error for error, _, _ in failures(db, case, "audio.deleted")] == ["Conflict"]
    with pytest.raises(Forbidden), db.session(actor="bob") as session:
        recordings.archive(session, audio, reason="x")
    with db.session(actor="root") as session:
        assert len(activity.feed(session, type="access.refused")) == 1
    assert log_details(db, case, "audio.archived") == []


@pytest.mark.own_database
def test_a_failure_in_a_rolled_back_case_is_logged_without_the_case(db):
    with pytest.raises(NotAudio), db.session(actor="alice") as session:
        recordings.ingest(session, cases.open_case(session, title="New"), b"noise", name="a.wav")
    with db.session(actor="root") as session:
        (entry,) = activity.feed(session, type="audio.ingested")
    assert (entry.actor, entry.case_id, entry.detail["error"]) == ("alice", None, "NotAudio")


@pytest.mark.parametrize("detail", [{}, {"outcome": "stored"}, {"outcome": None}])
def test_record_reads_rejects_entries_of_successful_ingests(db, case, detail):
    entries = [{"type": "audio.ingested", "case_id": case.id, "detail": detail}]
    with pytest.raises(InvalidInput, match="does not write entries of type"), db.session(actor="alice") as session:
        session.execute(select(func.public.record_reads(cast(entries, JSONB))))
    assert log_details(db, case, "audio.ingested") == []
