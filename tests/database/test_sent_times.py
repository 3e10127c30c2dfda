"""Times without a time zone are refused in every form in which a program can send one, also to tables of services."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import psycopg2
import pytest
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    DateTime,
    Integer,
    MetaData,
    Table,
    bindparam,
    cast,
    func,
    insert,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP, TSTZRANGE, Range
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from src.database.schema import record_columns
from src.errors import InvalidInput

pytestmark = pytest.mark.shared_database

NAIVE = datetime(2026, 1, 2, 3, 4)  # noqa: DTZ001 - what is refused
ZONED = DateTime(timezone=True)
# A table of a service, declared with types of SQLAlchemy. No test needs it in the database.
hearings = Table("hearings", MetaData(), *record_columns(), Column("case_id", Integer), Column("held_at", ZONED))


class ServiceBase(DeclarativeBase):
    """The base of a service."""


class Hearing(ServiceBase):
    __tablename__ = "hearings"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    held_at: Mapped[datetime] = mapped_column(TIMESTAMP(timezone=True))


FORMS = {
    "text": (lambda s: s.execute(text("SELECT :held_at"), {"held_at": NAIVE}), "held_at"),
    "text in a list": (lambda s: s.execute(text("SELECT :held_at"), {"held_at": [NAIVE]}), "held_at"),
    "text, several": (
        lambda s: s.execute(text("SELECT :held_at"), [{"held_at": datetime.now(UTC)}, {"held_at": NAIVE}]),
        "held_at",
    ),
    "insert": (lambda s: s.execute(insert(hearings).values(held_at=NAIVE)), "held_at"),
    "insert, several": (lambda s: s.execute(insert(hearings), [{"held_at": NAIVE}, {"held_at": NAIVE}]), "held_at"),
    "insert, one statement": (lambda s: s.execute(insert(hearings).values([{"held_at": NAIVE}] * 2)), "held_at"),
    "update": (lambda s: s.execute(update(hearings).values(held_at=NAIVE)), "held_at"),
    "created_at of record_columns": (lambda s: s.execute(insert(hearings).values(created_at=NAIVE)), "created_at"),
    "a date for a moment": (lambda s: s.execute(insert(hearings).values(held_at=date(2026, 1, 2))), "held_at"),
    "a text for a moment": (lambda s: s.execute(insert(hearings).values(held_at="2026-01-02")), "held_at"),
    "a condition": (lambda s: s.execute(select(hearings).where(hearings.c.held_at > NAIVE)), "held_at"),
    "IN": (lambda s: s.execute(select(hearings).where(hearings.c.held_at.in_([NAIVE]))), "held_at"),
    "a model": (lambda s: (s.add(Hearing(held_at=NAIVE)), s.flush()), "held_at"),
    "a literal": (lambda s: s.scalar(select(literal(NAIVE))), None),
    "a function": (lambda s: s.scalar(select(func.age(NAIVE))), None),
    "a cast": (lambda s: s.scalar(select(cast(NAIVE, ZONED))), None),
    "an array": (lambda s: s.scalar(select(cast([NAIVE], ARRAY(ZONED)))), None),
    "a range": (lambda s: s.scalar(select(cast(Range(NAIVE, None), TSTZRANGE))), None),
    "the driver": (lambda s: s.connection().exec_driver_sql("SELECT %s", (NAIVE,)), None),
    "the driver, by name": (lambda s: s.connection().exec_driver_sql("SELECT %(x)s", {"x": NAIVE}), "x"),
    "a raw cursor": (lambda s: s.connection().connection.cursor().execute("SELECT %s", (NAIVE,)), None),
    "a raw cursor, several": (lambda s: s.connection().connection.cursor().executemany("SELECT %s", [(NAIVE,)]), None),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_time_without_a_time_zone_is_refused_before_it_is_sent(db, form):
    send, field = FORMS[form]

    with pytest.raises(InvalidInput, match="such as datetime") as caught, db.session(actor="alice") as session:
        send(session)

    assert "\n" not in str(caught.value)
    if field is not None:
        assert caught.value.field == field
        assert str(caught.value).startswith(f"{field}: ")


def test_connections_of_the_owner_refuse_it_too(owner):
    with pytest.raises(InvalidInput, match="at: "), owner.connect() as connection:
        connection.execute(text("SELECT :at"), {"at": NAIVE})


def test_the_block_goes_on_after_a_refused_time(db):
    with db.session(actor="alice") as session:
        with pytest.raises(InvalidInput):
            session.execute(text("SELECT :at"), {"at": NAIVE})
        assert session.scalar(text("SELECT 1")) == 1


def test_times_with_a_time_zone_pass_in_every_form(db):
    given = datetime(2026, 1, 2, 3, 4, tzinfo=timezone(timedelta(hours=2)))
    with db.session(actor="alice") as session:
        assert session.scalar(text("SELECT :at"), {"at": given}) == given
        assert session.scalar(select(cast([given], ARRAY(ZONED)))) == [given]
        assert session.scalar(select(literal(given))) == given
        assert session.scalar(select(cast(literal(None, ZONED), ZONED))) is None


def test_what_is_declared_without_a_time_zone_stores_no_moment(db):
    with db.session(actor="alice") as session:
        assert session.scalar(select(cast(bindparam("at", NAIVE, DateTime()), DateTime()))) == NAIVE
        assert session.scalar(text("SELECT :at").bindparams(bindparam("at", NAIVE, DateTime()))) == NAIVE


def test_other_connections_of_the_process_are_left_alone(db):
    url = db.engine.url
    plain = psycopg2.connect(
        dbname=url.database, user=url.username, password=url.password, host=url.host or url.query["host"], port=url.port
    )
    with plain.cursor() as cursor:
        cursor.execute("SELECT %s", (NAIVE,))
        assert cursor.fetchone() == (NAIVE,)
    plain.close()
