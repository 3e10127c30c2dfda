"""A database with two cases, and intruders who may access only one: no output that they receive may contain a canary.

Every text of the other case is a canary: a word that occurs nowhere else. An intruder is a session of a valid actor or
of none; `tests/security/hostile_attempts.py` defines the attempts. The oracle: no canary in any row, notice, COPY or
error text; the same answer for a missing and a forbidden row; and no change in the other case.

Deliberately excluded, because documented elsewhere: statements that other sessions are running (docs/security.md), and
announced objects without an owner (`announce_object` requires no permission in the case).
"""

from __future__ import annotations

import json
import random
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import psycopg2
from sqlalchemy import ARRAY, Connection, Engine, LargeBinary, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import SQLAlchemyError

from src.database import Base, Database
from src.database.connection.actor_tokens import Actor
from src.database.schema.permissions import CASE_VERBS
from src.errors import SpeechError
from src.services import work
from tests.declared import known_words
from tests.security.population import ALL_TABLES, CASE_TABLES, case_column, core, populate, rows_written_by

REFUSED = (SQLAlchemyError, SpeechError, psycopg2.Error)
# The users without access to the other case, by role; the owner of the own case comes first.
CAST: dict[str, str | None] = {
    "owner": "alice",
    "viewer": "vera",
    "editor": "eddy",
    "expired participant": "emil",
    "denied participant": "dora",
    "service without a lease": "helper",
    "service with a lease": "transcriber",
    "inactive": "dormant",
    "unknown": "mallory",
    "nobody": None,
}
# Columns without a canary, besides those with a fixed set of values: their values are public or can be guessed.
NO_CANARY = {
    "activity_logs": {"entity", "actor", "schema_revision", "salt", "payload_hash", "leaf_hash"},
    "case_participants": {"permissions"},
    "cases": {"case_code"},
    "transcription_segments": {"search_config"},
    "transcriptions": {"segments_sha256"},
}
# The triggers that make versions immutable; disabled while the canaries are written.
GUARDS = {"transcription_segments": "guard_part", "transcription_sources": "guard_part", "transcriptions": "guard_text"}

# Tables that change with what the attackers do in their own cases.
OWN_CHANGES = {"users", "login_throttles", "storage_objects", "case_accesses", "case_access_changes", "log_overflows"}


@dataclass
class Stage:
    """The database, the two cases, and the canaries that must not leak."""

    db: Database
    owner: Engine
    own: int
    other: int
    canaries: tuple[str, ...]
    rows: dict[str, list[int]]
    forged: dict[str, dict[str, object]]
    functions: list[tuple[str, list[str]]]
    partitions: list[str]
    relations: list[str] = field(default_factory=list)

    def fingerprint(self) -> dict[str, str]:
        """Return hashes that must be equal after every attack: the rows of the other case, users and permissions."""
        prints = {
            table: f"SELECT md5(coalesce(string_agg(t::text, '|' ORDER BY id), '')) FROM public.{table} t"
            f" WHERE {case_column(Base.metadata.tables[table])} = :other"
            for table in CASE_TABLES
        }
        prints["users"] = (
            "SELECT md5(string_agg(concat_ws(',', id, username, password_hash, is_active, role_id), '|' ORDER BY id))"
            " FROM public.users"
        )
        # Anybody may announce an object; it has no owner until a recording of the case adopts it.
        prints["storage_objects"] = (
            "SELECT md5(string_agg(t::text, '|' ORDER BY id)) FROM public.storage_objects t"
            " WHERE case_id = :other AND state <> 'pending'"
        )
        for table in sorted(set(ALL_TABLES) - set(CASE_TABLES) - OWN_CHANGES):
            prints[table] = f"SELECT md5(string_agg(t::text, '|' ORDER BY id)) FROM public.{table} t"
        with self.owner.connect() as connection:
            return {name: connection.scalar(text(query), {"other": self.other}) for name, query in prints.items()}

    def bare_columns(self) -> list[str]:
        """Return the columns of the other case that could contain a canary and do not."""
        bare = []
        with self.owner.connect() as connection:
            for table in CASE_TABLES:
                for name in _texts(table) - NO_CANARY.get(table, set()):
                    value = f"convert_from({name}, 'UTF8')" if _is_bytes(table, name) else f"{name}::text"
                    seen = connection.scalars(
                        text(f"SELECT {value} FROM public.{table}"
                             f" WHERE {case_column(Base.metadata.tables[table])} = :other"), {"other": self.other}
                    ).all()  # fmt: skip
                    if not any(canary in value for value in seen if value for canary in self.canaries):
                        bare.append(f"{table}.{name}")
        return bare


