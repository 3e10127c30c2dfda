"""The cost of history: writing with capture compared with other libraries, reading the past, sealing and verifying."""

from __future__ import annotations

import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from _report import Goal, Row, main
from _rivals import ADMINISTRATOR, AUDIT, CONTINUUM, MEMBER, OURS, PLAIN, SAME_WORK, work
from _writers import running_writers
from sqlalchemy import Engine, create_engine, insert, text

from src.database import Case, CaseNote, Database
from src.database.testing import SpeechServer, running_server
from src.services import history
from src.services.history import SealKey
from src.services.history.sealing import export_heads
from src.storage import MemoryStorage

MONTHS = 36
PAGE = 50
OWN = 20  # cases with Alice as a member; every second one has entries from three years ago only
NOTES_AT_ONCE = 1_000


@dataclass(frozen=True)
class Size:
    """The size of the benchmark."""

    cases: int
    member_cases: int
    rounds: int
    entries: int
    logged_cases: int
    readings: int
    notes: int
    windows: int
    window_seconds: float


FULL = Size(5_000, 1_000, 3, 1_000_000, 10_000, 25, 60_000, 8, 3)
QUICK = Size(100, 100, 1, 10_000, 100, 3, 1_500, 1, 0.5)

# Inserted as the owner, without db.session. Entries are spread evenly over the months, a hundred per case; their hashes
# are placeholders.
POPULATION = (
    # Otherwise the inserts of the population would be the newest entry of each case.
    "ALTER TABLE cases DISABLE TRIGGER capture",
    """
    INSERT INTO cases (title, opened_by_id)
    SELECT 'Case ' || n, (SELECT id FROM users WHERE username = 'bob') FROM generate_series(1, :cases) AS n
    """,
    """
    INSERT INTO case_participants (case_id, user_id, role)
    SELECT c.id, u.id, 'editor' FROM cases c, users u
     WHERE u.username = 'alice' AND c.id % (:cases / :own) = 0 ORDER BY c.id LIMIT :own
    """,
    "ALTER TABLE cases ENABLE ALWAYS TRIGGER capture",
    """
    INSERT INTO activity_logs (created_at, updated_at, activity_type_id, actor, case_id, entity, entity_id, operation,
        old, new, transaction_id, epoch, schema_revision, salt, payload_hash, leaf_hash)
    SELECT at, at, t.id, 'benchmark', c.id, 'cases', c.id, 'update', '{"title": "before"}',
           (to_jsonb(c) - '{opened_xid,active_holds}'::text[]) || jsonb_build_object('title', 'Case at ' || n),
           '3', 1, public.schema_revision(), '\\x00', sha256(n::text::bytea), sha256(n::text::bytea)
      FROM generate_series(1, :entries) AS n
      JOIN activity_types t ON t.code = 'row.update'
      JOIN cases c ON c.id = 1 + n % :cases
     CROSS JOIN LATERAL (SELECT date_trunc('month', now()) - interval '35 months'
        -- The cases that were last changed three years ago have all their entries in the first month.
        + CASE WHEN c.id % (:cases / :own) = 0 AND c.id / (:cases / :own) % 2 = 0 THEN interval '20 days'
               ELSE now() - date_trunc('month', now()) + interval '35 months' END * (n::float8 / :entries)) AS m (at)
    """,
)

MONTH = """
    SELECT m, m + interval '1 month', 'activity_logs_' || to_char(m, 'YYYY_MM')
      FROM (SELECT date_trunc('month', now(), 'UTC') - make_interval(months => :month)) AS x (m)
"""


def write(server: SpeechServer, size: Size) -> tuple[dict[str, tuple[float, float]], dict[str, str]]:
    """Return the median seconds to insert and update cases per contender, and the reasons why others do not run."""
    context = multiprocessing.get_context("fork")  # the children inherit the imported modules
    times: dict[str, list[tuple[float, float]]] = {}
    with ExitStack() as stack:
        pipes = {}
        for name in (PLAIN, SAME_WORK, *OURS, AUDIT, CONTINUUM):
            # A database for each contender, so that they do not slow each other down.
            owner = stack.enter_context(server.copy() if name in OURS else server.empty())
            login = server.admin_url if name == ADMINISTRATOR else server.serving_url
            url = login(owner) if name in OURS else owner
            pipes[name], child_end = context.Pipe()
            process = context.Process(target=work, args=(child_end, name, url, server.signing_key))
            process.start()
            stack.callback(process.join)
            stack.callback(pipes[name].send, 0)
        reasons = {name: pipe.recv() for name, pipe in pipes.items()}
        for _ in range(size.rounds + 1):  # the first round fills the plan and page caches
            for name, pipe in pipes.items():
                if not reasons[name]:
                    pipe.send(size.member_cases if name == MEMBER else size.cases)
                    answer = pipe.recv()
                    if isinstance(answer, str):
                        reasons[name] = answer
                    else:
                        times.setdefault(name, []).append(answer)
    medians = {name: tuple(map(statistics.median, zip(*found[1:], strict=True))) for name, found in times.items()}
    return medians, {name: reason for name, reason in reasons.items() if reason}


