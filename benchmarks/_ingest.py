"""The duration of each step of an ingest: storing, decoding, announcing, inserting the row, and capturing history."""

from __future__ import annotations

import os
import statistics
import time
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, text

from src.database import Case, Database
from src.database.connection.engine import PoolOptions, make_engine
from src.database.testing import running_server
from src.services import cases, recordings
from src.services.recordings import context, ingestion
from src.storage import LocalStorage

RATE = 16_000
# The functions of the ingestion module that are timed, and their descriptions.
STEPS = {
    "announce": "announced in a commit of its own",
    "facts_of": "probe in a child",
    "stored": "bytes, durable",
}


def ingest_parts(folder: Path, minutes: int, rounds: int) -> list[tuple[str, str, str, str]]:
    """Ingest a recording of that many minutes `rounds` times; return rows of medians."""
    source = folder / "interview.wav"
    with wave.open(os.fspath(source), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        for _ in range(minutes):
            file.writeframes(os.urandom(2 * RATE * 60))
    mebibytes = source.stat().st_size / 1024 / 1024
    with running_server() as server, server.copy() as url:
        owner = make_engine(url, PoolOptions(size=1))
        storage = LocalStorage(folder / "kept")
        with server.database(url, storage=storage) as database:
            captured, bare = _measured(database, owner, source, rounds)
        owner.dispose()
    steps = [(name, captured[step], "") for step, name in STEPS.items()]
    steps.append(("row, adopted object, log entry, commit", bare["rest"], "without history"))
    steps.append(("history", captured["rest"] - bare["rest"], "of the row, by a trigger: a difference of medians"))
    steps.append(("the whole", captured["whole"], f"{mebibytes / captured['whole']:.1f} MiB/s"))
    # A difference of two medians may round to -0.0; adding 0.0 removes the sign.
    title = f"ingest of {minutes} minutes, {mebibytes:.0f} MiB"
    return [(f"{title}: {name}", f"{round(seconds, 4) + 0.0:.4f}", "", remark) for name, seconds, remark in steps]


def _measured(
    database: Database, owner: Engine, source: Path, rounds: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the median seconds of each step, of the whole and of the rest: with history and without."""
    with database.session(actor="alice") as session:
        case = cases.open_case(session, title="Measured")
    durations: dict[str, list[dict[str, float]]] = {"ENABLE ALWAYS": [], "DISABLE": []}
    for _ in range(rounds + 1):
        # In turn, so that load on the machine affects both.
        for state, runs in durations.items():
            with owner.begin() as connection:
                connection.execute(text(f"ALTER TABLE audio_files {state} TRIGGER capture"))
            runs.append(_once(database, case, source))
    # The first round opens connections and creates folders; it is not counted.
    with_history, without = (
        {step: statistics.median(seconds[step] for seconds in runs[1:]) for step in runs[0]}
        for runs in durations.values()
    )
    return with_history, without


def _once(database: Database, case: Case, source: Path) -> dict[str, float]:
    seconds: dict[str, float] = {}
    with _watched(seconds):
        started = time.perf_counter()
        with database.session(actor="alice") as session:
            recordings.ingest(session, case, source)
        seconds["whole"] = time.perf_counter() - started
    seconds["rest"] = seconds["whole"] - sum(seconds[step] for step in STEPS)
    return seconds


@contextmanager
def _watched(seconds: dict[str, float]) -> Iterator[None]:
    """Record the duration of each step."""
    modules = {"announce": context, "facts_of": ingestion, "stored": ingestion}
    steps = {step: getattr(modules[step], step) for step in STEPS}
    for name, step in steps.items():
        setattr(modules[name], name, _timed(name, step, seconds))
    try:
        yield
    finally:
        for name, step in steps.items():
            setattr(modules[name], name, step)


def _timed(name: str, step: Callable[..., Any], seconds: dict[str, float]) -> Callable[..., Any]:
    def timed(*arguments: Any, **options: Any) -> Any:
        started = time.perf_counter()
        try:
            return step(*arguments, **options)
        finally:
            seconds[name] = time.perf_counter() - started

    return timed
