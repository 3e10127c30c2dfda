"""How the block of `db.session` ends: everything is stored, or an error says that nothing is."""

from __future__ import annotations

import io
import os
import socket

import pytest
from psycopg2 import Error
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, PendingRollbackError
from sqlalchemy.orm import Session

from src import errors
from src.database import Case
from src.errors import SessionMisused, TransactionAborted
from src.services import accounts, cases
from tests.database.test_engine import backend, terminate

pytestmark = pytest.mark.shared_database


def titles(db):
    with db.session(actor="alice") as session:
        return list(session.scalars(select(Case.title).order_by(Case.id)))


def driver_of(session):
    return session.connection().connection.dbapi_connection


def duplicate(session):
    session.add_all([Case(title="a", case_code="SAME"), Case(title="b", case_code="SAME")])
    session.flush()


def by_cursor(session):
    session.connection().connection.cursor().execute("SELECT 1 / 0")


def by_copy(session):
    driver_of(session).cursor().copy_expert("COPY languages FROM STDIN", io.StringIO("x\n"))


# Each is caught inside the block.
FAILURES = {
    "division": lambda s: s.execute(text("SELECT 1 / 0")),
    "on the connection": lambda s: s.connection().execute(text("SELECT 1 / 0")),
    "by the driver": lambda s: s.connection().exec_driver_sql("SELECT 1 / 0"),
    "by a raw cursor": by_cursor,
    "many": lambda s: driver_of(s).cursor().executemany("SELECT 1 / %s", [(1,), (0,)]),
    "copy": by_copy,
    "refused": lambda s: s.execute(text("DELETE FROM languages")),
    "timeout": lambda s: s.execute(text("SET LOCAL statement_timeout = 1; SELECT pg_sleep(10)")),
    "flush": duplicate,
    "value of a flush": lambda s: (s.add(Case(title="a\x00")), s.flush()),
    "service": lambda s: accounts.create_user(s, username="somebody"),
    "no savepoint": lambda s: (s.begin_nested(), s.execute(text("SELECT 1 / 0"))),
    "syntax": lambda s: s.execute(text("SELEC")),
}


@pytest.mark.parametrize("fail", FAILURES.values(), ids=FAILURES)
@pytest.mark.parametrize("goes_on", [False, True])
def test_an_error_that_was_caught_inside_raises_on_leaving(db, fail, goes_on):
    refused = pytest.raises(TransactionAborted, match="Nothing of this transaction was saved")
    with refused as caught, db.session(actor="alice") as session:
        session.add(Case(title="lost"))
        session.flush()
        with pytest.raises((DBAPIError, Error, errors.SpeechError)) as first:
            fail(session)
        if goes_on:
            session.scalars(select(Case)).all()
    assert caught.value.__cause__ is first.value
    assert "\n" not in str(caught.value)
    assert titles(db) == []
    assert db.engine.pool.checkedout() == 0


def test_a_timeout_that_was_caught_is_still_retryable(db):
    for fail, retryable in ((FAILURES["timeout"], True), (FAILURES["division"], False)):
        with pytest.raises(TransactionAborted) as caught, db.session(actor="alice") as session:  # noqa: SIM117
            with pytest.raises(DBAPIError):
                fail(session)
        assert caught.value.retryable is retryable


def test_errors_inside_a_savepoint_and_values_that_cannot_be_sent_do_no_harm(db):
    with db.session(actor="alice") as session:
        with pytest.raises(IntegrityError), session.begin_nested():
            duplicate(session)
        with pytest.raises(DBAPIError), session.begin_nested():
            session.execute(text("SELECT 1 / 0"))
        with pytest.raises(errors.InvalidInput):
            session.execute(text("SELECT :value"), {"value": "a\x00"})
        session.execute(text("SAVEPOINT mine"))
        with pytest.raises(DBAPIError):
            session.execute(text("SELECT 1 / 0"))
        session.execute(text("ROLLBACK TO SAVEPOINT mine"))
        session.add(Case(title="kept"))
    assert titles(db) == ["kept"]


def test_the_first_error_after_a_rolled_back_savepoint_is_the_cause(db):
    with pytest.raises(TransactionAborted) as caught, db.session(actor="alice") as session:
        with pytest.raises(IntegrityError), session.begin_nested():
            duplicate(session)
        with pytest.raises(DBAPIError, match="zero") as first:
            session.execute(text("SELECT 1 / 0"))
        with pytest.raises(DBAPIError, match="aborted"):
            session.execute(text("SELECT 1"))
    assert caught.value.__cause__ is first.value


@pytest.mark.parametrize("aside", [False, True])
def test_after_a_caught_conflict_a_speech_error_comes_out(db, aside):
    with pytest.raises(TransactionAborted, match="already exists") as caught, db.session(actor="bob") as outer:  # noqa: SIM117
        with db.side_session(outer) if aside else db.session(actor="alice") as session:
            with pytest.raises(IntegrityError):
                duplicate(session)
            with pytest.raises(PendingRollbackError):
                session.execute(text("SELECT 1"))
            session.execute(text("SELECT 1"))
    assert isinstance(caught.value.__cause__, IntegrityError)


@pytest.mark.parametrize("method", ["commit", "rollback", "close", "begin", "invalidate", "reset", "prepare"])
def test_methods_that_end_the_transaction_are_refused(db, method):
    with pytest.raises(SessionMisused, match=rf"remove session\.{method}\(\)"), db.session(actor="alice") as session:
        session.add(Case(title="lost"))
        getattr(session, method)()
    assert titles(db) == []


