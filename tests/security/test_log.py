"""Sessions cannot insert, change or delete log entries; only the triggers and functions write them."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from src.database.connection.actor_tokens import Actor
from tests.security.population import core

ATTACKS = (
    "INSERT INTO activity_logs (actor, operation) VALUES ('bob', 'event')",
    "INSERT INTO activity_logs SELECT * FROM activity_logs",
    "UPDATE activity_logs SET actor = 'bob'",
    "UPDATE activity_logs SET salt = NULL",
    "DELETE FROM activity_logs",
    "TRUNCATE activity_logs",
    "SELECT id FROM activity_logs FOR UPDATE",
    "LOCK TABLE activity_logs IN ROW EXCLUSIVE MODE",
    "LOCK TABLE activity_logs IN ACCESS EXCLUSIVE MODE",
    "SELECT nextval('activity_logs_id_seq')",
    "SELECT setval('activity_logs_id_seq', 1)",
    "SELECT setval('activity_logs_id_seq', 9223372036854775807)",
    "ALTER SEQUENCE activity_logs_id_seq RESTART",
    "ALTER TABLE activity_logs DETACH PARTITION activity_logs_default",
    "ALTER TABLE activity_logs DISABLE TRIGGER refuse_change",
    "COPY activity_logs FROM STDIN",
    "MERGE INTO activity_logs l USING (VALUES (1)) v ON true WHEN MATCHED THEN DELETE",
    "DELETE FROM activity_seals",
    "INSERT INTO activity_seals (month) VALUES (now())",
    "SELECT count(*) FROM actor_keys",
    "SELECT inner_pad FROM actor_keys",
    "UPDATE actor_keys SET retired_at = NULL",
)


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("whom", ["alice sti_app", "alice sti_wide", "alice sti_admin", "alice NONE", "root sti_admin"])
def test_no_session_writes_the_log_directly(shared, attack, whom):
    actor, role = whom.split()
    with (
        core(shared.db, Actor(actor), role) as connection,
        pytest.raises(DBAPIError) as caught,
        connection.begin_nested(),
    ):
        connection.execute(text(attack))
    assert caught.value.orig.pgcode in {"42501", "0A000"}, caught.value


OWNERS_ATTACKS = (
    "UPDATE activity_logs SET actor = 'x'",
    "DELETE FROM activity_logs",
    "TRUNCATE activity_logs",
    "TRUNCATE cases CASCADE",
    "TRUNCATE users CASCADE",
)


@pytest.mark.parametrize("statement", OWNERS_ATTACKS)
def test_triggers_stop_the_owner_until_they_are_removed(populated, statement):
    with pytest.raises(DBAPIError, match="is not allowed"), populated.owner.begin() as connection:
        connection.execute(text(statement))


def test_setting_the_reason_of_a_transaction_does_not_change_the_actor(populated):
    with populated.db.session(actor="alice", reason="said", request_id="R1") as session:
        session.execute(text("SELECT set_config('sti.reason', repeat('long ', 1000), true)"))
        session.execute(text("UPDATE cases SET title = 'x'"))
    with populated.owner.connect() as connection:
        row = connection.execute(text("SELECT actor, reason FROM activity_logs ORDER BY id DESC LIMIT 1")).one()
    assert (row.actor, len(row.reason)) == ("alice", 2000)


def test_only_administrators_read_seals(populated):
    with populated.owner.begin() as connection:
        connection.execute(
            text("INSERT INTO activity_seals (month, epoch, low_xid, high_xid, entry_count, root, seal_hash)"
                 " VALUES ('2026-01-01', 1, '1', '2', 0, '', '')")
        )  # fmt: skip
    for actor, count in (("alice", 0), ("root", 1), (None, 0)):
        with core(populated.db, Actor(actor), "sti_admin") as connection:
            assert connection.scalar(text("SELECT count(*) FROM activity_seals")) == count, actor
