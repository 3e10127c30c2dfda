"""Imports of damaged results, for the test suite and the torture tests: a result is stored completely or not at all."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from src import formats
from src.database import AudioFile, Database, Transcription, TranscriptionSegment, TranscriptionSource
from src.errors import SpeechError
from src.services import transcripts
from tests.formats.mutations import mutate


def samples(folder: Path) -> list[Path]:
    """Return every real result that can be parsed."""
    found = []
    for path in sorted(folder.glob("*/*")):
        if path.suffix in {".json", ".vtt", ".srt"}:
            try:
                formats.parse(path.read_bytes())
            except SpeechError:
                continue
            found.append(path)
    return found


def counts(session: Session) -> tuple[int, int, int]:
    """Return the numbers of versions, segments and sources."""
    tables = (Transcription, TranscriptionSegment, TranscriptionSource)
    versions, segments, sources = (session.scalar(select(func.count()).select_from(table)) or 0 for table in tables)
    return versions, segments, sources


def damage(
    db: Database,
    audio: AudioFile,
    contents: Sequence[bytes],
    chance: random.Random,
    rounds: int,
) -> dict[str, Any]:
    """Import `rounds` damaged results, up to 20 in a session; return findings and which results were stored."""
    findings: list[str] = []
    stored: list[bool] = []
    known: set[int] = set()
    while len(stored) < rounds:
        with db.session(actor="alice") as session:
            versions, segments, sources = counts(session)
            for _ in range(min(20, rounds - len(stored))):
                content = mutate(chance.choice(contents), chance)
                try:
                    version = transcripts.import_result(session, audio, content)
                except SpeechError as error:
                    stored.append(False)
                    if not str(error).strip():
                        findings.append(f"{content[:60]!r}: error without a message")
                    continue
                except Exception as error:  # noqa: BLE001 - any other exception is a finding
                    findings.append(f"{content[:60]!r}: {type(error).__name__}: {error}")
                    return {"findings": findings, "stored": stored}
                stored.append(True)
                if transcripts.export(session, version, "source") != content:
                    findings.append(f"{content[:60]!r}: the exported bytes differ")
                parsed = formats.parse(content).segments
                stored_segments = transcripts.segments(session, version)
                if [(s.text, s.words, s.speaker, s.start_ms) for s in parsed] != [
                    (s.text, s.words, s.speaker, s.start_ms) for s in stored_segments
                ]:
                    findings.append(f"{content[:60]!r}: the stored segments differ")
                if version.id not in known:
                    known.add(version.id)
                    versions, segments, sources = versions + 1, segments + len(stored_segments), sources + 1
            actual = counts(session)
        if actual != (versions, segments, sources):
            findings.append(f"{actual} versions, segments and sources; expected {versions}, {segments}, {sources}")
    return {"findings": findings, "stored": stored}
