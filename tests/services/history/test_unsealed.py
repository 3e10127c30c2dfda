"""Transactions that keep the log from being sealed are named, logged, and a finding of `init_db --check`."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from src.config import Settings
from src.database.connection.actor_tokens import Actor
from src.errors import Forbidden
from src.maintenance import initialisation
from src.maintenance.seal_schedule import note_delay
from src.services import activity, history
from tests.security.population import backend_of, core
from tests.services.history.conftest import live

HOLD = text("SELECT pg_current_xact_id()")


@pytest.fixture
def held(sealed):
    """An open transaction of a member, with a transaction id and without a write; then changes of others."""
    with core(sealed.db, Actor("alice")) as holder:
        holder.execute(HOLD)
        for _ in live(sealed.db, 1):
            pass
        yield holder


def waiting_of(sealed):
    with sealed.db.session(actor="root") as session:
        return history.unsealed(session)


def test_sealing_names_the_session_that_it_waits_for(sealed, held):
    assert sealed.seal() == []
    waiting = waiting_of(sealed)
    (blocker,) = waiting.blockers
    assert waiting.entries > 0
    assert waiting.age >= timedelta(0)
    assert (blocker.backend, blocker.login) == (backend_of(held), sealed.db.engine.url.username)
    assert blocker.application == held.scalar(text("SELECT current_setting('application_name')"))
    assert f"pg_terminate_backend({blocker.backend})" in str(waiting)
    with Session(sealed.owner) as session:
        assert [found.backend for found in history.unsealed(session).blockers] == [blocker.backend]
    held.rollback()
    assert len(sealed.seal()) == 1
    assert waiting_of(sealed).entries == 0
    assert str(waiting_of(sealed)) == "all entries are sealed"


def test_a_login_without_an_actor_is_named_too(sealed):
    with sealed.db.engine.connect() as connection:
        connection.rollback()
        raw = connection.connection.dbapi_connection
        with raw.cursor() as cursor:
            cursor.execute("RESET ROLE; SELECT pg_current_xact_id(), pg_backend_pid()")
            _, pid = cursor.fetchone()
            for _ in live(sealed.db, 1):
                pass
            assert sealed.seal() == []
            assert [blocker.backend for blocker in waiting_of(sealed).blockers] == [pid]
        raw.rollback()


def test_a_prepared_transaction_is_named_by_its_name(sealed):
    with sealed.owner.connect() as connection:
        if connection.scalar(text("SHOW max_prepared_transactions")) == "0":
            pytest.skip("the server allows no prepared transactions (max_prepared_transactions = 0)")
        connection.rollback()
        prepared = connection.begin_twophase("it's held")
        connection.execute(HOLD)
        prepared.prepare()
        for _ in live(sealed.db, 1):
            pass
        assert sealed.seal() == []
        (blocker,) = waiting_of(sealed).blockers
        prepared.rollback()
    assert (blocker.prepared, blocker.backend) == ("it's held", None)
    assert "ROLLBACK PREPARED 'it''s held'" in str(blocker)


def test_members_do_not_see_what_is_not_sealed(sealed):
    for call in (func.public.unsealed_entries(), func.public.seal_blockers(None)):
        with pytest.raises(Forbidden), sealed.db.session(actor="alice") as session:
            session.execute(select(call))


def test_a_delay_is_in_the_log_once_for_each_transaction(sealed, held):
    for _ in range(2):
        with Session(sealed.owner) as session:
            assert note_delay(session, limit=timedelta(0)).blockers
    with sealed.db.session(actor="root") as session:
        (entry,) = activity.feed(session, type="history.delayed")
    assert entry.detail["backend"] == backend_of(held)
    assert entry.detail["login"] == sealed.db.engine.url.username
    assert "could not seal entries: the transaction" in str(entry)
    with Session(sealed.owner) as session:
        note_delay(session)
    with sealed.db.session(actor="root") as session:
        assert len(activity.feed(session, type="history.delayed")) == 1, "within the limit nothing is logged"


def test_the_command_prints_what_it_could_not_seal_and_exits_with_1_when_overdue(sealed, command, held):
    code, output = command("seal")
    assert (code, output.startswith("sealed: 0\n")) == (0, True), output
    assert f"of backend {backend_of(held)} (login" in output
    code, output = command("seal", "--limit", "0")
    assert (code, "entries are not sealed, the oldest since" in output) == (1, True), output
    held.rollback()
    assert command("seal", "--limit", "0") == (0, "sealed: 1\n")


def test_entries_unsealed_for_too_long_are_a_finding(sealed, held, owner, tmp_path, monkeypatch):
    settings = Settings(_env_file=None, key_file=tmp_path / "keys.json", audio_storage_root=tmp_path)

    def findings():
        return [found for found in initialisation.check(owner, settings, print) if found.startswith("the log:")]

    assert findings() == []
    monkeypatch.setattr(initialisation, "LONGEST_UNSEALED", timedelta(0))
    (found,) = findings()
    assert f"of backend {backend_of(held)} (login" in found
    held.rollback()
    sealed.seal()
    assert findings() == []


def test_the_command_ends_a_session_that_locks_a_table_on_a_machine_with_the_key_file(
    sealed, command, owner, speech_server, tmp_path
):
    settings = Settings(_env_file=None, key_file=tmp_path / "keys.json", audio_storage_root=tmp_path)
    with sealed.db.engine.execution_options(actor=Actor("alice")).connect() as holder, suppress(OperationalError):
        holder.execute(text("LOCK TABLE cases IN ACCESS EXCLUSIVE MODE"))
        (found,) = [found for found in initialisation.check(owner, settings, print) if "locks tables" in found]
        assert f"backend {backend_of(holder)} (login" in found
        speech_server.keys.save(tmp_path / "keys.json")
        code, output = command("seal")
        assert (code, f"ended: backend {backend_pid(holder)} (login" in output) == (0, True), output
        holder.execute(text("SELECT 1"))
        pytest.fail("the session was not ended")
    assert [found for found in initialisation.check(owner, settings, print) if "locks tables" in found] == []


def backend_pid(connection):
    return connection.info["backend_pid"]


def test_a_member_who_reads_the_log_does_not_hold_up_sealing(sealed, command):
    """Creating the partition of a month waits for readers of the log, and all others queue behind it."""
    with sealed.owner.begin() as connection:
        newest = connection.scalar(text("SELECT max(relname) FROM pg_class WHERE relname ~ '^activity_logs_[0-9_]+$'"))
        connection.execute(text(f"DROP TABLE public.{newest}"))
    with sealed.db.session(actor="alice") as reader:
        reader.execute(text("SELECT count(*) FROM activity_logs"))
        for _ in live(sealed.db, 1):
            pass
        code, output = command("seal")
        assert (code, "sealed: 1\n" in output) == (1, True), output
        assert "partitions: an open transaction" in output
    assert command("seal")[0] == 0
