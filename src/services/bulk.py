"""Many rows at once: inserted, updated or deleted in chunks, each of them a transaction of its actor's.

Every chunk goes through the one door, so rights, guards and history hold as for single rows, and what is stored stays
stored when a later chunk fails. With a `job`, a name of the caller's, each chunk notes its progress in the log within
its own transaction: the same call again, after a failure or a kill, goes on behind the last chunk that was stored,
neither skipping a row nor storing one twice. The rows must come in the same order then. A job is one actor's with one
verb on one table: other rows under its name are taken for those that are stored, so the next load needs another name.
Of two calls that do the same job at once, the one that comes second to a chunk stores nothing and raises LostUpdate.

For transcripts use `transcripts.add`, which keeps versions whole and is faster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any

from sqlalchemy import ColumnElement, Select, cast, column, func, select, values
from sqlalchemy import delete as sql_delete
from sqlalchemy import insert as sql_insert
from sqlalchemy import update as sql_update
from sqlalchemy.orm import Session

from src.database import Database
from src.database.base import Record
from src.database.connection.session import actor_of
from src.database.models import ActivityLog, ActivityType
from src.errors import Forbidden, InvalidInput, LostUpdate, NotFound, SpeechError
from src.services import activity

CHUNK = 1_000
LARGEST_CHUNK = 50_000

Row = Mapping[str, Any]
Progress = Callable[[int], object]
Store = Callable[[Session, Sequence[Row]], None]


class _Undo(Exception):
    """Leaves a session without storing what it tried."""


def _undo() -> None:
    raise _Undo


def insert(
    database: Database,
    model: type[Record],
    rows: Iterable[Row],
    *,
    actor: str,
    chunk: int = CHUNK,
    job: str | None = None,
    progress: Progress | None = None,
) -> int:
    """Insert rows, dicts of columns, as `actor`; return how many stand in the database by now, those of `job` included.

    `progress` is called with that number after each chunk. Raises InvalidInput, Conflict or Forbidden that names the
    index of the first row that cannot be stored, counted from 0 over all rows; the chunks before it are stored, its own
    is not.
    """
    names = _columns(model)

    def store(session: Session, alike: Sequence[Row]) -> None:
        # Of the table: the ORM would take a null for "whatever the server likes".
        table: Any = model.__table__
        session.execute(sql_insert(table), [dict(row) for row in alike])

    def check(row: Row) -> None:
        strange = row.keys() - names.keys()
        if strange:
            raise InvalidInput(f"{model.__tablename__} has no column {min(strange)!r}.")

    return _in_chunks(rows, _Task(database, actor, model, "insert", chunk, job, progress), store, check)


def update(
    database: Database,
    model: type[Record],
    rows: Iterable[Row],
    *,
    actor: str,
    chunk: int = CHUNK,
    job: str | None = None,
    progress: Progress | None = None,
) -> int:
    """Change rows, dicts of `id` and the columns to set, as `actor`; one statement for each chunk and set of columns.

    With `row_version` in a row it is changed only if it still has that version. Returns and raises as `insert` does;
    NotFound names the index of a row that is not there, not the actor's to change, or was changed meanwhile.
    """
    names = _columns(model)

    def store(session: Session, alike: Sequence[Row]) -> None:
        for different in _by_id(alike):
            _update(session, model, names, different)

    def check(row: Row) -> None:
        strange = row.keys() - names.keys()
        if type(row.get("id", 0)) is not int:
            raise InvalidInput(f"{model.__tablename__} has no id {row['id']!r:.40}; ids are whole numbers.")
        if strange or "id" not in row or not row.keys() - {"id", "row_version"}:
            wrong = f"has no column {min(strange)!r}" if strange else "needs an id and a column to set"
            raise InvalidInput(f"{model.__tablename__} {wrong}.")

    return _in_chunks(rows, _Task(database, actor, model, "update", chunk, job, progress), store, check)


def delete(
    database: Database,
    model: type[Record],
    which: Iterable[int] | Select[Any],
    *,
    actor: str,
    chunk: int = CHUNK,
    progress: Progress | None = None,
) -> int:
    """Delete rows as `actor`, by their ids or by a query for ids (or rows); return how many this call deleted.

    Resumable by itself: what is gone already is passed over. Raises InvalidInput for what is no id, Forbidden for rows
    that the actor sees but may not delete, Conflict where a guard (a legal hold) or what refers to them stands in the
    way; earlier chunks stay deleted.
    """
    task = _Task(database, actor, model, "delete", chunk, None, progress)
    done = 0
    for ids in _pages(task, which) if isinstance(which, Select) else _pieces(which, task.chunk):
        strange = [each for each in ids if type(each) is not int]
        if strange:
            raise InvalidInput(f"{model.__tablename__} has no id {strange[0]!r:.40}; ids are whole numbers.")
        with database.session(actor=actor) as session:
            actor_of(session)
            gone = session.scalars(sql_delete(model).where(model.id.in_(ids)).returning(model.id)).all()
            left = session.scalars(select(model.id).where(model.id.in_(ids)).order_by(model.id).limit(1)).first()
            if left is not None:
                raise Forbidden(f"The actor may read {model.__tablename__} {left}, but not delete it.")
            if gone:
                _note(session, task, len(gone), done + len(gone))
        done += len(gone)
        task.tell(done)
    return done


@dataclass(frozen=True)
class _Task:
    database: Database
    actor: str
    model: type[Record]
    verb: str
    chunk: int
    job: str | None
    progress: Progress | None

    def __post_init__(self) -> None:
        if not 1 <= self.chunk <= LARGEST_CHUNK:
            raise InvalidInput(f"chunk is {self.chunk}; give a number from 1 to {LARGEST_CHUNK}.")

    def tell(self, done: int) -> None:
        if self.progress is not None:
            self.progress(done)


def _in_chunks(rows: Iterable[Row], task: _Task, store: Store, check: Callable[[Row], None]) -> int:
    done = _stored_before(task) if task.job is not None else 0
    for part in _pieces(islice(rows, done, None), task.chunk):
        for number, row in enumerate(part, done):
            try:
                _require_row(row)
                check(row)
            except InvalidInput as error:
                raise InvalidInput(f"row {number}: {error}") from error
        try:
            with task.database.session(actor=task.actor) as session:
                actor_of(session)
                _take_turn(session, task, done)
                _store(session, part, store)
                _note(session, task, len(part), done + len(part))
        except LostUpdate:
            raise
        except SpeechError as error:
            first = _first_refused(task, part, store)
            if first is None:
                raise  # nothing is wrong with the rows: the server went away, or somebody was in the way
            index, reason = first
            raise type(reason)(f"row {done + index}: {reason}") from error
        done += len(part)
        task.tell(done)
    return done


def _require_row(row: Any) -> None:
    if not isinstance(row, Mapping):
        raise InvalidInput(f"it is {type(row).__name__}, not a dict of columns.")


def _take_turn(session: Session, task: _Task, done: int) -> None:
    """Wait for whoever stores a chunk of this job; raise LostUpdate when the job has gone on meanwhile."""
    if task.job is None:
        return
    name = f"bulk\n{task.actor}\n{task.verb}\n{task.model.__tablename__}\n{task.job}"
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))
    by_now = _done(session, task)
    if by_now != done:
        raise LostUpdate(f"Somebody else does the job {task.job!r} too: {by_now} rows are stored; call again to go on.")


def _by_id(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Cut rows where an id comes again: of two changes of a row, one statement would make either."""
    part: dict[Any, Row] = {}
    for row in rows:
        if row["id"] in part:
            yield list(part.values())
            part = {}
        part[row["id"]] = row
    yield list(part.values())


