"""Fixtures: a sealed database with its key and heads, and a changed clock of the log."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from src.database import Case, CaseNote, Database
from src.database.connection.engine import PoolOptions, make_engine
from src.database.testing import SpeechServer, has_server_alone
from src.services import analyses, cases, history, transcripts
from src.services.history import HeadFile, SealKey
from src.services.transcripts import Segment
from src.storage import MemoryStorage
from tests.migrations.conftest import outside
from tests.security.population import add_audio
from tests.warm import ANNOUNCEMENT

SEALS = 4


@pytest.fixture(scope="session", autouse=True)
def server_alone() -> None:
    if not has_server_alone():
        pytest.skip("sealing waits for all transactions of the server: TEST_DATABASE_URL needs one URL for each worker")


@dataclass
class Sealed:
    """A sealed database, with the seal key and the exported heads of an auditor."""

    db: Database
    owner: Engine
    key: SealKey
    heads: HeadFile

    def seal(self) -> list[int]:
        with self.db.session(actor="root") as session:
            return [seal.id for seal in history.seal(session, key=self.key, heads=self.heads)]

    def verify(self, **options) -> history.Report:
        with Session(self.owner) as session:
            return history.verify(session, **{"key": self.key, "heads": self.heads, **options})


def live(db: Database, rounds: int = SEALS) -> Iterator[Case]:
    """Make changes of several kinds as alice; yield the case after each round."""
    for number in range(rounds):
        with db.session(actor="alice", reason=f"work {number}", request_id=f"R-{number}") as session:
            case = cases.open_case(session, title=f"Case {number}", description="😀 1.10 ünï")
            note = cases.add_note(session, case, "first")
            cases.add_participant(session, case, "bob", role="viewer")
            audio = add_audio(session, case.id, f"{number}.wav")
            said = [Segment("one", 0, 900, confidence=0.1), Segment("two", 900, 1800)]
            transcription = transcripts.add(session, audio, said, language="en", confidence=0.5)
            analyses.add(session, audio, summary="short", transcription=transcription, details={"x": 1.10})
            note.body = "second"
            session.flush()
            session.delete(cases.add_note(session, case, "comes and goes"))
        yield case


def build(db: Database, owner: Engine, folder: Path) -> Sealed:
    sealed = Sealed(db, owner, SealKey.create(folder / "seal.pem"), HeadFile(folder / "heads.jsonl"))
    for _ in live(db):
        sealed.seal()
    return sealed


@pytest.fixture
def sealed(db: Database, owner: Engine, tmp_path: Path) -> Sealed:
    """A sealed database for one test."""
    return build(db, owner, tmp_path)


@pytest.fixture(scope="module")
def shared_sealed(speech_server: SpeechServer, tmp_path_factory) -> Iterator[Sealed]:
    """A sealed database for tests that roll back their changes."""
    with speech_server.copy() as url:
        engine = make_engine(url, PoolOptions(size=2))
        with speech_server.database(url, storage=MemoryStorage()) as db:  # fmt: skip
            yield build(db, engine, tmp_path_factory.mktemp("sealed"))
        engine.dispose()


@contextmanager
def clock_moved(owner: Engine, by: timedelta) -> Iterator[None]:
    """Stamp entries and seals with a shifted clock; everything else, hashes included, is unchanged."""
    with owner.begin() as connection:
        original = [
            connection.scalar(text(f"SELECT pg_get_functiondef('public.{name}'::regproc)"))
            for name in ("append_activity", "capture_change", "capture_new_rows", "begin_seal")
        ]
        for definition in original:
            shifted = definition.replace(
                "clock_timestamp()", f"clock_timestamp() + make_interval(secs => {by.total_seconds()})"
            )
            assert shifted != definition
            connection.exec_driver_sql(shifted.replace("%", "%%"))
    yield
    with owner.begin() as connection:
        for definition in original:
            connection.exec_driver_sql(definition.replace("%", "%%"))


@pytest.fixture
def command(sealed, owner_url, warm_python, tmp_path):
    """`python -m src.database.scripts.history`, as the owner."""
    key_file = tmp_path / "keys.json"
    environment = outside(owner_url, KEY_FILE=os.fspath(key_file), AUDIO_STORAGE_ROOT=os.fspath(tmp_path / "audio"),
                          SEAL_KEY_FILE=os.fspath(tmp_path / "seal.pem"),
                          SEAL_HEADS_FILE=os.fspath(sealed.heads.path))  # fmt: skip

    def run(*arguments: str) -> tuple[int, str]:
        done = warm_python.run("src.database.scripts.history", arguments, folder=tmp_path, environment=environment)
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout + ANNOUNCEMENT.sub("", done.stderr)

    return run


@pytest.fixture
def case(db) -> Case:
    """A case with five changes, each with its reason."""
    with db.session(actor="alice", reason="begin", request_id="R-1") as session:
        case = cases.open_case(session, title="T0")
    for number in range(1, 5):
        with db.session(actor="alice", reason=f"because {number}") as session:
            session.get(Case, case.id).title = f"T{number}"
    return case


@pytest.fixture
def note(db, case) -> CaseNote:
    with db.session(actor="alice") as session:
        note = cases.add_note(session, case, "first")
    with db.session(actor="alice") as session:
        session.get(CaseNote, note.id).body = "second"
    return note


def versions_of(db, thing, actor="alice", **options):
    with db.session(actor=actor) as session:
        return history.versions(session, thing, **options)


def snapshot(db, model, row_id, at, actor="alice", **options):
    with db.session(actor=actor) as session:
        return history.as_of(session, model, row_id, at, **options)


def revert(db, thing, to, actor="alice", reason="again"):
    with db.session(actor=actor) as session:
        return history.revert(session, thing, to=to, reason=reason)


def remove(db, thing, actor="alice"):
    with db.session(actor=actor) as session:
        session.delete(session.get(type(thing), thing.id))