@dataclass
class Intruder:
    """An actor that attacks the other case; all output that it receives is passed to `check`."""

    stage: Stage
    role: str
    rng: random.Random
    findings: list[str] = field(default_factory=list)
    doing: str = ""

    @property
    def name(self) -> str | None:
        """The actor's name; for a role outside `CAST`, the owner of the other case, to prove detection of leaks."""
        return CAST.get(self.role, "bob")

    def report(self, finding: str) -> None:
        self.findings.append(f"{self.role}, {self.doing}: {finding}")

    def check(self, *outputs: object) -> None:
        """Report a canary in the outputs."""
        output = "\n".join(_text_of(each) for each in outputs)
        for canary in self.stage.canaries:
            if canary in output:
                at = output.index(canary)
                self.report(f"received {output[max(0, at - 60) : at + 80]!r}")
                return

    def expect_nothing(self, rows: Iterable[Any]) -> None:
        """Report any value in rows that concern only the other case, except None, 0, False and empty ones."""
        for row in rows:
            if any(value not in (None, 0, False, [], {}, "") for value in row):
                self.report(f"received {_text_of(row)[:200]!r} about the other case")

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A Core transaction of this actor; its errors are checked and suppressed."""
        try:
            with core(self.stage.db, Actor(self.name)) as connection:
                yield connection
        except REFUSED as error:
            self.check(error)

    def ask(self, connection: Connection, sql: str, **values: object) -> list[Any] | None:
        """Return the checked rows, None if the statement fails. The transaction stays usable."""
        try:
            with connection.begin_nested():
                result = connection.execute(text(sql), values)
                rows = list(result) if result.returns_rows else [(result.rowcount,)]
        except REFUSED as error:
            self.check(error)
            return None
        self.check(*rows)
        return rows

    def pick(self, *choices: Any) -> Any:
        return self.rng.choice(choices)

    def guess(self, table: str) -> int:
        """Return an id of a row of the other case, as an intruder could guess it by counting."""
        return self.rng.choice(self.stage.rows[table])


def masked(message: str) -> str:
    """Return a message without numbers and codes; it must be equal for a missing and a forbidden row."""
    return re.sub(r"CASE-\w+|[0-9a-f]{8}-[0-9a-f-]{27}|\d+", "#", message)


def _text_of(output: object) -> str:
    if isinstance(output, BaseException):
        texts, seen = [], set()
        error: BaseException | None = output
        while error is not None and id(error) not in seen:
            seen.add(id(error))
            texts.append(str(error))
            diagnosis = getattr(error, "diag", None)
            texts += [str(getattr(diagnosis, part)) for part in dir(diagnosis) if not part.startswith("_")]
            error = getattr(error, "orig", None) or error.__cause__ or error.__context__
        return "\n".join(texts)
    if isinstance(output, memoryview | bytes):
        return bytes(output).decode("latin-1")
    if isinstance(output, tuple | list) or hasattr(output, "_fields"):
        return ", ".join(_text_of(part) for part in output)
    found = str(output)
    if is_dataclass(output):
        # Fields without a repr are hidden from logs, but the intruder received them.
        found += "".join(f"\n{_text_of(getattr(output, part.name))}" for part in fields(output) if not part.repr)
    # A bytea that the server converted to text is in hexadecimal digits.
    return found + "".join(
        bytes.fromhex(digits).decode("latin-1") for digits in re.findall(r"\\x((?:[0-9a-f]{2})+)", found)
    )


def _texts(table: str) -> set[str]:
    columns = Base.metadata.tables[table].columns
    return {c.name for c in columns if isinstance(c.type, Text | JSONB | LargeBinary | ARRAY) and not known_words(c)}


def _is_bytes(table: str, name: str) -> bool:
    return isinstance(Base.metadata.tables[table].columns[name].type, LargeBinary)


def set_stage(db: Database, owner: Engine) -> Stage:
    """Populate a new database: Alice's case is the own case; Bob's is the other one, full of canaries."""
    populated = populate(db, owner)
    own, other = populated.case_of["alice"], populated.case_of["bob"]
    canary, digest = f"kanari{secrets.token_hex(6)}", secrets.token_hex(32)
    with owner.begin() as connection:
        _add_cast(connection, own, other)
        connection.execute(
            text("SELECT set_config('sti.reason', :c, true), set_config('sti.request', :c, true)"), {"c": canary}
        )
        _fill(connection, other, canary, digest)
        # A second change, so that the old values in the log also contain a canary.
        connection.execute(text("UPDATE cases SET title = title || '.' WHERE id = :other"), {"other": other})
        keys = connection.scalars(text("SELECT key FROM storage_objects WHERE case_id = :c"), {"c": other}).all()
        functions = connection.execute(
            text("SELECT p.proname::text, p.proargtypes::regtype[]::text[] FROM pg_proc p"
                 " WHERE p.pronamespace = 'public'::regnamespace AND p.prokind = 'f'"
                 " AND has_function_privilege('sti_app', p.oid, 'EXECUTE') AND NOT EXISTS"
                 " (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e') ORDER BY 1")
        ).all()  # fmt: skip
        partitions = connection.scalars(
            text("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'activity_logs'::regclass")
        ).all()
        toast = connection.scalars(
            text("SELECT reltoastrelid::regclass::text FROM pg_class WHERE relnamespace = 'public'::regnamespace"
                 " AND reltoastrelid <> 0")
        ).all()  # fmt: skip
    with db.session(actor="transcriber") as session:
        job = work.claim(session, "transcribe", worker="w", lease_seconds=86_400)
        assert job is not None
        assert job.case_id == own
    return Stage(
        db=db,
        owner=owner,
        own=own,
        other=other,
        canaries=(canary, digest, *(key.rpartition("/")[2].partition(".")[0] for key in keys)),
        rows={table: sorted(populated.rows_of("bob", table)) for table in CASE_TABLES},
        forged=rows_written_by(populated, "alice", other),
        # Functions without arguments return constants.
        functions=[(row[0], list(row[1])) for row in functions if row[1]],
        partitions=list(partitions),
        relations=list(toast),
    )


def _add_cast(connection: Connection, own: int, other: int) -> None:
    for name, role in {"vera": "user", "eddy": "user", "emil": "user", "dora": "user", "helper": "service",
                       "keeper": "service"}.items():  # fmt: skip
        connection.execute(
            text("INSERT INTO users (username, role_id) VALUES (:n, (SELECT id FROM user_roles WHERE code = :r))"),
            {"n": name, "r": role},
        )
    for name, case, role, permissions, expires in (
        ("vera", own, "viewer", {}, None),
        ("eddy", own, "editor", {}, None),
        ("emil", other, "editor", {}, "2020-01-01"),
        # All verbs denied: an actor who may write but not read learns about the rows, see test_case_35.
        ("dora", other, "viewer", {"deny": list(CASE_VERBS)}, None),
    ):
        connection.execute(
            text("INSERT INTO case_participants (case_id, user_id, role, permissions, expires_at)"
                 " VALUES (:case, (SELECT id FROM users WHERE username = :name), :role, CAST(:p AS jsonb), :expires)"),
            {"case": case, "name": name, "role": role, "p": json.dumps(permissions), "expires": expires},
        )  # fmt: skip


def _fill(connection: Connection, other: int, canary: str, digest: str) -> None:
    """Lease the jobs, because claiming one grants access; then put the canary into every column that allows it."""
    connection.execute(
        text("UPDATE processing_jobs SET state = 'running', lease = 1, attempts = 1, started_at = now(),"
             " lease_expires_at = now() + interval '9 days',"
             " leased_by_id = (SELECT id FROM users WHERE username = 'keeper') WHERE case_id = :other"),
        {"other": other},
    )  # fmt: skip
    for table, trigger in GUARDS.items():
        connection.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER {trigger}"))
    for table in CASE_TABLES:
        if table == "activity_logs":
            continue  # the changes made here put the canaries into the log
        names = _texts(table) - NO_CANARY.get(table, set()) - {"key", "path"}
        changes = [f"{name} = {_canary_for(table, name, canary, digest)}" for name in names]
        changes += ["is_archived = true"] if table == "audio_files" else []
        if changes:
            where = f"{case_column(Base.metadata.tables[table])} = :other"
            connection.execute(text(f"UPDATE {table} SET {', '.join(changes)} WHERE {where}"), {"other": other})
    for table, trigger in GUARDS.items():
        connection.execute(text(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}"))


def _canary_for(table: str, name: str, canary: str, digest: str) -> str:
    """Return a SQL literal with a canary, of the type that the column requires."""
    kind = Base.metadata.tables[table].columns[name].type
    if name == "sha256":
        return f"'{digest}'"
    if isinstance(kind, JSONB):
        document = json.dumps([{"text": canary}] if name == "words" else {"said": canary})
        return f"CAST('{document}' AS jsonb)".replace(":", r"\:")
    if isinstance(kind, ARRAY):
        return f"ARRAY['{canary}']"
    if isinstance(kind, LargeBinary):
        return f"convert_to('{canary}', 'UTF8')"
    # Includes the words of the search attempts.
    return f"'{canary} common bobsecret'"
