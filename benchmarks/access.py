"""The cost of row security: statements of members and administrators beside the same by hand, and of db.session."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Any

from _population import FEW, PAGE, populating
from _report import Goal, Row, main
from psycopg2 import extensions
from sqlalchemy import ColumnElement, Engine, Select, create_engine, event, func, insert, select, text, update
from sqlalchemy.orm import Session

from src.database import Case, CaseNote, CaseParticipant, Database, TranscriptionSegment, User
from src.database.connection.engine import PoolOptions, make_engine
from src.database.testing import running_server
from src.storage import MemoryStorage

COUNT = "count(*)"
NEWEST = f"newest {PAGE}"
ONE_CASE = "one case's page"
GET = "get by id"
UPDATE = "update by key"
INSERT = "insert by key"
STATEMENTS = (COUNT, NEWEST, ONE_CASE, GET, UPDATE, INSERT)
READING = (COUNT, NEWEST, ONE_CASE)
ADMINISTRATOR = "administrator"
UNPROTECTED = "unprotected"
# A set of cases is stored again after more changes than this (src/database/sql/case_access.sql).
CHANGES = 16

Statement = Callable[[Session], Any]


class RolledBackError(Exception):
    """Leaves a block without a commit, so that all rounds find the same rows."""


@dataclass(frozen=True)
class Size:
    """The size of the benchmark: Alice is a member of `FEW` cases, Carol of a tenth, Bob of half of them."""

    cases: int
    segments: int
    rounds: int
    sessions: int


FULL = Size(cases=10_000, segments=100, rounds=25, sessions=400)
QUICK = Size(cases=400, segments=50, rounds=7, sessions=60)

# Each case has a note, and one transcription with its segments.
POPULATION = (
    "INSERT INTO users (username) VALUES ('carol')",
    """
    INSERT INTO case_participants (case_id, user_id, role)
    SELECT c.id, u.id, 'editor' FROM cases c, users u
     WHERE u.username = 'bob' AND c.id % 2 = 0 OR u.username = 'carol' AND c.id % 10 = 5
    """,
    "INSERT INTO case_notes (case_id, author_id, body) SELECT c.id, c.opened_by_id, 'a note' FROM cases c",
    """
    INSERT INTO transcriptions (case_id, audio_file_id, language_id, version, content, created_by_id)
    SELECT a.case_id, a.id, (SELECT id FROM languages ORDER BY id LIMIT 1), 1, '', a.uploaded_by_id FROM audio_files a
    """,
    """
    INSERT INTO transcription_segments (case_id, transcription_id, position, start_ms, end_ms, speaker, text)
    SELECT t.case_id, t.id, n, n * 4000, n * 4000 + 3500, 'speaker ' || n % 2,
           'what was said in case ' || t.case_id || ' at ' || n * 4 || ' seconds of the recording'
      FROM transcriptions t, generate_series(0, :segments - 1) AS n ORDER BY t.id, n
    """,
)


def populate(engine: Engine, size: Size) -> None:
    with populating(engine, size.cases) as connection:
        for statement in POPULATION:
            connection.execute(text(statement), {"segments": size.segments})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))


def newest(where: Sequence[Any] = ()) -> Select[Any]:
    return select(TranscriptionSegment).where(*where).order_by(TranscriptionSegment.id.desc()).limit(PAGE)


def page(case: int, where: Sequence[Any] = ()) -> Select[Any]:
    in_case = select(TranscriptionSegment).where(TranscriptionSegment.case_id == case, *where)
    return in_case.order_by(TranscriptionSegment.start_ms).limit(PAGE)


def statements(case: int, note: int, user: int, cases: Sequence[int] | None) -> dict[str, Statement]:
    """Return the statements of a user on a case and its note; `cases` adds the condition of row security by hand."""

    def among(column: ColumnElement[int]) -> tuple[ColumnElement[bool], ...]:
        return () if cases is None else (column == func.any(text(f"ARRAY[{', '.join(map(str, cases))}]::integer[]")),)

    of_segments, of_notes = among(TranscriptionSegment.case_id), among(CaseNote.case_id)
    counted = select(func.count()).select_from(TranscriptionSegment).where(*of_segments)
    changed = update(CaseNote).where(CaseNote.id == note, *of_notes).values(body="changed")
    added = insert(CaseNote).values(case_id=case, author_id=user, body="added")
    return {
        COUNT: lambda session: session.scalar(counted),
        NEWEST: lambda session: session.scalars(newest(of_segments)).all(),
        ONE_CASE: lambda session: session.scalars(page(case, of_segments)).all(),
        GET: lambda session: session.scalars(select(CaseNote).where(CaseNote.id == note, *of_notes)).one(),
        UPDATE: lambda session: session.execute(changed),
        INSERT: lambda session: session.execute(added),
    }


@dataclass(frozen=True)
class Person:
    """A user: how a session is opened, and the statements to run in it."""

    name: str
    opened: Callable[[], AbstractContextManager[Session]]
    statements: dict[str, Statement]


def people(database: Database, owner: Engine, size: Size) -> list[tuple[Person, Person]]:
    """Return pairs of a user and of a session without row security that does the same."""

    def unprotected() -> Session:
        return Session(owner)

    pairs: list[tuple[Person, Person]] = []
    with Session(owner) as session:
        for name, expected in (("alice", FEW), ("carol", size.cases // 10), ("bob", size.cases // 2)):
            user = session.scalars(select(User.id).where(User.username == name)).one()
            cases = session.scalars(select(CaseParticipant.case_id).where(CaseParticipant.user_id == user)).all()
            if len(cases) != expected:
                raise AssertionError(f"unexpected population: {len(cases)} cases of {name}")
            case = cases[len(cases) // 3]
            note = session.scalars(select(CaseNote.id).where(CaseNote.case_id == case)).one()
            opened = _opened(database, name)
            pairs.append(
                (
                    Person(f"member of {expected}", opened, statements(case, note, user, None)),
                    Person(f"member of {expected}, by hand", unprotected, statements(case, note, user, cases)),
                )
            )
        root = session.scalars(select(User.id).where(User.username == "root")).one()
    everything = statements(case, note, root, None)
    pairs.append(
        (Person(ADMINISTRATOR, _opened(database, "root"), everything), Person(UNPROTECTED, unprotected, everything))
    )
    return pairs


def _opened(database: Database, name: str) -> Callable[[], AbstractContextManager[Session]]:
    return lambda: database.session(actor=name)


def measure(pairs: Sequence[tuple[Person, Person]], rounds: int) -> dict[tuple[str, str], float]:
    """Return the median milliseconds of each statement of each person, in an open session."""
    times: dict[tuple[str, str], list[float]] = {}
    for number in range(rounds + 1):
        for name in STATEMENTS:
            for person in (person for pair in pairs for person in pair):
                with suppress(RolledBackError), person.opened() as session:
                    session.connection()
                    started = time.perf_counter()
                    person.statements[name](session)
                    elapsed = time.perf_counter() - started
                    raise RolledBackError
                if number > 0:  # the first round fills the plan and page caches
                    times.setdefault((name, person.name), []).append(elapsed * 1000)
    return {key: statistics.median(measured) for key, measured in times.items()}


def after_grants(database: Database, owner: Engine, rounds: int) -> list[Row]:
    """Return the milliseconds of a get by Bob after changes of participations, and of the begin that follows."""
    with Session(owner) as session:
        bob = session.scalars(select(User.id).where(User.username == "bob")).one()
        others = session.scalars(select(Case.id).where(Case.id % 2 == 1).order_by(Case.id).limit(CHANGES + 1)).all()
        note = session.scalars(select(CaseNote.id).where(CaseNote.case_id == 2)).one()

    def timed() -> tuple[float, float]:
        started = time.perf_counter()
        with database.session(actor="bob") as session:
            begun = time.perf_counter()
            session.scalars(select(CaseNote).where(CaseNote.id == note)).one()
            return (begun - started) * 1000, (time.perf_counter() - begun) * 1000

    def grant(cases: Sequence[int]) -> None:
        with owner.begin() as connection:
            values = [{"case_id": case, "user_id": bob, "role": "viewer"} for case in cases]
            connection.execute(insert(CaseParticipant), values)

    def revoke() -> None:
        with owner.begin() as connection:
            connection.execute(
                text("DELETE FROM case_participants WHERE user_id = :bob AND case_id % 2 = 1"), {"bob": bob}
            )
            connection.execute(text("SELECT discard_case_accesses(ARRAY[CAST(:bob AS bigint)])"), {"bob": bob})
            connection.execute(text("DELETE FROM case_access_changes"))
        timed()

    taken: dict[str, list[tuple[float, float]]] = {}
    for _ in range(max(3, rounds // 5)):
        taken.setdefault("no change", []).append(timed())
        for count in (1, CHANGES):
            grant(others[:count])
            taken.setdefault(f"after {count} grants", []).append(timed())
            revoke()
        grant(others)
        taken.setdefault("the session that stores the set again", []).append(timed())
        taken.setdefault("the session after it", []).append(timed())
        revoke()
    base = statistics.median(got for _, got in taken["no change"])
    return [
        (f"get, begin: {name}", "member of half", got, begun, got / base)
        for name, measured in taken.items()
        for begun, got in [tuple(statistics.median(column) for column in zip(*measured, strict=True))]
    ]


def session_overhead(database: Database, plain: Engine, rounds: int) -> tuple[float, float, float]:
    """Return the median milliseconds to read a case with db.session and with a plain Session, and extra round trips."""
    with database.session(actor="alice") as session:
        case = session.scalars(select(Case.id).limit(1)).one()

    def with_actor() -> None:
        with database.session(actor="alice") as session:
            session.get_one(Case, case)

    def plain_session() -> None:
        with Session(plain) as session, session.begin():
            session.get_one(Case, case)

    times: dict[Callable[[], None], list[float]] = {with_actor: [], plain_session: []}
    for number in range(rounds + 20):
        for way, measured in times.items():
            started = time.perf_counter()
            way()
            if number >= 20:
                measured.append((time.perf_counter() - started) * 1000)
    extra = round_trips(database.engine, with_actor) - round_trips(plain, plain_session)
    return statistics.median(times[with_actor]), statistics.median(times[plain_session]), extra


def round_trips(engine: Engine, way: Callable[[], None], times: int = 10) -> float:
    """Return the number of statements that the driver sends, including the pool's ping, without BEGIN and COMMIT.

    Both ways send BEGIN and COMMIT, each in a round trip of its own.
    """
    sent = 0

    class CountingCursor(extensions.cursor):
        def execute(self, *arguments: Any) -> None:
            nonlocal sent
            sent += 1
            super().execute(*arguments)

    @event.listens_for(engine, "do_connect")
    def count_statements(dialect: Any, record: Any, arguments: Any, options: dict[str, Any]) -> None:  # noqa: ARG001
        options["cursor_factory"] = CountingCursor

    engine.dispose()
    way()  # statements for a new connection are not counted
    sent = 0
    for _ in range(times):
        way()
    return sent / times


def access(quick: bool) -> tuple[Sequence[str], Sequence[Row], Sequence[Goal]]:
    size = QUICK if quick else FULL
    with running_server() as server, server.copy() as url:
        owner = make_engine(url, PoolOptions(size=1))
        plain = create_engine(url)
        populate(owner, size)
        with server.database(url, storage=MemoryStorage()) as database:
            pairs = people(database, owner, size)
            times = measure(pairs, size.rounds)
            grants = after_grants(database, owner, size.rounds)
            with_actor, without, extra = session_overhead(database, plain, size.sessions)
        owner.dispose()
        plain.dispose()
    rows: list[Row] = []
    goals: list[Goal] = []
    for number, (person, reference) in enumerate(pairs):
        for name in STATEMENTS:
            ratio = times[name, person.name] / times[name, reference.name]
            rows.append((name, person.name, times[name, person.name], times[name, reference.name], ratio))
            if person.name == ADMINISTRATOR:
                if name in READING:
                    goals.append(Goal(f"{person.name}: {name}", ratio, 1.2))
            elif name == COUNT:
                goals.append(Goal(f"{person.name}: {name}", ratio, 1.7 if number == 2 else 1.5))
            elif name != NEWEST:
                goals.append(Goal(f"{person.name}: {name}", ratio, 1.3))
            elif number != 1:  # of a tenth of all cases: as near as the planner gets (docs/performance.md)
                goals.append(Goal(f"{person.name}: {name}", ratio, 1.5))
    rows += grants
    rows.append(("read one case", "db.session", with_actor, without, with_actor / without))
    goals += [
        Goal("db.session: read one case", with_actor / without, 1.8),
        Goal("db.session: extra round trips", extra, 2),
    ]
    return ("statement", "who", "median ms", "without ms", "ratio"), rows, goals


if __name__ == "__main__":
    main(access, __doc__ or "")
