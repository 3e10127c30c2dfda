"""Kill processes that ingest, archive, restore, delete and sweep concurrently; nothing may be lost or orphaned."""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parent)]

from _options import main

from src.database.testing import SpeechServer, running_server
from tests.services.recordings.crash_harness import (
    create_config,
    find_inconsistencies,
    kill_workers,
    read_journals,
    s3_options,
)
from tests.storage.s3_server import running_moto

KILLS_BETWEEN_CHECKS = 50
CONCURRENCY = 3


def torture(rng: random.Random, rounds: int) -> list[str]:
    findings: list[str] = []
    done = 0
    with running_server() as server, running_moto() as address:
        while done < rounds:
            kills = min(KILLS_BETWEEN_CHECKS, rounds - done)
            backend = ("local", "s3")[done // KILLS_BETWEEN_CHECKS % 2]
            found, counts = kill_and_check(server, rng, kills, backend, address)
            findings += [f"{backend}, kills {done} to {done + kills}: {finding}" for finding in found]
            done += kills
            print(f"{done} kills, {backend}: {dict(sorted(counts.items()))}, {len(findings)} findings", flush=True)
    return findings


def kill_and_check(
    server: SpeechServer, rng: random.Random, kills: int, backend: str, address: str
) -> tuple[list[str], Counter[str]]:
    """Kill processes on a new database and storage; return the findings and the number of operations by outcome."""
    folder = Path(tempfile.mkdtemp(prefix="sti-torture-"))
    try:
        with server.copy() as url:
            prefix = f"torture/{rng.getrandbits(64)}"
            options: dict[str, Any] = {"root": folder / "audio"} if backend == "local" else s3_options(address, prefix)
            config = create_config(server, url, folder, backend, options)
            if backend == "s3":
                create_bucket(config.open_storage())
            kill_workers(config, rng, kills, concurrency=CONCURRENCY)
            journal = read_journals(folder)
            outcomes = journal.finished + Counter({"interrupted": journal.interrupted})
            return find_inconsistencies(config, journal), outcomes
    finally:
        shutil.rmtree(folder)


def create_bucket(storage: Any) -> None:
    client = storage._bucket.client
    if not client.list_buckets()["Buckets"]:
        client.create_bucket(Bucket="speech")


if __name__ == "__main__":
    main(torture, __doc__ or "", rounds=1_000)
