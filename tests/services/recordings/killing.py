"""Processes that ingest, archive, restore, delete and sweep at once until they are killed; and the judge afterwards."""

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

configure_mappers()  # once, in the process that the others are forked from

NOW = timedelta(0)
LONGEST_LIFE_SECONDS = {"local": 0.2, "s3": 1.0}  # after it has begun; the others live longer meanwhile
KEPT = 30  # with more recordings than that the judge would need longer than the killer


@dataclass(frozen=True)
class Stage:
    """All that a process needs to begin: it is sent to it."""

    owner: URL
    serving: URL
    key: SigningKey
    backend: str
    options: dict[str, Any]
    folder: Path
    case_id: int

    def storage(self) -> StorageBackend:
        return (LocalStorage if self.backend == "local" else S3Storage)(**self.options)


@dataclass
class Journal:
    """What the processes wrote down: each began a operation before it, and ended it after its commit."""

    begun: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    ingested: dict[int, str] = field(default_factory=dict)
    deleted: set[int] = field(default_factory=set)
    failures: list[str] = field(default_factory=list)

    @property
    def interrupted(self) -> int:
        return self.begun.total() - self.ended.total()


def s3_options(address: str, prefix: str = "") -> dict[str, Any]:
    return {
        "bucket": "speech", "prefix": prefix, "endpoint_url": address, "region": "us-east-1",
        "access_key_id": "test", "secret_access_key": SecretStr("test"),
    }  # fmt: skip


def set_stage(server: Any, owner: URL, folder: Path, backend: str, options: dict[str, Any]) -> Stage:
    serving, key = server.serving_url(owner), server.signing_key
    with Database(serving, signing_key=key) as db, db.session(actor="alice") as session:
        case_id = cases.open_case(session, title="Killed").id
    return Stage(owner, serving, key, backend, options, folder, case_id)


def kill_many(stage: Stage, chance: random.Random, kills: int, *, at_once: int = 3) -> None:
    """Keep so many processes at work and kill one of them at a random moment, again and again."""
    # Forked from a process that has imported all, and that has no thread and no connection.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    working: list[Any] = []
    try:
        for _ in range(kills):
            while len(working) < at_once:
                here, there = context.Pipe()
                process = context.Process(target=work, args=(stage, chance.getrandbits(64), there), daemon=True)
                process.start()
                there.close()
                working.append((process, here))
            process, here = working.pop(chance.randrange(len(working)))
            assert here.poll(30), "a process did not begin"
            here.close()
            process.join(chance.uniform(0, LONGEST_LIFE_SECONDS[stage.backend]))
            assert process.is_alive(), "a process ended by itself"
            process.kill()
            process.join()
    finally:
        for process, here in working:
            process.kill()
            process.join()
            here.close()


def work(stage: Stage, seed: int, ready: Any) -> None:
    chance = random.Random(seed)
    # What the audio is concerns other tests, and a decoder per recording would leave no time for the operations.
    ingestion.facts_of = uploads.facts_of = lambda *_, **__: None
    engine = make_engine(stage.owner, PoolOptions(size=1))
    journal_file = os.open(stage.folder / f"{os.getpid()}-{seed}.journal_file", os.O_CREAT | os.O_APPEND | os.O_WRONLY)

    def write(*words: object) -> None:
        os.write(journal_file, (" ".join(map(str, words)) + "\n").encode())

    database = Database(stage.serving, signing_key=stage.key, storage=stage.storage(), pool=PoolOptions(size=2))
    operations = [ingest, ingest, receive, archive, restore, restore, delete, sweep]
    with database.session(actor="alice") as session:
        session.get(Case, stage.case_id)
    ready.send_bytes(b"ready")
    while True:
        operation = chance.choice(operations)
        write("begin", operation.__name__)
        try:
            operation(stage, database, engine, chance, write)
        except (Conflict, NotFound):
            write("end", "refused")  # somebody else was first
        except StorageUnavailable:
            # moto answers 500 where S3 has 404, when a sweep of this haste ended an upload that is being completed.
            if stage.backend == "local":
                raise
            write("end", "refused")
        except BaseException:
            write("failure", repr(traceback.format_exc()))
            raise
        else:
            write("end", operation.__name__)


def ingest(stage, database, _engine, chance, write) -> None:
    content = chance.randbytes(chance.randint(1, 200_000))
    with database.session(actor="alice") as session:
        session.get(Case, stage.case_id)
        if session.scalar(select(func.count()).select_from(AudioFile)) > KEPT:
            return
        audio = recordings.ingest(session, session.get(Case, stage.case_id), content, allow_non_audio=True)
    write("ingested", audio.id, hashlib.sha256(content).hexdigest())


