"""Fixtures of the whole suite: a real PostgreSQL server, and a new copy of a migrated database for each test.

A copy and the first connections to it take about 60 ms. A module whose tests only read their own rows sets

    pytestmark = pytest.mark.shared_database

and its tests share one copy. Each test still has new users root, alice, bob and transcriber, which see no rows of other
tests because of row security. `owner` and root see all rows, so a test that counts with them, changes settings, seeds
or the schema, or claims from the queue of jobs, is marked `own_database` and has a separate copy.
"""

from __future__ import annotations

import io
import math
import os
import struct
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import URL, Engine, func, select, text

from src.database import AudioFile, Case, Database, StorageObject
from src.database.connection.engine import PoolOptions, make_engine
from src.database.connection.session import database_of
from src.database.testing import USERS, SpeechServer, speech_server
from src.services.history import HeadFile, SealKey
from src.storage import LocalStorage, keys
from tests.warm import WarmPython

__all__ = ["speech_server"]

# The key and the exported heads of a log without seals.
UNSEALED = {"key": SealKey(bytes(32)), "heads": HeadFile(Path(os.devnull))}
SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def warm_python() -> Iterator[WarmPython]:
    """Runs programs of this layer without a new Python interpreter for each."""
    warm = WarmPython()
    yield warm
    warm.close()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "shared_database: new users in a database that the tests of a module share")
    config.addinivalue_line("markers", "own_database: a separate database, in a module whose tests share one")


@dataclass
class Shared:
    """A database that the tests of a module share, with its connections."""

    database: Database
    owner: Engine
    last_object: int = 0

    def renew(self) -> None:
        """Rename and deactivate all users, rename their cases, and create new users with the standard names."""
        with self.owner.begin() as connection:
            self.last_object = connection.scalar(select(func.coalesce(func.max(StorageObject.id), 0)))
            connection.execute(
                text("UPDATE users SET username = 'past_' || id, email = NULL WHERE username !~ '^past_'")
            )
            connection.execute(text("UPDATE cases SET case_code = 'past_' || id WHERE case_code !~ '^past_'"))
            connection.execute(
                text(
                    "INSERT INTO users (username, role_id) SELECT wanted.username, r.id"
                    " FROM unnest(CAST(:names AS text[]), CAST(:roles AS text[])) AS wanted (username, role)"
                    " JOIN user_roles r ON r.code = wanted.role ORDER BY wanted.username"
                ),
                {"names": list(USERS), "roles": list(USERS.values())},
            )
            # Last, since the last administrator cannot be deactivated.
            connection.execute(text("UPDATE users SET is_active = false WHERE username ~ '^past_' AND is_active"))


@pytest.fixture(scope="module")
def module_database(speech_server: SpeechServer) -> Iterator[Shared]:
    with speech_server.copy() as url:
        owner = make_engine(url, PoolOptions(size=2))
        with speech_server.database(url) as database:
            yield Shared(database, owner)
        owner.dispose()


@pytest.fixture
def shared_database(request: pytest.FixtureRequest) -> Shared | None:
    """The shared database of the module, with new users; None for a test with a separate database."""
    markers = (mark.name for mark in request.node.iter_markers())  # the closest first
    if next((name for name in markers if name in {"shared_database", "own_database"}), "") != "shared_database":
        return None
    shared: Shared = request.getfixturevalue("module_database")
    shared.renew()
    return shared


@pytest.fixture
def owner_url(speech_server: SpeechServer, shared_database: Shared | None) -> Iterator[URL]:
    """The URL of the owner, for a new copy of the template or the copy that the module shares."""
    if shared_database is not None:
        yield shared_database.owner.url
        return
    with speech_server.copy() as url:
        yield url


@pytest.fixture
def empty_url(speech_server: SpeechServer) -> Iterator[URL]:
    """The URL of the owner, for a database without a schema."""
    with speech_server.empty() as url:
        yield url


@pytest.fixture
def owner(owner_url: URL, shared_database: Shared | None) -> Iterator[Engine]:
    """An engine of the owner: for tests of maintenance, and for tampering."""
    if shared_database is not None:
        yield shared_database.owner
        return
    engine = make_engine(owner_url, PoolOptions(size=2))
    yield engine
    engine.dispose()


@pytest.fixture
def db(
    speech_server: SpeechServer, owner_url: URL, shared_database: Shared | None, tmp_path: Path
) -> Iterator[Database]:
    """A Database that serves sessions as the application login, with users root, alice, bob and transcriber."""
    storage = LocalStorage(tmp_path / "audio")
    if shared_database is not None:
        shared_database.database.storage, shared_database.database.storages = storage, {}
        yield shared_database.database
        return
    with speech_server.database(owner_url, storage=storage) as database:
        yield database


@pytest.fixture
def tone() -> bytes:
    """Half a second of a 440 Hz tone as a WAV file: 8 kHz, one channel, 16 bits."""
    return wav(0.5)


def wav(seconds: float, rate: int = 8000) -> bytes:
    count = int(seconds * rate)
    samples = [int(12_000 * math.sin(2 * math.pi * 440 * index / rate)) for index in range(count)]
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(struct.pack(f"<{count}h", *samples))
    return buffer.getvalue()


@pytest.fixture
def make_audio() -> Callable[..., AudioFile]:
    """Store a recording without decoding it: for tests that need only the row."""

    def make(session, case: Case, *, name: str = "interview.wav", content: bytes = b"RIFF", **columns) -> AudioFile:
        database = database_of(session)
        key = keys.case_key(case.id, "wav")
        with database.side_session(session) as side:
            side.execute(select(func.public.announce_object(case.id, key, database.storage.name)))
        stored = database.storage.put(key, content)
        audio = AudioFile(
            case_id=case.id,
            name=name,
            path=key,
            size_bytes=stored.size,
            sha256=stored.sha256,
            storage_type=database.storage.name,
            **columns,
        )
        session.add(audio)
        session.flush()
        return audio

    return make


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real recordings and recogniser outputs, stored outside the project."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real data is missing (shared/data next to the checkout)")
    return SHARED_DATA
