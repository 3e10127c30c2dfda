"""Importing a recogniser's result: nothing dropped, the same bytes once."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from src import formats
from src.database.connection.session import actor_of
from src.database.connection.timeouts import disable_idle_timeout
from src.database.models import AudioFile, Language, Transcription
from src.errors import InvalidInput
from src.services.lookup import language_by_code
from src.services.transcripts.adding import UNDETERMINED, next_version, record_added, recording
from src.services.transcripts.sources import StagedSource, imported_before, read_source
from src.services.transcripts.staging import StagedSegments
from src.services.transcripts.text_reading import note_read


def import_result(
    session: Session,
    audio: AudioFile,
    source: Any,
    *,
    language: str | None = None,
    name: str | None = None,
    dialect: str | None = None,
    model_name: str | None = None,
    model_version: str | None = None,
) -> Transcription:
    """Add a recogniser's result as the next version of a recording's transcription; all of it or nothing.

    `source` is a path, bytes, an open binary file, or what a recogniser returns: a dict, a list of segments,
    faster-whisper's `(segments, info)`, whose generator may take hours. The dialect is detected unless named. The bytes
    are kept as they came, with their sha256, under `name`, by default the file's; of objects it is the JSON that
    `sources.canonical` makes. The same bytes for the same recording are one version: the one there is comes back,
    whoever is first. A generator that was used up before is refused.

    The language is `language`, else the result's, else the recording's, else `und`. A result in another language than
    was expected is flagged `wrong_language`, and other doubts as docs/formats.md says.

    Raises InvalidInput that names segment and word for what cannot be read or stored, NotFound for a recording that is
    not the actor's. Costs about twice the result's size in memory.
    """
    actor_of(session)
    found = recording(session, audio, take_turn=False)
    given = language_by_code(session, language) if language is not None else None
    expected = given or found.language
    disable_idle_timeout(session)
    result = read_source(source, name)
    before = imported_before(session, found, result.sha256)
    if before is not None:
        note_read(session, before, name=found.name)
        return before
    parsed = formats.parse(
        result.content,
        dialect=dialect,
        expected_language=expected.code if expected is not None and expected.code != UNDETERMINED else None,
    )
    with StagedSegments(session, parsed.segments) as prepared:
        kept = StagedSource(session, result)
        recording(session, audio, take_turn=True)
        before = imported_before(session, found, result.sha256)  # by somebody who was faster
        if before is None:
            spoken = given or _understood(session, parsed.language_code) or found.language
            transcription = next_version(
                session,
                found,
                spoken or language_by_code(session, UNDETERMINED),
                content=prepared.content,
                model_name=model_name or (parsed.model_name or "")[:200] or None,
                model_version=model_version,
            )
            prepared.store(found.case_id, transcription.id, transcription.language.search_config)
            kept.store(transcription, parsed.dialect)
        kept.forget()
    if before is not None:
        note_read(session, before, name=found.name)
        return before
    record_added(
        session,
        found,
        transcription,
        segments=prepared.count,
        dialect=parsed.dialect,
        sha256=result.sha256,
        bytes=len(result.content),
    )
    return transcription


def _understood(session: Session, code: str | None) -> Language | None:
    """The language that the result names; none, rather than no import, where the layer does not know it."""
    if code is None:
        return None
    try:
        return language_by_code(session, code)
    except InvalidInput:
        return None
