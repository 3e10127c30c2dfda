"""Insert, update and delete many rows in chunks; each chunk is a transaction of the actor.

Every chunk uses `db.session`, so permissions, triggers and history apply as for single rows, and stored chunks remain
when a later one fails. With a `job`, a name that the caller chooses, each chunk logs its progress within its own
transaction: repeating the call after a failure or a kill continues after the last stored chunk, without skipping or
duplicating a row. This requires the same rows in the same order. A job belongs to one actor, verb and table. Rows of
another load under the same name would be skipped as already stored, so each load needs a new name. When two calls run
the same job at the same time, the second one to reach a chunk stores nothing and raises LostUpdate.

For transcripts use `transcripts.add`, which stores a version as a whole and is faster.
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
    """Rolls a session back."""


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
    """Insert rows, given as dicts of columns, as `actor`; return how many are stored, earlier calls of `job` included.

    `progress` is called with that number after each chunk. Raises InvalidInput, Conflict or Forbidden, which names the
    index of the first rejected row, counted from 0 over all rows. Earlier chunks are stored, the chunk of that row is
    not.
    """
    names = _columns(model)

    def store(session: Session, alike: Sequence[Row]) -> None:
        # The Core table: an ORM insert replaces None by the server default.
        table: Any = model.__table__
        session.execute(sql_insert(table), [dict(row) for row in alike])

    def check(row: Row) -> None:
        unknown = row.keys() - names.keys()
        if unknown:
            raise InvalidInput(f"{model.__tablename__} has no column {min(unknown)!r}.", field=min(unknown))

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
    """Update rows, given as dicts of `id` and the columns to set, as `actor`; one statement per chunk and column set.

    A row with `row_version` is updated only if it still has that version. Returns and raises as `insert` does;
    NotFound names the index of a row that does not exist, that the actor may not change, or that was changed since.
    """
    names = _columns(model)

    def store(session: Session, alike: Sequence[Row]) -> None:
        for unique in _split_at_duplicates(alike):
            _update(session, model, names, unique)

    def check(row: Row) -> None:
        unknown = row.keys() - names.keys()
        if type(row.get("id", 0)) is not int:
            raise InvalidInput(
                f"id: {row['id']!r:.40} is not an id of {model.__tablename__}; ids are integers.", field="id"
            )
        if unknown or "id" not in row or not row.keys() - {"id", "row_version"}:
            problem = f"has no column {min(unknown)!r}" if unknown else "needs an id and a column to set"
            raise InvalidInput(f"{model.__tablename__} {problem}.", field=min(unknown) if unknown else "id")

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

    The call can be repeated: ids of deleted rows are skipped. Raises InvalidInput for a value that is not an id,
    Forbidden for rows that the actor may see but not delete, Conflict for rows under a legal hold or with references
    to them. Earlier chunks stay deleted.
    """
    task = _Task(database, actor, model, "delete", chunk, None, progress)
    done = 0
    for ids in _pages(task, which) if isinstance(which, Select) else _pieces(which, task.chunk):
        invalid = [each for each in ids if type(each) is not int]
        if invalid:
            raise InvalidInput(
                f"id: {invalid[0]!r:.40} is not an id of {model.__tablename__}; ids are integers.", field="id"
            )
        with database.session(actor=actor) as session:
            actor_of(session)
            deleted = session.scalars(sql_delete(model).where(model.id.in_(ids)).returning(model.id)).all()
            left = session.scalars(select(model.id).where(model.id.in_(ids)).order_by(model.id).limit(1)).first()
            if left is not None:
                raise Forbidden(f"You may read row {left} of {model.__tablename__}, but not delete it.")
            if deleted:
                _log_chunk(session, task, len(deleted), done + len(deleted))
        done += len(deleted)
        task.report(done)
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
            raise InvalidInput(
                f"chunk: {self.chunk}; give a number from 1 to {LARGEST_CHUNK}.", field="chunk", limit=LARGEST_CHUNK
            )

    def report(self, done: int) -> None:
        if self.progress is not None:
            self.progress(done)


def _in_chunks(rows: Iterable[Row], task: _Task, store: Store, check: Callable[[Row], None]) -> int:
    done = _stored_before(task) if task.job is not None else 0
    for part in _pieces(islice(rows, done, None), task.chunk):
        for index, row in enumerate(part, done):
            try:
                _require_row(row)
                check(row)
            except InvalidInput as error:
                raise _of_row(index, error) from error
        try:
            with task.database.session(actor=task.actor) as session:
                actor_of(session)
                _lock_job(session, task, done)
                _store(session, part, store)
                _log_chunk(session, task, len(part), done + len(part))
        except LostUpdate:
            raise
        except SpeechError as error:
            first = _first_rejected(task, part, store)
            if first is None:
                raise  # the rows are valid: a lost connection or a conflict with another transaction
            index, reason = first
            raise _of_row(done + index, reason) from error
        done += len(part)
        task.report(done)
    return done


