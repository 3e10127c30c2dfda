"""The cost of storing transcripts: 50,000 segments against COPY and the ORM, 20 against INSERT, memory of 200 MB."""

from __future__ import annotations

import gc
import io
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _report import Goal, Row, main
from sqlalchemy import Engine, insert, text
from sqlalchemy.orm import Session

from src.database import AudioFile, Database, Transcription, TranscriptionSegment
from src.database.connection.engine import PoolOptions, make_engine
from src.database.testing import running_server
from src.services import cases, transcripts
from src.services.transcripts import Segment, Word
from src.services.transcripts.segment_rows import segment_row
from src.services.transcripts.staging import COLUMNS, Lines
from src.storage import MemoryStorage

OURS = "transcripts.add"
COPY = "raw COPY, as the owner"
ORM = "session.add_all, as the owner"
MULTI_ROW = "one multi-row INSERT, as alice"
FEW = 20


@dataclass(frozen=True)
class Size:
    """The size of the benchmark: segments of ten words, rounds, megabytes of a result."""

    segments: int
    rounds: int
    few_rounds: int
    megabytes: int


FULL = Size(segments=50_000, rounds=3, few_rounds=60, megabytes=200)
QUICK = Size(segments=2_000, rounds=2, few_rounds=15, megabytes=10)


def speech(count: int, seed: int) -> list[Segment]:
    """Return segments of ten words each, with the word frequencies of real speech."""
    rng = random.Random(seed)
    letters = "abcdefghijklmnopqrstuvwxyz"
    vocabulary = ["".join(rng.choices(letters, k=rng.randint(2, 9))) for _ in range(20_000)]
    weights = [1 / rank for rank in range(1, len(vocabulary) + 1)]
    said = rng.choices(vocabulary, weights, k=10 * count)
    segments = []
    for number in range(count):
        begin = number * 4_000
        spoken = said[10 * number : 10 * number + 10]
        words = [
            Word(word, begin + 350 * place, begin + 350 * place + 300, round(rng.random(), 3))
            for place, word in enumerate(spoken)
        ]
        segments.append(Segment(" ".join(spoken), begin, begin + 3_500, f"SPEAKER_{number % 2:02}", words, 0.9))
    return segments


@dataclass(frozen=True)
class Stage:
    """A recording in a database, for its member Alice and for the owner, who bypasses permissions and history."""

    database: Database
    owner: Engine
    audio: AudioFile

    def owners_version(self, session: Session, number: int) -> Transcription:
        """Return a new version for segments, inserted by the owner in this transaction."""
        found = session.get_one(AudioFile, self.audio.id)
        version = Transcription(
            case_id=found.case_id, audio_file_id=found.id, language_id=1, version=number, content="",
            created_by_id=found.uploaded_by_id,
        )  # fmt: skip
        session.add(version)
        session.flush()
        return version


def set_stage(url: Any, database: Database) -> Stage:
    owner = make_engine(url, PoolOptions(size=1))
    with database.session(actor="alice") as session:
        case = cases.open_case(session, title="Speech")
    key = f"cases/{case.id}/{uuid.uuid4()}.wav"
    with database.session(actor="alice") as session:
        session.execute(text("SELECT announce_object(:case, :key, 'memory')"), {"case": case.id, "key": key})
        audio = AudioFile(case_id=case.id, name="a.wav", path=key, size_bytes=1, sha256="0" * 64, storage_type="memory")
        session.add(audio)
    return Stage(database, owner, audio)


def seconds(way: Callable[[], None]) -> float:
    gc.collect()
    started = time.perf_counter()
    way()
    return time.perf_counter() - started


def many(stage: Stage, size: Size) -> dict[str, float]:
    """Return the median seconds of each way to store many segments, including the commit."""
    said = speech(size.segments, seed=1)
    lines = Lines(segment_row(number, segment) for number, segment in enumerate(said))
    raw = "".join(iter(lambda: lines.read(1 << 20).decode(), ""))
    numbers = iter(range(1, 1_000))

    def ours() -> None:
        with stage.database.session(actor="alice") as session:
            transcripts.add(session, stage.audio, said, language="en")

    def copied() -> None:
        with Session(stage.owner) as session, session.begin():
            version = stage.owners_version(session, next(numbers))
            driver: Any = session.connection().connection.dbapi_connection
            shared = f"{version.case_id}\t{version.id}\tenglish\t"
            rows = io.StringIO("".join(shared + line for line in raw.splitlines(keepends=True)))
            with driver.cursor() as cursor:
                columns = f"case_id, transcription_id, search_config, {COLUMNS}"
                nonlocal began
                began = time.perf_counter()  # the preparation of the COPY data is not counted
                cursor.copy_expert(f"COPY transcription_segments ({columns}) FROM STDIN", rows, 1 << 16)

    def by_orm() -> None:
        with Session(stage.owner) as session, session.begin():
            version = stage.owners_version(session, next(numbers))
            session.add_all(
                TranscriptionSegment(
                    case_id=version.case_id, transcription_id=version.id, search_config="english", position=number,
                    start_ms=each.start_ms, end_ms=each.end_ms, speaker=each.speaker, text=each.text,
                    words=[{"text": w.text, "start_ms": w.start_ms, "end_ms": w.end_ms, "confidence": w.confidence}
                           for w in each.words or ()],
                    confidence=each.confidence, flags=[],
                )
                for number, each in enumerate(said)
            )  # fmt: skip

    times: dict[str, list[float]] = {}
    for _ in range(size.rounds):
        for name, way in ((OURS, ours), (COPY, copied), (ORM, by_orm)):
            began = time.perf_counter()
            gc.collect()
            began = time.perf_counter()
            way()
            times.setdefault(name, []).append(time.perf_counter() - began)
    return {name: statistics.median(measured) for name, measured in times.items()}


