"""Every damage of the catalog from a whole database, in combinations, and while writers and readers work on the tables.

After each round the catalog is compared with the code: differences may remain only with a stated reason.
While it is mended, writers say how long the longest of them waited.
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
# The lock that a policy needs is waited for at most 300 ms at a time; what is above that is the machine.
LONGEST_WAIT_SECONDS = 0.5
HOLDERS_SECONDS = 1.0


class Traffic:
    """Two sessions that write notes, one that holds its transaction open: how long each waited, and what failed."""

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
                self.stop.wait(HOLDERS_SECONDS)


def torture(chance: random.Random, rounds: int) -> list[str]:
    findings: list[str] = []
    with running_server() as server:
        findings += alone(server)
        findings += together(server, chance, rounds)
        findings += while_busy(server, chance, rounds)
    return findings


def alone(server: SpeechServer) -> list[str]:
    """Each damage by itself, from a whole database."""
    findings, outcomes = [], Counter[str]()
    for name, damage in DAMAGES.items():
        with server.copy() as url:
            engine = make_engine(url, PoolOptions(size=2))
            damaged(engine, name)
            with engine.connect() as connection:
                if not any(damage.named in str(one) for one in compare(connection)):
                    findings.append(f"{name}: is not named")
            left = apply(engine)
            outcomes["left alone" if left else "mended"] += 1
            if not damage.left and left:
                findings.append(f"{name}: is not mended: {left[0]}")
            findings += (f"{name}: is left without a reason: {one}" for one in left if not one.left)
            engine.dispose()
    print(f"{len(DAMAGES)} damages, one by one: {dict(outcomes)}", flush=True)
    return findings


def together(server: SpeechServer, chance: random.Random, rounds: int) -> list[str]:
    """Up to ten damages at once."""
    findings: list[str] = []
    mendable = [name for name in DAMAGES if not DAMAGES[name].left]
    for _ in range(rounds):
        with server.copy() as url:
            engine = make_engine(url, PoolOptions(size=2))
            done = [name for name in chance.sample(mendable, chance.randint(2, 10)) if damaged(engine, name)]
            if left := apply(engine):
                findings.append(f"{done}: {left[0]}")
            engine.dispose()
    print(f"{rounds} combinations, {len(findings)} findings", flush=True)
    return findings


def while_busy(server: SpeechServer, chance: random.Random, rounds: int) -> list[str]:
    """Policies, triggers and functions of the tables that everybody writes to, mended meanwhile."""
    findings: list[str] = []
    on_notes = ("a policy unchecked", "a policy for everybody", "text that is sampled", "a function's path changed",
                "a function for nobody", "an expression replaced")  # fmt: skip
    with server.copy() as url:
        engine = make_engine(url, PoolOptions(size=2))
        pool = PoolOptions(size=4)
        with (
            Database(server.serving_url(url), signing_key=server.signing_key, storage=MemoryStorage(), pool=pool) as db,
            Traffic(db) as traffic,
        ):
            for _ in range(max(3, rounds // 10)):
                # What weakens would be noticed by the writers; what only differs is not.
                for name in chance.sample(on_notes[:3], 2):
                    damaged_while_busy(engine, name)
                findings += map(str, apply(engine))
        waited = f"the longest of {traffic.done} writes took {traffic.longest:.3f} s, {traffic.failed.total()} failed"
        print(f"busy: {waited}", flush=True)
        if traffic.failed:
            findings.append(f"writers failed while the catalog was mended: {traffic.failed.most_common(3)}")
        if traffic.longest > LONGEST_WAIT_SECONDS:
            findings.append(f"a writer waited {traffic.longest:.3f} s, more than {LONGEST_WAIT_SECONDS}")
        engine.dispose()
    return findings


def damaged(engine: Engine, name: str) -> bool:
    """Do a damage; False where an earlier one took along what it damages."""
    try:
        with engine.begin() as connection:
            execute(connection, DAMAGES[name].statement)
    except DBAPIError:
        return False
    return True


def damaged_while_busy(engine: Engine, name: str) -> None:
    """Do a damage beside traffic as politely as it is mended: its lock must not be what the writers wait for."""
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
