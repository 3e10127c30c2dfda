"""The main job, end to end: a recording goes in, a recogniser of its own picks it up, its words come out searchable.

    make demo
    make demo AUDIO=/path/to/recording

Sets up what is missing (an embedded PostgreSQL unless .env names a server, migrations, seeds, users) and may be killed
at any moment: the next run takes over what it finds. Exit code 0: done; 1: it went wrong; 3: something outside, such as
the server, is missing.
"""

from __future__ import annotations

import argparse
import os
import secrets
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs from a checkout that nobody installed

from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError

from src.config import Settings, load_settings
from src.database import AudioFile, Case, Database, ProcessingJob, TranscriptionSegment
from src.database.connection.addresses import key_path, owner_url
from src.database.connection.driver_errors import translate
from src.errors import NotFound, SpeechError, Unavailable
from src.services import accounts, activity, analyses, cases, recordings, search, transcripts, work

ROOT = Path(__file__).resolve().parents[1]

# harbour.txt, spoken by `espeak-ng -v en-us+klatt -s 150 -p 30` line by line with half a second between the lines,
# resampled to 16 kHz, under white noise of 40 in 32768: recognisers expect background noise, not digital silence.
RECORDING = ROOT / "examples" / "harbour.flac"
PHRASE = "harbor was empty"

ADMINISTRATOR, PERSON, SERVICE = "admin", "alice", "transcriber"
# A second of speech costs half a second of work; beyond this the recogniser hangs, or the machine is far too busy.
PATIENCE_SECONDS, PATIENCE_PER_SECOND = 180, 10


class DemoError(Exception):
    """The demo cannot go on; the text says why, the code is what to exit with."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


def demo(recording: Path, phrase: str | None) -> None:
    """Run the main job on a recording; search `phrase` afterwards, or one that was heard."""
    if not recording.is_file():
        raise DemoError(f"There is no file {recording}.")
    settings = load_settings()
    heading("Setting up")
    # Held from here to the end: the programs below find the server running.
    url = owner_url(settings)
    server = str(url.query.get("host") or url.host)
    say(f"PostgreSQL at {server}")
    set_up()
    with Database.from_env(settings) as db:
        add_users(db)
        heading(f"A case, and {recording.name} in it")
        case, audio, job = take_in(db, recording, language="en" if recording == RECORDING else None)
        heading("A transcriber, in a process of its own")
        transcribe(db, job, audio)
        show_analysis(db, audio)
        heading("Searching")
        show_hits(db, case, [phrase] if phrase else phrases(db, audio))
        heading("What happened to the case")
        show_timeline(db, case)
        heading("Where everything is")
        show_places(settings, server, case)


def set_up() -> None:
    """Run the mission's own command, which migrates, seeds and makes the first administrator."""
    # Nobody will know this password: administrators of a demo do not sign in.
    environment = child_environment() | {"ADMIN_PASSWORD": secrets.token_urlsafe(16)}
    command = [sys.executable, "-m", "src.database.scripts.init_db", "--admin", ADMINISTRATOR]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            say(line.rstrip())
    if process.returncode:
        # Its own sentence is on stderr already.
        raise DemoError("The database could not be set up.", 3 if process.returncode == 3 else 1)


def add_users(db: Database) -> None:
    for name, role in ((PERSON, "user"), (SERVICE, "service")):
        with db.session(actor=ADMINISTRATOR) as session:
            try:
                accounts.find_user(session, name)
            except NotFound:
                accounts.create_user(session, username=name, role=role)
                say(f"user {name} ({role}): created")


def take_in(db: Database, recording: Path, *, language: str | None) -> tuple[Case, AudioFile, ProcessingJob]:
    """Open a case, store the recording, ask for its transcription: all of it or nothing."""
    with db.session(actor=PERSON, reason="make demo") as session:
        case = cases.open_case(session, title=f"Demo: {recording.name}", priority="high")
        audio = recordings.ingest(session, case, recording, language=language)
        # Before what others queued; what a killed demo left comes first, since it waits for longer.
        job = work.enqueue(session, audio, "transcribe", priority=1)
        seconds = (audio.duration_ms or 0) / 1000
        say(f"case {case.case_code}, opened by {PERSON}")
        say(f"{audio.name}: {seconds:.1f} s, {audio.codec}, {audio.sample_rate_hz} Hz, {audio.size_bytes:,} bytes")
        say(f"sha256 {audio.sha256}")
    return case, audio, job


