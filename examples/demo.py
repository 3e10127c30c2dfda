"""The main workflow, end to end: store a recording, transcribe it in a separate process, search its words.

    make demo
    make demo AUDIO=/path/to/recording

Sets up what is missing: an embedded PostgreSQL (unless .env names a server), migrations, seeds and users. May be killed
at any time; the next run continues from the stored state. Exit code 0: done; 1: failed; 3: an external dependency, such
as the server, is missing.
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

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also runs from a checkout that is not installed

from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError

from src.config import Settings, load_settings
from src.database import AudioFile, Case, Database, ProcessingJob, TranscriptionSegment
from src.database.connection.addresses import key_path, owner_url
from src.database.connection.driver_errors import translate
from src.errors import NotFound, SpeechError, Unavailable
from src.maintenance.terminal import printable
from src.services import accounts, activity, analyses, cases, recordings, search, transcripts, work

ROOT = Path(__file__).resolve().parents[1]

# harbour.txt, spoken by `espeak-ng -v en-us+klatt -s 150 -p 30` line by line with half a second between the lines,
# resampled to 16 kHz, with white noise of amplitude 40 of 32768: recognisers are trained on recordings with noise.
RECORDING = ROOT / "examples" / "harbour.flac"
PHRASE = "harbor was empty"

ADMINISTRATOR, PERSON, SERVICE = "admin", "alice", "transcriber"
# Recognition takes half a second per second of speech; beyond this limit the recogniser hangs or the machine is busy.
PATIENCE_SECONDS, PATIENCE_PER_SECOND = 180, 10


class DemoError(Exception):
    """The demo cannot continue; the message is the reason, `code` is the exit code."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


def demo(recording: Path, phrase: str | None) -> None:
    """Run the workflow on a recording, then search for `phrase`, or for a phrase of the transcription."""
    if not recording.is_file():
        raise DemoError(f"File not found: {recording}.")
    settings = load_settings()
    heading("Setting up")
    # This process uses the server until it exits, so the programs below find it running.
    url = owner_url(settings)
    server = str(url.query.get("host") or url.host)
    say(f"PostgreSQL at {server}")
    set_up()
    with Database.from_env(settings) as db:
        add_users(db)
        heading(f"A case, and {recording.name} in it")
        case, audio, job = store_recording(db, recording, language="en" if recording == RECORDING else None)
        heading("Transcribing, in a separate process")
        transcribe(db, job, audio)
        show_analysis(db, audio)
        heading("Searching")
        show_hits(db, case, [phrase] if phrase else phrases(db, audio))
        heading("Activity of the case")
        show_timeline(db, case)
        heading("Locations")
        show_locations(settings, server, case)


def set_up() -> None:
    """Run init_db, which migrates, applies seeds and creates the first administrator."""
    # A random password that is not shown: the administrator of the demo does not sign in.
    environment = child_environment() | {"ADMIN_PASSWORD": secrets.token_urlsafe(16)}
    command = [sys.executable, "-m", "src.database.scripts.init_db", "--admin", ADMINISTRATOR]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            say(line.rstrip())
    if process.returncode:
        # init_db has already written the reason to stderr.
        raise DemoError("init_db failed; see its message above.", 3 if process.returncode == 3 else 1)


def add_users(db: Database) -> None:
    for name, role in ((PERSON, "user"), (SERVICE, "service")):
        with db.session(actor=ADMINISTRATOR) as session:
            try:
                accounts.find_user(session, name)
            except NotFound:
                accounts.create_user(session, username=name, role=role)
                say(f"user {name} ({role}): created")


def store_recording(db: Database, recording: Path, *, language: str | None) -> tuple[Case, AudioFile, ProcessingJob]:
    """Open a case, store the recording and enqueue its transcription, in one transaction."""
    with db.session(actor=PERSON, reason="make demo") as session:
        case = cases.open_case(session, title=f"Demo: {recording.name}", priority="high")
        audio = recordings.ingest(session, case, recording, language=language)
        # Ahead of the jobs of others; jobs of a killed demo have the same priority and are older.
        job = work.enqueue(session, audio, "transcribe", priority=1)
        seconds = (audio.duration_ms or 0) / 1000
        say(f"case {case.case_code}, opened by {PERSON}")
        say(f"{audio.name}: {seconds:.1f} s, {audio.codec}, {audio.sample_rate_hz} Hz, {audio.size_bytes:,} bytes")
        say(f"sha256 {audio.sha256}")
    return case, audio, job


