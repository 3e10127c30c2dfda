"""Importing what is damaged, for the suite and the torture: whatever comes of it, nothing is half stored."""

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
    """Every real result that can be read."""
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
    """How many versions, segments and sources there are."""
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
    """Import so many damaged results, several in a session as a job would; return findings and what was stored."""
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
                        findings.append(f"{content[:60]!r}: refused without a word")
                    continue
                except Exception as error:  # noqa: BLE001 - what a torture is for
                    findings.append(f"{content[:60]!r}: {type(error).__name__}: {error}")
                    return {"findings": findings, "stored": stored}
                stored.append(True)
                if transcripts.export(session, version, "source") != content:
                    findings.append(f"{content[:60]!r}: other bytes came back")
                told = formats.parse(content).segments
                kept = transcripts.segments(session, version)
                if [(s.text, s.words, s.speaker, s.start_ms) for s in told] != [
                    (s.text, s.words, s.speaker, s.start_ms) for s in kept
                ]:
                    findings.append(f"{content[:60]!r}: other segments came back")
                if version.id not in known:
                    known.add(version.id)
                    versions, segments, sources = versions + 1, segments + len(kept), sources + 1
            there = counts(session)
        if there != (versions, segments, sources):
            findings.append(f"{there} versions, segments and sources where {versions}, {segments}, {sources} belong")
    return {"findings": findings, "stored": stored}