def _store(session: Session, part: Sequence[Row], store: Store) -> None:
    """Store rows by one statement for each run of the same columns, so that a default stays the server's."""
    for _, alike in groupby(part, key=frozenset):
        store(session, list(alike))


def _first_refused(task: _Task, part: Sequence[Row], store: Store) -> tuple[int, SpeechError] | None:
    """Find, by halves, the first row that a chunk fails with; nothing of these tries is stored."""

    def failure(count: int) -> SpeechError | None:
        try:
            with task.database.session(actor=task.actor) as session:
                actor_of(session)
                _store(session, part[:count], store)
                _undo()
        except _Undo:
            return None
        except SpeechError as error:
            return error
        return None

    good, bad = 0, len(part)
    reason = failure(bad)
    if reason is None or failure(0) is not None:
        return None
    while bad - good > 1:
        middle = (good + bad) // 2
        found = failure(middle)
        if found is None:
            good = middle
        else:
            bad, reason = middle, found
    return bad - 1, reason


def _update(session: Session, model: type[Record], names: Mapping[str, Any], part: Sequence[Row]) -> None:
    keys = list(part[0])
    given = values(*(column(key, names[key].type) for key in keys), name="given").data(
        [tuple(row[key] for key in keys) for row in part]
    )
    # What the driver sends has no type of its own where all of a column is null.
    typed = {key: cast(given.c[key], names[key].type) for key in keys}
    matches: list[ColumnElement[bool]] = [names[key] == typed[key] for key in keys if key in {"id", "row_version"}]
    table: Any = model.__table__
    changed = session.scalars(
        sql_update(table)
        .where(*matches)
        .values({key: typed[key] for key in keys if key not in {"id", "row_version"}})
        .returning(table.c.id)
    )
    missing = {row["id"] for row in part} - set(changed)
    if missing:
        raise NotFound(
            f"There is no {model.__tablename__} {min(missing)} that the actor may change, or somebody changed it."
        )


