"""The table of cases with other libraries: plain SQLAlchemy, SQLAlchemy-Continuum and postgresql-audit."""

from __future__ import annotations

import gc
import importlib
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from multiprocessing.connection import Connection
from typing import Any

from sqlalchemy import (
    URL,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    UniqueConstraint,
    create_engine,
    func,
    select,
    text,
)
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    configure_mappers,
    declared_attr,
    mapped_column,
    relationship,
    sessionmaker,
)

from src.database import Case, Database
from src.database.base import Base as Ours
from src.database.connection.actor_tokens import SigningKey
from src.storage import MemoryStorage

PLAIN = "plain SQLAlchemy"
SAME_WORK = "plain, same rows and checks"
CONTINUUM = "SQLAlchemy-Continuum"
AUDIT = "postgresql-audit"
ADMINISTRATOR = "this layer, administrator"
MEMBER = "this layer, member"
OURS = {ADMINISTRATOR: "root", MEMBER: "alice"}


@dataclass(frozen=True)
class Contender:
    """An implementation that writes cases: how it opens a session, and its model of a case."""

    opened: Callable[[], AbstractContextManager[Session]]
    model: Any
    make: Callable[..., Any]
    prefix: str = ""


def model_of_cases(
    versioned: dict[str, Any] | None = None, *, same_work: bool = False, prepare: Callable[[Any], Any] | None = None
) -> tuple[Any, Any]:
    """Return a new base, and a case with the columns, checks, indexes and foreign keys of our model, nothing else.

    `same_work` adds what our model also does, as an application would write it: the owner is a row of the participants,
    lost updates are rejected, and server defaults are read back. `prepare` is called with the base before the models.
    """

    class Base(DeclarativeBase):
        type_annotation_map = Ours.type_annotation_map

    if prepare is not None:
        prepare(Base)

    class Status(Base):
        __tablename__ = "case_statuses"
        id: Mapped[int] = mapped_column(Identity(), primary_key=True)

    class Priority(Base):
        __tablename__ = "case_priorities"
        id: Mapped[int] = mapped_column(Identity(), primary_key=True)

    class User(Base):
        __tablename__ = "users"
        id: Mapped[int] = mapped_column(Identity(), primary_key=True)

    class Participant(Base):
        __tablename__ = "case_participants"
        __table_args__ = (UniqueConstraint("case_id", "user_id"), Index("participants_user_id_idx", "user_id"))
        id: Mapped[int] = mapped_column(Identity(), primary_key=True)
        case_id: Mapped[int] = mapped_column(ForeignKey("cases.id"))
        user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), server_default="1")
        role: Mapped[str] = mapped_column(server_default="owner")
        permissions: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
        expires_at: Mapped[datetime | None]
        added_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"), server_default="1", index=True)
        created_at: Mapped[datetime] = mapped_column(server_default=func.now())
        updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
        row_version: Mapped[int] = mapped_column(server_default="1")

    class PlainCase(Base):
        __tablename__ = "cases"
        __table_args__ = (
            CheckConstraint("char_length(case_code) BETWEEN 1 AND 64"),
            CheckConstraint("char_length(title) BETWEEN 1 AND 300"),
            CheckConstraint("char_length(description) <= 20000"),
            CheckConstraint("closed_at >= created_at"),
            Index("cases_status_id_idx", "status_id"),
            Index("cases_priority_id_idx", "priority_id"),
            Index("cases_opened_by_id_idx", "opened_by_id"),
            Index("cases_opened_xid_idx", "opened_xid"),
            Index("cases_created_at_idx", "created_at"),
            Index("cases_title_idx", func.lower(text("title")), postgresql_ops={"lower(title)": "text_pattern_ops"}),
        )
        if versioned is not None:
            __versioned__ = versioned
        id: Mapped[int] = mapped_column(Identity(), primary_key=True)
        case_code: Mapped[str] = mapped_column(unique=True)
        title: Mapped[str]
        description: Mapped[str] = mapped_column(server_default="")
        status_id: Mapped[int] = mapped_column(ForeignKey("case_statuses.id"), server_default="1")
        priority_id: Mapped[int] = mapped_column(ForeignKey("case_priorities.id"), server_default="1")
        opened_by_id: Mapped[int] = mapped_column(ForeignKey("users.id"), server_default="1")
        closed_at: Mapped[datetime | None]
        active_holds: Mapped[int] = mapped_column(server_default="0")
        opened_xid: Mapped[int] = mapped_column(server_default="0")
        created_at: Mapped[datetime] = mapped_column(server_default=func.now())
        updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
        row_version: Mapped[int] = mapped_column(server_default="1")
        if same_work:
            participants: Mapped[list[Participant]] = relationship(lazy="raise_on_sql")

            @declared_attr.directive
            def __mapper_args__(cls) -> dict[str, Any]:  # noqa: N805 - declared_attr calls it with the class
                return {"version_id_col": cls.row_version, "eager_defaults": True}

    if same_work:

        def opened(**values: Any) -> PlainCase:
            return PlainCase(**values, participants=[Participant()])

        return Base, (PlainCase, opened)
    return Base, (PlainCase, PlainCase)


