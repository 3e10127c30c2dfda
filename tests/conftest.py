"""Fixtures of the whole suite: a real PostgreSQL, and a fresh copy of a migrated database for each test that asks."""

from __future__ import annotations

import io
import math
import struct
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL, Engine, func, select

from src.database import AudioFile, Case, Database
from src.database.engine import PoolOptions, make_engine
from src.database.session import database_of
from src.database.testing import SpeechServer, speech_server
from src.storage import LocalStorage, keys
from tests.warm import WarmPython

__all__ = ["speech_server"]

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def warm_python() -> Iterator[WarmPython]:
    """Runs our programs without starting Python anew for each."""
    warm = WarmPython()
    yield warm
    warm.close()


@pytest.fixture
def owner_url(speech_server: SpeechServer) -> Iterator[URL]:
    """The owner's URL of a fresh copy of the template."""
    with speech_server.copy() as url:
        yield url


@pytest.fixture
def empty_url(speech_server: SpeechServer) -> Iterator[URL]:
    """The owner's URL of a database without any schema."""
    with speech_server.empty() as url:
        yield url


@pytest.fixture
def owner(owner_url: URL) -> Iterator[Engine]:
    """An engine of the owner: for tests whose subject is the owner's work, and for tampering."""
    engine = make_engine(owner_url, PoolOptions(size=2))
    yield engine
    engine.dispose()


@pytest.fixture
def db(speech_server: SpeechServer, owner_url: URL, tmp_path: Path) -> Iterator[Database]:
    """A Database that serves sessions as the application login, with users root, alice, bob and transcriber."""
    url = speech_server.serving_url(owner_url)
    storage = LocalStorage(tmp_path / "audio")
    with Database(url, signing_key=speech_server.signing_key, storage=storage) as database:
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
    """Store a recording without decoding it: for tests that need a row, not audio."""

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
    """Real recordings and recogniser outputs, which lie beside the project and never in it."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real data is not here (shared/data beside the checkout)")
    return SHARED_DATA
