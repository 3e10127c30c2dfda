"""The cost of full-text search with row security, compared with the same query without it, SQLite FTS5 and ILIKE."""

from __future__ import annotations

import io
import itertools
import random
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from _population import FEW, PAGE, populating
from _report import Goal, Row, main
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import Session

from src.database.connection.engine import PoolOptions, make_engine
from src.database.testing import LEAST_ROOM, SpeechServer, running_server
from src.services import search
from src.storage import MemoryStorage

SEGMENTS = 100
MEMBER, BY_HAND = "member of 20", "by hand"
# A word in one of 1,000 segments, one in every tenth segment, and other common kinds of queries.
QUERIES = {
    "rare word": "zanzibar",
    "common word": "harbour",
    "phrase": '"harbour master"',
    "prefix": "zanzi*",
    "Japanese": "東京湾",
}
# The letters of generated words, per language, so that accents and scripts are realistic.
LANGUAGES = {
    "en": "a e i o u th st r n l s t", "de": "a e i ö ü ä sch st r n l s", "fr": "a é è ê i ou ç l m r s t",
    "es": "a e í ó ñ r l n s d c t", "pt": "a ã e ç õ é r l s d m t", "it": "a e i o è ll tt r n z c gn",
    "ru": "а е и о у й ст р н л к п", "ar": "ا ب ت م ن و ي ر ل س ع ه", "tr": "a e ı i ö ü ş ç l r k m",
    "sv": "a e i å ä ö sk st r n l t", "ja": "", "zh": "",
}  # fmt: skip

Ask = Callable[[Session, str], Any]
Readers = dict[str, tuple[Callable[[], AbstractContextManager[Session]], Ask]]


@dataclass(frozen=True)
class Size:
    """The number of cases with `SEGMENTS` segments each, the rounds per query, and whether to measure the rivals."""

    cases: int
    rounds: int
    rivals: bool = False


SMALL, FULL, LARGE = Size(1_000, 40), Size(10_000, 60, rivals=True), Size(100_000, 60)
QUICK = (Size(200, 5), Size(400, 5, rivals=True))

TRANSCRIPTIONS = """
    INSERT INTO transcriptions (case_id, audio_file_id, language_id, version, content, created_by_id)
    SELECT a.case_id, a.id, l.id, 1, '', a.uploaded_by_id FROM audio_files a
      JOIN languages l ON l.code = (CAST(:languages AS text[]))[1 + (a.case_id / 3) % 12]
"""


def texts(language: str, rng: random.Random, most: int = 4_000) -> Iterator[str]:
    """Yield an infinite sequence of texts of about twelve words, some with the words of the queries."""
    letters = LANGUAGES[language].split()
    if letters:
        words = ["".join(rng.choices(letters, k=rng.randint(2, 6))) for _ in range(most)]
    else:
        words = ["".join(chr(0x4E00 + rng.randrange(2_000)) for _ in range(2)) for _ in range(most)]
    weights = list(itertools.accumulate(1 / (rank + 10) for rank in range(most)))
    space = " " if letters else ""
    while True:
        said = rng.choices(words, cum_weights=weights, k=12)
        if rng.random() < 0.1:
            said[3:3] = ["harbour", rng.choice(("master", "wall", "light"))]
        if rng.random() < 0.001:
            said.insert(rng.randrange(12), "zanzibar")
        if not letters and rng.random() < 0.003:
            said.insert(5, "東京湾")
        yield space.join(said)


def populate(engine: Engine, size: Size) -> None:
    rng = random.Random(size.cases)
    with populating(engine, size.cases) as connection:
        connection.execute(text(TRANSCRIPTIONS), {"languages": list(LANGUAGES)})
        spoken = connection.execute(
            text("SELECT t.id, t.case_id, l.code, l.search_config FROM transcriptions t"
                 " JOIN languages l ON l.id = t.language_id ORDER BY t.id")
        ).all()  # fmt: skip
        sources = {code: texts(code, rng) for code in LANGUAGES}
        cursor: Any = connection.connection.cursor()
        for start in range(0, len(spoken), 500):
            lines = io.StringIO()
            for number, case, code, config in spoken[start : start + 500]:
                for position in range(SEGMENTS):
                    line = next(sources[code])
                    lines.write(f"{case}\t{number}\t{position}\t{position * 4000}\t{line}\t{config}\n")
            lines.seek(0)
            cursor.copy_expert(
                "COPY transcription_segments (case_id, transcription_id, position, start_ms, text, search_config)"
                " FROM STDIN", lines,
            )  # fmt: skip