def transcribe(db: Database, job: ProcessingJob, audio: AudioFile) -> None:
    """Start transcribers until the job is done. Raises DemoError if it fails or takes too long."""
    deadline = time.monotonic() + PATIENCE_SECONDS + PATIENCE_PER_SECOND * (audio.duration_ms or 0) / 1000
    command = [sys.executable, str(ROOT / "examples" / "transcribe.py"), "--once", "--actor", SERVICE]
    waiting = False
    while (state := state_of(db, job)).name != "done":
        if state.name == "failed" or state.error:
            raise DemoError(f"Transcription failed: {state.error}")
        if time.monotonic() > deadline:
            raise DemoError(f"{audio.name} is not transcribed yet; its job stays in the queue. Run the demo again.")
        if state.lease_seconds > 0:
            if not waiting:
                say(f"another transcriber holds the job; if it crashed, its lease ends in {state.lease_seconds:.0f} s")
                waiting = True
            time.sleep(0.5)
            continue
        # One process per job: jobs that an earlier run left in the queue are done first.
        with subprocess.Popen(command, env=child_environment()) as worker:
            try:
                code = worker.wait(timeout=max(deadline - time.monotonic(), 1))
            except subprocess.TimeoutExpired:
                worker.kill()
                continue
        if code == 3:
            raise DemoError("The transcriber failed; see its message above.", 3)


class State(NamedTuple):
    """The state of a job; `lease_seconds` is the remaining time of its lease, 0 without one."""

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
        text, analysis = transcripts.latest(session, audio), analyses.latest(session, audio)
        if text is None or analysis is None:
            raise DemoError("The job is done, but the transcription is missing; see the activity log.")
        confidence = "" if text.confidence is None else f", confidence {text.confidence:.0%}"
        model = f"{text.model_name} {text.model_version}"
        say(f"version {text.version} by {model}{confidence}: {text.content or '(no words)'}")
        sentiment = "unknown" if analysis.sentiment is None else analysis.sentiment.name.lower()
        say(f"summary: {analysis.summary or '(none)'} (sentiment: {sentiment})")


def phrases(db: Database, audio: AudioFile) -> list[str]:
    """Return up to 20 pairs of consecutive words of the transcription, the most reliable first."""
    with db.session(actor=PERSON) as session:
        text = transcripts.latest(session, audio)
        spoken = select(TranscriptionSegment).where(TranscriptionSegment.transcription_id == (text.id if text else 0))
        words = [segment.words or [] for segment in session.scalars(spoken)]
    # Long words first: short words are often stop words.
    pairs = [pair for segment in words for pair in pairwise(segment)]
    pairs.sort(key=lambda pair: min(word.get("confidence", 0) * len(word["text"]) for word in pair), reverse=True)
    return [f"{first['text']} {second['text']}" for first, second in pairs[:20]]


def show_hits(db: Database, case: Case, candidates: list[str]) -> None:
    """Print the hits of the first phrase that has any."""
    with db.session(actor=PERSON) as session:
        for phrase in candidates:
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
    if candidates:
        raise DemoError(f'No hits for "{candidates[0]}".')
    say("the transcription has no words to search for")


def show_timeline(db: Database, case: Case) -> None:
    with db.session(actor=PERSON) as session:
        for entry in activity.feed(session, case=case):
            say(f"{entry.at.astimezone():%H:%M:%S}  {entry}")


def show_locations(settings: Settings, server: str, case: Case) -> None:
    say(f"database    {settings.postgres_db} on {server}")
    say(f"recordings  {settings.audio_storage_root / 'cases' / str(case.id)}")
    say(f"key file    {key_path(settings)}")
    say("Run it again, or with your own recording: make demo AUDIO=/path/to/recording")


def child_environment() -> dict[str, str]:
    """Return an environment in which programs import this checkout from any working directory."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path}


def clock(seconds: float | None) -> str:
    return "?:??" if seconds is None else f"{seconds // 60:.0f}:{seconds % 60:04.1f}"


def heading(text: str) -> None:
    print(f"\n{printable(text)}", flush=True)


def say(text: str) -> None:
    print(f"  {printable(text)}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the main workflow, end to end.")
    parser.add_argument(
        "audio", nargs="?", type=Path, default=RECORDING, help="path of a recording (default: %(default)s)"
    )
    recording = parser.parse_args().audio
    try:
        demo(recording, PHRASE if recording == RECORDING else None)
    except DemoError as error:
        print(printable(f"demo: {error}"), file=sys.stderr)
        return error.code
    except (SpeechError, DBAPIError) as error:
        translated = translate(error) if isinstance(error, DBAPIError) else error
        print(printable(f"demo: {translated or error}"), file=sys.stderr)
        return 3 if isinstance(translated, Unavailable) else 1
    except KeyboardInterrupt:
        print("demo: interrupted; run it again to continue", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
