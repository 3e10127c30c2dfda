"""Segments before they are stored: validated, held as parameters or staged in a temporary table."""

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
from src.formats.segments import Segment
from src.services.transcripts.segment_rows import Row, segment_row

# Above this number a temporary table, which takes about 2 ms to create, is faster than parameters.
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
    f"{INTO} SELECT :case, :transcription, :config, {TYPED} FROM {PARAMETERS} AS given ({COLUMNS})"  # noqa: S608 - only column names of this package
).bindparams(*PARAMETER_TYPES)
_FROM_STAGE = text(f"{INTO} SELECT :case, :transcription, :config, {COLUMNS} FROM pg_temp.staged_segments")  # noqa: S608 - the same
# Schema-qualified, so that no other table of this name is used; dropped at commit at the latest. The columns have the
# final types: the server parses JSON while the next rows are generated here. An existing table was left by an import
# that failed in the same transaction.
_STAGE = (
    "DROP TABLE IF EXISTS pg_temp.staged_segments;"
    " CREATE TEMPORARY TABLE pg_temp.staged_segments (position bigint, start_ms bigint, end_ms bigint, speaker text,"
    " text text, words jsonb, confidence double precision, flags text[]) ON COMMIT DROP"
)


class StagedSegments:
    """Validated segments that are not stored yet: `with StagedSegments(session, segments) as staged:`.

    Raises InvalidInput, which names segment and word; the transaction remains usable, since nothing was stored.
    """

    def __init__(self, session: Session, segments: Sequence[Segment]) -> None:
        self._session = session
        self.count = len(segments)
        self._content = io.StringIO()  # a list of short texts takes several times the memory
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
        """Insert the segments with one statement."""
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
            row = segment_row(position, segment)
            self._content.write((" " if position else "") + row.text.strip())
            yield row

    def _stage(self, segments: Iterable[Segment]) -> None:
        extend_statement_timeout(self._session)
        # A failure inside COPY aborts the transaction; with the savepoint it remains usable, as for few segments.
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
    """A file that COPY reads: rows are formatted while the server processes earlier ones."""

    def __init__(self, rows: Iterator[Row]) -> None:
        self._rows = rows
        self.failure: BaseException | None = None

    def read(self, size: int) -> bytes:
        lines: list[str] = []
        remaining = size
        try:
            for position, start, end, speaker, words_text, words, sure, flags in self._rows:
                line = (
                    f"{position}\t{_number(start)}\t{_number(end)}\t{_text(speaker)}\t{_text(words_text)}"
                    f"\t{_json(words)}\t{_number(sure)}\t{_text(flags)}\n"
                )
                lines.append(line)
                remaining -= len(line)
                if remaining <= 0:
                    break
            return "".join(lines).encode()
        except BaseException as error:
            # The driver raises its own error in place of this one, also for Ctrl-C; `copy_in` raises this one instead.
            self.failure = error
            raise


def _number(value: float | None) -> str:
    return "\\N" if value is None else repr(value)


def _text(value: str | None) -> str:
    if value is None:
        return "\\N"
    if "\\" in value:
        value = value.replace("\\", "\\\\")
    # One test for all three: most texts have no control characters.
    return value if value.isprintable() else value.replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def _json(value: str | None) -> str:
    # JSON already escapes control characters.
    return "\\N" if value is None else value.replace("\\", "\\\\")


def copy_in(session: Session, statement: str, source: Any) -> None:
    """Run COPY … FROM STDIN from a file in this transaction. Raises the error of the file, else that of the server."""
    driver: Any = session.connection().connection.dbapi_connection
    with driver.cursor() as cursor:
        try:
            cursor.copy_expert(statement, source, 1 << 16)
        except driver.Error as error:
            failure = getattr(source, "failure", None)
            raise failure or translate(error) or error from error
