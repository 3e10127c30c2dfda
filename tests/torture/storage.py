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
from tests.services.recordings.killing import judge, kill_many, read_journals, s3_options, set_stage
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
            found, counts = one_storage(server, rng, kills, backend, address)
            findings += [f"{backend}, kills {done} to {done + kills}: {finding}" for finding in found]
            done += kills
            print(f"{done} kills, {backend}: {dict(sorted(counts.items()))}, {len(findings)} findings", flush=True)
    return findings


def one_storage(
    server: SpeechServer, rng: random.Random, kills: int, backend: str, address: str
) -> tuple[list[str], Counter[str]]:
    """Kill processes on a new database and storage; return the findings and the number of operations by outcome."""
    folder = Path(tempfile.mkdtemp(prefix="sti-torture-"))
    try:
        with server.copy() as url:
            prefix = f"torture/{rng.getrandbits(64)}"
            options: dict[str, Any] = {"root": folder / "audio"} if backend == "local" else s3_options(address, prefix)
            stage = set_stage(server, url, folder, backend, options)
            if backend == "s3":
                make_bucket(stage.storage())
            kill_many(stage, rng, kills, at_once=CONCURRENCY)
            diary = read_journals(folder)
            return judge(stage, diary), diary.ended + Counter({"interrupted": diary.interrupted})
    finally:
        shutil.rmtree(folder)


def make_bucket(storage: Any) -> None:
    client = storage._bucket.client
    if not client.list_buckets()["Buckets"]:
        client.create_bucket(Bucket="speech")


if __name__ == "__main__":
    main(torture, __doc__ or "", rounds=1_000)
