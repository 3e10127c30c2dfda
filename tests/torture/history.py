"""Ten thousand operations on every path, compared with a model, then a thousand tamperings, all to be detected."""

from __future__ import annotations

import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parent)]

from _options import main

from src.database.connection.engine import PoolOptions, make_engine
from src.database.testing import running_server
from src.services.history import HeadFile, SealKey
from src.storage import MemoryStorage
from tests.services.history import tampering
from tests.services.history.conftest import Sealed, live
from tests.services.history.program import Program
from tests.services.history.replay import complaints

OPERATIONS_BETWEEN_CHECKS = 1_000
# Each tampering needs a verification: one per ten operations takes about as long as the operations.
OPERATIONS_PER_TAMPERING = 10
MOST_FINDINGS = 20


def torture(rng: random.Random, rounds: int) -> list[str]:
    findings: list[str] = []
    with running_server() as server, tempfile.TemporaryDirectory() as folder:
        for work in (program, tamperings):
            with server.copy() as url:
                owner = make_engine(url, PoolOptions(size=2))
                place = Path(folder, work.__name__)
                with server.database(url, storage=MemoryStorage()) as db:
                    sealed = Sealed(db, owner, SealKey.create(place / "seal.pem"), HeadFile(place / "heads.jsonl"))
                    findings += work(sealed, rng, rounds)
                owner.dispose()
    return findings


def program(sealed: Sealed, rng: random.Random, rounds: int) -> list[str]:
    """Run operations and check every thousand: the tables, the replay, snapshots of the past, the verification."""
    running, findings = Program(sealed.db, sealed.owner, rng), []
    done = 0
    while done < rounds and len(findings) < MOST_FINDINGS:
        done = min(rounds, done + OPERATIONS_BETWEEN_CHECKS)
        running.run(done)
        findings += complaints(running, snapshots=60)
        looked = f"{len(running.moments)} moments, {len(running.seals)} seals"
        print(f"{done} operations, {looked}, {len(findings)} findings", flush=True)
    print_counts(running.counts)
    return findings


def tamperings(sealed: Sealed, rng: random.Random, rounds: int) -> list[str]:
    """Tamper in one to three ways at once, check that it is detected, and undo it."""
    findings: list[str] = []
    counts: Counter[str] = Counter()
    for _ in live(sealed.db, 8):
        sealed.seal()
    target = max(1, rounds // OPERATIONS_PER_TAMPERING)
    while counts.total() < target and len(findings) < MOST_FINDINGS:
        # Tamperings of seals and of rows run alone: they change what the others are verified against.
        kind = rng.choice([tampering.ON_ENTRIES, tampering.ON_ENTRIES, tampering.ON_SEALS, tampering.ON_ROWS])
        tamperings_at_once = rng.sample(kind, rng.randint(1, 3) if kind is tampering.ON_ENTRIES else 1)
        findings += tampering.unnoticed(sealed.owner, rng, tamperings_at_once, sealed.key, sealed.heads)
        counts.update(each.__name__ for each in tamperings_at_once)
    if not (report := sealed.verify()).ok:
        findings.append(f"after the tamperings were undone: {report}")
    print(f"{counts.total()} tamperings, {len(findings)} findings", flush=True)
    print_counts(counts)
    return findings


def print_counts(counts: Counter[str]) -> None:
    for kind, count in sorted(counts.items()):
        print(f"  {count:6} {kind}")


if __name__ == "__main__":
    main(torture, __doc__ or "", rounds=10_000)