def writer(name: str, url: URL, key: SigningKey) -> Contender:
    """Return one of the contenders with its tables created. Passes on any exception of its library."""
    if name in OURS:
        database = Database(url, signing_key=key, storage=MemoryStorage())
        actor = OURS[name]
        return Contender(lambda: database.session(actor=actor, reason="benchmark"), Case, Case, f"{actor}-")
    if name in {PLAIN, SAME_WORK}:
        base, (case, made) = model_of_cases(same_work=name == SAME_WORK)
    elif name == CONTINUUM:
        importlib.import_module("sqlalchemy_continuum").make_versioned(user_cls=None)
        base, (case, made) = model_of_cases({})
    else:
        manager = importlib.import_module("postgresql_audit").versioning_manager
        base, (case, made) = model_of_cases({}, prepare=manager.init)
    configure_mappers()
    engine = create_engine(url)
    base.metadata.create_all(engine)
    with engine.begin() as connection:
        for table in ("case_statuses", "case_priorities", "users"):
            connection.exec_driver_sql(f"INSERT INTO {table} DEFAULT VALUES")
    make = sessionmaker(engine, expire_on_commit=False)
    return Contender(make.begin, case, made)


def work(pipe: Connection, name: str, url: URL, key: SigningKey) -> None:
    """Serve requests in a separate process: insert and update the requested number of cases, send back the seconds.

    A separate process is needed because both libraries listen to every session of their process.
    """
    try:
        contender = writer(name, url, key)
    except Exception as error:  # noqa: BLE001 - the reason why a library does not run is printed in the table
        pipe.send(f"does not run: {error}")
        return
    pipe.send("")
    for number, cases in enumerate(iter(pipe.recv, 0)):
        try:
            pipe.send((insert(contender, number, cases), update(contender, number)))
        except Exception as error:  # noqa: BLE001 - the same
            pipe.send(f"does not run: {error}")
            return


def insert(contender: Contender, number: int, cases: int) -> float:
    """Return the seconds to insert cases in one session, including its opening and its commit."""
    gc.collect()
    started = time.perf_counter()
    with contender.opened() as session:
        session.add_all([contender.make(**values(contender, number, case)) for case in range(cases)])
    return time.perf_counter() - started


def values(contender: Contender, number: int, case: int) -> dict[str, str]:
    code = f"{contender.prefix}{number}-{case}"
    return {"case_code": code, "title": f"Case {case}", "description": "What is known so far, in a line."}


def update(contender: Contender, number: int) -> float:
    """Return the seconds to update the cases of a round, including the commit, without loading them."""
    gc.collect()
    with contender.opened() as session:
        in_round = contender.model.case_code.like(f"{contender.prefix}{number}-%")
        cases = session.scalars(select(contender.model).where(in_round)).all()
        started = time.perf_counter()
        for case in cases:
            case.title = f"{case.title}, changed"
    return time.perf_counter() - started
