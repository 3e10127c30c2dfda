"""Kill the demo and all its child processes at random times, and check that the next run succeeds."""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parent)]

from _options import main

from src.database.embedded import EmbeddedServer
from tests.examples.test_demo import Sandbox, make_sandbox, statement

# A run takes about 10 s on two idle cores; a later kill comes after its end and must be harmless.
LONGEST_LIFE_SECONDS = 14.0
KILLS_BEFORE_A_RUN = 4


def torture(rng: random.Random, rounds: int) -> list[str]:
    findings: list[str] = []
    sandbox = make_sandbox()
    kills = 0
    try:
        for number in range(1, rounds + 1):
            # Start from an empty directory every few rounds: the first start of a server is the most fragile.
            if number % 5 == 0:
                sandbox.close()
                sandbox = make_sandbox()
            for _ in range(rng.randint(1, KILLS_BEFORE_A_RUN)):
                kills += kill_once(sandbox, rng)
            findings += [f"round {number}: {finding}" for finding in findings_after_run(sandbox)]
            print(f"round {number}: {kills} kills so far, {len(findings)} findings", flush=True)
    finally:
        sandbox.close()
    return findings


def kill_once(sandbox: Sandbox, rng: random.Random) -> int:
    process, _ = sandbox.start()
    try:
        process.wait(rng.uniform(0, LONGEST_LIFE_SECONDS))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # including its transcriber and init_db
        process.wait()
        if rng.random() < 0.3 and (sandbox.server / "data" / "postmaster.pid").exists():
            kill_postmaster(sandbox)
        return 1
    return 0


def kill_postmaster(sandbox: Sandbox) -> None:
    try:
        victim = os.pidfd_open(sandbox.postmaster())
    except (ProcessLookupError, IndexError, ValueError):
        return  # it has just ended, or its pid file is being written
    try:
        signal.pidfd_send_signal(victim, signal.SIGKILL)
        # Until its exit is complete, the process still appears to be alive.
        select.select([victim], [], [], 10)
    finally:
        os.close(victim)


def findings_after_run(sandbox: Sandbox) -> list[str]:
    """Run the demo to its end and return the findings."""
    if (sandbox.server / "data").exists():
        # Otherwise the run would wait for the leases of killed workers to expire.
        table_exists = "SELECT FROM pg_tables WHERE tablename = 'processing_jobs'"
        if database_exists(sandbox) and statement(sandbox, table_exists):
            statement(sandbox, "UPDATE processing_jobs SET lease_expires_at = now() WHERE state = 'running'")
    code, said = sandbox.run()
    findings = [] if code == 0 else [f"the run after the kills ended with {code}: {said[-2000:]}"]
    if "[harbor] was [empty]" not in said:
        findings.append("the phrase was not found")
    if statement(sandbox, "SELECT FROM processing_jobs WHERE state NOT IN ('done', 'failed')"):
        findings.append("a job is not finished")
    if statement(sandbox, "SELECT FROM users WHERE username IN ('admin', 'alice', 'transcriber')") != 3:
        findings.append("a user is missing or duplicated")
    if statement(sandbox, "SELECT FROM case_statuses") != 3:
        findings.append("seeds are missing or duplicated")
    return findings + lost_recordings(sandbox)


def lost_recordings(sandbox: Sandbox) -> list[str]:
    missing = []
    audio = sandbox.folder / "audio"
    for path in audio.rglob("*.flac"):
        key = path.relative_to(audio).as_posix()
        if not statement(sandbox, f"SELECT FROM storage_objects WHERE key = '{key}'"):
            missing.append(f"the object {key} has no row in storage_objects")
    files = {path.relative_to(audio).as_posix() for path in audio.rglob("*.flac")}
    listed = "', '".join(sorted(files)) or "none"
    if statement(sandbox, f"SELECT FROM audio_files WHERE path NOT IN ('{listed}')"):
        missing.append("a recording has no stored object")
    return missing


def database_exists(sandbox: Sandbox) -> bool:
    with EmbeddedServer(sandbox.server) as server:
        return not server.ensure_database("speech_to_info")


if __name__ == "__main__":
    main(torture, __doc__ or "", rounds=40)
