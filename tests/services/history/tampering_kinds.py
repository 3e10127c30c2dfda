"""How a tampering in the list of tests/torture/history.py is executed, and a database with rows in every table."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from src.database import Base
from src.database.schema.declaration import protection_of
from src.services import accounts, cases, history, recordings, transcripts, work
from src.services.history import Finding, HeadFile, SealKey
from tests.services.history.conftest import Sealed, live
from tests.services.history.tampering import Attack


class Tampering(NamedTuple):
    """A statement of the owner, with disabled triggers, and the finding that must name it.

    `{id}` is a random row of `of` (a condition on it is in `where`); with `rehash` its hashes are computed again.
    The finding has one of the kinds, and names the entry, the seal or the row, or contains `words`.
    """

    name: str
    statement: str
    kinds: tuple[str, ...]
    of: str = ""
    where: str = "true"
    rehash: bool = False
    words: str = ""

    def is_named(self, findings: list[Finding], row: int | None) -> bool:
        """Return whether a finding of the right kind names the entry, the seal, the row or the words."""
        return any(finding.kind in self.kinds and self._concerns(finding, row) for finding in findings)

    def _concerns(self, finding: Finding, row: int | None) -> bool:
        if self.words:
            return self.words.format(id=row) in str(finding)
        if self.of == "activity_logs":
            return finding.entry_id == row
        if self.of == "activity_seals":
            return finding.seal_id == row
        return not self.of or f"{self.of} {row} " in f"{finding.message} " or f"{self.of} {row}:" in finding.message


@dataclass
class Tampered:
    """A tampering that was done and verified: the findings, and whether one names it."""

    tampering: Tampering
    row: int | None
    findings: list[Finding]

    @property
    def complaint(self) -> str | None:
        if self.tampering.is_named(self.findings, self.row):
            return None
        listed = "\n  ".join(map(str, self.findings[:8])) or "none"
        return f"{self.tampering.name} ({self.row}) was not named; {len(self.findings)} findings:\n  {listed}"


def populate(sealed: Sealed, rounds: int = 4) -> None:
    """Fill the tables that the usual rounds leave empty, then work and seal several times."""
    with sealed.db.session(actor="root") as session:
        accounts.create_user(
            session, username="carol", email="carol@example.org", full_name="Carol", password="secret of carol"
        )
    with sealed.db.session(actor="alice") as session:
        case = cases.open_case(session, title="Held")
        cases.release_hold(session, cases.place_hold(session, case, reason="court"), reason="over")
        cases.place_hold(session, case, reason="another court")
        audio = recordings.ingest(session, case, b_wave(), name="a.wav")
        session.flush()
        content = b"WEBVTT\n\n00:00.000 --> 00:01.000\nhello\n"
        transcripts.import_result(session, audio, content, name="hello.vtt", language="en")
        work.enqueue(session, audio, "transcribe", payload={"x": 1.10})
    with sealed.db.session(actor="transcriber") as session:
        work.claim(session, "transcribe")
    for _ in live(sealed.db, rounds):
        sealed.seal()


def b_wave() -> bytes:
    from tests.conftest import wav  # noqa: PLC0415 - conftest imports the services

    return wav(0.2)


def tamper(
    owner: Engine, chance: random.Random, tampering: Tampering, *, key: SealKey, heads: HeadFile, noise: str = ""
) -> Tampered:
    """Do it in a transaction of the owner, verify in it, and roll it back. `noise` is run before."""
    tables = [table.name for table in Base.metadata.sorted_tables if not protection_of(table).closed]
    with owner.connect() as connection, connection.begin() as transaction:
        connection.execute(text("SET LOCAL search_path = public"))
        for table in tables:
            connection.execute(text(f"ALTER TABLE public.{table} DISABLE TRIGGER USER"))
        # Times that no client can read.
        check = "activity_logs_created_at_range_check"
        connection.execute(text(f"ALTER TABLE public.activity_logs DROP CONSTRAINT {check}"))
        attack = Attack(connection, chance)
        row = _row(attack, tampering)
        connection.exec_driver_sql(tampering.statement.replace("{id}", str(row)).replace("%", "%%"))
        if tampering.rehash:
            attack.sql("SET LOCAL search_path = pg_catalog")
            attack.rehash(int(str(row)))
            attack.sql("SET LOCAL search_path = public")
        if noise:
            connection.exec_driver_sql(noise.replace("%", "%%"))
        with Session(connection) as session:
            findings = history.verify(session, key=key, heads=heads).findings
        transaction.rollback()
    return Tampered(tampering, row, findings)


def _row(attack: Attack, tampering: Tampering) -> int | None:
    if tampering.of == "":
        return None
    if tampering.of == "activity_logs":
        return attack.entry(tampering.where)
    found = attack.ids(f"SELECT id FROM {tampering.of} WHERE {tampering.where} ORDER BY id")
    if not found:
        raise AssertionError(f"{tampering.name}: {tampering.of} has no row with {tampering.where}")
    return attack.chance.choice(found)
