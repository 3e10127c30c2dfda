"""Random changes by every write path, and a Python model of the expected table contents over time."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, bindparam, delete, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from src.database import AudioFile, Case, CaseNote, CaseParticipant, Database, User
from src.errors import Conflict, NotFound, SpeechError
from src.services import cases, history
from tests.security.population import add_audio

# The written tables, with the columns that the model compares.
MODELS = {
    Case: ("title", "description", "case_code"),
    CaseNote: ("case_id", "body"),
    CaseParticipant: ("case_id", "user_id", "role"),
    AudioFile: ("case_id", "name"),
    User: ("full_name",),
}
State = dict[tuple[str, int], tuple[Any, ...]]
Work = Callable[["Program", Session], None]
MOST_CASES = 25


class Abandoned(Exception):
    """Raised to roll back a transaction."""


def abandon(condition: bool) -> None:
    if condition:
        raise Abandoned


def below(state: State, case: int) -> set[tuple[str, int]]:
    """Return the rows of a case, without the case itself."""
    return {key for key, values in state.items() if key[0] not in {"cases", "users"} and values[0] == case}


@dataclass
class Program:
    """Makes random changes; `state` is the committed state, `moments` and `seals` are earlier states."""

    db: Database
    owner: Engine
    chance: random.Random
    state: State = field(default_factory=dict)
    moments: list[tuple[datetime, State]] = field(default_factory=list)
    seals: list[tuple[int, State]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    counter: int = 0

    def __post_init__(self) -> None:
        self.state = self.tables()
        self.record()

    def tables(self) -> State:
        """Return the contents of the tables, read as their owner."""
        found: State = {}
        with Session(self.owner) as session:
            for model, columns in MODELS.items():
                for row_id, *values in session.execute(select(model.id, *(getattr(model, name) for name in columns))):
                    found[model.__tablename__, row_id] = tuple(values)
        return found

    def run(self, operations: int) -> None:
        """Run operations, one to eight per transaction; some transactions are rolled back or interleaved."""
        while (done := sum(self.counts.values())) < operations:
            if self.chance.random() < 0.1 and done:
                self.interleave()
            else:
                self.transaction(self.chance.randint(1, 8))
            if self.chance.random() < 0.3:
                self.record()

    def record(self) -> None:
        """Record the current state, while no transaction is open, and sometimes seal."""
        with self.owner.connect() as connection:
            self.moments.append((connection.scalar(text("SELECT clock_timestamp()")), dict(self.state)))
        if self.chance.random() < 0.2:
            with self.db.session(actor="root") as session:
                self.seals += [(seal.id, dict(self.state)) for seal in history.seal(session)][-1:]

    def transaction(self, operations: int, work: Work | None = None) -> None:
        saved = dict(self.state)
        abandoned = self.chance.random() < 0.15
        try:
            with self.db.session(actor="root", reason=f"work {self.counter}") as session:
                for _ in range(operations):
                    self.operation(session, work or self.chance.choice(WORK))
                abandon(abandoned)
        except (Abandoned, SpeechError):
            self.counts["rolled back"] += 1
            self.state = saved

    def interleave(self) -> None:
        """Run two concurrent sessions on different cases; the first to begin is the last to commit."""
        found = self.ids(Case)
        if len(found) < 2:
            return
        one, other = self.chance.sample(found, 2)
        with self.db.session(actor="root", reason="first") as first:
            self.retitle(first, one)
            with self.db.session(actor="root", reason="second") as second:
                self.retitle(second, other)
                self.note(second, other)
            self.note(first, one)
        self.counts["interleaved"] += 1

    def operation(self, session: Session, work: Work) -> None:
        if self.chance.random() < 0.15:
            saved = dict(self.state)
            with suppress(Abandoned), session.begin_nested():
                work(self, session)
                session.flush()
                if back := self.chance.random() < 0.5:
                    self.state = saved
                    self.counts["savepoint rolled back"] += 1
                abandon(back)
        else:
            work(self, session)
            session.flush()
        self.counts[work.__name__] += 1

    def ids(self, model: type) -> list[int]:
        return sorted(row_id for table, row_id in self.state if table == model.__tablename__)

    def word(self) -> str:
        self.counter += 1
        return f"{self.counter} {self.chance.choice(['plain', '😀 ünï', 'O’Brien', chr(92), 'x' * 300])}"[:290]

    def put(self, model: type, row_id: int, **values: Any) -> None:
        columns = MODELS[model]
        before = dict(zip(columns, self.state.get((model.__tablename__, row_id), (None,) * len(columns)), strict=True))
        self.state[model.__tablename__, row_id] = tuple({**before, **values}[name] for name in columns)

    def drop(self, model: type, row_id: int) -> None:
        if model is Case:
            for key in below(self.state, row_id):
                del self.state[key]
        del self.state[model.__tablename__, row_id]

    # One method for each write path. They choose rows from the model only, so that differences become visible.

    def open_case(self, session: Session) -> None:
        if len(self.ids(Case)) >= MOST_CASES:
            self.delete_case(session)
        case = cases.open_case(session, title=self.word())
        self.put(Case, case.id, title=case.title, description="", case_code=case.case_code)
        ((row_id, user),) = session.execute(
            select(CaseParticipant.id, CaseParticipant.user_id).where(CaseParticipant.case_id == case.id)
        )
        self.put(CaseParticipant, row_id, case_id=case.id, user_id=user, role="owner")
        self.audio(session, case.id)

    def audio(self, session: Session, case: int) -> None:
        # The storage object is registered in another transaction, which cannot see an uncommitted case.
        with suppress(SpeechError):
            added = add_audio(session, case, self.word())
            self.put(AudioFile, added.id, case_id=case, name=added.name)

    def retitle(self, session: Session, case: int) -> None:
        session.get(Case, case, populate_existing=True).title = title = self.word()
        session.flush()
        self.put(Case, case, title=title)

    def note(self, session: Session, case: int) -> None:
        note = cases.add_note(session, session.get(Case, case), self.word())
        self.put(CaseNote, note.id, case_id=case, body=note.body)

    def delete_case(self, session: Session) -> None:
        case = self.chance.choice(self.ids(Case))
        way = self.chance.randrange(3)
        if way == 0:
            session.delete(session.get(Case, case, populate_existing=True))
        elif way == 1:
            session.execute(delete(Case).where(Case.id == case))
        else:
            session.execute(text("DELETE FROM cases WHERE id = :id"), {"id": case})
            session.expire_all()
        session.flush()
        session.expunge_all()
        self.drop(Case, case)


def orm_case(program: Program, session: Session) -> None:
    program.open_case(session)


def orm_update(program: Program, session: Session) -> None:
    if program.ids(Case):
        program.retitle(session, program.chance.choice(program.ids(Case)))


def orm_note(program: Program, session: Session) -> None:
    if program.ids(Case):
        program.note(session, program.chance.choice(program.ids(Case)))


def orm_delete(program: Program, session: Session) -> None:
    if found := program.ids(CaseNote):
        row_id = program.chance.choice(found)
        session.delete(session.get(CaseNote, row_id, populate_existing=True))
        session.flush()
        program.drop(CaseNote, row_id)


def three_updates(program: Program, session: Session) -> None:
    if found := program.ids(Case):
        row_id = program.chance.choice(found)
        for _ in range(3):
            program.retitle(session, row_id)


def core_update(program: Program, session: Session) -> None:
    word = program.word()
    ids = program.chance.sample(program.ids(CaseNote), min(5, len(program.ids(CaseNote))))
    session.execute(update(CaseNote).where(CaseNote.id.in_(ids)).values(body=word))
    for row_id in ids:
        program.put(CaseNote, row_id, body=word)


def core_delete(program: Program, session: Session) -> None:
    ids = program.chance.sample(program.ids(CaseNote), min(2, len(program.ids(CaseNote))))
    session.execute(delete(CaseNote).where(CaseNote.id.in_(ids)))
    session.expunge_all()
    for row_id in ids:
        program.drop(CaseNote, row_id)


def raw_update(program: Program, session: Session) -> None:
    word = program.word()
    every_third = text("UPDATE cases SET description = :word WHERE id % 3 = 0 RETURNING id")
    returned = list(session.scalars(every_third, {"word": word}))
    assert sorted(returned) == [row_id for row_id in program.ids(Case) if row_id % 3 == 0]
    for row_id in returned:
        program.put(Case, row_id, description=word)
    session.expire_all()


def no_change(program: Program, session: Session) -> None:
    session.execute(text("UPDATE cases SET title = title"))
    session.expire_all()


def bulk_insert(program: Program, session: Session) -> None:
    if found := program.ids(Case):
        rows = [{"case_id": program.chance.choice(found), "body": program.word()} for _ in range(5)]
        inserted = session.execute(insert(CaseNote).returning(CaseNote.id, CaseNote.case_id, CaseNote.body), rows)
        for row_id, case, body in inserted.all():
            program.put(CaseNote, row_id, case_id=case, body=body)


def bulk_update(program: Program, session: Session) -> None:
    ids = program.chance.sample(program.ids(AudioFile), min(3, len(program.ids(AudioFile))))
    table = AudioFile.__table__
    rows = [{"row_id": row_id, "new": program.word()} for row_id in ids]
    if rows:
        session.connection().execute(
            update(table).where(table.c.id == bindparam("row_id")).values(name=bindparam("new")), rows
        )
        session.expire_all()
    for row in rows:
        program.put(AudioFile, row["row_id"], name=row["new"])


def upsert_case(program: Program, session: Session) -> None:
    code = f"U-{program.chance.randrange(4)}"
    statement = upsert(Case).values(title=program.word(), case_code=code).on_conflict_do_nothing()
    found = session.execute(statement.returning(Case.id, Case.title)).one_or_none()
    if found is None:
        # A key without the case cannot be the target of DO UPDATE.
        change = update(Case).where(Case.case_code == code).values(title=program.word())
        found = session.execute(change.returning(Case.id, Case.title)).one()
    row_id, title = found
    if ("cases", row_id) not in program.state:
        program.put(Case, row_id, title=title, description="", case_code=code)
        participant, user = session.execute(
            select(CaseParticipant.id, CaseParticipant.user_id).where(CaseParticipant.case_id == row_id)
        ).one()
        program.put(CaseParticipant, participant, case_id=row_id, user_id=user, role="owner")
    program.put(Case, row_id, title=title)
    session.expire_all()


def change_participants(program: Program, session: Session) -> None:
    if not (found := program.ids(Case)):
        return
    case = session.get(Case, program.chance.choice(found), populate_existing=True)
    if program.chance.random() < 0.6:
        part = cases.add_participant(session, case, "bob", role=program.chance.choice(["owner", "editor", "viewer"]))
        program.put(CaseParticipant, part.id, case_id=case.id, user_id=part.user_id, role=part.role)
    else:
        with suppress(NotFound, Conflict):
            cases.remove_participant(session, case, "bob")
            bob = session.scalar(select(User.id).where(User.username == "bob"))
            (removed,) = [row_id for (table, row_id), values in program.state.items()
                       if table == "case_participants" and values[:2] == (case.id, bob)]  # fmt: skip
            program.drop(CaseParticipant, removed)


def rename_user(program: Program, session: Session) -> None:
    user = session.get(User, program.chance.choice(program.ids(User)), populate_existing=True)
    user.full_name = program.word()
    session.flush()
    program.put(User, user.id, full_name=user.full_name)


def cascade(program: Program, session: Session) -> None:
    if program.ids(Case) and program.chance.random() < 0.4:
        program.delete_case(session)


WORK = (orm_case, orm_update, orm_note, orm_delete, three_updates, core_update, core_delete, raw_update, no_change,
        bulk_insert, bulk_update, upsert_case, change_participants, rename_user, cascade)  # fmt: skip