def transcribe(db: Database, job: ProcessingJob, audio: AudioFile) -> None:
    """Start transcribers until the job is done. Raises DemoError when it failed or takes too long."""
    deadline = time.monotonic() + PATIENCE_SECONDS + PATIENCE_PER_SECOND * (audio.duration_ms or 0) / 1000
    command = [sys.executable, str(ROOT / "examples" / "transcribe.py"), "--once", "--actor", SERVICE]
    waiting = False
    while (state := state_of(db, job)).name != "done":
        if state.name == "failed" or state.error:
            raise DemoError(f"The recording could not be transcribed: {state.error}")
        if time.monotonic() > deadline:
            raise DemoError(f"{audio.name} is not transcribed yet; its job stays in the queue for the next run.")
        if state.lease_seconds > 0:
            if not waiting:
                say(f"another transcriber has the job; if it died, its lease ends in {state.lease_seconds:.0f} s")
                waiting = True
            time.sleep(0.5)
            continue
        # A process for each job: what an earlier run left in the queue is done first, and seen to be done.
        with subprocess.Popen(command, env=child_environment()) as worker:
            try:
                code = worker.wait(timeout=max(deadline - time.monotonic(), 1))
            except subprocess.TimeoutExpired:
                worker.kill()
                continue
        if code == 3:
            raise DemoError("The transcriber could not work.", 3)


class State(NamedTuple):
    """How far a job is; `lease_seconds` is how long a worker still has it, 0 when none does."""

    name: str
    error: str | None
    lease_seconds: float


def state_of(db: Database, job: ProcessingJob) -> State:
    left = func.extract("epoch", ProcessingJob.lease_expires_at - func.clock_timestamp())
    columns = (ProcessingJob.state, ProcessingJob.error_message, func.greatest(func.coalesce(left, 0), 0))
    with db.session(actor=PERSON) as session:
        return State(*session.execute(select(*columns).where(ProcessingJob.id == job.id)).one())


def show_analysis(db: Database, audio: AudioFile) -> None:
    with db.session(actor=PERSON) as session:
        text, meaning = transcripts.latest(session, audio), analyses.latest(session, audio)
        if text is None or meaning is None:
            raise DemoError("The job is done, but there is no transcription; see the activity log.")
        certain = "" if text.confidence is None else f", {text.confidence:.0%} certain"
        say(
            f"version {text.version} by {text.model_name} {text.model_version}{certain}: {text.content or '(no words)'}"
        )
        mood = "unknown" if meaning.sentiment is None else meaning.sentiment.name.lower()
        say(f"in short: {meaning.summary or '(nothing)'} ({mood})")


def phrases(db: Database, audio: AudioFile) -> list[str]:
    """Return two words that follow each other, for every such place in the text; what was heard best comes first."""
    with db.session(actor=PERSON) as session:
        text = transcripts.latest(session, audio)
        spoken = select(TranscriptionSegment).where(TranscriptionSegment.transcription_id == (text.id if text else 0))
        words = [segment.words or [] for segment in session.scalars(spoken)]
    # Long words first: short ones are often too common for any search.
    pairs = [pair for segment in words for pair in pairwise(segment)]
    pairs.sort(key=lambda pair: min(word.get("confidence", 0) * len(word["text"]) for word in pair), reverse=True)
    return [f"{first['text']} {second['text']}" for first, second in pairs[:20]]


def show_hits(db: Database, case: Case, wanted: list[str]) -> None:
    """Search the first of the phrases that is found."""
    with db.session(actor=PERSON) as session:
        for phrase in wanted:
            hits = search.transcripts(session, f'"{phrase}"', case=case, limit=5)
            if not hits:
                continue
            say(f'"{phrase}"')
            for hit in hits:
                say(f"{clock(hit.start)}  {hit.snippet}  ({hit.audio_name})")
            everywhere = len(search.transcripts(session, f'"{phrase}"', limit=1000))
            if everywhere > len(hits):
                say(f"and {everywhere - len(hits)} more in other cases of {PERSON}")
            return
    if wanted:
        raise DemoError(f'Nothing was found for "{wanted[0]}".')
    say("no words were heard, so there is nothing to find")


def show_timeline(db: Database, case: Case) -> None:
    with db.session(actor=PERSON) as session:
        for entry in activity.feed(session, case=case):
            say(f"{entry.at.astimezone():%H:%M:%S}  {entry}")


def show_places(settings: Settings, server: str, case: Case) -> None:
    say(f"database    {settings.postgres_db} on {server}")
    say(f"recordings  {settings.audio_storage_root / 'cases' / str(case.id)}")
    say(f"key file    {key_path(settings)}")
    say("Run it again, or with your own recording: make demo AUDIO=/path/to/recording")


def child_environment() -> dict[str, str]:
    """Return an environment in which our programs import this checkout, wherever they are started."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path}


def clock(seconds: float | None) -> str:
    return "?:??" if seconds is None else f"{seconds // 60:.0f}:{seconds % 60:04.1f}"


def heading(text: str) -> None:
    print(f"\n{text}", flush=True)


def say(text: str) -> None:
    print(f"  {text}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the main job, end to end.")
    parser.add_argument("audio", nargs="?", type=Path, default=RECORDING, help="your own recording")
    recording = parser.parse_args().audio
    try:
        demo(recording, PHRASE if recording == RECORDING else None)
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return error.code
    except (SpeechError, DBAPIError) as error:
        meant = translate(error) if isinstance(error, DBAPIError) else error
        print(f"demo: {meant or error}", file=sys.stderr)
        return 3 if isinstance(meant, Unavailable) else 1
    except KeyboardInterrupt:
        print("demo: stopped; run it again to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
