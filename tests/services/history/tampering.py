"""Manipulations with the privileges of the tables' owner, and the findings that verification must report."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sqlalchemy import Connection, Engine, text
from sqlalchemy.orm import Session

from src.services import history
from src.services.history import Finding, HeadFile, SealKey

LOG = "public.activity_logs"
PAYLOAD = "sha256(salt || convert_to(jsonb_build_object('new', new, 'old', old)::text, 'UTF8'))"
LEAF = """sha256(decode('00', 'hex') || convert_to(jsonb_build_array(id,
    (extract(epoch FROM created_at) * 1000000)::bigint, activity_type_id, actor_id, actor, case_id,
    entity, entity_id, operation, reason, request_id, transaction_id::text, epoch, schema_revision)::text,
    'UTF8') || payload_hash)"""
COLUMNS = """created_at, updated_at, activity_type_id, actor_id, actor, case_id, entity, entity_id, operation, old, new,
    reason, request_id, transaction_id, epoch, schema_revision, salt, payload_hash, leaf_hash"""
GUARDED = ("activity_logs", "activity_seals", "cases", "case_notes", "transcriptions", "transcription_segments",
           "transcription_sources", "audio_files")  # fmt: skip


@dataclass
class Expected:
    """A finding of one of these kinds, about this entry or seal or with these words."""

    kinds: tuple[str, ...]
    entry: int | None = None
    seal: int | None = None
    words: str = ""

    def matches(self, finding: Finding) -> bool:
        return (
            finding.kind in self.kinds
            and self.entry in (None, finding.entry_id)
            and self.seal in (None, finding.seal_id)
            and self.words in finding.message
        )


@dataclass
class Attack:
    """An open transaction of the owner with disabled triggers, and the findings that verification must report."""

    connection: Connection
    chance: random.Random
    expected: list[Expected] = field(default_factory=list)
    touched: set[int] = field(default_factory=set)

    def sql(self, statement: str, **values: object) -> object:
        result = self.connection.execute(text(statement), values)
        return result.scalar() if result.returns_rows else result.rowcount

    def ids(self, statement: str) -> list[int]:
        return list(self.connection.scalars(text(statement)))

    def entry(self, where: str = "true") -> int:
        """Return a sealed entry with a payload that was not changed yet."""
        newest = self.sql("SELECT max(high_xid::text::bigint) FROM activity_seals")
        found = self.ids(
            f"SELECT id FROM {LOG} WHERE salt IS NOT NULL AND transaction_id::text::bigint < {newest} AND {where}"
            " ORDER BY id"
        )
        chosen = self.chance.choice([row_id for row_id in found if row_id not in self.touched])
        self.touched.add(chosen)
        return chosen

    def forged(self) -> int:
        """Return the id for a forged entry; `entry` does not choose it."""
        row_id = int(str(self.sql("SELECT nextval('activity_logs_id_seq')")))
        self.touched.add(row_id)
        return row_id

    def rehash(self, row_id: int) -> None:
        self.sql(f"UPDATE {LOG} SET payload_hash = {PAYLOAD} WHERE id = {row_id}")
        self.sql(f"UPDATE {LOG} SET leaf_hash = {LEAF} WHERE id = {row_id}")

    def expect(self, *kinds: str, entry: int | None = None, seal: int | None = None, words: str = "") -> None:
        self.expected.append(Expected(kinds, entry, seal, words))


def change_a_value(attack: Attack) -> None:
    row_id = attack.entry("new IS NOT NULL OR old IS NOT NULL")
    side = attack.sql(f"SELECT CASE WHEN new IS NULL THEN 'old' ELSE 'new' END FROM {LOG} WHERE id = {row_id}")
    attack.sql(f'UPDATE {LOG} SET {side} = {side} || \'{{"title": "forged"}}\' WHERE id = {row_id}')
    attack.expect("changed", entry=row_id)


def change_a_column(attack: Attack) -> None:
    row_id = attack.entry()
    column, value = attack.chance.choice(
        [("actor", "actor || 'x'"), ("reason", "coalesce(reason, '') || 'x'"),
         ("actor_id", "coalesce(actor_id, 0) + 1"),
         ("case_id", "coalesce(case_id, 0) + 1"), ("entity_id", "coalesce(entity_id, 0) + 1"), ("entity", "'roles'"),
         ("activity_type_id", "activity_type_id + 1"), ("request_id", "'another'"), ("schema_revision", "'0000'"),
         ("created_at", "created_at + interval '1 microsecond'"), ("salt", "salt || '\\x00'::bytea"),
         ("payload_hash", "sha256(payload_hash)"), ("leaf_hash", "sha256(leaf_hash)")]
    )  # fmt: skip
    attack.sql(f"UPDATE {LOG} SET {column} = {value} WHERE id = {row_id}")
    attack.expect("changed", "moved", entry=row_id)


def change_and_rehash(attack: Attack) -> None:
    row_id = attack.entry()
    attack.sql(f"UPDATE {LOG} SET actor = 'somebody else', new = '{{\"forged\": 1.10}}' WHERE id = {row_id}")
    attack.rehash(row_id)
    attack.expect("rehashed", entry=row_id)


def delete_an_entry(attack: Attack) -> None:
    row_id = attack.entry()
    attack.sql(f"DELETE FROM {LOG} WHERE id = {row_id}")
    attack.expect("deleted", entry=row_id)


def insert_an_entry(attack: Attack) -> None:
    row_id = attack.entry()
    forged = attack.forged()
    attack.sql(f"INSERT INTO {LOG} (id, {COLUMNS}) SELECT {forged}, {COLUMNS} FROM {LOG} WHERE id = {row_id}")
    attack.rehash(forged)
    attack.expect("inserted", entry=forged)


def insert_from_another_cluster(attack: Attack) -> None:
    row_id = attack.entry()
    forged = attack.forged()
    attack.sql(f"INSERT INTO {LOG} (id, {COLUMNS}) SELECT {forged}, {COLUMNS} FROM {LOG} WHERE id = {row_id}")
    attack.sql(f"UPDATE {LOG} SET epoch = 7, created_at = created_at - interval '1 hour' WHERE id = {forged}")
    attack.rehash(forged)
    attack.expect("inserted", entry=forged)


def insert_a_back_dated_entry(attack: Attack) -> None:
    row_id = attack.entry()
    forged = attack.forged()
    attack.sql(f"INSERT INTO {LOG} (id, {COLUMNS}) SELECT {forged}, {COLUMNS} FROM {LOG} WHERE id = {row_id}")
    days = attack.chance.choice([1, 20, 400])
    attack.sql(
        f"UPDATE {LOG} SET transaction_id = pg_current_xact_id(), created_at = now() - interval '{days} days'"
        f" WHERE id = {forged}"
    )
    attack.rehash(forged)
    attack.expect("back-dated", entry=forged)


def swap_two_entries(attack: Attack) -> None:
    one, other = attack.entry(), attack.entry()
    for source, target in ((one, -1), (other, one), (-1, other)):
        attack.sql(f"UPDATE {LOG} SET id = {target} WHERE id = {source}")
    attack.expect("swapped", entry=one)
    attack.expect("swapped", entry=other)


def swap_and_rehash(attack: Attack) -> None:
    one, other = attack.entry(), attack.entry()
    for source, target in ((one, -1), (other, one), (-1, other)):
        attack.sql(f"UPDATE {LOG} SET id = {target} WHERE id = {source}")
    for row_id in (one, other):
        attack.rehash(row_id)
        # Entries of two months or batches are then also in the wrong place.
        attack.expect("rehashed", "moved", entry=row_id)


def move_to_another_month(attack: Attack) -> None:
    row_id = attack.entry()
    months = attack.chance.choice([-3, -1, 1, 14])
    attack.sql(f"UPDATE {LOG} SET created_at = created_at + interval '{months} months' WHERE id = {row_id}")
    if attack.chance.random() < 0.5:
        attack.rehash(row_id)
    attack.expect("moved", entry=row_id)


def move_to_another_transaction(attack: Attack) -> None:
    row_id = attack.entry()
    attack.sql(f"UPDATE {LOG} SET transaction_id = '999999999999' WHERE id = {row_id}")
    attack.rehash(row_id)
    attack.expect("moved", "back-dated", entry=row_id)


def erase_without_a_log_entry(attack: Attack) -> None:
    row_id = attack.entry()
    attack.sql(f"UPDATE {LOG} SET old = NULL, new = NULL, salt = NULL WHERE id = {row_id}")
    attack.expect("erased", entry=row_id)


def drop_the_newest_seals(attack: Attack) -> None:
    """Together with their entries, so that only the exported heads reveal it."""
    newest = attack.ids("SELECT id FROM activity_seals ORDER BY id DESC")
    gone = newest[: attack.chance.randint(1, 2)]
    low = attack.sql(f"SELECT min(low_xid::text::bigint) FROM activity_seals WHERE id >= {gone[-1]}")
    attack.sql(f"DELETE FROM {LOG} WHERE transaction_id >= '{low}'::xid8")
    for row_id in gone:
        attack.sql(f"DELETE FROM activity_seals WHERE id = {row_id}")
        attack.expect("head", seal=row_id)


def delete_a_middle_seal(attack: Attack) -> None:
    found = attack.ids("SELECT id FROM activity_seals ORDER BY id")
    row_id = attack.chance.choice(found[:-1])
    attack.sql("ALTER TABLE activity_seals DROP CONSTRAINT activity_seals_previous_id_fkey")
    attack.sql(f"DELETE FROM activity_seals WHERE id = {row_id}")
    attack.expect("chain", seal=row_id + 1)


def edit_a_seal(attack: Attack) -> None:
    row_id = attack.chance.choice(attack.ids("SELECT id FROM activity_seals ORDER BY id"))
    change = attack.chance.choice(
        ["root = sha256(root)", "entry_count = entry_count + 1", "leaves = substr(leaves, 41)", "epoch = epoch + 1",
         "created_at = created_at - interval '1 hour'", "month = (month - interval '1 month')::date",
         "high_xid = (high_xid::text::bigint + 1)::text::xid8", "next_xid = '1'::xid8", "seal_hash = sha256(seal_hash)",
         "leaves = overlay(leaves PLACING '\\x00'::bytea FROM 20)"]
    )  # fmt: skip
    attack.sql(f"UPDATE activity_seals SET {change} WHERE id = {row_id}")
    attack.expect("chain", seal=row_id)


def forge_a_signature(attack: Attack) -> None:
    row_id = attack.chance.choice(attack.ids("SELECT id FROM activity_seals ORDER BY id"))
    change = attack.chance.choice(["signature = sha512(signature)", "signature = NULL", "signature = ''",
                                  "signing_key = repeat('0', 64)"])  # fmt: skip
    attack.sql(f"UPDATE activity_seals SET {change} WHERE id = {row_id}")
    attack.expect("signature", seal=row_id)


def prune_by_hand(attack: Attack) -> None:
    row_id = attack.chance.choice(attack.ids("SELECT id FROM activity_seals ORDER BY id"))
    attack.sql(f"UPDATE activity_seals SET pruned_at = now() WHERE id = {row_id}")
    if attack.chance.random() < 0.5:
        low, high = (attack.sql(f"SELECT {end}::text FROM activity_seals WHERE id = {row_id}")
                     for end in ("low_xid", "high_xid"))  # fmt: skip
        attack.sql(f"DELETE FROM {LOG} WHERE transaction_id >= '{low}'::xid8 AND transaction_id < '{high}'::xid8")
    attack.expect("archive")


def change_a_live_row(attack: Attack) -> None:
    row_id = attack.chance.choice(attack.ids("SELECT id FROM cases"))
    column = attack.chance.choice(["title", "description", "case_code"])
    attack.sql(f"UPDATE cases SET {column} = {column} || '!' WHERE id = {row_id}")
    attack.expect("row", words=f"cases {row_id} differs")


def delete_a_live_row(attack: Attack) -> None:
    row_id = attack.chance.choice(attack.ids("SELECT id FROM case_notes WHERE body <> 'forged'"))
    attack.sql(f"DELETE FROM case_notes WHERE id = {row_id}")
    attack.expect("row", words=f"case_notes {row_id} is missing")


def add_a_live_row(attack: Attack) -> None:
    row_id = attack.sql(
        "INSERT INTO case_notes (case_id, author_id, body) SELECT case_id, author_id, 'forged' FROM case_notes LIMIT 1"
        " RETURNING id"
    )
    attack.expect("row", words=f"case_notes {row_id} has no log entry")


def change_a_segment(attack: Attack) -> None:
    row_id = attack.chance.choice(attack.ids("SELECT DISTINCT transcription_id FROM transcription_segments"))
    attack.sql(attack.chance.choice(
        ["UPDATE transcription_segments SET text = text || '!' WHERE transcription_id = {0}",
         "UPDATE transcription_segments SET start_ms = 1 WHERE transcription_id = {0}",
         "UPDATE transcription_segments SET words = '[]' WHERE transcription_id = {0}",
         "UPDATE transcription_segments SET position = position + 100 WHERE transcription_id = {0}",
         "DELETE FROM transcription_segments WHERE transcription_id = {0}",
         "UPDATE transcriptions SET content = content || '!' WHERE id = {0}"]
    ).format(row_id))  # fmt: skip
    attack.expect("segments", words=f"transcription {row_id} ")


ON_ENTRIES: tuple[Callable[[Attack], None], ...] = (
    change_a_value, change_a_column, change_and_rehash, delete_an_entry, insert_an_entry, insert_a_back_dated_entry,
    insert_from_another_cluster, swap_two_entries, swap_and_rehash, move_to_another_month, move_to_another_transaction,
    erase_without_a_log_entry,
)  # fmt: skip
ON_SEALS: tuple[Callable[[Attack], None], ...] = (
    drop_the_newest_seals, delete_a_middle_seal, edit_a_seal, forge_a_signature, prune_by_hand,
)  # fmt: skip
ON_ROWS: tuple[Callable[[Attack], None], ...] = (
    change_a_live_row, delete_a_live_row, add_a_live_row, change_a_segment,
)  # fmt: skip
ALL = (*ON_ENTRIES, *ON_SEALS, *ON_ROWS)


@contextmanager
def attack_transaction(owner: Engine, chance: random.Random) -> Iterator[tuple[Attack, Session]]:
    """Yield a transaction of the owner with disabled triggers, which is rolled back."""
    with owner.connect() as connection, connection.begin() as transaction:
        for table in GUARDED:
            connection.execute(text(f"ALTER TABLE public.{table} DISABLE TRIGGER USER"))
        with Session(connection) as session:
            yield Attack(connection, chance), session
        transaction.rollback()


def unnoticed(
    owner: Engine, chance: random.Random, attacks: list[Callable[[Attack], None]], key: SealKey, heads: HeadFile
) -> list[str]:
    """Run attacks in one transaction, verify, roll back; return expected findings that were not reported."""
    with attack_transaction(owner, chance) as (attack, session):
        for run in attacks:
            run(attack)
        report = history.verify(session, key=key, heads=heads)
        missed = [expected for expected in attack.expected if not any(map(expected.matches, report.findings))]
        names = " + ".join(run.__name__ for run in attacks)
        findings = os.linesep.join(map(str, report.findings)) or "none"
        return [f"{names}: {expected} was not reported; findings: {findings}" for expected in missed]
