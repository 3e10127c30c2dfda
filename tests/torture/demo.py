"""Kill the demo with everything it started, at any moment of its life, and see that the next run works."""

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
from tests.examples.test_demo import Place, make_place, statement

# A run takes some 10 s on two idle cores; the last kills come after its end, which must be harmless too.
LONGEST_LIFE_SECONDS = 14.0
KILLS_BEFORE_A_RUN = 4


def torture(chance: random.Random, rounds: int) -> list[str]:
    findings: list[str] = []
    place = make_place()
    kills = 0
    try:
        for number in range(1, rounds + 1):
            # From nothing every few rounds: the first seconds of a server's life are the most delicate ones.
            if number % 5 == 0:
                place.close()
                place = make_place()
            for _ in range(chance.randint(1, KILLS_BEFORE_A_RUN)):
                kills += kill_once(place, chance)
            findings += [f"round {number}: {what}" for what in complain(place)]
            print(f"round {number}: {kills} kills so far, {len(findings)} findings", flush=True)
    finally:
        place.close()
    return findings


def kill_once(place: Place, chance: random.Random) -> int:
    process, _ = place.start()
    try:
        process.wait(chance.uniform(0, LONGEST_LIFE_SECONDS))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # with its transcriber and its set-up
        process.wait()
        if chance.random() < 0.3 and (place.server / "data" / "postmaster.pid").exists():
            kill_postmaster(place)
        return 1
    return 0


def kill_postmaster(place: Place) -> None:
    try:
        victim = os.pidfd_open(place.postmaster())
    except (ProcessLookupError, IndexError, ValueError):
        return  # it has just ended, or is just being written down
    try:
        signal.pidfd_send_signal(victim, signal.SIGKILL)
        # Until the kernel has removed the process it still looks alive, for about a millisecond.
        select.select([victim], [], [], 10)
    finally:
        os.close(victim)


def complain(place: Place) -> list[str]:
    """Run the demo to its end and return what is wrong afterwards."""
    if (place.server / "data").exists():
        # What the killed had claimed would be waited for as long as their leases last.
        with_schema = "SELECT FROM pg_tables WHERE tablename = 'processing_jobs'"
        if database_exists(place) and statement(place, with_schema):
            statement(place, "UPDATE processing_jobs SET lease_expires_at = now() WHERE state = 'running'")
    code, said = place.run()
    wrong = [] if code == 0 else [f"the run after the kills ended with {code}: {said[-2000:]}"]
    if "[harbor] was [empty]" not in said:
        wrong.append("the phrase was not found")
    if statement(place, "SELECT FROM processing_jobs WHERE state NOT IN ('done', 'failed')"):
        wrong.append("a job was left behind")
    if statement(place, "SELECT FROM users WHERE username IN ('admin', 'alice', 'transcriber')") != 3:
        wrong.append("a user is missing, or there twice")
    if statement(place, "SELECT FROM case_statuses") != 3:
        wrong.append("the seeds are not one set")
    return wrong + lost_recordings(place)


def lost_recordings(place: Place) -> list[str]:
    missing = []
    audio = place.folder / "audio"
    for path in audio.rglob("*.flac"):
        key = path.relative_to(audio).as_posix()
        if not statement(place, f"SELECT FROM storage_objects WHERE key = '{key}'"):
            missing.append(f"the bytes {key} have no row")
    files = {path.relative_to(audio).as_posix() for path in audio.rglob("*.flac")}
    listed = "', '".join(sorted(files)) or "none"
    if statement(place, f"SELECT FROM audio_files WHERE path NOT IN ('{listed}')"):
        missing.append("a recording has no bytes")
    return missing


def database_exists(place: Place) -> bool:
    with EmbeddedServer(place.server) as server:
        return not server.ensure_database("speech_to_info")


if __name__ == "__main__":
    main(torture, __doc__ or "", rounds=40)
