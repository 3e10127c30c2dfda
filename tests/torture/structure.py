"""Every damage of the catalog: alone, in combinations, and under concurrent reads and writes.

After each round the catalog is compared with the code: no difference may remain except those with a reported reason.
During repairs, the longest wait of the writers is measured.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Self

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parent)]

from _options import main
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from src.database import Case, Database
from src.database.connection.engine import PoolOptions, make_engine
from src.database.provisioning.apply import apply
from src.database.provisioning.comparison import compare
from src.database.schema.creation import execute
from src.database.testing import SpeechServer, running_server
from src.errors import SpeechError
from src.services import cases
from src.storage import MemoryStorage
from tests.provisioning.damages import DAMAGES

GONE = {"a table dropped", "a column dropped"}
# A repair waits for the lock of a policy for at most 300 ms at a time; the rest is the load of the machine.
LONGEST_WAIT_SECONDS = 0.5
IDLE_TRANSACTION_SECONDS = 1.0


class Traffic:
    """Two sessions that write notes and one idle in transaction; records the longest wait and the failures."""

    def __init__(self, db: Database) -> None:
        self.db, self.stop = db, threading.Event()
        self.longest, self.done, self.failed = 0.0, 0, Counter[str]()
        with db.session(actor="alice") as session:
            self.case_id = cases.open_case(session, title="Busy").id
        self.threads = [threading.Thread(target=work) for work in (self.write, self.write, self.hold)]

    def __enter__(self) -> Self:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join()

    def write(self) -> None:
        while not self.stop.is_set():
            began = time.monotonic()
            try:
                with self.db.session(actor="alice") as session:
                    cases.add_note(session, session.get(Case, self.case_id), "busy")
                self.done += 1
            except (SpeechError, DBAPIError) as error:
                self.failed[str(error).splitlines()[0][:120]] += 1
            self.longest = max(self.longest, time.monotonic() - began)

    def hold(self) -> None:
        while not self.stop.is_set():
            with self.db.session(actor="alice") as session:
                session.execute(text("SELECT count(*) FROM case_notes")).all()
                self.stop.wait(IDLE_TRANSACTION_SECONDS)


def torture(rng: random.Random, rounds: int) -> list[str]:
    findings: list[str] = []
    with running_server() as server:
        findings += alone(server)
        findings += together(server, rng, rounds)
        findings += while_busy(server, rng, rounds)
    return findings


def alone(server: SpeechServer) -> list[str]:
    """Each damage alone, in a copy of an undamaged database."""
    findings, outcomes = [], Counter[str]()
    for name, damage in DAMAGES.items():
        with server.copy() as url:
            engine = make_engine(url, PoolOptions(size=2))
            damaged(engine, name)
            with engine.connect() as connection:
                if not any(damage.named in str(difference) for difference in compare(connection)):
                    findings.append(f"{name}: is not reported")
            left = apply(engine)
            outcomes["left unchanged" if left else "repaired"] += 1
            if not damage.left and left:
                findings.append(f"{name}: is not repaired: {left[0]}")
            findings += (f"{name}: is left without a reported reason: {each}" for each in left if not each.left)
            engine.dispose()
    print(f"{len(DAMAGES)} damages, one by one: {dict(outcomes)}", flush=True)
    return findings


def together(server: SpeechServer, rng: random.Random, rounds: int) -> list[str]:
    """Combinations of up to ten damages."""
    findings: list[str] = []
    repairable = [name for name in DAMAGES if not DAMAGES[name].left]
    for _ in range(rounds):
        with server.copy() as url:
            engine = make_engine(url, PoolOptions(size=2))
            done = [name for name in rng.sample(repairable, rng.randint(2, 10)) if damaged(engine, name)]
            if left := apply(engine):
                findings.append(f"{done}: {left[0]}")
            engine.dispose()
    print(f"{rounds} combinations, {len(findings)} findings", flush=True)
    return findings


def while_busy(server: SpeechServer, rng: random.Random, rounds: int) -> list[str]:
    """Damage and repair policies, triggers and functions of tables under concurrent writes."""
    findings: list[str] = []
    on_notes = ("a policy unchecked", "a policy for everybody", "text that is sampled", "a function's path changed",
                "a function for nobody", "an expression replaced")  # fmt: skip
    with server.copy() as url:
        engine = make_engine(url, PoolOptions(size=2))
        pool = PoolOptions(size=4)
        with (
            server.database(url, storage=MemoryStorage(), pool=pool) as db,
            Traffic(db) as traffic,
        ):
            for _ in range(max(3, rounds // 10)):
                # Only these three: the writers would notice the others, which weaken what they use.
                for name in rng.sample(on_notes[:3], 2):
                    damaged_while_busy(engine, name)
                findings += map(str, apply(engine))
        waited = f"the longest of {traffic.done} writes took {traffic.longest:.3f} s, {traffic.failed.total()} failed"
        print(f"busy: {waited}", flush=True)
        if traffic.failed:
            findings.append(f"writers failed during repairs: {traffic.failed.most_common(3)}")
        if traffic.longest > LONGEST_WAIT_SECONDS:
            findings.append(f"a writer waited {traffic.longest:.3f} s; the limit is {LONGEST_WAIT_SECONDS} s")
        engine.dispose()
    return findings


def damaged(engine: Engine, name: str) -> bool:
    """Apply a damage; return False if an earlier damage already removed its object."""
    try:
        with engine.begin() as connection:
            execute(connection, DAMAGES[name].statement)
    except DBAPIError:
        return False
    return True


def damaged_while_busy(engine: Engine, name: str) -> None:
    """Apply a damage under traffic with a short lock timeout, so that the writers do not wait for its lock."""
    for _ in range(100):
        try:
            with engine.begin() as connection:
                connection.exec_driver_sql("SET LOCAL lock_timeout = '50ms'")
                execute(connection, DAMAGES[name].statement)
        except DBAPIError:
            time.sleep(0.05)
        else:
            return


if __name__ == "__main__":
    main(torture, __doc__.splitlines()[0], rounds=100)
