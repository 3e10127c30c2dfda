"""The reads of a session: collected while it runs, logged when it has ended, one entry per look.

Services note what they return (`note_read`). Objects that the ORM loads are noted here, whatever loads them: queries,
`session.get`, relationships. Loaded objects of one case are one entry, and none when a service notes the same objects
in the same session. Only models with `__read_as__` are noted: transcripts, notes, analyses, row images of the log.
Statements outside the ORM are not noted: docs/security.md.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import ARRAY, BigInteger, Column, cast, event, func, select
from sqlalchemy import inspect as inspect_mapped
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import ORMExecuteState, Session
from sqlalchemy.sql import visitors

from src.database.connection.actor_session import ActorSession
from src.database.connection.column_reads import ColumnRead, parts_of
from src.database.schema.declaration import PERSONAL
from src.errors import SpeechError

logger = logging.getLogger(__name__)

MOST_IDS = 1_000
"""Ids in one entry: more objects of a case give more entries."""

NOTED = {"read_noted": True}
"""Execution options of a statement whose rows a service notes."""

P = ParamSpec("P")
R = TypeVar("R")
# The type of the entry, the case, table and id of the row that it names, and what was loaded: a table or a column.
_Loaded = tuple[str, int | None, str, int | None, str]


class Reads:
    """What a session has read, and the receipts of the database for the cases that it could read."""

    def __init__(self) -> None:
        self.noted: list[dict[str, Any]] = []
        self.receipts: dict[int, str] = {}
        self.loaded: dict[_Loaded, int] = {}
        self.named: set[tuple[str, int | None]] = set()
        self.unproved: set[int] = set()
        self.asked_in_statement = False
        self.silent = 0
        self.process = os.getpid()

    def entries(self) -> list[dict[str, Any]]:
        """Return the entries to log: those of services, then those of loaded objects that no service noted."""
        looks: dict[tuple[str, int | None], dict[tuple[str, int | None], Counter[str]]] = {}
        for (kind, case_id, entity, id_, what), count in self.loaded.items():
            if (entity, id_) not in self.named:
                looks.setdefault((kind, case_id), {}).setdefault((entity, id_), Counter())[what] += count
        found = list(self.noted)
        for (kind, case_id), objects in looks.items():
            named = list(objects)
            for start in range(0, len(named), MOST_IDS):
                part = {each: objects[each] for each in named[start : start + MOST_IDS]}
                found.append(self._entry(kind, case_id, part))
        return found

    def _entry(
        self, kind: str, case_id: int | None, objects: dict[tuple[str, int | None], Counter[str]]
    ) -> dict[str, Any]:
        tables = sorted({table for table, _ in objects})
        detail: dict[str, Any] = {"rows": sum(objects.values(), Counter())}
        entry = {"type": kind, "case_id": case_id, "receipt": self.receipts.get(case_id or 0), "detail": detail}
        if len(tables) == 1:
            entry["entity"] = tables[0]
        if len(objects) == 1:
            entry["entity_id"] = next(iter(objects))[1]
        else:
            detail["ids"] = {table: sorted(id_ for name, id_ in objects if name == table and id_) for table in tables}
        return entry


def reads_of(session: Session) -> Reads:
    """Return the reads of a session of `db.session`."""
    reads: Reads = session.info["reads"]
    return reads


def note_read(session: Session, read: dict[str, Any]) -> None:
    """Add a read to those that are logged when the session ends, with the right to its case at this moment.

    The right is proved by a receipt of the database, one for each case of a session: it may have ended by then.
    """
    reads, case_id = reads_of(session), read.get("case_id")
    if case_id is not None:
        _prove(session, {case_id})
    reads.noted.append({**read, "receipt": reads.receipts.get(case_id or 0)})
    reads.named.add((str(read.get("entity")), read.get("entity_id")))


@contextmanager
def proved_reads(session: Session) -> Iterator[None]:
    """Get the missing receipts when this block ends, also by an error, as long as its transaction works."""
    try:
        yield
    except BaseException:
        try:
            _prove_loaded(session)
        except (DBAPIError, SpeechError):
            # The error of the block counts; without receipts, the rights when the entries are written.
            logger.debug("the connection ended before the receipts of the reads", exc_info=True)
        raise
    _prove_loaded(session)


def _prove_loaded(session: Session) -> None:
    reads = reads_of(session)
    if reads.unproved and session.in_transaction() and session.is_active:
        _prove(session, set(reads.unproved))
        reads.unproved.clear()


@contextmanager
def unlogged_loads(session: Session) -> Iterator[None]:
    """Do not note what the ORM loads in this block: for services that note what they return, or return nothing of it.

    Also for sessions that `db.session` did not open, which note nothing.
    """
    reads: Reads | None = session.info.get("reads")
    if reads is None:
        yield
        return
    reads.silent += 1
    try:
        yield
    finally:
        reads.silent -= 1


def notes_itself(service: Callable[Concatenate[Session, P], R]) -> Callable[Concatenate[Session, P], R]:
    """Decorate a service that notes what it returns, or returns nothing of what it loads: see `unlogged_loads`."""

    @wraps(service)
    def silent(session: Session, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with unlogged_loads(session):
            return service(session, *args, **kwargs)

    return silent


def _prove(session: Session, case_ids: set[int]) -> None:
    reads = reads_of(session)
    receipts = reads.receipts
    wanted = [case_id for case_id in case_ids if case_id not in receipts]
    if not wanted or reads.process != os.getpid():
        return
    connection = session.connection()
    if connection.invalidated:
        return
    driver: Any = connection.connection.dbapi_connection
    # Without the transaction of the block no statement runs, or it would run without the actor.
    if not (driver.is_aborted() or driver.is_lost() or driver.is_replaced()):
        found = connection.scalar(select(func.public.read_receipts(cast(wanted, ARRAY(BigInteger)))))
        receipts.update({int(case_id): receipt for case_id, receipt in (found or {}).items()})


@event.listens_for(ActorSession, "loaded_as_persistent")
def _note_loaded(session: Session, instance: Any) -> None:
    read_as = instance.__read_as__
    if read_as is None:
        return
    reads: Reads = session.info["reads"]
    if reads.silent:
        return
    values = instance.__dict__
    case_id, entity = values.get("case_id"), read_as.entity
    if read_as.entity_column is not None:
        # Entries of events contain no texts, and rows outside cases no recorded speech.
        if case_id is None or values.get("operation") == "event":
            return
        entity = values.get(read_as.entity_column)
    key = (read_as.type, case_id, entity, values.get(read_as.column), instance.__tablename__)
    loaded = reads.loaded
    if key in loaded:  # the usual case, for each row of a page
        loaded[key] += 1
        return
    loaded[key] = 1
    if case_id is not None and case_id not in reads.receipts and case_id not in reads.unproved:
        # One round trip for the first case of a statement, whose right may end before the next one; others wait for it.
        if reads.asked_in_statement:
            reads.unproved.add(case_id)
        else:
            reads.asked_in_statement = True
            _prove(session, {case_id})


@event.listens_for(ActorSession, "before_flush")
def _prove_before(session: Session, _context: Any, _instances: Any) -> None:
    # The flush may fail, and no statement runs afterwards.
    _prove_loaded(session)


@event.listens_for(ActorSession, "do_orm_execute")
def _note_columns(state: ORMExecuteState) -> None:
    reads = reads_of(state.session)
    if reads.unproved:
        _prove_loaded(state.session)
    reads.asked_in_statement = False
    if (
        reads.silent
        or "read_noted" in state.execution_options
        or not state.is_select
        or state.is_column_load
        or state.is_relationship_load
    ):
        return
    for part in parts_of(state.statement):
        for described in getattr(part, "column_descriptions", ()):
            expression, entity = described.get("expr"), described.get("entity")
            read_as = getattr(entity, "__read_as__", None) or getattr(_model(entity), "__read_as__", None)
            if read_as is None or expression is entity or isinstance(expression, type):
                continue
            column = next(_personal(expression), None)
            if column is not None:
                _note_column(state, part, ColumnRead(read_as, entity, f"{column.table.name}.{column.name}"))
                break  # one look, whatever it takes of these rows


def _model(entity: Any) -> Any:
    inspected = inspect_mapped(entity, raiseerr=False) if entity is not None else None
    return getattr(getattr(inspected, "mapper", None), "class_", None)


def _personal(expression: Any) -> Iterator[Column[Any]]:
    clause = expression.__clause_element__() if hasattr(expression, "__clause_element__") else expression
    for element in visitors.iterate(clause):
        # The column of an alias stands for that of its table.
        for column in getattr(element, "base_columns", ()):
            if isinstance(column, Column) and column.info.get(PERSONAL):
                yield column


def _note_column(state: ORMExecuteState, statement: Any, read: ColumnRead) -> None:
    """Note a query of single columns: its rows are counted by case, unless the conditions name case and row."""
    reads, read_as = reads_of(state.session), read.read_as
    found = read.named_in(statement)
    counting = None if found is not None else read.counting(statement)
    if counting is not None:
        rows = state.session.connection().execute(counting, state.parameters or {}).all()
        found = [read.group(row) for row in rows]
    for group in found or [read.unknown(statement)]:
        key = (read_as.type, group.case_id, group.entity, group.row_id, group.what)
        reads.loaded[key] = reads.loaded.get(key, 0) + group.rows
        if group.case_id is not None and group.case_id not in reads.receipts:
            reads.unproved.add(group.case_id)
    if counting is not None:
        _prove_loaded(state.session)  # all cases in one round trip, while the rights are those of the count
