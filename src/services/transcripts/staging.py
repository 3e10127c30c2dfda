"""Segments on their way into a version: held as parameters or staged in a temporary table, then stored at once."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

from sqlalchemy import ARRAY, BigInteger, BindParameter, bindparam, text
from sqlalchemy.orm import Session
from sqlalchemy.types import Double, Text

from src.database.connection.driver_errors import translate
from src.database.connection.timeouts import extend_statement_timeout
from src.formats.values import Segment
from src.services.transcripts.segment_rows import Row, row_of

# Beyond this a temporary table, which costs about 2 ms by itself, is cheaper than parameters.
MOST_AS_PARAMETERS = 500

COLUMNS = "position, start_ms, end_ms, speaker, text, words, confidence, flags"
INTO = f"INSERT INTO public.transcription_segments (case_id, transcription_id, search_config, {COLUMNS})"
PARAMETERS = "unnest(:position, :start_ms, :end_ms, :speaker, :text, :words, :confidence, :flags)"
_TYPES = {
    **dict.fromkeys(("position", "start_ms", "end_ms"), BigInteger),
    **dict.fromkeys(("speaker", "text", "words", "flags"), Text),
    "confidence": Double,
}
PARAMETER_TYPES: list[BindParameter[Any]] = [bindparam(name, type_=ARRAY(kind)) for name, kind in _TYPES.items()]
TYPED = "position, start_ms, end_ms, speaker, text, CAST(words AS jsonb), confidence, CAST(flags AS text[])"

_FROM_PARAMETERS = text(
    f"{INTO} SELECT :case, :transcription, :config, {TYPED} FROM {PARAMETERS} AS given ({COLUMNS})"  # noqa: S608 - names of our own
).bindparams(*PARAMETER_TYPES)
_FROM_STAGE = text(f"{INTO} SELECT :case, :transcription, :config, {COLUMNS} FROM pg_temp.staged_segments")  # noqa: S608 - the same
# Qualified, and gone with the transaction at the latest: no table of that name can be taken for it, none stays behind.
# Of the final types: the server turns text into JSON while the next rows are made here.
# One that is there was left by an import that was refused in the same transaction.
_STAGE = (
    "DROP TABLE IF EXISTS pg_temp.staged_segments;"
    " CREATE TEMPORARY TABLE pg_temp.staged_segments (position bigint, start_ms bigint, end_ms bigint, speaker text,"
    " text text, words jsonb, confidence double precision, flags text[]) ON COMMIT DROP"
)


class StagedSegments:
    """Segments that were checked and wait to be stored: `with StagedSegments(session, segments) as prepared:`.

    Raises InvalidInput that names segment and word; the transaction goes on then, for nothing was stored.
    """

    def __init__(self, session: Session, segments: Sequence[Segment]) -> None:
        self._session = session
        self.count = len(segments)
        self._content = io.StringIO()  # a list of short texts would take several times as much
        self._rows: list[Row] = []
        self._staged = self.count > MOST_AS_PARAMETERS
        if self._staged:
            self._stage(segments)
        else:
            self._rows = list(self._checked(segments))

    @property
    def content(self) -> str:
        """The whole text."""
        return self._content.getvalue()

    def store(self, case_id: int, transcription_id: int, search_config: str) -> None:
        """Insert the segments by one statement."""
        about = {"case": case_id, "transcription": transcription_id, "config": search_config}
        if self._staged:
            self._session.execute(_FROM_STAGE, about)
        elif self._rows:
            self._session.execute(_FROM_PARAMETERS, {**about, **parameters_of(self._rows)})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._staged and error is None:
            self._session.execute(text("DROP TABLE pg_temp.staged_segments"))

    def _checked(self, segments: Iterable[Segment]) -> Iterator[Row]:
        for position, segment in enumerate(segments):
            row = row_of(position, segment)
            self._content.write((" " if position else "") + row.text.strip())
            yield row

    def _stage(self, segments: Iterable[Segment]) -> None:
        extend_statement_timeout(self._session)
        # What fails inside a COPY ends the transaction otherwise, and few segments leave it as it was.
        self._session.execute(text("SAVEPOINT staging"))
        self._session.execute(text(_STAGE))
        lines = Lines(self._checked(segments))
        try:
            copy_in(self._session, f"COPY pg_temp.staged_segments ({COLUMNS}) FROM STDIN", lines)
        except Exception:
            self._session.execute(text("ROLLBACK TO SAVEPOINT staging"))
            raise
        self._session.execute(text("RELEASE SAVEPOINT staging"))


def parameters_of(rows: Sequence[Row]) -> dict[str, list[Any]]:
    """Return the rows as one array for each column."""
    columns: Iterable[Sequence[Any]] = zip(*rows, strict=True) if rows else [()] * len(Row._fields)
    return {name: list(values) for name, values in zip(Row._fields, columns, strict=True)}


class Lines:
    """A file that COPY reads: rows turn into lines while the server is busy with the ones before."""

    def __init__(self, rows: Iterator[Row]) -> None:
        self._rows = rows
        self.failure: BaseException | None = None

    def read(self, size: int) -> bytes:
        lines: list[str] = []
        room = size
        try:
            for position, start, end, speaker, words_text, words, sure, flags in self._rows:
                line = (
                    f"{position}\t{_number(start)}\t{_number(end)}\t{_text(speaker)}\t{_text(words_text)}"
                    f"\t{_json(words)}\t{_number(sure)}\t{_text(flags)}\n"
                )
                lines.append(line)
                room -= len(line)
                if room <= 0:
                    break
            return "".join(lines).encode()
        except BaseException as error:
            # The driver tells of it in words of its own, also of Ctrl-C; whoever started the COPY raises the reason.
            self.failure = error
            raise


def _number(value: float | None) -> str:
    return "\\N" if value is None else repr(value)


def _text(value: str | None) -> str:
    if value is None:
        return "\\N"
    if "\\" in value:
        value = value.replace("\\", "\\\\")
    # One look for all three: a text without control characters is the rule.
    return value if value.isprintable() else value.replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def _json(value: str | None) -> str:
    # Control characters are escaped in it already.
    return "\\N" if value is None else value.replace("\\", "\\\\")


def copy_in(session: Session, statement: str, source: Any) -> None:
    """Run a COPY … FROM STDIN of a file in this transaction. Raises what the file raised, else what the server said."""
    driver: Any = session.connection().connection.dbapi_connection
    with driver.cursor() as cursor:
        try:
            cursor.copy_expert(statement, source, 1 << 16)
        except driver.Error as error:
            failure = getattr(source, "failure", None)
            raise failure or translate(error) or error from error
