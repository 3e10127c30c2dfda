"""What the log says beside what is there: replayed to the end, and asked for every moment between."""

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
    """What the log says that all captured tables hold: its changes one after the other, and what they contradict."""
    tables: Tables = {table: {} for table in CAPTURED_TABLES}
    wrong: list[str] = []
    changes = "SELECT entity, entity_id, operation, old, new FROM activity_logs WHERE operation <> 'event'"
    with owner.connect() as connection:
        for entity, number, operation, old, new in connection.execute(text(f"{changes} ORDER BY created_at, id")):
            rows = tables[entity]
            before = rows.pop(number, None)
            # Types that the database itself writes are there before their capture is.
            if operation != "baseline" and (before is None) != (operation == "insert"):
                wrong.append(f"{operation} of {entity} {number}, which is {'not ' if before is None else ''}there")
            # Updates that change nothing move the stamps without an entry.
            elif operation == "update" and STAMPS | {n for n in new if before[n] != new[n]} != STAMPS | old.keys():
                wrong.append(f"update of {entity} {number} names {sorted(old)} as changed")
            if operation != "delete":
                rows[number] = new
    return tables, wrong


def stored(owner: Engine) -> Tables:
    """What the captured tables hold, in the log's own words."""
    with owner.connect() as connection:
        connection.execute(text("SET LOCAL TimeZone = 'UTC'"))
        return {
            table: {
                number: json.loads(row)
                for number, row in connection.execute(text(f"SELECT id, to_jsonb(t)::text FROM public.{table} t"))
            }
            for table in CAPTURED_TABLES
        }


def complaints(program: Program, *, pictures: int) -> list[str]:
    """What is wrong after the work: the tables, the replay, pictures of recorded moments and seals, the proof."""
    (told, wrong), there, tables = replayed(program.owner), stored(program.owner), program.tables()
    if tables != program.state:
        wrong.append(f"the tables are not what the model is: {tables.items() ^ program.state.items()}")
    for table, (_, left_out, sensitive, _) in CAPTURED_TABLES.items():
        ignored = {*left_out.split(","), *sensitive.split(",")} | STAMPS
        log, rows = (_without(ignored, side[table]) for side in (told, there))
        if differing := [number for number in log.keys() | rows.keys() if log.get(number) != rows.get(number)]:
            wrong.append(f"the replay of {table} differs in {differing}")
    with program.db.session(actor="root") as session:
        chosen = [*program.moments, *((session.get(ActivitySeal, number), state) for number, state in program.seals)]
        for at, state in program.chance.sample(chosen, min(pictures, len(chosen))):
            wrong += _compare(program, session, at, state)
        wrong += map(str, history.verify(session).findings)
    return wrong


def _without(ignored: set[str], rows: dict[int, dict[str, Any]]) -> dict[int, dict[str, Any]]:
    return {number: {name: value for name, value in row.items() if name not in ignored} for number, row in rows.items()}


def _compare(program: Program, session: Session, at: Any, state: State) -> list[str]:
    everything = sorted({key for _, earlier in program.moments for key in earlier} | state.keys())
    wrong = []
    models = {model.__tablename__: model for model in MODELS}
    for table, number in program.chance.sample(everything, min(40, len(everything))):
        expected = state.get((table, number))
        try:
            past = history.as_of(session, models[table], number, at)
        except NotFound:
            found = None
        else:
            found = tuple(getattr(past, name) for name in MODELS[models[table]])
        if found != expected:
            wrong.append(f"{table} {number} as of {at} is {found}, and was {expected}")
    there = sorted(number for table, number in state if table == "cases")
    for case in program.chance.sample(there, min(1, len(there))):
        whole = history.as_of(session, Case, case, at, whole=True)
        parts = [*whole.notes, *whole.participants, *whole.audio_files]
        if differing := {(part.__tablename__, part.id) for part in parts} ^ below(state, case):
            wrong.append(f"below case {case} as of {at}: {differing}")
    return wrong
