"""New versions from old ones: the old one again, or the old one with a few segments put right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ARRAY, BigInteger, bindparam, func, select, text
from sqlalchemy.orm import Session

from src.database.connection.session import actor_of
from src.database.models import AudioFile, Transcription, TranscriptionSegment
from src.errors import InvalidInput, LostUpdate
from src.formats.values import Segment
from src.services.lookup import in_session
from src.services.transcripts.adding import next_version, record_added, recording
from src.services.transcripts.segment_rows import row_of
from src.services.transcripts.staging import COLUMNS, INTO, PARAMETER_TYPES, PARAMETERS, TYPED, parameters_of

_OF_BASE = "FROM public.transcription_segments WHERE case_id = :case AND transcription_id = :base"
_COPY = text(f"{INTO} SELECT :case, :transcription, :config, {COLUMNS} {_OF_BASE}")
_BUT_FIRST = COLUMNS.removeprefix("position, ")
_CORRECT = text(
    f"{INTO} SELECT :case, :transcription, :config, row_number() OVER (ORDER BY position) - 1, {_BUT_FIRST} FROM ("  # noqa: S608 - names of our own; values are bound
    f"SELECT {COLUMNS} {_OF_BASE} AND position <> ALL (:touched)"
    f" UNION ALL SELECT {TYPED} FROM {PARAMETERS} AS given ({COLUMNS})) AS corrected"
).bindparams(*PARAMETER_TYPES, bindparam("touched", type_=ARRAY(BigInteger)))


def restore(session: Session, old: Transcription) -> Transcription:
    """Add a version that says what an old one says, based on it: segments, text, confidence and recogniser.

    Raises NotFound for a version that is not the actor's, Forbidden where the actor may not write.
    """
    actor_of(session)
    old = in_session(session, old)
    audio = recording(session, AudioFile(id=old.audio_file_id), take_turn=True)
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


def correct(
    session: Session,
    base: Transcription,
    corrections: Mapping[int, Segment | str | None],
    *,
    although_newer: bool = False,
) -> Transcription:
    """Add a version in which a few segments of `base` are put right; the others stay as they are.

    Keys are the positions of segments, 0 for the first. A text takes the place of a segment's text: its times and
    speaker stay, its words and confidence, which were those of another text, go with its flags. A Segment takes the
    place of the whole one, None takes it out. The version is `based_on` what it corrects, and names no recogniser.

    Raises LostUpdate when `base` is not the newest version of its language, unless `although_newer`; InvalidInput for a
    position that is not there and for values that cannot be stored; NotFound for a version that is not the actor's.
    """
    actor_of(session)
    base = in_session(session, base)
    audio = recording(session, AudioFile(id=base.audio_file_id), take_turn=True)
    newest = session.scalar(
        select(func.max(Transcription.version)).where(
            Transcription.audio_file_id == base.audio_file_id, Transcription.language_id == base.language_id
        )
    )
    if newest != base.version and not although_newer:
        raise LostUpdate(
            f"Version {base.version} is not the newest one, which is {newest}; correct that one, or say although_newer."
        )
    before = {row.position: row for row in _texts(session, base)}
    strange = [position for position in corrections if type(position) is not int or position not in before]
    if strange or not corrections:
        wrong = f"no segment {strange[0]!r:.40}" if strange else "nothing to correct"
        raise InvalidInput(f"There is {wrong}; the version has the segments 0 to {len(before) - 1}.")
    given = {position: _corrected(before[position], what) for position, what in corrections.items()}
    rows = [row_of(position, segment) for position, segment in given.items() if segment is not None]
    said = {position: row.text for position, row in before.items() if position not in given}
    said |= {row.position: row.text for row in rows}
    corrected = next_version(
        session,
        audio,
        base.language,
        content=" ".join(said[position].strip() for position in sorted(said)),
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


def _corrected(before: Any, what: Segment | str | None) -> Segment | None:
    if isinstance(what, str):
        return Segment(what, before.start_ms, before.end_ms, before.speaker)
    return what