def populate(owner: Engine, size: Size) -> None:
    with owner.begin() as connection:
        for month in range(1, MONTHS):
            first, after, name = connection.execute(text(MONTH), {"month": month}).one()
            connection.exec_driver_sql(
                f"CREATE TABLE {name} PARTITION OF activity_logs FOR VALUES FROM ('{first}') TO ('{after}')"
            )
        for statement in POPULATION:
            connection.execute(text(statement), {"cases": size.logged_cases, "own": OWN, "entries": size.entries})
    with owner.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE")


def read(database: Database, size: Size) -> dict[str, float]:
    """Return the median milliseconds to read a case, its state in the past, and a page of its versions."""
    times: dict[str, list[float]] = {}

    def measured(name: str, reading: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        found = reading()
        times.setdefault(name, []).append((time.perf_counter() - started) * 1000)
        return found

    now = datetime.now(UTC)
    step = size.logged_cases // OWN
    with database.session(actor="alice") as session:
        kept = []  # as in a session in use: statuses and priorities stay in the identity map
        for _ in range(size.readings + 1):
            for number in range(step, size.logged_cases + 1, step):
                old = number // step % 2 == 0
                kept = [measured("key", lambda n=number: session.get_one(Case, n, populate_existing=True)), *kept[:50]]
                then = measured("old" if old else "recent", lambda n=number: history.as_of(session, Case, n, now))
                page = measured("page", lambda n=number: history.versions(session, (Case, n), limit=PAGE))
                expected = min(PAGE, size.entries // size.logged_cases)
                if len(page) < expected or not then.title.startswith("Case at"):
                    raise AssertionError(f"unexpected population: case {number}")
    return {name: statistics.median(found[OWN:]) for name, found in times.items()}


def prove(database: Database, size: Size, key: SealKey) -> dict[str, float]:
    """Return the entries per second that are written, sealed and verified."""
    rates: dict[str, list[float]] = {"write": [], "seal": []}
    with database.session(actor="alice") as session:
        case = Case(title="Notes")
        session.add(case)
        session.flush()
        case_id, author_id = case.id, case.opened_by_id
    notes = [{"case_id": case_id, "author_id": author_id, "body": f"Note {note}"} for note in range(NOTES_AT_ONCE)]
    rounds = 3
    each = size.notes // rounds
    for _ in range(rounds):
        started = time.perf_counter()
        with database.session(actor="alice", reason="benchmark") as session:
            for _ in range(0, each, NOTES_AT_ONCE):
                session.execute(insert(CaseNote), notes[:each])
        written = time.perf_counter()
        with database.session(actor="root") as session:
            entries = sum(seal.entry_count for seal in history.seal(session, key=key))
        rates["write"].append(entries / (written - started))
        rates["seal"].append(entries / (time.perf_counter() - written))
    for name, rows in (("verify", False), ("verify all", True)):
        for _ in range(rounds):
            started = time.perf_counter()
            with tempfile.TemporaryDirectory() as folder, database.session(actor="root") as session:
                heads = history.HeadFile(Path(folder, "heads.jsonl"))
                export_heads(session, heads)
                report = history.verify(session, key=key, heads=heads, rows=rows, segments=rows)
            if not report.ok:
                raise AssertionError(str(report))
            rates.setdefault(name, []).append(report.entries / (time.perf_counter() - started))
    return {name: statistics.median(found) for name, found in rates.items()}


def write_beside_sealer(server: SpeechServer, database: Database, size: Size, key: SealKey) -> tuple[float, float]:
    """Return the notes per second of sixteen writers, alone and with a concurrent sealer that seals every second."""
    rates: tuple[list[float], list[float]] = ([], [])
    with running_writers(database.engine.url, server.signing_key) as written:
        time.sleep(size.window_seconds)  # until all are connected and their plans are cached
        for window in range(2 * size.windows):
            sealing = bool(window % 2)
            started, before = time.perf_counter(), written()
            while (left := started + size.window_seconds - time.perf_counter()) > 0:
                if sealing:
                    with database.session(actor="root") as session:
                        history.seal(session, key=key)
                time.sleep(max(0, min(1, left)))
            rates[sealing].append((written() - before) / (time.perf_counter() - started))
            with database.session(actor="root") as session:  # so that a window leaves no work to the next one
                history.seal(session, key=key)
    return statistics.median(rates[0]), statistics.median(rates[1])


def benchmark(quick: bool) -> tuple[Sequence[str], Sequence[Row], Sequence[Goal]]:
    size = QUICK if quick else FULL
    key = new_key()
    with running_server() as server:
        wrote, reasons = write(server, size)
        with server.copy() as url, opened(server, url) as database:
            owner = create_engine(url, connect_args={"options": "-c TimeZone=UTC"})
            populate(owner, size)
            owner.dispose()
            ms = read(database, size)
        with server.copy() as url, opened(server, url) as database:
            rate = prove(database, size, key)
            alone, beside = write_beside_sealer(server, database, size, key)
    rows: list[Row] = []
    for number, what in enumerate(("insert", "update")):
        for name in (PLAIN, SAME_WORK, *OURS, AUDIT, CONTINUUM):
            if name in reasons:
                rows.append((f"{what} a case", name, reasons[name].splitlines()[0][:100], "", ""))
            else:
                cases = size.member_cases if name == MEMBER else size.cases
                us = wrote[name][number] / cases * 1e6
                rows.append((f"{what} a case", name, us, "µs", us / (wrote[PLAIN][number] / size.cases * 1e6)))
    names = {"key": "session.get", "recent": "as_of, recent", "old": "as_of, 3 years ago", "page": "versions, a page"}
    rows += [(what, "member", ms[name], "ms", ms[name] / ms["key"]) for name, what in names.items()]
    rows += [(what, "administrator", found, "entries/s", found / rate["write"]) for what, found in rate.items()]
    rows.append(("16 writers", "alone", alone, "notes/s", 1.0))
    rows.append(("16 writers", "beside a sealer", beside, "notes/s", beside / alone))
    return ("what", "who", "median", "unit", "ratio"), rows, goals(wrote, ms, rate, beside / alone)


def goals(wrote: Any, ms: dict[str, float], rate: dict[str, float], kept: float) -> list[Goal]:
    ours = wrote[ADMINISTRATOR]
    found = [
        Goal("insert × plain", ours[0] / wrote[PLAIN][0], 1.6),
        Goal("update × plain", ours[1] / wrote[PLAIN][1], 2.2),
        Goal("insert × plain that does the same work", ours[0] / wrote[SAME_WORK][0], 1.6),
        Goal("update × plain that does the same work", ours[1] / wrote[SAME_WORK][1], 2.2),
    ]
    if CONTINUUM in wrote:
        found.append(Goal("Continuum × insert", wrote[CONTINUUM][0] / ours[0], 8, at_most=False))
        found.append(Goal("Continuum × update", wrote[CONTINUUM][1] / ours[1], 5, at_most=False))
    return [
        *found,
        Goal("as_of × session.get, changed in three months", ms["recent"] / ms["key"], 3),
        Goal("as_of × session.get, changed three years ago", ms["old"] / ms["key"], 12),
        Goal(f"{PAGE} versions × session.get", ms["page"] / ms["key"], 10),
        Goal("sealing × writing", rate["seal"] / rate["write"], 5, at_most=False),
        Goal("verifying × writing", rate["verify"] / rate["write"], 3, at_most=False),
        Goal("verifying, rows too × writing", rate["verify all"] / rate["write"], 3, at_most=False),
        Goal("rate of 16 writers beside a sealer", kept, 0.95, at_most=False),
    ]


def opened(server: SpeechServer, owner: Any) -> Database:
    return server.database(owner, storage=MemoryStorage())


def new_key() -> SealKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415 - only sealers need the package

    private = Ed25519PrivateKey.generate()
    return SealKey(private.public_key().public_bytes_raw(), private)


if __name__ == "__main__":
    main(benchmark, __doc__ or "")