def receive(stage, database, _engine, chance, write) -> None:
    content = chance.randbytes(chance.randint(1, 200_000))
    received = recordings.receive(database, stage.case_id, content, actor="alice", allow_non_audio=True)
    with database.session(actor="alice") as session:
        audio = recordings.ingest(session, session.get(Case, stage.case_id), received)
    write("ingested", audio.id, hashlib.sha256(content).hexdigest())


def archive(_stage, database, _engine, chance, _write) -> None:
    with database.session(actor="alice") as session:
        recordings.archive(session, _any(session, chance, AudioFile.is_archived.is_(False)), reason="finished")


def restore(_stage, database, _engine, chance, _write) -> None:
    with database.session(actor="alice") as session:
        recordings.restore(session, _any(session, chance, AudioFile.is_archived | AudioFile.deleted_at.is_not(None)))


def delete(_stage, database, _engine, chance, write) -> None:
    with database.session(actor="alice") as session:
        audio = _any(session, chance, AudioFile.deleted_at.is_(None))
        write("deleting", audio.id)
        recordings.delete(session, audio, reason="wrong person")


def sweep(stage, database, engine, _chance, _write) -> None:
    with Session(engine) as session:
        done = sweeping.sweep(session, database.storage, older_than=NOW, grace=timedelta(seconds=0.2))
    assert not done.failed, done.failed


def _any(session: Session, chance: random.Random, wanted: Any) -> AudioFile:
    found = session.scalars(select(AudioFile).where(wanted)).all()
    if not found:
        raise NotFound("none")
    return chance.choice(found)


def read_journals(folder: Path) -> Journal:
    journal = Journal()
    for path in folder.glob("*.journal_file"):
        # A line that a kill cut in half has no end.
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
            match line.split(maxsplit=2) if line.endswith("\n") else []:
                case ["begin", operation]:
                    journal.begun[operation] += 1
                case ["end", operation]:
                    journal.ended[operation] += 1
                case ["ingested", number, sha256]:
                    journal.ingested[int(number)] = sha256.strip()
                case ["deleting", number]:
                    journal.deleted.add(int(number))
                case ["failure", *rest]:
                    journal.failures.append(" ".join(rest))
    return journal


def judge(stage: Stage, journal: Journal) -> list[str]:
    """Return what is wrong when all are dead: every row has its bytes, and a sweep leaves nothing else."""
    engine = make_engine(stage.owner, PoolOptions(size=2))
    storage = stage.storage()
    try:
        _until_alone(engine, stage)
        findings = [f"a process failed: {failure}" for failure in journal.failures]
        findings += lost(engine, storage, journal)
        with Session(engine) as session:
            done = sweeping.sweep(session, storage, older_than=NOW)
        findings += [f"{key} cannot be removed: {why}" for key, why in done.failed.items()]
        findings += lost(engine, storage, journal)
        with engine.connect() as connection:
            rows = dict(connection.execute(select(StorageObject.key, StorageObject.state)).all())
            paths = set(connection.scalars(select(AudioFile.path)))
        objects = {found.key for found in storage.list()}
        findings += [f"no row knows {key}" for key in objects - rows.keys()]
        findings += [f"{key} is {state} after a sweep" for key, state in rows.items() if state != "live"]
        if paths != objects:
            findings.append(f"{len(paths)} recordings and {len(objects)} objects differ")
        if storage.sweep_incomplete(NOW).found:
            findings.append("a sweep left something incomplete")
        return findings
    finally:
        engine.dispose()


def lost(engine: Any, storage: StorageBackend, journal: Journal) -> list[str]:
    """Return which committed recordings are not there, or not as they were."""
    with engine.connect() as connection:
        rows = connection.execute(select(AudioFile.id, AudioFile.path, AudioFile.sha256)).all()
    findings = []
    for number, path, sha256 in rows:
        with storage.get(path) as file:
            if hashlib.sha256(file.read()).hexdigest() != sha256 or journal.ingested.get(number, sha256) != sha256:
                findings.append(f"recording {number} is not what was ingested")
    there = {row.id for row in rows}
    findings += [
        f"recording {number} was committed and is gone" for number in journal.ingested.keys() - there - journal.deleted
    ]
    return findings


def _until_alone(engine: Any, stage: Stage) -> None:
    """Wait until the server has noticed who is dead: their transactions end with their connections."""
    alive = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND backend_type = 'client backend'"
    )
    deadline = time.monotonic() + 20
    while True:
        with engine.connect() as connection:
            if not connection.scalar(alive):
                return
        assert time.monotonic() < deadline, "a backend of a dead process lives on"
