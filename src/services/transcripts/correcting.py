"""New versions from existing ones: restore an old version, or correct some of its segments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ARRAY, BigInteger, bindparam, func, select, text
from sqlalchemy.orm import Session

from src.database.connection.access_log import notes_itself
from src.database.connection.session import actor_of
from src.database.models import AudioFile, Transcription, TranscriptionSegment
from src.errors import InvalidInput, LostUpdate
from src.formats.segments import Segment
from src.services.parameters import in_session, row_of
from src.services.transcripts.adding import next_version, record_added, recording
from src.services.transcripts.segment_rows import segment_row
from src.services.transcripts.staging import COLUMNS, INTO, PARAMETER_TYPES, PARAMETERS, TYPED, parameters_of

_OF_BASE = "FROM public.transcription_segments WHERE case_id = :case AND transcription_id = :base"
_COPY = text(f"{INTO} SELECT :case, :transcription, :config, {COLUMNS} {_OF_BASE}")
_BUT_FIRST = COLUMNS.removeprefix("position, ")
_CORRECT = text(
    f"{INTO} SELECT :case, :transcription, :config, row_number() OVER (ORDER BY position) - 1, {_BUT_FIRST} FROM ("  # noqa: S608 - only column names of this package; values are bound
    f"SELECT {COLUMNS} {_OF_BASE} AND position <> ALL (:touched)"
    f" UNION ALL SELECT {TYPED} FROM {PARAMETERS} AS given ({COLUMNS})) AS corrected"
).bindparams(*PARAMETER_TYPES, bindparam("touched", type_=ARRAY(BigInteger)))


@notes_itself
def restore(session: Session, old: Transcription | int) -> Transcription:
    """Add a copy of an old version, based on it: with its segments, text, confidence and recogniser.

    Raises NotFound for a version that the actor may not see, Forbidden for a case that the actor may not write.
    """
    old = row_of(Transcription, old)
    actor_of(session)
    old = in_session(session, old)
    audio = recording(session, AudioFile(id=old.audio_file_id), lock=True)
    restored = next_version(
        session,
        audio,
        old.language,
        content=old.content,
        based_on_id=old.id,
        confidence=old.confidence,
        model_name=old.model_name,
        model_version=old.model_version,
    )
    config = old.language.search_config
    about = {"case": old.case_id, "transcription": restored.id, "base": old.id, "config": config}
    session.execute(_COPY, about)
    record_added(session, audio, restored, restored=old.version)
    return restored


@notes_itself
def correct(
    session: Session,
    base: Transcription | int,
    corrections: Mapping[int, Segment | str | None],
    *,
    although_newer: bool = False,
) -> Transcription:
    """Add a version with some segments of `base` corrected; the others are copied.

    Keys are the positions of segments, 0 for the first. A text replaces a segment's text: times and speaker stay;
    words, confidence and flags, which belong to the replaced text, are removed. A Segment replaces the whole segment,
    None removes it. The new version is `based_on` the corrected one and has no recogniser.

    Raises LostUpdate when `base` is not the newest version of its language, unless `although_newer`; InvalidInput for a
    position that does not exist and for values that cannot be stored; NotFound for a version that the actor may not
    see.
    """
    base = row_of(Transcription, base)
    actor_of(session)
    base = in_session(session, base)
    audio = recording(session, AudioFile(id=base.audio_file_id), lock=True)
    newest = session.scalar(
        select(func.max(Transcription.version)).where(
            Transcription.audio_file_id == base.audio_file_id, Transcription.language_id == base.language_id
        )
    )
    if newest != base.version and not although_newer:
        raise LostUpdate(
            f"base: version {base.version}, but the newest is {newest}; correct that one, or pass although_newer=True."
        )
    before = {row.position: row for row in _texts(session, base)}
    unknown = [position for position in corrections if type(position) is not int or position not in before]
    if unknown or not corrections:
        problem = f"segment {unknown[0]!r:.40} does not exist" if unknown else "empty"
        raise InvalidInput(
            f"corrections: {problem}; the version has segments 0 to {len(before) - 1}.", field="corrections"
        )
    given = {position: _corrected(before[position], correction) for position, correction in corrections.items()}
    rows = [segment_row(position, segment) for position, segment in given.items() if segment is not None]
    texts = {position: row.text for position, row in before.items() if position not in given}
    texts |= {row.position: row.text for row in rows}
    corrected = next_version(
        session,
        audio,
        base.language,
        content=" ".join(texts[position].strip() for position in sorted(texts)),
        based_on_id=base.id,
    )
    config = base.language.search_config
    about = {"case": base.case_id, "transcription": corrected.id, "base": base.id, "config": config}
    session.execute(_CORRECT, {**about, "touched": list(given), **parameters_of(rows)})
    record_added(session, audio, corrected, corrects=base.version, segments=len(given))
    return corrected


def _texts(session: Session, base: Transcription) -> list[Any]:
    row = TranscriptionSegment
    query = select(row.position, row.start_ms, row.end_ms, row.speaker, row.text)
    of_base = query.where(row.case_id == base.case_id, row.transcription_id == base.id).order_by(row.position)
    return list(session.execute(of_base))


def _corrected(before: Any, correction: Segment | str | None) -> Segment | None:
    if isinstance(correction, str):
        return Segment(correction, before.start_ms, before.end_ms, before.speaker)
    return correction
