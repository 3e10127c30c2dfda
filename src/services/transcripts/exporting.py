"""Exporting a version: as subtitles, text or JSON, or byte for byte what it was imported from."""

from __future__ import annotations

from typing import Literal, overload

from sqlalchemy.orm import Session

from src import formats
from src.database.models import Transcription
from src.errors import InvalidInput, NotFound
from src.services import activity
from src.services.lookup import in_session
from src.services.transcripts.adding import UNDETERMINED
from src.services.transcripts.sources import stored_content
from src.services.transcripts.text_reading import stored_segments

SOURCE = "source"


@overload
def export(
    session: Session, transcription: Transcription, format: Literal["source"], *, columns: int | None = None
) -> bytes: ...
@overload
def export(
    session: Session,
    transcription: Transcription,
    format: Literal["webvtt", "srt", "text", "json", "whisper"],
    *,
    columns: int | None = None,
) -> str: ...
@overload
def export(
    session: Session, transcription: Transcription, format: str, *, columns: int | None = None
) -> str | bytes: ...
def export(
    session: Session,
    transcription: Transcription,
    format: str,  # noqa: A002 - the word that everybody uses for it
    *,
    columns: int | None = None,
) -> str | bytes:
    """Return a version as text in `webvtt`, `srt`, `text`, `json` or `whisper`, or as bytes in `source`.

    `source` is what it was imported from, byte for byte. `json` loses nothing, the others what they have no place for
    (docs/formats.md). `columns` is the length of a line where there are lines. The log keeps that it was exported.

    Raises InvalidInput for another format, NotFound for a version that is not the actor's or has no source,
    IntegrityFailure for a source that is not the one that was imported.
    """
    transcription = in_session(session, transcription)
    exported: str | bytes
    if format == SOURCE:
        content = stored_content(session, transcription)
        if content is None:
            raise NotFound("This version was not imported, so there is no source; export it in another format.")
        exported = content
    elif format not in formats.FORMATS:
        raise InvalidInput(f"There is no format {format!r:.40}; there are {', '.join(formats.FORMATS)}, {SOURCE}.")
    else:
        code = transcription.language.code
        exported = formats.write(
            format,
            stored_segments(session, transcription),
            language=code if code != UNDETERMINED else None,
            model_name=transcription.model_name,
            columns=columns,
        )
    activity.note_read(
        session,
        "export.made",
        case_id=transcription.case_id,
        entity=transcription,
        detail={"name": f"{format} of version {transcription.version}", "format": format},
    )
    return exported
