"""Times without a time zone are refused wherever a moment is given: attributes, statements, parameters of services."""

from __future__ import annotations

import inspect
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import func, insert, select, update

from src.database import Base, Case, CaseParticipant
from src.database.base import stored_type
from src.database.schema.moments import Moment
from src.errors import InvalidInput
from src.services import accounts, activity, analyses, bulk, cases, history, recordings, search, transcripts, work

pytestmark = pytest.mark.shared_database

NAIVE = datetime(2026, 1, 2, 3, 4)  # noqa: DTZ001 - what is refused
REFUSED = (NAIVE, date(2026, 1, 2), "2026-01-02", "2026-01-02T03:04:05+00:00", 1767322800)
MAPPERS = sorted(Base.registry.mappers, key=lambda mapper: mapper.class_.__name__)
MAPPED = [(mapper.class_, attribute.key) for mapper in MAPPERS for attribute in mapper.column_attrs
          if "TIMESTAMP" in str(attribute.columns[0].type)]  # fmt: skip
SERVICES = (accounts, activity, analyses, bulk, cases, history, recordings, search, transcripts, work)


def test_every_timestamp_of_a_table_is_a_moment_that_knows_its_column():
    columns = [column for table in Base.metadata.tables.values() for column in table.columns
               if "TIMESTAMP" in str(column.type)]  # fmt: skip
    assert len(columns) > 30
    assert [str(column) for column in columns if not isinstance(stored_type(column), Moment)] == []
    assert [str(column) for column in columns if stored_type(column).field != column.name] == []


@pytest.mark.parametrize(("model", "name"), MAPPED, ids=lambda value: getattr(value, "__name__", value))
def test_an_attribute_refuses_times_without_a_time_zone(model, name):
    for value in REFUSED:
        with pytest.raises(InvalidInput, match="such as datetime") as caught:
            model(**{name: value})
        assert (caught.value.field, caught.value.value) == (name, value)
        assert "\n" not in str(caught.value)
    for value in (None, datetime.now(UTC), func.now()):
        assert getattr(model(**{name: value}), name) is value


@pytest.mark.parametrize("value", REFUSED, ids=lambda value: type(value).__name__)
def test_a_statement_refuses_times_without_a_time_zone(db, value):
    for statement, parameters in (
        (select(Case).where(Case.created_at > value), {}),
        (select(Case).where(Case.closed_at.in_([value])), {}),
        (update(Case).values(closed_at=value), {}),
        (insert(CaseParticipant), [{"case_id": 1, "user_id": 1, "role": "viewer", "expires_at": value}]),
    ):
        with pytest.raises(InvalidInput, match="such as datetime") as caught, db.session(actor="alice") as session:
            session.execute(statement, parameters)
        assert caught.value.field in {"created_at", "closed_at", "expires_at"}


def takes_moments(function):
    """The parameters of a function that take a time."""
    for name, parameter in inspect.signature(function).parameters.items():
        if "datetime" in str(parameter.annotation) or "Moments" in str(parameter.annotation):
            yield name


def test_every_parameter_of_a_service_refuses_times_without_a_time_zone(db, tone):
    with db.session(actor="alice") as session:
        case = cases.open_case(session, title="any")
    calls = {
        ("add_participant", "expires_at"): lambda s, at: cases.add_participant(s, case, "bob", expires_at=at),
        ("feed", "since"): lambda s, at: activity.feed(s, since=at),
        ("as_of", "at"): lambda s, at: history.as_of(s, Case, case.id, at),
        ("revert", "to"): lambda s, at: history.revert(s, (Case, case.id), to=at, reason="x"),
        ("ingest", "recorded_at"): lambda s, at: recordings.ingest(s, case, tone, name="a.wav", recorded_at=at),
        ("transcripts", "recorded"): lambda s, at: search.transcripts(s, "word", recorded=(at, None)),
        ("transcripts", "created"): lambda s, at: search.transcripts(s, "word", created=(None, at)),
    }
    walked = {
        (function.__name__, name)
        for module in SERVICES
        for function in vars(module).values()
        if inspect.isfunction(function) and not function.__name__.startswith("_") and inspect.signature(function)
        for name in takes_moments(function)
        if "session" in inspect.signature(function).parameters
    }
    assert walked == calls.keys()
    for (_, name), call in calls.items():
        for value in (NAIVE, date(2026, 1, 2)):
            with pytest.raises(InvalidInput, match="such as datetime") as caught, db.session(actor="alice") as session:
                call(session, value)
            assert caught.value.field in {name, "at"}
    with db.session(actor="alice") as session:
        until = datetime.now(UTC) + timedelta(days=1)
        assert cases.add_participant(session, case, "bob", expires_at=until).expires_at == until
