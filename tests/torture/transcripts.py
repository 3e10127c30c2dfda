"""Import thousands of damaged results and write concurrently; imports are atomic and version numbers have no gaps."""

from __future__ import annotations

import random
import sys
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parent)]

from _options import main
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError

from src.database import AudioFile, Database, Transcription, TranscriptionSegment
from src.database.connection.engine import PoolOptions
from src.database.testing import running_server
from src.errors import SpeechError
from src.services import cases, transcripts
from src.services.transcripts import Segment
from src.storage import MemoryStorage
from tests.services.importing import damage, samples

SHARED_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
BETWEEN_CHECKS = 500
WRITERS = 32


def torture(rng: random.Random, rounds: int) -> list[str]:
    contents = [path.read_bytes() for path in samples(SHARED_DATA)]
    if not contents:
        return ["the shared data is missing (shared/data next to the checkout)"]
    findings: list[str] = []
    done = 0
    with running_server() as server:
        while done < rounds:
            part = min(BETWEEN_CHECKS, rounds - done)
            with server.copy() as url:
                # As many connections as writers, so that all of them run concurrently.
                pool = PoolOptions(size=WRITERS, max_overflow=2)
                with server.database(url, storage=MemoryStorage(), pool=pool) as db:
                    outcome = damage(db, recording(db), contents, rng, part)
                    found = outcome["findings"] + write_concurrently(db, recording(db), rng)
            findings += [f"after {done}: {finding}" for finding in found]
            done += part
            counted = Counter(outcome["stored"])
            print(f"{done}: {counted[True]} stored, {counted[False]} refused, {len(findings)} findings", flush=True)
    return findings


def recording(db: Database) -> AudioFile:
    with db.session(actor="alice") as session:
        case = cases.open_case(session, title="Speech")
    key = f"cases/{case.id}/{uuid.uuid4()}.wav"
    with db.session(actor="alice") as session:
        session.execute(text("SELECT announce_object(:case, :key, 'memory')"), {"case": case.id, "key": key})
        audio = AudioFile(case_id=case.id, name="a.wav", path=key, size_bytes=1, sha256="0" * 64, storage_type="memory")
        session.add(audio)
    return audio


def write_concurrently(db: Database, audio: AudioFile, rng: random.Random) -> list[str]:
    """Add, import the same bytes, correct and restore concurrently, then check the stored versions."""
    with db.session(actor="alice") as session:
        first = transcripts.add(session, audio, [Segment("first"), Segment("second")], language="en")
    shared = f'{{"language": "en", "segments": [{{"text": "shared {rng.random()}"}}]}}'.encode()
    actions = [rng.choice(["few", "many", "import", "correct", "restore", "undone"]) for _ in range(WRITERS)]

    def write(numbered: tuple[int, str]) -> tuple[str, int | None]:
        number, action = numbered
        try:
            with db.session(actor="alice") as session:
                if action == "import":
                    made = transcripts.import_result(session, audio, shared)
                elif action == "correct":
                    made = transcripts.correct(session, first, {1: f"by {number}"}, although_newer=True)
                elif action == "restore":
                    made = transcripts.restore(session, first)
                else:
                    said = [Segment(f"{number} {n}") for n in range(600 if action == "many" else 2)]
                    made = transcripts.add(session, audio, said, language="en")
                if action == "undone":
                    session.execute(text("SELECT 1 / 0"))
                return action, made.version
        except (SpeechError, DBAPIError) as error:
            return (action, None) if action == "undone" else (f"{action}: {error}", None)

    with ThreadPoolExecutor(WRITERS) as pool:
        outcomes = list(pool.map(write, enumerate(actions)))
    findings = [action for action, version in outcomes if version is None and action != "undone"]
    reported = {version for _, version in outcomes if version is not None} | {1}
    with db.session(actor="alice") as session:
        stored = session.execute(
            select(Transcription.version, func.count(TranscriptionSegment.id))
            .outerjoin(Transcription.segments)
            .where(Transcription.audio_file_id == audio.id)
            .group_by(Transcription.version)
        ).all()
    versions = sorted(version for version, _ in stored)
    if versions != list(range(1, len(versions) + 1)) or set(versions) != reported:
        findings.append(f"{WRITERS} writers stored the versions {versions}, and reported {sorted(reported)}")
    if not {count for _, count in stored} <= {1, 2, 600}:
        findings.append(f"a version is incomplete: {stored}")
    return findings


if __name__ == "__main__":
    main(torture, __doc__ or "", rounds=10_000)
