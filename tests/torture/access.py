"""Thousands of concurrent hostile attempts, from every kind of session, on a case of another user.

After them, as many probes of the order of conditions: what the plan, the counters, the time and the result of a query
show of a condition on a row that the caller may not see.
"""

from __future__ import annotations

import logging
import random
import statistics
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parent)]

from _options import main
from sqlalchemy import Engine, text

from src.database import Database
from src.database.connection.actor_tokens import Actor
from src.database.connection.engine import PoolOptions, make_engine
from src.database.schema.objects import MEMBER_ROLES
from src.database.testing import running_server
from src.storage import MemoryStorage
from tests.security.hostile import CAST, Intruder, Stage, set_stage
from tests.security.hostile_attempts import attempt
from tests.security.policy_probes import difference_of, hidden_rows, observe, probes, remains
from tests.security.population import core

SESSIONS_AT_ONCE = 6
ATTEMPTS_BETWEEN_CHECKS = 500
MOST_FINDINGS = 50
# A member of one case, a user without cases, and nobody.
PROBING = ("alice", "transcriber", None)


def torture(rng: random.Random, rounds: int) -> list[str]:
    logging.getLogger("src.database").setLevel(logging.ERROR)  # suppresses thousands of warnings about unknown actors
    findings: list[str] = []
    counts: Counter[str] = Counter()
    with running_server() as server, server.copy() as url:
        owner = make_engine(url, PoolOptions(size=2))
        pool = PoolOptions(size=2 * SESSIONS_AT_ONCE + 2, max_overflow=4)
        with server.database(url, storage=MemoryStorage(), pool=pool) as db:
            stage = set_stage(db, owner)
            before = stage.fingerprint()
            done = 0
            while done < rounds and len(findings) < MOST_FINDINGS:
                batch = min(ATTEMPTS_BETWEEN_CHECKS, rounds - done)
                findings += run_batch(stage, [rng.getrandbits(64) for _ in range(batch)], counts)
                done += batch
                after = stage.fingerprint()
                findings += [f"{what} changed in attempts {done - batch} to {done}" for what in after
                             if after[what] != before[what]]  # fmt: skip
                before = after
                print(f"{done} attempts, {len(findings)} findings", flush=True)
            findings += probe_conditions(db, owner, rng, rounds)
        owner.dispose()
    for kind, count in sorted(counts.items()):
        print(f"  {count:6} {kind}")
    return findings


def run_batch(stage: Stage, seeds: list[int], counts: Counter[str]) -> list[str]:
    """Run one attempt per seed, several at a time, while the owner of the attacked case reads it."""
    lock, finished = threading.Lock(), threading.Event()

    def one(seed: int) -> list[str]:
        rng = random.Random(seed)
        intruder = Intruder(stage, rng.choice(list(CAST)), rng)
        kind = attempt(intruder)
        with lock:
            counts.update([kind, f"as {intruder.role}"])
        return [f"{finding} (attempt {seed})" for finding in intruder.findings]

    def read_as_owner() -> int:
        rounds = 0
        while not finished.is_set():
            with core(stage.db, Actor("bob")) as connection:
                assert connection.scalar(text("SELECT count(*) FROM case_notes")) == 1
                # No event of the intruder takes the history of the case from its owner.
                own = text("SELECT public.case_of_entries('cases', :case)")
                assert connection.scalar(own, {"case": stage.other}) == stage.other
            rounds += 1
        return rounds

    with ThreadPoolExecutor(SESSIONS_AT_ONCE + 1) as threads:
        victim = threads.submit(read_as_owner)
        try:
            found = [finding for findings in threads.map(one, seeds) for finding in findings]
        finally:
            finished.set()
        counts["the other case's owner reads"] += victim.result()
    return found


def probe_conditions(db: Database, owner: Engine, rng: random.Random, most: int) -> list[str]:
    """Probe random pairs of a condition and a form of query, for each role and for sessions with and without cases."""
    with owner.connect() as connection:
        hidden = hidden_rows(connection)
        found = probes(connection, hidden)
    findings: list[str] = []
    timed: dict[bool, list[float]] = {True: [], False: []}
    for name in PROBING:
        for role in MEMBER_ROLES:
            chosen = rng.sample(found, min(len(found), most // (len(PROBING) * len(MEMBER_ROLES)) + 1))
            with core(db, Actor(name), role) as connection:
                for condition, shape in chosen:
                    row = hidden[condition.table]
                    difference = difference_of(connection, condition, shape, row)
                    if difference is not None and not remains(condition, shape, is_wide=False):
                        findings.append(f"{name}, {role}, {shape.name}: {condition}: {difference}")
                    if shape.name == "scan":
                        for holds in (True, False):
                            started = time.perf_counter()
                            observe(
                                connection, shape, condition.true if holds else condition.false, condition.table, row
                            )
                            timed[holds].append(time.perf_counter() - started)
            print(f"{len(chosen)} probes of {name} as {role}, {len(findings)} findings", flush=True)
    true, false = (statistics.median(times) * 1e6 for times in (timed[True], timed[False]))
    print(f"median time of a scan: {true:.0f} µs with a true condition, {false:.0f} µs with a false one")
    return findings


if __name__ == "__main__":
    main(torture, __doc__ or "", rounds=20_000)
