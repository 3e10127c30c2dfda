"""Looks are proved while the transaction works, and logged when it has ended, however the block ends."""

from __future__ import annotations

import os
from contextlib import suppress

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from src.database import CaseNote
from src.database.connection.access_log import proved_reads
from src.errors import ServerUnreachable, SessionMisused, SpeechError, TransactionAborted
from src.services import cases
from tests.database.test_engine import backend, terminate

pytestmark = pytest.mark.shared_database


@pytest.fixture
def notes(db):
    """Notes in three cases of alice, in which bob is a viewer: case → note."""
    with db.session(actor="alice") as session:
        opened = [cases.open_case(session, title=f"Case {n}") for n in range(3)]
        for case in opened:
            cases.add_participant(session, case, "bob")
        return {case.id: cases.add_note(session, case, "words").id for case in opened}


def raised(session, owner):
    raise ZeroDivisionError


def aborted(session, owner):
    with pytest.raises(DBAPIError):
        session.execute(text("SELECT 1 / 0"))


def failed_flush(session, owner):
    session.add(CaseNote(case_id=0, body="nowhere"))
    session.flush()


def ended_by_hand(session, owner):
    session.execute(text("SELECT 1"))
    session.connection().connection.dbapi_connection.cursor().execute("SELECT 1; COMMIT")


def refused(session, owner):
    session.commit()


def lost(session, owner):
    terminate(session.info["database"], backend(session))
    session.execute(text("SELECT 1"))


def forked(session, owner):
    """Leave the proof in a child: nothing may reach the connection of the parent."""
    child = os.fork()
    if child == 0:
        with suppress(ZeroDivisionError), proved_reads(session):
            session.execute(1 / 0)
        os._exit(len(session.info["receipts"]))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1


ENDS = {
    raised: ZeroDivisionError,
    aborted: TransactionAborted,
    failed_flush: SpeechError,
    ended_by_hand: SessionMisused,
    refused: SessionMisused,
    lost: ServerUnreachable,
    forked: None,
}


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
def test_looks_are_proved_and_logged_however_the_block_ends(db, owner, notes, end):
    kept = []

    def look():
        with db.session(actor="bob") as session:
            kept.append(session)
            assert len(session.scalars(select(CaseNote).where(CaseNote.id.in_(notes.values()))).all()) == len(notes)
            end(session, owner)

    if ENDS[end] is None:
        look()
    else:
        with pytest.raises(ENDS[end]):
            look()
    assert kept[0].info["receipts"].keys() == notes.keys()
    with owner.connect() as connection:
        query = "SELECT case_id, entity_id FROM activity_logs WHERE actor = 'bob' AND entity_id = ANY (:notes)"
        found = connection.execute(text(query), {"notes": list(notes.values())}).all()
    assert {tuple(row) for row in found} == set(notes.items())


def test_a_right_that_ends_while_several_cases_are_loaded_leaves_the_rows_in_the_entry(db, owner, notes):
    with db.session(actor="bob") as session:
        session.scalars(select(CaseNote).where(CaseNote.id.in_(notes.values()))).all()
        with owner.begin() as connection:
            connection.execute(
                text("DELETE FROM case_participants WHERE case_id = ANY (:cases) AND role = 'viewer'"),
                {"cases": list(notes)},
            )
    found = text(
        "SELECT case_id, entity_id FROM activity_logs"
        " WHERE operation = 'event' AND actor = 'bob' AND entity_id = ANY (:notes)"
    )
    with owner.connect() as connection:
        rows = connection.execute(found, {"notes": list(notes.values())}).all()
    named = {row[1]: row[0] for row in rows}
    assert named.keys() == set(notes.values()), "every row is named"
    of_note = {note: case for case, note in notes.items()}
    assert [note for note, case in named.items() if case is not None] == [min(notes.values())]
    assert all(case in {None, of_note[note]} for note, case in named.items())
