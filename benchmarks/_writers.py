"""Sixteen writers in four processes, each of which adds a note in a transaction of its own, again and again."""

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
    """What the processes have in common: a slot for each writer, so that none waits for another's lock, and signals."""

    written: Any
    ready: Any
    stop: Any


@contextmanager
def running_writers(url: URL, key: SigningKey) -> Iterator[Callable[[], int]]:
    """Keep writers writing while the block runs; yields a function that counts the committed notes."""
    context = multiprocessing.get_context("fork")  # what is imported already is not imported once more by each
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
            number, author = case.id, case.opened_by_id

        def add_notes(slot: int) -> None:
            while not shared.stop.is_set():
                with database.session(actor="alice") as session:
                    session.add(CaseNote(case_id=number, author_id=author, body="What the witness said."))
                shared.written[slot] += 1

        threads = [threading.Thread(target=add_notes, args=(first + thread,)) for thread in range(THREADS)]
        shared.ready.wait(60)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
