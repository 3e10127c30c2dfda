"""`db.run` repeats a whole transaction on errors that pass, and on no others."""

from __future__ import annotations

import inspect

import pytest
from psycopg2 import errorcodes
from sqlalchemy import select, text

from src import errors
from src.database import Case
from src.database.connection import repetition
from src.services import cases
from tests.database.test_engine import backend, terminate

pytestmark = pytest.mark.shared_database

BUSY = {errorcodes.QUERY_CANCELED, errorcodes.LOCK_NOT_AVAILABLE, errorcodes.DEADLOCK_DETECTED,
        errorcodes.SERIALIZATION_FAILURE, errorcodes.TOO_MANY_CONNECTIONS, errorcodes.OUT_OF_MEMORY}  # fmt: skip
LASTING = {errorcodes.DISK_FULL, errorcodes.READ_ONLY_SQL_TRANSACTION, errorcodes.CHECK_VIOLATION,
           errorcodes.INSUFFICIENT_PRIVILEGE, errorcodes.UNIQUE_VIOLATION}  # fmt: skip


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr(repetition, "FIRST_PAUSE_SECONDS", 0.001)


def raising(state):
    return text(f"DO $$ BEGIN RAISE EXCEPTION 'forced' USING ERRCODE = '{state}'; END $$")


class Work:
    """Opens a case, and fails in the first attempts."""

    def __init__(self, fail, times=1):
        self.fail, self.times, self.calls = fail, times, 0

    def __call__(self, session):
        self.calls += 1
        case = cases.open_case(session, title=f"attempt {self.calls}")
        if self.calls <= self.times:
            self.fail(session)
        return case


def titles(db):
    with db.session(actor="alice") as session:
        return list(session.scalars(select(Case.title)))


@pytest.mark.parametrize("state", sorted(BUSY))
def test_passing_errors_are_busy_and_repeat_the_whole_transaction(db, state):
    work = Work(lambda session: session.execute(raising(state)))

    assert db.run(work, actor="alice", reason="why").title == "attempt 2"
    assert (work.calls, titles(db)) == (2, ["attempt 2"])

    with pytest.raises(errors.Busy) as caught, db.session(actor="alice") as session:
        session.execute(raising(state))
    assert caught.value.retryable
    assert isinstance(caught.value, errors.Unavailable)


@pytest.mark.parametrize("state", sorted(LASTING))
def test_lasting_errors_are_raised_at_once(db, state):
    work = Work(lambda session: session.execute(raising(state)))

    with pytest.raises(errors.SpeechError) as caught:
        db.run(work, actor="alice")
    assert not caught.value.retryable
    assert (work.calls, titles(db)) == (1, [])


def test_a_lost_connection_and_a_lost_update_are_repeated(db):
    assert db.run(Work(lambda session: (terminate(db, backend(session)), backend(session))), actor="alice")
    with db.session(actor="alice") as session:
        case = session.scalars(select(Case)).one()

    def rename(session):
        mine = session.get(Case, case.id)
        if mine.title == "attempt 2":
            with db.session(actor="alice") as other:
                other.get(Case, case.id).title = "theirs"
        mine.title += ", mine"

    db.run(rename, actor="alice")
    assert titles(db) == ["theirs, mine"]


def test_an_error_that_was_caught_inside_is_repeated_too(db):
    def caught_inside(session):
        with pytest.raises(Exception, match="forced"):
            session.execute(raising(errorcodes.DEADLOCK_DETECTED))

    assert db.run(Work(caught_inside), actor="alice").title == "attempt 2"


@pytest.mark.parametrize("attempts", [1, 4])
def test_the_attempts_are_bounded_and_the_last_error_is_raised(db, attempts):
    work = Work(lambda session: session.execute(raising(errorcodes.LOCK_NOT_AVAILABLE)), times=99)

    with pytest.raises(errors.Busy, match="forced"):
        db.run(work, actor="alice", attempts=attempts)
    assert work.calls == attempts


@pytest.mark.parametrize("attempts", [0, -1, True, 1.5, "3"])
def test_a_number_of_attempts_that_makes_no_sense_is_refused(db, attempts):
    with pytest.raises(errors.InvalidInput, match="attempts") as caught:
        db.run(lambda session: None, actor="alice", attempts=attempts)
    assert (caught.value.field, caught.value.limit) == ("attempts", 1)


async def asynchronous(session):
    cases.open_case(session, title="never")


def generating(session):
    yield cases.open_case(session, title="never")


@pytest.mark.parametrize("function", [asynchronous, generating])
def test_a_function_that_would_run_after_the_transaction_is_refused(db, function):
    with pytest.raises(errors.InvalidInput, match="plain function") as caught:
        db.run(function, actor="alice")
    assert caught.value.field == "function"
    assert titles(db) == []


def test_the_pauses_grow_and_are_bounded():
    pauses = [repetition.pause_seconds(attempt) for attempt in range(1, 12)]
    assert all(0 < pause <= repetition.LONGEST_PAUSE_SECONDS for pause in pauses)
    assert pauses[0] < pauses[3] < pauses[7]
    assert len({repetition.pause_seconds(3) for _ in range(20)}) > 1


def test_every_error_says_whether_it_passes():
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.SpeechError)]
    retryable = {kind.__name__ for kind in kinds if kind.retryable}
    assert all(isinstance(kind.retryable, bool) for kind in kinds)
    assert retryable == {"Busy", "LostUpdate", "ServerUnreachable", "StorageUnavailable"}
