"""What somebody with the tables' owner's rights may try, and by which name verification has to call it."""

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
    """One finding of one of these kinds, about this entry or seal or with these words."""

    kinds: tuple[str, ...]
    entry: int | None = None
    seal: int | None = None
    words: str = ""

    def fits(self, finding: Finding) -> bool:
        return (
            finding.kind in self.kinds
            and self.entry in (None, finding.entry_id)
            and self.seal in (None, finding.seal_id)
            and self.words in finding.message
        )


@dataclass
class Crime:
    """An open transaction of the owner in which triggers sleep, and what verification must say about it."""

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
        """A sealed entry with a payload, not touched yet."""
        newest = self.sql("SELECT max(high_xid::text::bigint) FROM activity_seals")
        found = self.ids(
            f"SELECT id FROM {LOG} WHERE salt IS NOT NULL AND transaction_id::text::bigint < {newest} AND {where}"
            " ORDER BY id"
        )
        chosen = self.chance.choice([number for number in found if number not in self.touched])
        self.touched.add(chosen)
        return chosen

    def forged(self) -> int:
        """The id of an entry to be forged, which no other crime may take for a real one."""
        number = int(str(self.sql("SELECT nextval('activity_logs_id_seq')")))
        self.touched.add(number)
        return number

    def rehash(self, number: int) -> None:
        self.sql(f"UPDATE {LOG} SET payload_hash = {PAYLOAD} WHERE id = {number}")
        self.sql(f"UPDATE {LOG} SET leaf_hash = {LEAF} WHERE id = {number}")

    def expect(self, *kinds: str, entry: int | None = None, seal: int | None = None, words: str = "") -> None:
        self.expected.append(Expected(kinds, entry, seal, words))


def change_a_value(crime: Crime) -> None:
    number = crime.entry("new IS NOT NULL OR old IS NOT NULL")
    side = crime.sql(f"SELECT CASE WHEN new IS NULL THEN 'old' ELSE 'new' END FROM {LOG} WHERE id = {number}")
    crime.sql(f'UPDATE {LOG} SET {side} = {side} || \'{{"title": "forged"}}\' WHERE id = {number}')
    crime.expect("changed", entry=number)


def change_a_column(crime: Crime) -> None:
    number = crime.entry()
    column, value = crime.chance.choice(
        [("actor", "actor || 'x'"), ("reason", "coalesce(reason, '') || 'x'"),
         ("actor_id", "coalesce(actor_id, 0) + 1"),
         ("case_id", "coalesce(case_id, 0) + 1"), ("entity_id", "coalesce(entity_id, 0) + 1"), ("entity", "'roles'"),
         ("activity_type_id", "activity_type_id + 1"), ("request_id", "'another'"), ("schema_revision", "'0000'"),
         ("created_at", "created_at + interval '1 microsecond'"), ("salt", "salt || '\\x00'::bytea"),
         ("payload_hash", "sha256(payload_hash)"), ("leaf_hash", "sha256(leaf_hash)")]
    )  # fmt: skip
    crime.sql(f"UPDATE {LOG} SET {column} = {value} WHERE id = {number}")
    crime.expect("changed", "moved", entry=number)


def change_and_rehash(crime: Crime) -> None:
    number = crime.entry()
    crime.sql(f"UPDATE {LOG} SET actor = 'somebody else', new = '{{\"forged\": 1.10}}' WHERE id = {number}")
    crime.rehash(number)
    crime.expect("rehashed", entry=number)


def delete_an_entry(crime: Crime) -> None:
    number = crime.entry()
    crime.sql(f"DELETE FROM {LOG} WHERE id = {number}")
    crime.expect("deleted", entry=number)


def insert_an_entry(crime: Crime) -> None:
    number = crime.entry()
    forged = crime.forged()
    crime.sql(f"INSERT INTO {LOG} (id, {COLUMNS}) SELECT {forged}, {COLUMNS} FROM {LOG} WHERE id = {number}")
    crime.rehash(forged)
    crime.expect("inserted", entry=forged)


def insert_from_another_cluster(crime: Crime) -> None:
    number = crime.entry()
    forged = crime.forged()
    crime.sql(f"INSERT INTO {LOG} (id, {COLUMNS}) SELECT {forged}, {COLUMNS} FROM {LOG} WHERE id = {number}")
    crime.sql(f"UPDATE {LOG} SET epoch = 7, created_at = created_at - interval '1 hour' WHERE id = {forged}")
    crime.rehash(forged)
    crime.expect("inserted", entry=forged)