def by_hand(cases: Sequence[int], configs: Sequence[str]) -> Ask:
    """Return the same query as written by hand without row security: cases and configurations are inlined."""
    asked = {config: f"public.search_query('{config}', :query)" for config in configs}
    matches = " OR ".join(f"s.search_config = '{config}' AND s.search @@ {terms}" for config, terms in asked.items())
    rank = " ".join(f"WHEN '{config}' THEN {terms}" for config, terms in asked.items())
    statement = text(f"""
        SELECT s.id, s.case_id, a.id, a.name, t.id, t.version, l.code, a.recorded_at, s.start_ms, s.end_ms, s.speaker,
               s.text, s.confidence, s.flags, p.rank, p.total,
               ts_headline(s.search_config::regconfig, s.text, CASE s.search_config {rank} END,
                           'StartSel=[, StopSel=], MaxWords=30, MinWords=10')
          FROM (SELECT s.id, ts_rank(s.search, CASE s.search_config {rank} END) AS rank, count(*) OVER () AS total
                  FROM transcription_segments s JOIN transcriptions t ON t.id = s.transcription_id
                  JOIN audio_files a ON a.id = t.audio_file_id
                 WHERE ({matches}) AND s.case_id = ANY (ARRAY[{", ".join(map(str, cases))}]::bigint[])
                   AND a.deleted_at IS NULL AND NOT s.flags && '{{no_speech,repetition}}'
                   AND NOT EXISTS (SELECT FROM transcriptions v WHERE v.audio_file_id = t.audio_file_id
                                      AND v.language_id = t.language_id AND v.version > t.version)
                 ORDER BY rank DESC, s.id LIMIT {PAGE}) p
          JOIN transcription_segments s ON s.id = p.id JOIN transcriptions t ON t.id = s.transcription_id
          JOIN audio_files a ON a.id = t.audio_file_id JOIN languages l ON l.id = t.language_id
         ORDER BY p.rank DESC, p.id
    """)
    return lambda session, query: session.execute(statement, {"query": query}).all()


def measure(
    sizes: Sequence[tuple[Size, Readers]],
) -> dict[tuple[Size, str, str], tuple[float, float, int]]:
    """Return the median and 95th percentile in ms and the number of hits of each size, query and reader."""
    times: dict[tuple[Size, str, str], list[float]] = {}
    hits: dict[tuple[Size, str, str], int] = {}
    for number in range(max(size.rounds for size, _ in sizes) + 2):
        for name, query in QUERIES.items():
            for size, readers in sizes:
                for reader, (opened, ask) in readers.items():
                    with opened() as session:
                        session.connection()
                        started = time.perf_counter()
                        found = ask(session, query)
                        elapsed = (time.perf_counter() - started) * 1000
                    hits[size, name, reader] = len(found)
                    if number >= 2:  # the first rounds fill the plan, dictionary and page caches
                        times.setdefault((size, name, reader), []).append(elapsed)
    return {key: (statistics.median(each), _p95(each), hits[key]) for key, each in times.items()}


def _p95(values: Sequence[float]) -> float:
    return sorted(values)[min(len(values) - 1, round(len(values) * 0.95))]


def rivals(owner: Engine, cases: Sequence[int]) -> list[Row]:
    """Return the times of SQLite FTS5 and ILIKE for the rare word in the same texts and cases."""
    lite = sqlite3.connect(":memory:")
    lite.execute("CREATE VIRTUAL TABLE said USING fts5 (text, case_id UNINDEXED)")
    chosen = ", ".join(map(str, cases))
    fts = (
        "SELECT rowid, snippet(said, 0, '[', ']', '…', 30), bm25(said) FROM said"
        f" WHERE said MATCH ? AND case_id IN ({chosen}) ORDER BY bm25(said) LIMIT {PAGE}"
    )
    like = text(
        f"SELECT id, text FROM transcription_segments WHERE text ILIKE :w AND case_id IN ({chosen}) LIMIT {PAGE}"
    )
    everywhere = text(f"SELECT id, text FROM transcription_segments WHERE text ILIKE :w LIMIT {PAGE}")
    rows: list[Row] = []
    with owner.connect() as connection:
        said = connection.execution_options(stream_results=True).execute(
            text("SELECT text, case_id FROM transcription_segments")
        )
        lite.executemany("INSERT INTO said VALUES (?, ?)", (tuple(row) for row in said))
        for name, ask in (
            ("SQLite FTS5", lambda: lite.execute(fts, ("zanzibar",)).fetchall()),
            ("ILIKE, by hand", lambda: connection.execute(like, {"w": "%zanzibar%"}).all()),
            ("ILIKE, all cases", lambda: connection.execute(everywhere, {"w": "%zanzibar%"}).all()),
        ):
            durations = []
            for _ in range(7):
                started = time.perf_counter()
                found = ask()
                durations.append((time.perf_counter() - started) * 1000)
            rows.append(("rare word", name, len(found), statistics.median(durations), max(durations), "", ""))
    lite.close()
    return rows


