"""Databases that are damaged and mended: one that the tests of a module share, each of which leaves it whole."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from src.database.engine import PoolOptions, make_engine
from src.database.testing import SpeechServer


@pytest.fixture(scope="module")
def whole(speech_server: SpeechServer) -> Iterator[Engine]:
    with speech_server.copy() as url:
        engine = make_engine(url, PoolOptions(size=2))
        yield engine
        engine.dispose()
