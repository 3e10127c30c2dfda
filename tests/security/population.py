"""Two users with one case each, and at least one row of each in every table below a case."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, Table, func, insert, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from src.database import (
    AnalysisResult,
    AudioFile,
    Base,
    Case,
    Database,
    ProcessingJob,
    TranscriptionSource,
)
from src.database.connection import credentials
from src.database.connection.actor_tokens import Actor
from src.database.connection.engine import PoolOptions
from src.database.connection.session import database_of
from src.database.schema import ADMIN_ROLE
from src.errors import WrongLogin
from src.services import cases, transcripts
from src.storage import MemoryStorage, keys
from tests.declared import LOOKUP_TABLES, any_row

OWNERS = ("alice", "bob")
NOBODIES = {"none": None, "unknown": "mallory", "inactive": "dormant", "empty": "", "injected": "alice' OR '1'='1"}
# Every actor may read these; the other tables belong to a case, or no actor may read them.
SHARED_TABLES = {"case_status_moves", "permission_subjects", *LOOKUP_TABLES, "user_roles", "users"}
HIDDEN_TABLES = {
    "actor_keys", "activity_archives", "activity_seals", "case_access_changes", "case_accesses", "log_overflows",
    "login_throttles", "name_locks", "database_identities",
    "protected_tables", "storage_objects", "storages",
}  # fmt: skip


def case_column(table: Table) -> str | None:
    """Return the column with the case of a row, None for a table that belongs to no case or is hidden from members."""
    if table.name in HIDDEN_TABLES:
        return None
    if table.name == "cases":
        return "id"
    return "case_id" if "case_id" in table.columns else None


# The tables below a case that are filled explicitly here or by triggers.
FILLED = {"cases", "case_participants", "case_notes", "legal_holds", "audio_files", "processing_jobs",
          "transcriptions", "transcription_segments", "transcription_sources", "analysis_results",
          "activity_logs"}  # fmt: skip
CASE_TABLES = tuple(sorted(table.name for table in Base.metadata.tables.values() if case_column(table) is not None))
ALL_TABLES = tuple(sorted(Base.metadata.tables))


@dataclass(frozen=True)
class Populated:
    """The database, its owner's engine, and the ids of the two cases and recordings."""

    db: Database
    owner: Engine
    case_of: dict[str, int]
    audio_of: dict[str, int]

    def other(self, name: str) -> str:
        return "bob" if name == "alice" else "alice"

    def rows_of(self, name: str, table: str) -> set[int]:
        """Return the ids of the rows of this user's case, read as the database owner."""
        column = case_column(Base.metadata.tables[table])
        # Actors may read their own log entries without a case.
        done = " OR (actor = :name AND case_id IS NULL)" if table == "activity_logs" else ""
        with self.owner.connect() as connection:
            return set(
                connection.scalars(
                    text(f"SELECT id FROM public.{table} WHERE {column} = :case{done}"),
                    {"case": self.case_of[name], "name": name} if done else {"case": self.case_of[name]},
                )
            )

    def snapshot(self) -> dict[str, str]:
        """Return a hash of every table, without entries of refused access; it must be equal after an attack."""
        refusals = " WHERE activity_type_id <> (SELECT id FROM activity_types WHERE code = 'access.refused')"
        with self.owner.connect() as connection:
            return {
                table: connection.scalar(
                    text(f"SELECT md5(coalesce(string_agg(t::text, '|' ORDER BY t::text), '')) FROM public.{table} t"
                         + (refusals if table == "activity_logs" else ""))
                )
                for table in ALL_TABLES
            }  # fmt: skip


def add_audio(session: Session, case_id: int, name: str) -> AudioFile:
    """Add a recording without content: the object and the row, in the order that the schema requires."""
    db, key = database_of(session), keys.case_key(case_id, "wav")
    db.storages.setdefault("memory", MemoryStorage())  # workers claim only what they can reach
    with db.side_session(session) as side:
        side.execute(select(func.public.announce_object(case_id, key, "memory")))
    audio = AudioFile(case_id=case_id, name=name, path=key, size_bytes=4, sha256="0" * 64, storage_type="memory")
    session.add(audio)
    session.flush()
    return audio


def populate(db: Database, owner: Engine) -> Populated:
    """Fill the database. Fails if a table of the metadata has no rows."""
    with owner.begin() as connection:
        connection.execute(
            text("INSERT INTO users (username, password_hash, email, is_active)"
                 " VALUES ('dormant', 'bcrypt:$2b$12$dormant', 'dormant@example.org', false)")
        )  # fmt: skip
        connection.execute(
            text("UPDATE users SET email = username || '@example.org', password_hash = 'bcrypt:secret-of-' || username")
        )
    case_of, audio_of = {}, {}
    for name in OWNERS:
        with db.session(actor=name) as session:
            case, audio = _one_case(session, name)
            case_of[name], audio_of[name] = case.id, audio.id
    populated = Populated(db, owner, case_of, audio_of)
    for table in CASE_TABLES:
        for name in OWNERS:
            assert populated.rows_of(name, table), (
                f"no row of {name} in {table}: add one to tests/security/population.py"
            )
    return populated