def _of_row(index: int, error: SpeechError) -> SpeechError:
    """Return the error with the index of its row, and with the fields that it has."""
    named = type(error)(f"row {index}: {error}")
    vars(named).update(vars(error))
    return named


def _require_row(row: Any) -> None:
    if not isinstance(row, Mapping):
        raise InvalidInput(f"{type(row).__name__} is not a dict of columns.", field="rows")


def _lock_job(session: Session, task: _Task, done: int) -> None:
    """Wait for another call that stores a chunk of this job; raise LostUpdate if the job has advanced."""
    if task.job is None:
        return
    name = f"bulk\n{task.verb}\n{task.model.__tablename__}\n{task.job}"
    session.execute(select(func.public.lock_own(name)))
    stored = _done(session, task)
    if stored != done:
        raise LostUpdate(f"Another call runs the job {task.job!r}; {stored} rows are stored. Call again to continue.")


def _split_at_duplicates(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Start a new list when an id repeats: one UPDATE with two values for a row would apply either of them."""
    part: dict[Any, Row] = {}
    for row in rows:
        if row["id"] in part:
            yield list(part.values())
            part = {}
        part[row["id"]] = row
    yield list(part.values())


def _store(session: Session, part: Sequence[Row], store: Store) -> None:
    """Store rows with one statement per run of the same columns: omitted columns get the server default."""
    for _, alike in groupby(part, key=frozenset):
        store(session, list(alike))


def _first_rejected(task: _Task, part: Sequence[Row], store: Store) -> tuple[int, SpeechError] | None:
    """Find the first row that makes a chunk fail, by bisection; every attempt is rolled back."""

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
        error = failure(middle)
        if error is None:
            good = middle
        else:
            bad, reason = middle, error
    return bad - 1, reason


def _update(session: Session, model: type[Record], names: Mapping[str, Any], part: Sequence[Row]) -> None:
    keys = list(part[0])
    given = values(*(column(key, names[key].type) for key in keys), name="given").data(
        [tuple(row[key] for key in keys) for row in part]
    )
    # A VALUES column of nulls only has no type.
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
            f"Row {min(missing)} of {model.__tablename__} does not exist, was changed since, or you may not change it."
        )


def _columns(model: type[Record]) -> dict[str, Any]:
    return {each.key: each for each in model.__table__.columns}


def _pieces(rows: Iterable[Any], chunk: int) -> Iterator[list[Any]]:
    iterator = iter(rows)
    while part := list(islice(iterator, chunk)):
        yield part


def _pages(task: _Task, query: Select[Any]) -> Iterator[list[int]]:
    """Yield pages of ids by keyset pagination, which terminates even if rows are added meanwhile."""
    last = 0
    ids, *others = query.subquery().c
    if others and ids.key != "id":
        raise InvalidInput(f"which: the query selects {ids.key!r} first; select only ids.", field="which")
    while True:
        with task.database.session(actor=task.actor) as session:
            page = list(session.scalars(select(ids).where(ids > last).order_by(ids).limit(task.chunk)))
        if not page:
            return
        yield page
        last = page[-1]


def _log_chunk(session: Session, task: _Task, rows: int, done: int) -> None:
    detail = {"name": task.model.__tablename__, "verb": task.verb, "rows": rows, "done": done}
    if task.job is not None:
        detail["job"] = task.job
    # An entity without an id: the log's index on the entity finds a job's last chunk.
    activity.record(session, "bulk.stored", entity=task.model(), detail=detail)


def _stored_before(task: _Task) -> int:
    with task.database.session(actor=task.actor) as session:
        return _done(session, task)


def _done(session: Session, task: _Task) -> int:
    mine = (
        select(func.max(ActivityLog.new["done"].as_integer()))
        .join(ActivityType, ActivityType.id == ActivityLog.activity_type_id)
        .where(
            ActivityLog.case_id.is_(None),
            ActivityLog.entity == task.model.__tablename__,
            ActivityLog.entity_id.is_(None),
            ActivityType.code == "bulk.stored",
            ActivityLog.actor_id == actor_of(session),
            ActivityLog.new["job"].as_string() == task.job,
            ActivityLog.new["verb"].as_string() == task.verb,
        )
    )
    return session.scalar(mine) or 0