def insert_a_back_dated_entry(crime: Crime) -> None:
    number = crime.entry()
    forged = crime.forged()
    crime.sql(f"INSERT INTO {LOG} (id, {COLUMNS}) SELECT {forged}, {COLUMNS} FROM {LOG} WHERE id = {number}")
    days = crime.chance.choice([1, 20, 400])
    crime.sql(
        f"UPDATE {LOG} SET transaction_id = pg_current_xact_id(), created_at = now() - interval '{days} days'"
        f" WHERE id = {forged}"
    )
    crime.rehash(forged)
    crime.expect("back-dated", entry=forged)


def swap_two_entries(crime: Crime) -> None:
    one, other = crime.entry(), crime.entry()
    for source, target in ((one, -1), (other, one), (-1, other)):
        crime.sql(f"UPDATE {LOG} SET id = {target} WHERE id = {source}")
    crime.expect("swapped", entry=one)
    crime.expect("swapped", entry=other)


def swap_and_rehash(crime: Crime) -> None:
    one, other = crime.entry(), crime.entry()
    for source, target in ((one, -1), (other, one), (-1, other)):
        crime.sql(f"UPDATE {LOG} SET id = {target} WHERE id = {source}")
    for number in (one, other):
        crime.rehash(number)
        # Entries of two months or batches are then also at the wrong place.
        crime.expect("rehashed", "moved", entry=number)


def move_to_another_month(crime: Crime) -> None:
    number = crime.entry()
    months = crime.chance.choice([-3, -1, 1, 14])
    crime.sql(f"UPDATE {LOG} SET created_at = created_at + interval '{months} months' WHERE id = {number}")
    if crime.chance.random() < 0.5:
        crime.rehash(number)
    crime.expect("moved", entry=number)


def move_to_another_transaction(crime: Crime) -> None:
    number = crime.entry()
    crime.sql(f"UPDATE {LOG} SET transaction_id = '999999999999' WHERE id = {number}")
    crime.rehash(number)
    crime.expect("moved", "back-dated", entry=number)


def erase_without_a_word(crime: Crime) -> None:
    number = crime.entry()
    crime.sql(f"UPDATE {LOG} SET old = NULL, new = NULL, salt = NULL WHERE id = {number}")
    crime.expect("erased", entry=number)


def drop_the_newest_seals(crime: Crime) -> None:
    """With their entries, so that nothing but the exported heads knows of them."""
    newest = crime.ids("SELECT id FROM activity_seals ORDER BY id DESC")
    gone = newest[: crime.chance.randint(1, 2)]
    low = crime.sql(f"SELECT min(low_xid::text::bigint) FROM activity_seals WHERE id >= {gone[-1]}")
    crime.sql(f"DELETE FROM {LOG} WHERE transaction_id >= '{low}'::xid8")
    for number in gone:
        crime.sql(f"DELETE FROM activity_seals WHERE id = {number}")
        crime.expect("head", seal=number)


def delete_a_middle_seal(crime: Crime) -> None:
    found = crime.ids("SELECT id FROM activity_seals ORDER BY id")
    number = crime.chance.choice(found[:-1])
    crime.sql("ALTER TABLE activity_seals DROP CONSTRAINT activity_seals_previous_id_fkey")
    crime.sql(f"DELETE FROM activity_seals WHERE id = {number}")
    crime.expect("chain", seal=number + 1)


def edit_a_seal(crime: Crime) -> None:
    number = crime.chance.choice(crime.ids("SELECT id FROM activity_seals ORDER BY id"))
    change = crime.chance.choice(
        ["root = sha256(root)", "entry_count = entry_count + 1", "leaves = substr(leaves, 41)", "epoch = epoch + 1",
         "created_at = created_at - interval '1 hour'", "month = (month - interval '1 month')::date",
         "high_xid = (high_xid::text::bigint + 1)::text::xid8", "next_xid = '1'::xid8", "seal_hash = sha256(seal_hash)",
         "leaves = overlay(leaves PLACING '\\x00'::bytea FROM 20)"]
    )  # fmt: skip
    crime.sql(f"UPDATE activity_seals SET {change} WHERE id = {number}")
    crime.expect("chain", seal=number)


def forge_a_signature(crime: Crime) -> None:
    number = crime.chance.choice(crime.ids("SELECT id FROM activity_seals ORDER BY id"))
    change = crime.chance.choice(["signature = sha512(signature)", "signature = NULL", "signature = ''",
                                  "signing_key = repeat('0', 64)"])  # fmt: skip
    crime.sql(f"UPDATE activity_seals SET {change} WHERE id = {number}")
    crime.expect("signature", seal=number)


