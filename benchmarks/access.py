"""The cost of row security: queries of members and administrators with and without it, and the cost of db.session."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from _population import FEW, PAGE, populating
from _report import Goal, Row, main
from psycopg2 import extensions
from sqlalchemy import Engine, Select, TextClause, create_engine, event, func, select, text
from sqlalchemy.orm import Session

from src.database import Case, CaseParticipant, Database, TranscriptionSegment, User
from src.database.connection.engine import PoolOptions, make_engine
from src.database.testing import running_server
from src.storage import MemoryStorage

COUNT = "count(*)"
NEWEST = f"newest {PAGE}"
ONE_CASE = "one case's page"
MEMBER = f"member of {FEW}"
BY_HAND = f"{MEMBER}, by hand"
ADMINISTRATOR = "administrator"
UNPROTECTED = "unprotected"
WIDE_MEMBER = "member of half"
WIDE_BY_HAND = f"{WIDE_MEMBER}, by hand"

Query = Callable[[Session], Any]


@dataclass(frozen=True)
class Size:
    """The size of the benchmark. Bob is a member of half of the cases, Alice of `FEW`; each has `segments` segments."""

    cases: int
    segments: int
    rounds: int
    sessions: int


FULL = Size(cases=10_000, segments=100, rounds=25, sessions=400)
QUICK = Size(cases=400, segments=50, rounds=7, sessions=60)

# Bob is a member of every second case; each case has one transcription with its segments.
POPULATION = (
    """
    INSERT INTO case_participants (case_id, user_id, role)
    SELECT c.id, u.id, 'editor' FROM cases c, users u WHERE u.username = 'bob' AND c.id % 2 = 0
    """,
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


def newest(where: Sequence[Any] = ()) -> Select[Any]:
    return select(TranscriptionSegment).where(*where).order_by(TranscriptionSegment.id.desc()).limit(PAGE)


def page(case: int, where: Sequence[Any] = ()) -> Select[Any]:
    in_case = select(TranscriptionSegment).where(TranscriptionSegment.case_id == case, *where)
    return in_case.order_by(TranscriptionSegment.start_ms).limit(PAGE)


def queries(case: int, where: Sequence[Any] = ()) -> dict[str, Query]:
    """Return the three queries of a reader of this case; `where` replaces the condition of row security."""
    counted = select(func.count()).select_from(TranscriptionSegment).where(*where)
    return {
        COUNT: lambda session: session.scalar(counted),
        NEWEST: lambda session: session.scalars(newest(where)).all(),
        ONE_CASE: lambda session: session.scalars(page(case, where)).all(),
    }


@dataclass(frozen=True)
class Reader:
    """A reader: how a session is opened, and the queries to run in it."""

    name: str
    opened: Callable[[], AbstractContextManager[Session]]
    queries: dict[str, Query]


def readers(database: Database, owner: Engine, size: Size) -> list[Reader]:
    def unprotected() -> Session:
        return Session(owner)

    with Session(owner) as session:
        few, many = (
            session.scalars(
                select(CaseParticipant.case_id).join(CaseParticipant.user).where(User.username == name)
            ).all()
            for name in ("alice", "bob")
        )
    if (len(few), len(many)) != (FEW, size.cases // 2):
        raise AssertionError(f"unexpected population: {len(few)} and {len(many)} cases")
    case = few[FEW // 2]
    wide_case = many[len(many) // 3]
    return [
        Reader(MEMBER, lambda: database.session(actor="alice"), queries(case)),
        Reader(BY_HAND, unprotected, queries(case, (by_hand(few),))),
        Reader(ADMINISTRATOR, lambda: database.session(actor="root"), queries(case)),
        Reader(UNPROTECTED, unprotected, queries(case)),
        Reader(WIDE_MEMBER, lambda: database.session(actor="bob"), queries(wide_case)),
        Reader(WIDE_BY_HAND, unprotected, queries(wide_case, (by_hand(many),))),
    ]


def by_hand(cases: Sequence[int]) -> TextClause:
    return text(f"transcription_segments.case_id = ANY (ARRAY[{', '.join(map(str, cases))}]::bigint[])")


def read(people: Sequence[Reader], rounds: int) -> dict[tuple[str, str], float]:
    """Return the median milliseconds of each query of each reader, in an open session."""
    times: dict[tuple[str, str], list[float]] = {}
    for number in range(rounds + 1):
        for name in (COUNT, NEWEST, ONE_CASE):
            for reader in people:
                with reader.opened() as session:
                    session.connection()
                    started = time.perf_counter()
                    reader.queries[name](session)
                    elapsed = time.perf_counter() - started
                if number > 0:  # the first round fills the plan and page caches
                    times.setdefault((name, reader.name), []).append(elapsed * 1000)
    return {key: statistics.median(measured) for key, measured in times.items()}


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
            times = read(readers(database, owner, size), size.rounds)
            with_actor, without, extra = session_overhead(database, plain, size.sessions)
        owner.dispose()
        plain.dispose()

    def ratio(name: str, reader: str, reference: str) -> float:
        return times[name, reader] / times[name, reference]

    names = (COUNT, NEWEST, ONE_CASE)
    pairs = ((MEMBER, BY_HAND), (ADMINISTRATOR, UNPROTECTED), (WIDE_MEMBER, WIDE_BY_HAND))
    rows: list[Row] = [
        (name, reader, times[name, reader], times[name, reference], ratio(name, reader, reference))
        for reader, reference in pairs
        for name in names
    ]
    rows.append(("read one case", "db.session", with_actor, without, with_actor / without))
    goals = [
        *(Goal(f"{MEMBER}: {name}", ratio(name, MEMBER, BY_HAND), 1.5) for name in names),
        *(Goal(f"{ADMINISTRATOR}: {name}", ratio(name, ADMINISTRATOR, UNPROTECTED), 1.2) for name in names),
        *(
            Goal(f"{WIDE_MEMBER} × {MEMBER}: {name}", ratio(name, WIDE_MEMBER, MEMBER), 3)
            for name in (NEWEST, ONE_CASE)
        ),
        # About the time of the same query by hand; the difference is a table scan instead of an index scan.
        Goal(f"{WIDE_MEMBER}: {COUNT}", ratio(COUNT, WIDE_MEMBER, WIDE_BY_HAND), 3),
        Goal("db.session: read one case", with_actor / without, 2),
        Goal("db.session: extra round trips", extra, 2),
    ]
    return ("query", "who", "median ms", "without ms", "ratio"), rows, goals


if __name__ == "__main__":
    main(access, __doc__ or "")