def _columns(model: type[Record]) -> dict[str, Any]:
    return {each.key: each for each in model.__table__.columns}


def _pieces(rows: Iterable[Any], chunk: int) -> Iterator[list[Any]]:
    iterator = iter(rows)
    while part := list(islice(iterator, chunk)):
        yield part


def _pages(task: _Task, query: Select[Any]) -> Iterator[list[int]]:
    """Yield a page of ids at a time; each begins behind the one before, so that it ends whatever is added meanwhile."""
    last = 0
    ids, *others = query.subquery().c
    if others and ids.key != "id":
        raise InvalidInput(f"The query asks for {ids.key} and more; ask for the ids alone.")
    while True:
        with task.database.session(actor=task.actor) as session:
            page = list(session.scalars(select(ids).where(ids > last).order_by(ids).limit(task.chunk)))
        if not page:
            return
        yield page
        last = page[-1]


def _note(session: Session, task: _Task, rows: int, done: int) -> None:
    detail = {"name": task.model.__tablename__, "verb": task.verb, "rows": rows, "done": done}
    if task.job is not None:
        detail["job"] = task.job
    # Under the table and none of its rows: so the index of the log by entity finds a job's last chunk.
    activity.record(session, "bulk.stored", entity=task.model(), detail=detail)


def _stored_before(task: _Task) -> int:
    with task.database.session(actor=task.actor) as session:
        return _done(session, task)


def _done(session: Session, task: _Task) -> int:
    mine = (
        select(func.max(ActivityLog.new["done"].as_integer()))
        .join(ActivityType, ActivityType.id == ActivityLog.activity_type_id)
        .where(
            ActivityLog.entity == task.model.__tablename__,
            ActivityLog.entity_id.is_(None),
            ActivityType.code == "bulk.stored",
            ActivityLog.actor_id == actor_of(session),
            ActivityLog.new["job"].as_string() == task.job,
            ActivityLog.new["verb"].as_string() == task.verb,
        )
    )
    return session.scalar(mine) or 0