def _one_case(session: Session, name: str) -> tuple[Case, AudioFile]:
    case = cases.open_case(session, title=f"Case of {name}", case_code=f"CASE-{name.upper()}")
    cases.add_note(session, case, f"Secret note of {name}")
    # Released, because an active hold would reject every deletion before row security is checked.
    cases.release_hold(session, cases.place_hold(session, case, reason=f"hold of {name}"), reason="settled")
    audio = add_audio(session, case.id, f"{name}.wav")
    session.add(ProcessingJob(case_id=case.id, audio_file_id=audio.id, kind="transcribe"))
    said = [transcripts.Segment(f"common words and {name}secret", 0, 900)]
    transcription = transcripts.add(session, audio, said, language="en")
    session.execute(
        insert(TranscriptionSource).values(
            case_id=case.id, transcription_id=transcription.id, dialect="whisper", sha256="0" * 64, content=b"{}"
        )
    )
    session.add(AnalysisResult(case_id=case.id, audio_file_id=audio.id, version=1, summary=f"Summary of {name}"))
    session.flush()
    for table in Base.metadata.sorted_tables:
        if table.name in CASE_TABLES and table.name not in FILLED:
            session.execute(insert(table).values(any_row(table, case_id=case.id, audio_files=audio.id)))
    return case, audio


def token_for(
    db: Database, connection: Any, purpose: str, subject: str, *, pid: int = 0, started: int = 0, key: Any = None
) -> str:
    """Return a token of the transaction of this connection; `pid` and `started` are added to its identity."""
    backend, start = connection.execute(
        text("SELECT pg_backend_pid(), (extract(epoch FROM now()) * 1000000)::bigint")
    ).one()
    signer = key or db.signing_key
    return signer.token(purpose, subject, backend_pid=backend + pid, started=start + started)


def send_credential(connection: Any, token: str | None, hashed: str | None) -> None:
    """Copy a row into the view `credential_changes`, as the driver does; raises errors of the driver."""
    with connection.connection.dbapi_connection.cursor() as cursor:
        credentials.copy_credential(cursor, token, hashed)


def rows_written_by(populated: Populated, name: str, case: int) -> dict[str, dict[str, object]]:
    """Return a row per table that `name` tries to put into `case`: valid except for the actor or the case."""
    audio, with_case = populated.audio_of[name], {"case_id": case}
    transcription = min(populated.rows_of(name, "transcriptions"))
    key = keys.case_key(case, "wav")
    looked_up = {"code": "forged", "name": "forged"}
    with populated.owner.connect() as connection:
        user, english = (
            connection.scalar(text(query))
            for query in ("SELECT id FROM users WHERE username = 'transcriber'", "SELECT min(id) FROM languages")
        )
    rows: dict[str, dict[str, object]] = {
        "cases": {"title": "forged", "opened_by_id": user},
        "case_participants": {**with_case, "user_id": user, "role": "owner"},
        "case_notes": {**with_case, "body": "forged", "author_id": user},
        "legal_holds": {**with_case, "reason": "forged", "placed_by_id": user},
        "audio_files": {**with_case, "name": "x", "path": key, "size_bytes": 1, "sha256": "0" * 64,
                        "uploaded_by_id": user},
        "storage_objects": {**with_case, "key": key, "backend": "local"},
        "processing_jobs": {**with_case, "audio_file_id": audio, "kind": "forged", "created_by_id": user},
        "transcriptions": {**with_case, "audio_file_id": audio, "language_id": english, "version": 99,
                           "content": "forged", "created_by_id": user},
        "transcription_segments": {**with_case, "transcription_id": transcription, "position": 99, "text": "forged"},
        "transcription_sources": {**with_case, "transcription_id": transcription, "dialect": "x", "sha256": "0" * 64,
                                  "content": b""},
        "analysis_results": {**with_case, "audio_file_id": audio, "version": 99, "created_by_id": user},
        "activity_logs": {**with_case, "activity_type_id": 1, "actor": "bob", "operation": "event",
                          "transaction_id": "1", "epoch": 1, "schema_revision": "x", "payload_hash": b"",
                          "leaf_hash": b""},
        "case_accesses": {"user_id": user, "cluster": 1, "is_wide": False,
                          "case_ids": [case], "flags": [True]},
        "activity_seals": {"month": "2026-01-01", "epoch": 1, "low_xid": "1", "high_xid": "1", "entry_count": 0,
                           "root": b"", "seal_hash": b""},
        "activity_archives": {"month": "2026-01-01", "storage_key": key, "storage_type": "local", "size_bytes": 1,
                              "sha256": "0" * 64, "entry_count": 0},
        "protected_tables": {"name": "cases", "declaration": "{}"},
        "storages": {"name": "local", "storage": UUID(int=1)},
        "database_identities": {"id": 1, "identity": UUID(int=1), "system_identifier": 1, "database_oid": 1,
                                "confirmed_at": "2026-01-01"},
        "name_locks": {"digest": "x"},
        "log_overflows": {"counter": 1, "ends_at": datetime(2026, 1, 1, tzinfo=UTC), "dropped": 1, "entry_id": 1},
        "login_throttles": {"user_id": user, "failures": 1, "last_failed_at": datetime(2026, 1, 1, tzinfo=UTC)},
        "actor_keys": {"inner_pad": b"0" * 64, "outer_pad": b"0" * 64},
        "users": {"username": "forged"},
        "user_roles": looked_up,
        "activity_types": looked_up,
        "audio_statuses": looked_up,
        "case_priorities": {**looked_up, "weight": 1},
        "case_statuses": looked_up,
        "languages": looked_up,
        "sentiments": looked_up,
    }  # fmt: skip
    for table in Base.metadata.sorted_tables:
        signed = {column.name: user for column in table.columns if column.info.get("signed")}
        rows.setdefault(table.name, any_row(table, case_id=case, users=user, audio_files=audio, **signed))
    return rows