COMMANDS = ("COMMIT", "  rollback", "/* a */ END", "-- b\n ABORT", "BEGIN", "start transaction", "COMMIT AND CHAIN",
            "ROLLBACK WORK", "PREPARE TRANSACTION 'x'", ";commit")  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_that_end_the_transaction_are_not_sent(db, command):
    for send in (
        lambda s: s.execute(text(command)),
        lambda s: s.connection().exec_driver_sql(command),
        lambda s: driver_of(s).cursor().execute(command.encode()),
    ):
        with pytest.raises(SessionMisused, match="Only leaving the block"), db.session(actor="alice") as session:
            session.add(Case(title="lost"))
            session.flush()
            send(session)
    assert titles(db) == []


def through_transaction(session):
    session.get_transaction().rollback()


# What is not seen before it is sent: the block raises on leaving.
HIDDEN = {
    "several": lambda s: s.execute(text("SELECT 1; COMMIT")),
    "another transaction": lambda s: s.execute(text("SELECT 1; COMMIT; BEGIN")),
    "chained": lambda s: s.execute(text("SELECT 1; ROLLBACK AND CHAIN")),
    "driver, commit": lambda s: driver_of(s).commit(),
    "driver, rollback": lambda s: (driver_of(s).rollback(), driver_of(s).cursor().execute("SELECT 1")),
    "transaction": through_transaction,
}


@pytest.mark.parametrize("end", HIDDEN.values(), ids=HIDDEN)
def test_a_transaction_that_was_ended_by_other_means_raises_on_leaving(db, end):
    with pytest.raises(SessionMisused, match="ended inside its block"), db.session(actor="alice") as session:
        session.add(Case(title="before"))
        session.flush()
        end(session)
    assert set(titles(db)) <= {"before"}
    with db.session(actor="alice") as session:
        assert len(cases.open_case(session, title="usable").case_code) > 0


def test_a_commit_of_the_connection_is_refused(db):
    with pytest.raises(SessionMisused, match=r"connection\.commit"), db.session(actor="alice") as session:
        session.add(Case(title="lost"))
        session.flush()
        session.connection().commit()
    assert titles(db) == []


def test_an_aborted_transaction_of_the_owner_is_not_committed_silently(owner):
    for make in (Session, type(owner).connect):
        with pytest.raises(TransactionAborted) as caught, make(owner) as work, work.begin():  # noqa: SIM117
            with pytest.raises(DBAPIError) as first:
                work.execute(text("SELECT 1 / 0"))
        assert caught.value.__cause__ is first.value


def test_a_terminated_backend_that_was_noticed_inside_raises_on_leaving(db):
    with pytest.raises(errors.ServerUnreachable, match="ended the connection"), db.session(actor="alice") as session:
        terminate(db, backend(session))
        with pytest.raises(DBAPIError):
            backend(session)
    with pytest.raises(errors.ServerUnreachable), db.session(actor="alice") as session:
        session.add(Case(title="lost"))
        session.flush()
        terminate(db, backend(session))
    assert titles(db) == []


def test_an_answer_to_commit_that_is_lost_leaves_the_outcome_unknown(db):
    attempts = []

    def deafened(session):
        attempts.append(session.add(Case(title="stored, as it happens")))
        session.flush()
        with socket.socket(fileno=os.dup(driver_of(session).fileno())) as copy:
            copy.shutdown(socket.SHUT_RD)

    with pytest.raises(errors.OutcomeUnknown, match="during COMMIT") as caught:
        db.run(deafened, actor="alice")
    assert not caught.value.retryable
    assert len(attempts) == 1


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, RecursionError])
def test_leaving_by_an_error_rolls_back(db, error):
    with pytest.raises(error), db.session(actor="alice") as session:
        session.add(Case(title="lost"))
        session.flush()
        raise error
    assert titles(db) == []


def test_a_generator_that_is_closed_rolls_back(db):
    def rows():
        with db.session(actor="alice") as session:
            session.add(Case(title="lost"))
            session.flush()
            yield 1

    half_read = rows()
    next(half_read)
    half_read.close()
    assert titles(db) == []


def use_cursor(session):
    driver_of(session).cursor().execute("SELECT 1")


def exit_normally(session):
    raise SystemExit(0)


IN_A_CHILD = {
    "leaves": (lambda session: None, "SessionMisused"),
    "exits": (exit_normally, "SystemExit"),
    "exits at once": (lambda session: os._exit(0), ""),
    "uses the session": (lambda session: session.execute(text("SELECT 1")), "ServerUnreachable"),
    "uses the connection": (lambda session: session.connection().exec_driver_sql("SELECT 1"), "ServerUnreachable"),
    "closes the connection": (lambda session: driver_of(session).close(), "SessionMisused"),
    "uses a cursor": (use_cursor, "ServerUnreachable"),
}


@pytest.mark.parametrize(("act", "expected"), IN_A_CHILD.values(), ids=IN_A_CHILD)
def test_a_forked_child_does_not_touch_the_transaction_of_its_parent(db, act, expected):
    reader, writer = os.pipe()
    child = None
    try:
        with db.session(actor="alice") as session:
            session.add(Case(title="of the parent"))
            session.flush()
            child = os.fork()
            if child == 0:
                act(session)
            else:
                os.waitpid(child, 0)
                assert session.scalar(text("SELECT count(*) FROM cases")) == 1
    except BaseException as error:
        if child != 0:
            raise
        os.write(writer, type(error).__name__.encode())
        os._exit(0)
    if child == 0:
        os._exit(1)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        assert answer.read().decode() == expected
    assert titles(db) == ["of the parent"]
    with db.session(actor="alice") as session:
        assert session.scalar(text("SELECT count(*) FROM activity_logs WHERE operation = 'insert'")) > 0
