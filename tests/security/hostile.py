"""A stage with two cases, and intruders who may see only one: what any of them gets to hear must hold no canary.

Every text of the other case is a canary: a word that stands nowhere else. An intruder is a valid session (or none);
`tests/security/hostile_attempts.py` says what it tries. The oracle: no canary in any row, notice, copy or error text, a
missing thing and a forbidden one answer alike, and the other case's rows stay as they were.

Left out on purpose, since the answer is known and named elsewhere: what other sessions run at this moment
(docs/security.md), and objects that are announced but not part of a recording yet (`announce_object` requires no right
in the case).
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
# Everybody who is on the stage without a right in the other case; the owner of the own case comes first.
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
# What a canary cannot be put into, beside words of a fixed list: names that are public or can be guessed.
NO_CANARY = {
    "activity_logs": {"entity", "actor", "schema_revision", "salt", "payload_hash", "leaf_hash"},
    "case_participants": {"permissions"},
    "cases": {"case_code"},
    "transcription_segments": {"search_config"},
    "transcriptions": {"segments_sha256"},
}
# What keeps versions as they are, off while the stage is set.
GUARDS = {"transcription_segments": "guard_part", "transcription_sources": "guard_part", "transcriptions": "guard_text"}


@dataclass
class Stage:
    """The database, the two cases, and what may never be heard."""

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
        """What must be equal after every attack: the other case, row by row, and who may do what."""
        prints = {
            table: f"SELECT md5(coalesce(string_agg(t::text, '|' ORDER BY id), '')) FROM public.{table} t"
            f" WHERE {case_column(Base.metadata.tables[table])} = :other"
            # Announced by any user, and not part of the case until a recording adopts it.
            + (" AND state <> 'pending'" if table == "storage_objects" else "")
            for table in CASE_TABLES
        }
        prints["people"] = (
            "SELECT md5(string_agg(concat_ws(',', id, username, password_hash, is_active, role_id), '|' ORDER BY id))"
            " FROM public.users"
        )
        for table in sorted(set(ALL_TABLES) - set(CASE_TABLES) - {"users", "login_throttles"}):
            prints[table] = f"SELECT md5(string_agg(t::text, '|' ORDER BY id)) FROM public.{table} t"
        with self.owner.connect() as connection:
            return {what: connection.scalar(text(query), {"other": self.other}) for what, query in prints.items()}

    def bare_columns(self) -> list[str]:
        """The columns of the other case in which no canary stands, though one could."""
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
    """One session's owner at work: everything that it gets to hear goes through `hear`."""

    stage: Stage
    role: str
    chance: random.Random
    findings: list[str] = field(default_factory=list)
    doing: str = ""

    @property
    def name(self) -> str | None:
        """Who acts; a role outside the cast is the other case's owner, for proving that canaries are heard."""
        return CAST.get(self.role, "bob")

    def found(self, what: str) -> None:
        self.findings.append(f"{self.role}, {self.doing}: {what}")

    def hear(self, *things: object) -> None:
        said = "\n".join(_spoken(thing) for thing in things)
        for canary in self.stage.canaries:
            if canary in said:
                at = said.index(canary)
                self.found(f"heard {said[max(0, at - 60) : at + 80]!r}")
                return

    def expect_nothing(self, rows: Iterable[Any]) -> None:
        """These rows speak of the other case only: a value that is not nothing is a leak."""
        for row in rows:
            if any(value not in (None, 0, False, [], {}, "") for value in row):
                self.found(f"received {_spoken(row)[:200]!r} about the other case")

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A Core transaction of this actor; what leaves it as an error is heard, and nothing worse."""
        try:
            with core(self.stage.db, Actor(self.name)) as connection:
                yield connection
        except REFUSED as error:
            self.hear(error)

    def ask(self, connection: Connection, sql: str, **values: object) -> list[Any] | None:
        """The rows, heard; None when it was refused. The transaction goes on either way."""
        try:
            with connection.begin_nested():
                result = connection.execute(text(sql), values)
                rows = list(result) if result.returns_rows else [(result.rowcount,)]
        except REFUSED as error:
            self.hear(error)
            return None
        self.hear(*rows)
        return rows

    def pick(self, *choices: Any) -> Any:
        return self.chance.choice(choices)

    def guess(self, table: str) -> int:
        """An id of the other case, as somebody who counts would find it."""
        return self.chance.choice(self.stage.rows[table])


def masked(said: str) -> str:
    """A sentence without the numbers and names in it: what must be equal for a missing and a forbidden thing."""
    return re.sub(r"CASE-\w+|[0-9a-f]{8}-[0-9a-f-]{27}|\d+", "#", said)


def _spoken(thing: object) -> str:
    if isinstance(thing, BaseException):
        said, seen = [], set()
        error: BaseException | None = thing
        while error is not None and id(error) not in seen:
            seen.add(id(error))
            said.append(str(error))
            diagnosis = getattr(error, "diag", None)
            said += [str(getattr(diagnosis, part)) for part in dir(diagnosis) if not part.startswith("_")]
            error = getattr(error, "orig", None) or error.__cause__ or error.__context__
        return "\n".join(said)
    if isinstance(thing, memoryview | bytes):
        return bytes(thing).decode("latin-1")
    if isinstance(thing, tuple | list) or hasattr(thing, "_fields"):
        return ", ".join(_spoken(part) for part in thing)
    said = str(thing)
    if is_dataclass(thing):
        # What is kept out of logs was given all the same.
        said += "".join(f"\n{_spoken(getattr(thing, part.name))}" for part in fields(thing) if not part.repr)
    # A bytea that was turned into text on the server reads as hexadecimal digits.
    return said + "".join(
        bytes.fromhex(digits).decode("latin-1") for digits in re.findall(r"\\x((?:[0-9a-f]{2})+)", said)
    )


def _texts(table: str) -> set[str]:
    columns = Base.metadata.tables[table].columns
    return {c.name for c in columns if isinstance(c.type, Text | JSONB | LargeBinary | ARRAY) and not known_words(c)}


def _is_bytes(table: str, name: str) -> bool:
    return isinstance(Base.metadata.tables[table].columns[name].type, LargeBinary)


def set_stage(db: Database, owner: Engine) -> Stage:
    """Populate a fresh copy: alice's case is the own one, bob's the other one, full of canaries."""
    populated = populate(db, owner)
    own, other = populated.case_of["alice"], populated.case_of["bob"]
    canary, digest = f"kanari{secrets.token_hex(6)}", secrets.token_hex(32)
    with owner.begin() as connection:
        _cast(connection, own, other)
        connection.execute(
            text("SELECT set_config('sti.reason', :c, true), set_config('sti.request', :c, true)"), {"c": canary}
        )
        _fill(connection, other, canary, digest)
        # Twice, so that a canary stands among the old values of the log, too.
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
        # A function without arguments returns a constant.
        functions=[(row[0], list(row[1])) for row in functions if row[1]],
        partitions=list(partitions),
        relations=list(toast),
    )


def _cast(connection: Connection, own: int, other: int) -> None:
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
        # Without any verb: a user with write but without read learns of rows, see test_case_35.
        ("dora", other, "viewer", {"deny": list(CASE_VERBS)}, None),
    ):
        connection.execute(
            text("INSERT INTO case_participants (case_id, user_id, role, permissions, expires_at)"
                 " VALUES (:case, (SELECT id FROM users WHERE username = :name), :role, CAST(:p AS jsonb), :expires)"),
            {"case": case, "name": name, "role": role, "p": json.dumps(permissions), "expires": expires},
        )  # fmt: skip


def _fill(connection: Connection, other: int, canary: str, digest: str) -> None:
    """Jobs that nobody else can claim, since claiming is a way in; then the canary in every column that takes it."""
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
            continue  # it heard of the canaries by the changes made here
        names = _texts(table) - NO_CANARY.get(table, set()) - {"key", "path"}
        changes = [f"{name} = {_canary_for(table, name, canary, digest)}" for name in names]
        changes += ["is_archived = true"] if table == "audio_files" else []
        if changes:
            where = f"{case_column(Base.metadata.tables[table])} = :other"
            connection.execute(text(f"UPDATE {table} SET {', '.join(changes)} WHERE {where}"), {"other": other})
    for table, trigger in GUARDS.items():
        connection.execute(text(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}"))


def _canary_for(table: str, name: str, canary: str, digest: str) -> str:
    """The literal that puts a canary into a column, in the form that the column asks for."""
    kind = Base.metadata.tables[table].columns[name].type
    if name == "sha256":
        return f"'{digest}'"
    if isinstance(kind, JSONB):
        said = json.dumps([{"text": canary}] if name == "words" else {"said": canary})
        return f"CAST('{said}' AS jsonb)".replace(":", r"\:")
    if isinstance(kind, ARRAY):
        return f"ARRAY['{canary}']"
    if isinstance(kind, LargeBinary):
        return f"convert_to('{canary}', 'UTF8')"
    # With the words that a search would look for.
    return f"'{canary} common bobsecret'"