@contextmanager
def populated(server: SpeechServer, size: Size) -> Iterator[tuple[Readers, list[Row]]]:
    """Yield the readers of a database of this size, and the rows of the rivals."""
    with server.copy() as url, ExitStack() as stack:
        owner = make_engine(url, PoolOptions(size=1))
        stack.callback(owner.dispose)
        plain = create_engine(url)
        stack.callback(plain.dispose)
        populate(owner, size)
        with owner.connect() as connection:
            cases = list(connection.scalars(
                text("SELECT case_id FROM case_participants p JOIN users u ON u.id = p.user_id"
                     " WHERE u.username = 'alice' ORDER BY 1")))  # fmt: skip
            configs = list(connection.scalars(
                text("SELECT DISTINCT l.search_config FROM languages l WHERE l.code = ANY (:codes) ORDER BY 1"),
                {"codes": list(LANGUAGES)}))  # fmt: skip
        if len(cases) != FEW:
            raise AssertionError(f"unexpected population: {len(cases)} cases")
        rival_rows = rivals(owner, cases) if size.rivals else []
        database = stack.enter_context(server.database(url, storage=MemoryStorage()))
        readers: Readers = {
            MEMBER: (
                lambda: database.session(actor="alice"),
                lambda session, query: search.transcripts(session, query, limit=PAGE),
            ),
            BY_HAND: (lambda: Session(plain), by_hand(cases, configs)),
        }
        yield readers, rival_rows


def finding(quick: bool) -> tuple[Sequence[str], Sequence[Row], Sequence[Goal]]:
    sizes = QUICK if quick else (SMALL, FULL, LARGE) if LARGEST else (SMALL, FULL)
    rows: list[Row] = []
    goals: list[Goal] = []
    rival_rows: list[Row] = []
    with running_server(room=ROOM if LARGEST else LEAST_ROOM) as server, ExitStack() as stack:
        ready = []
        for size in sizes:
            readers, others = stack.enter_context(populated(server, size))
            ready.append((size, readers))
            rival_rows += others
        # All sizes are queried in turn, so that load on the machine does not look like growth.
        measured = measure(ready)
    for size in sizes:
        count = f"{size.cases * SEGMENTS:,}"
        for name in QUERIES:
            ours, ours_p95, hits = measured[size, name, MEMBER]
            hand, hand_p95, same = measured[size, name, BY_HAND]
            if hits != same:
                raise AssertionError(f"{name}: {hits} hits, by hand {same}")
            rows += [
                (f"{name}, {count}", MEMBER, hits, ours, ours_p95, ours / hand, ours_p95 / hand_p95),
                (f"{name}, {count}", BY_HAND, same, hand, hand_p95, "", ""),
            ]
            if size is not sizes[0]:
                goals += [
                    Goal(f"{name}, {count}: median", ours / hand, 1.5),
                    # One millisecond is subtracted for noise of the machine.
                    Goal(f"{name}, {count}: p95 less 1 ms", (ours_p95 - 1) / hand_p95, 2),
                ]
    rare = [measured[size, "rare word", MEMBER][0] for size in sizes]
    goals.append(Goal(f"rare word: {sizes[-1].cases // sizes[0].cases} × the segments", rare[-1] / rare[0], 2))
    return ("query", "who", "hits", "median ms", "p95 ms", "ratio", "p95 ratio"), rows + rival_rows, goals


LARGEST = "--large" in sys.argv
# The space for ten million segments of twelve gigabytes, so that a server with little memory puts them on a disk.
ROOM = 40 << 30

if __name__ == "__main__":
    # Ten million segments take an hour to build.
    sys.argv = [each for each in sys.argv if each != "--large"]
    main(finding, __doc__ or "")
