"""Apply with concurrent sessions: strong locks are requested for short periods only."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import text

from src.database.provisioning import apply as applying
from src.database.provisioning.apply import apply
from src.database.provisioning.comparison import compare
from src.errors import Conflict

WIDE_OPEN = text("ALTER POLICY case_notes_app_select ON case_notes USING (true)")
WAITING = text("SELECT count(*) FROM pg_locks WHERE relation = 'case_notes'::regclass AND NOT granted")


def wait_until(connection, count: int) -> None:
    stop = threading.Event()
    for _ in range(2_000):
        if connection.scalar(WAITING) == count:
            return
        connection.rollback()
        stop.wait(0.005)
    raise AssertionError(f"the number of sessions waiting for a lock on case_notes never was {count}")


def test_apply_waits_for_a_lock_in_short_turns(owner, db):
    with owner.begin() as connection:
        connection.execute(WIDE_OPEN)
    left: list[object] = []
    thread = threading.Thread(target=lambda: left.append(apply(owner)))
    with db.engine.connect() as holder, owner.connect() as watcher:
        holder.execute(text("SELECT count(*) FROM case_notes"))
        thread.start()
        for _ in range(2):
            wait_until(watcher, 1)
            wait_until(watcher, 0)  # it timed out, and retries
        holder.rollback()
    thread.join()
    assert left == [[]]


def test_an_unavailable_lock_is_an_error_with_the_remedy(owner, db, monkeypatch):
    monkeypatch.setattr(applying, "ATTEMPTS", 2)
    with owner.begin() as connection:
        connection.execute(WIDE_OPEN)
    with db.engine.connect() as holder:
        holder.execute(text("SELECT count(*) FROM case_notes"))
        with pytest.raises(Conflict, match=r"case_notes is locked by long transactions.*pg_stat_activity"):
            apply(owner)
    assert apply(owner) == []


def test_apply_uses_one_transaction_for_each_table(owner):
    """A function never lacks its grants, and a table is never partly protected, also after a crash."""
    damages = ("DROP POLICY cases_app_select ON cases", "DROP TRIGGER touch ON cases", "DROP FUNCTION lease_end")
    with owner.begin() as connection:
        for damage in damages:
            connection.execute(text(damage))
    with owner.connect() as connection:
        todo = [one for one in compare(connection) if one.mend]
    groups = applying._grouped(todo)

    assert [{one.place for one in group} for group in groups] == [{"lease_end(integer)"}, {"cases"}]
    assert all("REVOKE ALL ON FUNCTION" in one.mend[0] for one in groups[0])