def few(stage: Stage, size: Size) -> dict[str, float]:
    """Return the median milliseconds of both ways to store twenty segments as Alice, including the commit."""
    said = speech(FEW, seed=2)

    def ours() -> None:
        with stage.database.session(actor="alice") as session:
            transcripts.add(session, stage.audio, said, language="fr")

    def multi_row() -> None:
        # Only two statements: no lock, no validation, no log entry.
        with stage.database.session(actor="alice") as session:
            found = session.get_one(AudioFile, stage.audio.id)
            version = Transcription(case_id=found.case_id, audio_file_id=found.id, language_id=2, content="",
                                    version=next(numbers))  # fmt: skip
            session.add(version)
            session.flush()
            session.execute(insert(TranscriptionSegment).values([
                {"case_id": version.case_id, "transcription_id": version.id, "search_config": "french",
                 "position": number, "start_ms": each.start_ms, "end_ms": each.end_ms, "speaker": each.speaker,
                 "text": each.text, "confidence": each.confidence, "flags": [],
                 "words": [{"text": w.text, "start_ms": w.start_ms, "end_ms": w.end_ms, "confidence": w.confidence}
                           for w in each.words or ()]}
                for number, each in enumerate(said)
            ]))  # fmt: skip

    numbers = iter(range(1, 100_000))
    times: dict[str, list[float]] = {}
    for number in range(size.few_rounds + 5):
        for name, way in ((OURS, ours), (MULTI_ROW, multi_row)):
            elapsed = seconds(way)
            if number >= 5:
                times.setdefault(name, []).append(1000 * elapsed)
    return {name: statistics.median(measured) for name, measured in times.items()}


CHILD = """
import sys
from pathlib import Path
from src.database import AudioFile, Database
from src.database.connection.actor_tokens import SigningKey
from src.services import transcripts
from src.storage import MemoryStorage
url, key_id, key, audio, path = sys.argv[1:]
def most():
    # The peak of this process alone: that of getrusage starts with the value of the parent.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
with Database(url, signing_key=SigningKey.decode(int(key_id), key), storage=MemoryStorage()) as database:
    with database.session(actor="alice") as session:
        recording = session.get_one(AudioFile, int(audio))
        transcripts.import_result(session, recording, b'{"text": "warm", "segments": []}')
    before = most()
    with database.session(actor="alice") as session:
        transcripts.import_result(session, recording, Path(path))
print(before, most())
"""


def memory(stage: Stage, url: str, size: Size) -> tuple[float, float, float]:
    """Return the megabytes of a result, the megabytes of memory that its import adds, and the seconds."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result.json"
        write_result(path, size.megabytes * 1_000_000)
        key = stage.database.signing_key
        started = time.perf_counter()
        output = subprocess.run(
            [sys.executable, "-c", CHILD, url, str(key.id), key.encode(), str(stage.audio.id), str(path)],
            check=True, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        ).stdout  # fmt: skip
        elapsed = time.perf_counter() - started
        before, after = map(int, output.split())
        return path.stat().st_size / 1e6, (after - before) / 1e6, elapsed


def write_result(path: Path, size: int) -> None:
    """Write a result in Whisper's format, with words and tokens."""
    said = speech(2_000, seed=3)
    with path.open("w", encoding="utf-8") as file:
        written = file.write('{"language": "en", "text": "", "segments": [')
        number = 0
        while written < size:
            each = said[number % len(said)]
            begin = number * 4
            fields = {
                "id": number, "seek": 0, "start": begin, "end": begin + 3.5, "text": " " + each.text,
                "tokens": [50364 + len(word.text) for word in each.words or ()], "temperature": 0.0,
                "avg_logprob": -0.25, "compression_ratio": 1.4, "no_speech_prob": 0.01,
                "words": [{"word": " " + word.text, "start": begin + 0.35 * place, "end": begin + 0.35 * place + 0.3,
                           "probability": word.confidence} for place, word in enumerate(each.words or ())],
            }  # fmt: skip
            written += file.write((", " if number else "") + json.dumps(fields))
            number += 1
        file.write("]}")


def transcripts_cost(quick: bool) -> tuple[Sequence[str], Sequence[Row], Sequence[Goal]]:
    size = QUICK if quick else FULL
    with running_server() as server, server.copy() as url, server.database(url, storage=MemoryStorage()) as database:
        stage = set_stage(url, database)
        bulk = many(stage, size)
        small = few(stage, size)
        serving = server.serving_url(url).render_as_string(hide_password=False)
        megabytes, added, elapsed = memory(stage, serving, size)
        stage.owner.dispose()
    rows: list[Row] = [
        *((f"{size.segments} segments", name, 1000 * measured) for name, measured in bulk.items()),
        *((f"{FEW} segments", name, measured) for name, measured in small.items()),
        (f"import {megabytes:.0f} MB", f"adds {added:.0f} MB", 1000 * elapsed),
    ]
    goals = [
        Goal(f"{size.segments} segments: speed × {COPY}", bulk[COPY] / bulk[OURS], 0.8, at_most=False),
        Goal(f"{size.segments} segments: speed × {ORM}", bulk[ORM] / bulk[OURS], 3, at_most=False),
        Goal(f"{FEW} segments: speed × {MULTI_ROW}", small[MULTI_ROW] / small[OURS], 0.8, at_most=False),
        Goal(f"importing {megabytes:.0f} MB: memory × size", added / megabytes, 3),
    ]
    return ("what", "how", "median ms"), rows, goals


if __name__ == "__main__":
    main(transcripts_cost, __doc__ or "")
