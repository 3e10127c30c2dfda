"""One populated database for the assertions that leave nothing behind, and fresh ones for those that do."""

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
    """The populated database that reading and refused writing share: a test that leaves something in it is wrong."""
    with _copy(speech_server) as populated:
        yield populated


@pytest.fixture(scope="session")
def lasting(speech_server: SpeechServer) -> Iterator[Populated]:
    """A populated database that gathers what tests leave: for those that only look at what they did themselves."""
    with _copy(speech_server) as populated:
        yield populated


@contextmanager
def _copy(server: SpeechServer) -> Iterator[Populated]:
    with server.copy() as url:
        engine = make_engine(url, PoolOptions(size=2))
        with Database(server.serving_url(url), signing_key=server.signing_key, storage=MemoryStorage()) as db:
            yield populate(db, engine)
        engine.dispose()


@pytest.fixture
def unchanged(shared: Populated) -> Iterator[Populated]:
    """`shared`, and afterwards the proof that no table differs."""
    before = shared.snapshot()
    yield shared
    assert shared.snapshot() == before


@pytest.fixture
def populated(db: Database, owner: Engine) -> Populated:
    """A populated database of this test alone."""
    return populate(db, owner)
