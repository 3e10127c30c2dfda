"""Compare log and tables: replay the log, and read snapshots of recorded times and seals."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from src.database import ActivitySeal, Case
from src.errors import NotFound
from src.services import history
from tests.declared import CAPTURED_TABLES
from tests.services.history.program import MODELS, Program, State, below

STAMPS = {"updated_at", "row_version"}
# table → id → row
Tables = dict[str, dict[int, dict[str, Any]]]


def replayed(owner: Engine) -> tuple[Tables, list[str]]:
    """Replay the log; return the resulting contents of the captured tables, and contradictions."""
    tables: Tables = {table: {} for table in CAPTURED_TABLES}
    wrong: list[str] = []
    changes = "SELECT entity, entity_id, operation, old, new FROM activity_logs WHERE operation <> 'event'"
    with owner.connect() as connection:
        for entity, row_id, operation, old, new in connection.execute(text(f"{changes} ORDER BY created_at, id")):
            rows = tables[entity]
            before = rows.pop(row_id, None)
            # Activity types that the database inserts exist before their capture.
            if operation != "baseline" and (before is None) != (operation == "insert"):
                wrong.append(
                    f"{operation} of {entity} {row_id}, which {'does not exist' if before is None else 'exists'}"
                )
            # Updates without changes set the stamps without an entry.
            elif operation == "update" and STAMPS | {n for n in new if before[n] != new[n]} != STAMPS | old.keys():
                wrong.append(f"update of {entity} {row_id} lists {sorted(old)} as changed")
            if operation != "delete":
                rows[row_id] = new
    return tables, wrong


def stored(owner: Engine) -> Tables:
    """Return the contents of the captured tables, in the JSON form of the log."""
    with owner.connect() as connection:
        connection.execute(text("SET LOCAL TimeZone = 'UTC'"))
        return {
            table: {
                row_id: json.loads(row)
                for row_id, row in connection.execute(text(f"SELECT id, to_jsonb(t)::text FROM public.{table} t"))
            }
            for table in CAPTURED_TABLES
        }


def complaints(program: Program, *, snapshots: int) -> list[str]:
    """Return differences in the tables, the replay, snapshots of recorded times and seals, and the verification."""
    (logged, wrong), actual, tables = replayed(program.owner), stored(program.owner), program.tables()
    if tables != program.state:
        wrong.append(f"the tables differ from the model: {tables.items() ^ program.state.items()}")
    for table, (_, left_out, sensitive, _) in CAPTURED_TABLES.items():
        ignored = {*left_out.split(","), *sensitive.split(",")} | STAMPS
        log, rows = (_without(ignored, side[table]) for side in (logged, actual))
        if differing := [row_id for row_id in log.keys() | rows.keys() if log.get(row_id) != rows.get(row_id)]:
            wrong.append(f"the replay of {table} differs in {differing}")
    with program.db.session(actor="root") as session:
        recorded = [*program.moments, *((session.get(ActivitySeal, row_id), state) for row_id, state in program.seals)]
        for at, state in program.chance.sample(recorded, min(snapshots, len(recorded))):
            wrong += _compare(program, session, at, state)
        # Without key and heads, which are findings of their own.
        found = history.verify(session).findings
        wrong += (str(finding) for finding in found if finding.kind not in {"signature", "head"})
    return wrong


def _without(ignored: set[str], rows: dict[int, dict[str, Any]]) -> dict[int, dict[str, Any]]:
    return {row_id: {name: value for name, value in row.items() if name not in ignored} for row_id, row in rows.items()}


def _compare(program: Program, session: Session, at: Any, state: State) -> list[str]:
    everything = sorted({key for _, earlier in program.moments for key in earlier} | state.keys())
    wrong = []
    models = {model.__tablename__: model for model in MODELS}
    for table, row_id in program.chance.sample(everything, min(40, len(everything))):
        expected = state.get((table, row_id))
        try:
            past = history.as_of(session, models[table], row_id, at)
        except NotFound:
            found = None
        else:
            found = tuple(getattr(past, name) for name in MODELS[models[table]])
        if found != expected:
            wrong.append(f"{table} {row_id} as of {at} is {found}; expected {expected}")
    existing = sorted(row_id for table, row_id in state if table == "cases")
    for case in program.chance.sample(existing, min(1, len(existing))):
        whole = history.as_of(session, Case, case, at, whole=True)
        parts = [*whole.notes, *whole.participants, *whole.audio_files]
        if differing := {(part.__tablename__, part.id) for part in parts} ^ below(state, case):
            wrong.append(f"below case {case} as of {at}: {differing}")
    return wrong