def insert_statement(table: str, values: dict[str, object]):
    """Return the INSERT statement and its parameters."""
    names = ", ".join(values)
    marks = ", ".join(f":{name}" for name in values)
    return text(f"INSERT INTO public.{table} ({names}) VALUES ({marks})"), values


MODELS = {mapper.local_table.name: mapper.class_ for mapper in Base.registry.mappers}


@contextmanager
def core(db: Database, actor: Actor, role: str | None = None) -> Iterator[Connection]:
    """A Core transaction of this actor, without an ORM session; in `role` if given, "NONE" for the login itself.

    The login of administrators opens it for sti_admin. An actor that the login does not serve is replaced by none.
    """
    engines = [db.engine, db.admin_engine] if role is None else [db.admin_engine if role == ADMIN_ROLE else db.engine]
    with ExitStack() as stack:
        for engine, acting in [(engine, actor) for engine in engines] + [(engines[0], Actor())]:
            try:
                connection = stack.enter_context(engine.execution_options(actor=acting).begin())
            except WrongLogin:
                continue
            break
        if role is not None:
            connection.execute(text(f"SET LOCAL ROLE {role}"))
        yield connection


@contextmanager
def wide(owner: Engine, *names: str) -> Iterator[None]:
    """Let these members be given the role of wide members, as if they had very many cases, for the block."""
    change = text("UPDATE public.case_accesses a SET is_wide = :wide FROM public.users u"
                  " WHERE u.id = a.user_id AND u.username = ANY (:names)")  # fmt: skip
    with owner.begin() as connection:
        connection.execute(
            text("SELECT public.store_case_access(u.id, s.system_identifier) FROM public.users u, pg_control_system() s"
                 " WHERE u.username = ANY (:names)"), {"names": list(names)}
        )  # fmt: skip
        connection.execute(change, {"wide": True, "names": list(names)})
    with owner.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        # Tests compare counters of scans, and the first one after a DELETE reads more.
        connection.execute(text("VACUUM public.case_access_changes, public.case_accesses"))
    try:
        yield
    finally:
        with owner.begin() as connection:
            connection.execute(change, {"wide": False, "names": list(names)})


@contextmanager
def one_connection(db: Database) -> Iterator[Database]:
    """A second Database like `db` whose pool holds exactly one connection."""
    pool = PoolOptions(size=1, max_overflow=0, timeout_seconds=2)
    url, admin_url = db.engine.url, db.admin_engine.url
    single = Database(url, signing_key=db.signing_key, admin_url=admin_url, storage=db.storage, pool=pool)
    try:
        yield single
    finally:
        single.close()


def refused(connection: Connection | Session, statement: str, parameters: dict[str, object] | None = None) -> bool:
    """Whether the statement fails for lack of permission; other errors are raised."""
    try:
        with connection.begin_nested():
            connection.execute(text(statement), parameters or {})
    except DBAPIError as error:
        if error.orig.pgcode != "42501":
            raise
        return True
    return False


def backend_of(session: Session) -> int:
    return session.scalar(select(func.pg_backend_pid()))
