"""Shared populated databases for tests that change nothing, and new ones for tests that do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Engine

from src.database import Database
from src.database.connection.engine import PoolOptions, make_engine
from src.database.testing import SpeechServer
from src.storage import MemoryStorage
from tests.security.population import Populated, populate


@pytest.fixture(scope="session")
def shared(speech_server: SpeechServer) -> Iterator[Populated]:
    """A populated database shared by tests of reading and of rejected writes; no test may change it."""
    with _copy(speech_server) as populated:
        yield populated


@pytest.fixture(scope="session")
def lasting(speech_server: SpeechServer) -> Iterator[Populated]:
    """A populated database that keeps the changes of all tests: for tests that check only their own changes."""
    with _copy(speech_server) as populated:
        yield populated


@contextmanager
def _copy(server: SpeechServer) -> Iterator[Populated]:
    with server.copy() as url:
        engine = make_engine(url, PoolOptions(size=2))
        with server.database(url, storage=MemoryStorage()) as db:
            yield populate(db, engine)
        engine.dispose()


@pytest.fixture
def unchanged(shared: Populated) -> Iterator[Populated]:
    """`shared`, with a check afterwards that no table has changed."""
    before = shared.snapshot()
    yield shared
    assert shared.snapshot() == before


@pytest.fixture
def populated(db: Database, owner: Engine) -> Populated:
    """A populated database for this test alone."""
    return populate(db, owner)
