"""Import the result of a recogniser: lossless, and idempotent by the bytes' sha256."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.orm import Session

from src import formats
from src.database.connection.access_log import notes_itself
from src.database.connection.session import actor_of
from src.database.connection.timeouts import disable_idle_timeout
from src.database.models import AudioFile, Language, Transcription
from src.errors import InvalidInput
from src.services.parameters import language_by_code, row_of
from src.services.transcripts.adding import UNDETERMINED, next_version, record_added, recording
from src.services.transcripts.sources import StagedSource, imported_before, read_source
from src.services.transcripts.staging import StagedSegments
from src.services.transcripts.text_reading import note_read


@contextmanager
def naming_source() -> Iterator[None]:
    """Name the parameter in errors about a result as a whole; those about a segment or a word name that."""
    try:
        yield
    except InvalidInput as error:
        error.field = error.field or "source"
        raise


@notes_itself
def import_result(
    session: Session,
    audio: AudioFile | int,
    source: Any,
    *,
    language: str | None = None,
    name: str | None = None,
    dialect: formats.Dialect | None = None,
    model_name: str | None = None,
    model_version: str | None = None,
) -> Transcription:
    """Add the result of a recogniser as the next version of a recording's transcription, as a whole or not at all.

    `source` is a path, bytes, an open binary file, or the return value of a recogniser: a dict, a list of segments,
    faster-whisper's `(segments, info)`, whose generator may take hours. The dialect is detected by default. The bytes
    are stored unchanged, with their sha256, under `name`, by default the file's name; for objects the bytes are the
    JSON of `sources.canonical`. Importing the same bytes for the same recording again, also concurrently, returns the
    existing version. A generator that is already exhausted is rejected.

    The language is `language`, else the result's, else the recording's, else `und`. A result in an unexpected language
    is flagged `wrong_language`; for other flags see docs/formats.md.

    Raises InvalidInput, which names segment and word, for values that cannot be read or stored; NotFound for a
    recording that the actor may not see. Needs about twice the result's size in memory.
    """
    audio = row_of(AudioFile, audio)
    actor_of(session)
    found = recording(session, audio, lock=False)
    given = language_by_code(session, language) if language is not None else None
    expected = given or found.language
    disable_idle_timeout(session)
    with naming_source():
        result = read_source(source, name)
    before = imported_before(session, found, result.sha256)
    if before is not None:
        note_read(session, before, name=found.name)
        return before
    with naming_source():
        parsed = formats.parse(
            result.content,
            dialect=dialect,
            expected_language=expected.code if expected is not None and expected.code != UNDETERMINED else None,
        )
    with StagedSegments(session, parsed.segments) as staged:
        staged_source = StagedSource(session, result)
        recording(session, audio, lock=True)
        before = imported_before(session, found, result.sha256)  # by a concurrent import
        if before is None:
            spoken = given or _known_language(session, parsed.language_code) or found.language
            transcription = next_version(
                session,
                found,
                spoken or language_by_code(session, UNDETERMINED),
                content=staged.content,
                model_name=model_name or (parsed.model_name or "")[:200] or None,
                model_version=model_version,
            )
            staged.store(found.case_id, transcription.id, transcription.language.search_config)
            staged_source.store(transcription, parsed.dialect)
        staged_source.drop()
    if before is not None:
        note_read(session, before, name=found.name)
        return before
    record_added(
        session,
        found,
        transcription,
        segments=staged.count,
        dialect=parsed.dialect,
        sha256=result.sha256,
        bytes=len(result.content),
    )
    return transcription


def _known_language(session: Session, code: str | None) -> Language | None:
    """Return the language of the result; None if it is unknown, which must not prevent the import."""
    if code is None:
        return None
    try:
        return language_by_code(session, code)
    except InvalidInput:
        return None
