"""Crash tests: worker processes that ingest, archive, restore, delete and sweep until killed, and the final checks."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from sqlalchemy import URL, func, select, text
from sqlalchemy.orm import Session, configure_mappers

from src.database import AudioFile, Case, Database, StorageObject
from src.database.connection.actor_tokens import SigningKey
from src.database.connection.engine import PoolOptions, make_engine
from src.errors import Conflict, NotFound, StorageUnavailable
from src.maintenance import sweeping
from src.services import cases, recordings
from src.services.recordings import ingestion, uploads
from src.storage import LocalStorage, S3Storage, StorageBackend

configure_mappers()  # once, in the fork server; the workers inherit it

ZERO = timedelta(0)
MAX_LIFETIME_SECONDS = {"local": 0.2, "s3": 1.0}  # until a worker is killed, after it is chosen and ready
MAX_RECORDINGS = 30  # more would make the checks slower than the kills


@dataclass(frozen=True)
class WorkerConfig:
    """The parameters of a worker process; pickled and sent to it."""

    owner_url: URL
    serving_url: URL
    signing_key: SigningKey
    backend: str
    storage_options: dict[str, Any]
    folder: Path
    case_id: int

    def open_storage(self) -> StorageBackend:
        return (LocalStorage if self.backend == "local" else S3Storage)(**self.storage_options)


@dataclass
class Journal:
    """What the workers logged: the start of each operation before it begins, its end after the commit."""

    started: Counter[str] = field(default_factory=Counter)
    finished: Counter[str] = field(default_factory=Counter)
    ingested: dict[int, str] = field(default_factory=dict)
    """SHA-256 of the content by id of the recording."""
    deleted: set[int] = field(default_factory=set)
    """Ids of recordings whose deletion was started."""
    failures: list[str] = field(default_factory=list)

    @property
    def interrupted(self) -> int:
        return self.started.total() - self.finished.total()


def s3_options(address: str, prefix: str = "") -> dict[str, Any]:
    return {
        "bucket": "speech", "prefix": prefix, "endpoint_url": address, "region": "us-east-1",
        "access_key_id": "test", "secret_access_key": SecretStr("test"),
    }  # fmt: skip


def create_config(server: Any, owner_url: URL, folder: Path, backend: str, options: dict[str, Any]) -> WorkerConfig:
    """Open a case for the workers, and return their parameters."""
    serving_url, key = server.serving_url(owner_url), server.signing_key
    with Database(serving_url, signing_key=key) as db, db.session(actor="alice") as session:
        case_id = cases.open_case(session, title="Killed").id
    return WorkerConfig(owner_url, serving_url, key, backend, options, folder, case_id)


def kill_workers(config: WorkerConfig, rng: random.Random, kills: int, *, concurrency: int = 3) -> None:
    """Kill a random worker at a random moment, `kills` times; keep `concurrency` workers running meanwhile."""
    # The workers are forked from a server process with all imports, one thread and no connections.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    workers: list[Any] = []
    try:
        for _ in range(kills):
            while len(workers) < concurrency:
                receiver, sender = context.Pipe()
                process = context.Process(target=run_worker, args=(config, rng.getrandbits(64), sender), daemon=True)
                process.start()
                sender.close()
                workers.append((process, receiver))
            process, receiver = workers.pop(rng.randrange(len(workers)))
            assert receiver.poll(30), "a worker did not start"
            receiver.close()
            process.join(rng.uniform(0, MAX_LIFETIME_SECONDS[config.backend]))
            assert process.is_alive(), "a worker exited before it was killed"
            process.kill()
            process.join()
    finally:
        for process, receiver in workers:
            process.kill()
            process.join()
            receiver.close()


def run_worker(config: WorkerConfig, seed: int, ready: Any) -> None:
    rng = random.Random(seed)
    # Other tests cover decoding; here it would take most of the time.
    ingestion.facts_of = uploads.facts_of = lambda *_, **__: None
    engine = make_engine(config.owner_url, PoolOptions(size=1))
    journal_file = os.open(config.folder / f"{os.getpid()}-{seed}.journal", os.O_CREAT | os.O_APPEND | os.O_WRONLY)

    def log(*fields: object) -> None:
        os.write(journal_file, (" ".join(map(str, fields)) + "\n").encode())

    storage, pool = config.open_storage(), PoolOptions(size=2)
    database = Database(config.serving_url, signing_key=config.signing_key, storage=storage, pool=pool)
    operations = [ingest, ingest, receive, archive, restore, restore, delete, sweep]
    with database.session(actor="alice") as session:
        session.get(Case, config.case_id)
    ready.send_bytes(b"ready")
    while True:
        operation = rng.choice(operations)
        log("start", operation.__name__)
        try:
            operation(config, database, engine, rng, log)
        except (Conflict, NotFound):
            log("finish", "rejected")  # another worker changed the recording first
        except StorageUnavailable:
            # With older_than=0 a sweep may abort an upload that is being completed; moto answers 500, S3 404.
            if config.backend == "local":
                raise
            log("finish", "rejected")
        except BaseException:
            log("failure", repr(traceback.format_exc()))
            raise
        else:
            log("finish", operation.__name__)


def ingest(config, database, _engine, rng, log) -> None:
    content = rng.randbytes(rng.randint(1, 200_000))
    with database.session(actor="alice") as session:
        session.get(Case, config.case_id)
        if session.scalar(select(func.count()).select_from(AudioFile)) > MAX_RECORDINGS:
            return
        audio = recordings.ingest(session, session.get(Case, config.case_id), content, allow_non_audio=True)
    log("ingested", audio.id, hashlib.sha256(content).hexdigest())


def receive(config, database, _engine, rng, log) -> None:
    content = rng.randbytes(rng.randint(1, 200_000))
    received = recordings.receive(database, config.case_id, content, actor="alice", allow_non_audio=True)
    with database.session(actor="alice") as session:
        audio = recordings.ingest(session, session.get(Case, config.case_id), received)
    log("ingested", audio.id, hashlib.sha256(content).hexdigest())


def archive(_config, database, _engine, rng, _log) -> None:
    with database.session(actor="alice") as session:
        audio = _random_recording(session, rng, AudioFile.is_archived.is_(False))
        recordings.archive(session, audio, reason="finished")


def restore(_config, database, _engine, rng, _log) -> None:
    with database.session(actor="alice") as session:
        audio = _random_recording(session, rng, AudioFile.is_archived | AudioFile.deleted_at.is_not(None))
        recordings.restore(session, audio)


def delete(_config, database, _engine, rng, log) -> None:
    with database.session(actor="alice") as session:
        audio = _random_recording(session, rng, AudioFile.deleted_at.is_(None))
        log("deleting", audio.id)
        recordings.delete(session, audio, reason="wrong person")


def sweep(_config, database, engine, _rng, _log) -> None:
    with Session(engine) as session:
        done = sweeping.sweep(session, database.storage, older_than=ZERO, grace=timedelta(seconds=0.2))
    assert not done.failed | done.differing, done.failed | done.differing


def _random_recording(session: Session, rng: random.Random, condition: Any) -> AudioFile:
    matching = session.scalars(select(AudioFile).where(condition)).all()
    if not matching:
        raise NotFound("No recording matches.")
    return rng.choice(matching)


def read_journals(folder: Path) -> Journal:
    journal = Journal()
    for path in folder.glob("*.journal"):
        # A kill can truncate the last line, which then has no line feed.
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
            match line.split(maxsplit=2) if line.endswith("\n") else []:
                case ["start", operation]:
                    journal.started[operation] += 1
                case ["finish", operation]:
                    journal.finished[operation] += 1
                case ["ingested", audio_id, sha256]:
                    journal.ingested[int(audio_id)] = sha256.strip()
                case ["deleting", audio_id]:
                    journal.deleted.add(int(audio_id))
                case ["failure", *rest]:
                    journal.failures.append(" ".join(rest))
    return journal


def find_inconsistencies(config: WorkerConfig, journal: Journal) -> list[str]:
    """Return what is wrong after all workers are killed.

    Every committed recording must have its bytes, and after a sweep the storage must hold nothing else.
    """
    engine = make_engine(config.owner_url, PoolOptions(size=2))
    storage = config.open_storage()
    try:
        _wait_for_disconnects(engine)
        findings = [f"a worker failed: {failure}" for failure in journal.failures]
        findings += find_lost_recordings(engine, storage, journal)
        with Session(engine) as session:
            done = sweeping.sweep(session, storage, older_than=ZERO)
        findings += [f"{key} cannot be removed: {reason}" for key, reason in (done.failed | done.differing).items()]
        findings += find_lost_recordings(engine, storage, journal)
        with engine.connect() as connection:
            rows = dict(connection.execute(select(StorageObject.key, StorageObject.state)).all())
            paths = set(connection.scalars(select(AudioFile.path)))
        objects = {info.key for info in storage.list()}
        findings += [f"the object {key} has no row" for key in objects - rows.keys()]
        findings += [f"the object {key} is {state} after a sweep" for key, state in rows.items() if state != "live"]
        if paths != objects:
            findings.append(f"the paths of {len(paths)} recordings differ from the keys of {len(objects)} objects")
        if storage.sweep_incomplete(ZERO).found:
            findings.append("the sweep left incomplete uploads")
        return findings
    finally:
        engine.dispose()


def find_lost_recordings(engine: Any, storage: StorageBackend, journal: Journal) -> list[str]:
    """Return a finding for each committed recording that is missing or whose bytes differ."""
    with engine.connect() as connection:
        rows = connection.execute(select(AudioFile.id, AudioFile.path, AudioFile.sha256)).all()
    findings = []
    for audio_id, path, sha256 in rows:
        with storage.get(path) as file:
            stored = hashlib.sha256(file.read()).hexdigest()
        if stored != sha256 or journal.ingested.get(audio_id, sha256) != sha256:
            findings.append(f"recording {audio_id}: the bytes are not those that were ingested")
    existing = {row.id for row in rows}
    lost = journal.ingested.keys() - existing - journal.deleted
    findings += [f"recording {audio_id} was committed and is missing" for audio_id in lost]
    return findings


def _wait_for_disconnects(engine: Any) -> None:
    """Wait until the server has closed the connections of the killed workers, which ends their transactions."""
    backends = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND backend_type = 'client backend'"
    )
    deadline = time.monotonic() + 20
    while True:
        with engine.connect() as connection:
            if not connection.scalar(backends):
                return
        assert time.monotonic() < deadline, "a killed worker still has a server process"