def prune_by_hand(crime: Crime) -> None:
    number = crime.chance.choice(crime.ids("SELECT id FROM activity_seals ORDER BY id"))
    crime.sql(f"UPDATE activity_seals SET pruned_at = now() WHERE id = {number}")
    if crime.chance.random() < 0.5:
        low, high = (crime.sql(f"SELECT {end}::text FROM activity_seals WHERE id = {number}")
                     for end in ("low_xid", "high_xid"))  # fmt: skip
        crime.sql(f"DELETE FROM {LOG} WHERE transaction_id >= '{low}'::xid8 AND transaction_id < '{high}'::xid8")
    crime.expect("archive")


def change_a_live_row(crime: Crime) -> None:
    number = crime.chance.choice(crime.ids("SELECT id FROM cases"))
    column = crime.chance.choice(["title", "description", "case_code"])
    crime.sql(f"UPDATE cases SET {column} = {column} || '!' WHERE id = {number}")
    crime.expect("row", words=f"cases {number} differs")


def delete_a_live_row(crime: Crime) -> None:
    number = crime.chance.choice(crime.ids("SELECT id FROM case_notes WHERE body <> 'forged'"))
    crime.sql(f"DELETE FROM case_notes WHERE id = {number}")
    crime.expect("row", words=f"case_notes {number} is gone")


def add_a_live_row(crime: Crime) -> None:
    number = crime.sql(
        "INSERT INTO case_notes (case_id, author_id, body) SELECT case_id, author_id, 'forged' FROM case_notes LIMIT 1"
        " RETURNING id"
    )
    crime.expect("row", words=f"case_notes {number} is in no entry")


def change_a_segment(crime: Crime) -> None:
    number = crime.chance.choice(crime.ids("SELECT DISTINCT transcription_id FROM transcription_segments"))
    crime.sql(crime.chance.choice(
        ["UPDATE transcription_segments SET text = text || '!' WHERE transcription_id = {0}",
         "UPDATE transcription_segments SET start_ms = 1 WHERE transcription_id = {0}",
         "UPDATE transcription_segments SET words = '[]' WHERE transcription_id = {0}",
         "UPDATE transcription_segments SET position = position + 100 WHERE transcription_id = {0}",
         "DELETE FROM transcription_segments WHERE transcription_id = {0}",
         "UPDATE transcriptions SET content = content || '!' WHERE id = {0}"]
    ).format(number))  # fmt: skip
    crime.expect("segments", words=f"transcription {number} ")


ON_ENTRIES: tuple[Callable[[Crime], None], ...] = (
    change_a_value, change_a_column, change_and_rehash, delete_an_entry, insert_an_entry, insert_a_back_dated_entry,
    insert_from_another_cluster, swap_two_entries, swap_and_rehash, move_to_another_month, move_to_another_transaction,
    erase_without_a_word,
)  # fmt: skip
ON_SEALS: tuple[Callable[[Crime], None], ...] = (
    drop_the_newest_seals, delete_a_middle_seal, edit_a_seal, forge_a_signature, prune_by_hand,
)  # fmt: skip
ON_ROWS: tuple[Callable[[Crime], None], ...] = (
    change_a_live_row, delete_a_live_row, add_a_live_row, change_a_segment,
)  # fmt: skip
ALL = (*ON_ENTRIES, *ON_SEALS, *ON_ROWS)


@contextmanager
def crime_scene(owner: Engine, chance: random.Random) -> Iterator[tuple[Crime, Session]]:
    """A transaction of the owner with the triggers off; afterwards it never was."""
    with owner.connect() as connection, connection.begin() as transaction:
        for table in GUARDED:
            connection.execute(text(f"ALTER TABLE public.{table} DISABLE TRIGGER USER"))
        with Session(connection) as session:
            yield Crime(connection, chance), session
        transaction.rollback()


def unnoticed(
    owner: Engine, chance: random.Random, crimes: list[Callable[[Crime], None]], key: SealKey, heads: HeadFile
) -> list[str]:
    """Commit these in one transaction, verify, roll back; return what was not found, or not by its name."""
    with crime_scene(owner, chance) as (crime, session):
        for commit in crimes:
            commit(crime)
        report = history.verify(session, key=key, heads=heads)
        missed = [wanted for wanted in crime.expected if not any(map(wanted.fits, report.findings))]
        names = " + ".join(commit.__name__ for commit in crimes)
        told = os.linesep.join(map(str, report.findings)) or "nothing"
        return [f"{names}: {wanted} was not found; found was: {told}" for wanted in missed]
