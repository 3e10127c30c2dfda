"""Shared fixtures: a database that tests damage and repair, and a service with its own table."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text

from src.database.connection.engine import PoolOptions, make_engine
from src.database.testing import SpeechServer
from src.services import cases
from tests.provisioning.service import Service


@pytest.fixture(scope="module")
def whole(speech_server: SpeechServer) -> Iterator[Engine]:
    """A database that the tests of a module share; each test restores it."""
    with speech_server.copy() as url:
        engine = make_engine(url, PoolOptions(size=2))
        yield engine
        engine.dispose()


@pytest.fixture
def service(tmp_path, owner_url, db) -> Service:
    """A service with its table `case_tags` created."""
    service = Service(tmp_path / "service", owner_url)
    service.alembic("upgrade", "head")
    return service


@pytest.fixture
def case_id(db, service) -> int:
    """The id of a case of alice with one tag."""
    with db.session(actor="alice", reason="to tag") as session:
        case = cases.open_case(session, title="Tagged")
        session.execute(
            text("INSERT INTO case_tags (case_id, tag, phone, token) VALUES (:case, 'urgent', '555-1', 's3cret')"),
            {"case": case.id},
        )
        return case.id
