"""Sixteen writers in four processes, each of which adds notes in a loop, one per transaction."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import URL

from src.database import Case, CaseNote, Database
from src.database.connection.actor_tokens import SigningKey
from src.database.connection.engine import PoolOptions
from src.storage import MemoryStorage

PROCESSES = 4
THREADS = 4


@dataclass(frozen=True)
class _Shared:
    """State shared by the processes: signals, and one counter per writer, so that no writer waits for a lock."""

    written: Any
    ready: Any
    stop: Any


@contextmanager
def running_writers(url: URL, key: SigningKey) -> Iterator[Callable[[], int]]:
    """Run the writers during the block; yield a function that returns the number of committed notes."""
    context = multiprocessing.get_context("fork")  # the children inherit the imported modules
    written = context.Array("q", PROCESSES * THREADS, lock=False)
    shared = _Shared(written, context.Barrier(PROCESSES + 1), context.Event())
    processes = [
        context.Process(target=_write, args=(url, key, number * THREADS, shared)) for number in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    try:
        shared.ready.wait(60)
        yield lambda: sum(written)
    finally:
        shared.stop.set()
        for process in processes:
            process.join()


def _write(url: URL, key: SigningKey, first: int, shared: _Shared) -> None:
    with Database(url, signing_key=key, storage=MemoryStorage(), pool=PoolOptions(size=THREADS)) as database:
        with database.session(actor="alice") as session:
            case = Case(title=f"Notes of writer {first}")
            session.add(case)
            session.flush()
            case_id, author_id = case.id, case.opened_by_id

        def add_notes(slot: int) -> None:
            while not shared.stop.is_set():
                with database.session(actor="alice") as session:
                    session.add(CaseNote(case_id=case_id, author_id=author_id, body="What the witness said."))
                shared.written[slot] += 1

        threads = [threading.Thread(target=add_notes, args=(first + thread,)) for thread in range(THREADS)]
        shared.ready.wait(60)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
