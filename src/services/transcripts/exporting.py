"""Export a version: as subtitles, text or JSON, or the bytes that it was imported from."""

from __future__ import annotations

from typing import Literal, overload

from sqlalchemy.orm import Session

from src import formats
from src.database.connection.access_log import unlogged_loads
from src.database.models import Transcription
from src.errors import InvalidInput, NotFound
from src.services import activity
from src.services.parameters import in_session, row_of
from src.services.sensitivity import require_exportable
from src.services.transcripts.adding import UNDETERMINED
from src.services.transcripts.sources import stored_content
from src.services.transcripts.text_reading import stored_segments


@overload
def export(
    session: Session, transcription: Transcription | int, format: Literal["source"], *, columns: int | None = None
) -> bytes: ...
@overload
def export(
    session: Session,
    transcription: Transcription | int,
    format: formats.Format,
    *,
    columns: int | None = None,
) -> str: ...
@overload
def export(
    session: Session,
    transcription: Transcription | int,
    format: formats.Format | Literal["source"],
    *,
    columns: int | None = None,
) -> str | bytes: ...
def export(
    session: Session,
    transcription: Transcription | int,
    format: formats.Format | Literal["source"],  # noqa: A002 - the usual name
    *,
    columns: int | None = None,
) -> str | bytes:
    """Return a version as text in `webvtt`, `srt`, `text`, `json` or `whisper`, or as bytes in `source`.

    `source` are the imported bytes, unchanged. `json` is lossless; the other formats omit fields that they do not
    support (docs/formats.md). `columns` is the maximum length of a line in formats with lines. The export is logged.

    Raises InvalidInput for another format, NotFound for a version that the actor may not see or without a source,
    IntegrityFailure for a source that does not match its sha256, Forbidden for a sensitive case or recording without
    the permission to manage the case.
    """
    transcription = row_of(Transcription, transcription)
    with unlogged_loads(session):
        transcription = in_session(session, transcription)
    require_exportable(session, transcription.case_id, transcription.audio_file_id)
    exported: str | bytes
    if format == "source":
        content = stored_content(session, transcription)
        if content is None:
            raise NotFound("format: source, but this version was not imported; use another format.")
        exported = content
    elif format not in formats.FORMATS:
        raise InvalidInput(
            f"format: {format!r:.40} is unknown; use one of: {', '.join(formats.FORMATS)}, source.",
            field="format",
            value=format,
        )
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
        case=transcription.case_id,
        entity=transcription,
        detail={"name": f"{format} of version {transcription.version}", "format": format},
    )
    return exported
