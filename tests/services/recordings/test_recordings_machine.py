"""Stateful test: ingest, archive, restore, delete and sweep recordings in random order, with storage faults."""

from __future__ import annotations

import hashlib
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from src.database import AudioFile, Database, StorageObject
from src.errors import Conflict, StorageUnavailable
from src.maintenance import sweeping
from src.services import cases, recordings
from src.services.recordings import ingestion, uploads
from src.storage import MemoryStorage
from tests.undone import UndoneError

ZERO = timedelta(0)
GRACE = timedelta(days=30)
FAULTS = [
    f"{operation}.{step}" for operation in ("put", "copy", "delete", "head", "get") for step in ("before", "after")
] + ["put.after_bytes", "copy.after_bytes"]  # fmt: skip


class RecordingsMachine(RuleBasedStateMachine):
    """`model` maps the id of each committed recording to its expected bytes and flags."""

    db: Database
    owner: object

    def __init__(self) -> None:
        super().__init__()
        self.storage = MemoryStorage()
        self.db.storage = self.storage
        with self.db.session(actor="alice") as session:
            self.case = cases.open_case(session, title="Random order")
        self.model: dict[int, dict] = {}
        self.received: list[tuple[recordings.Received, bytes]] = []

    def attempt(self, operation, fault, ending):
        """Run the operation in a transaction that ends as `ending` says; return whether it was committed."""
        if fault is not None:
            self.storage.fail(fault, StorageUnavailable("a fault"))
        try:
            with self.db.session(actor="alice") as session:
                if ending == "savepoint":
                    savepoint = session.begin_nested()
                    operation(session)
                    savepoint.rollback()
                    return False
                operation(session)
                if ending == "rollback":
                    raise UndoneError  # noqa: TRY301 - leaves the block of the session
        except (StorageUnavailable, UndoneError):
            return False
        finally:
            self.storage.clear_faults()
        return True

    def draw_recording(self, data, **flags):
        """Draw the id of a recording with these flags; None when there is none."""
        matching = [
            audio_id
            for audio_id, expected in self.model.items()
            if all(expected[flag] == value for flag, value in flags.items())
        ]
        return data.draw(st.sampled_from(matching)) if matching else None

    endings = st.sampled_from(["commit", "commit", "rollback", "savepoint"])
    faults = st.one_of(st.none(), st.sampled_from(FAULTS))

    @rule(content=st.binary(min_size=1, max_size=3), fault=faults, ending=endings,
          on_duplicate=st.sampled_from(["add", "return", "refuse"]))  # fmt: skip
    def ingest(self, content, fault, ending, on_duplicate):
        duplicates = [
            audio_id
            for audio_id, expected in self.model.items()
            if expected["bytes"] == content and not expected["deleted"]
        ]
        ids = []

        def ingest(session):
            audio = recordings.ingest(session, self.case, content, allow_non_audio=True, on_duplicate=on_duplicate)
            ids.append(audio.id)

        try:
            committed = self.attempt(ingest, fault, ending)
        except Conflict:
            assert duplicates
            assert on_duplicate == "refuse"
            return
        if committed:
            assert (ids[0] in duplicates) == (bool(duplicates) and on_duplicate == "return")
            self.model.setdefault(ids[0], {"bytes": content, "archived": False, "deleted": False})

    @rule(content=st.binary(min_size=1, max_size=3), fault=faults)
    def receive(self, content, fault):
        if fault is not None:
            self.storage.fail(fault, StorageUnavailable("a fault"))
        try:
            received = recordings.receive(self.db, self.case, content, actor="alice", allow_non_audio=True)
            self.received.append((received, content))
        except StorageUnavailable:
            pass
        finally:
            self.storage.clear_faults()

    @precondition(lambda self: self.received)
    @rule(ending=endings)
    def attach(self, ending):
        received, content = self.received[-1]
        ids = []
        if self.attempt(lambda s: ids.append(recordings.ingest(s, self.case, received).id), None, ending):
            self.received.pop()
            self.model[ids[0]] = {"bytes": content, "archived": False, "deleted": False}

    @rule(data=st.data(), fault=faults, ending=endings)
    def archive(self, data, fault, ending):
        audio_id = self.draw_recording(data, archived=False, deleted=False)
        if audio_id and self.attempt(
            lambda s: recordings.archive(s, AudioFile(id=audio_id), reason="x"), fault, ending
        ):
            self.model[audio_id]["archived"] = True

    @rule(data=st.data(), fault=faults, ending=endings)
    def restore(self, data, fault, ending):
        audio_id = self.draw_recording(data, archived=True, deleted=False)
        if audio_id and self.attempt(lambda s: recordings.restore(s, AudioFile(id=audio_id)), fault, ending):
            self.model[audio_id]["archived"] = False

    @rule(data=st.data(), ending=endings)
    def delete(self, data, ending):
        audio_id = self.draw_recording(data, deleted=False)
        if audio_id and self.attempt(lambda s: recordings.delete(s, AudioFile(id=audio_id), reason="x"), None, ending):
            self.model[audio_id]["deleted"] = True

    @rule(data=st.data(), ending=endings)
    def undelete(self, data, ending):
        audio_id = self.draw_recording(data, deleted=True)
        if audio_id and self.attempt(lambda s: recordings.restore(s, AudioFile(id=audio_id)), None, ending):
            self.model[audio_id] |= {"deleted": False, "expired": False}

    @rule(data=st.data())
    def expire_grace_period(self, data):
        audio_id = self.draw_recording(data, deleted=True)
        if audio_id:
            with Session(self.owner) as session, session.begin():
                session.execute(
                    update(AudioFile).where(AudioFile.id == audio_id).values(deleted_at=func.now() - 2 * GRACE)
                )
            self.model[audio_id]["expired"] = True

    @rule(fault=st.one_of(st.none(), st.sampled_from(["delete.before", "delete.after"])))
    def sweep(self, fault):
        if fault is not None:
            self.storage.fail(fault, StorageUnavailable("a fault"))
        with Session(self.owner) as session:
            done = sweeping.sweep(session, self.storage, older_than=ZERO, grace=GRACE)
        self.storage.clear_faults()
        self.received.clear()
        expired = [
            audio_id for audio_id, expected in self.model.items() if expected["deleted"] and expected.get("expired")
        ]
        assert done.purged_recordings == len(expired)
        for audio_id in expired:
            del self.model[audio_id]
        assert done.differing == {}
        if not done.failed:
            assert {info.key for info in self.storage.list()} == self.column_values(StorageObject.key)
            assert len(self.column_values(StorageObject.key)) == len(self.model)

    @invariant()
    def every_committed_recording_has_its_bytes(self):
        with Session(self.owner) as session:
            rows = session.execute(
                select(AudioFile.id, AudioFile.path, AudioFile.is_archived, AudioFile.deleted_at)
            ).all()
        assert {row.id for row in rows} == self.model.keys()
        for row in rows:
            expected = self.model[row.id]
            with self.storage.get(row.path) as file:
                assert hashlib.sha256(file.read()).digest() == hashlib.sha256(expected["bytes"]).digest()
            assert row.is_archived == expected["archived"] == row.path.startswith("archive/")
            assert (row.deleted_at is not None) == expected["deleted"]

    @invariant()
    def every_object_has_a_row(self):
        assert {info.key for info in self.storage.list()} <= self.column_values(StorageObject.key)

    def column_values(self, column):
        with Session(self.owner) as session:
            return set(session.scalars(select(column)))

    def teardown(self):
        with Session(self.owner) as session:
            sweeping.sweep(session, self.storage, older_than=ZERO, grace=ZERO)
            session.begin()
            session.execute(update(AudioFile).values(deleted_at=func.now() - GRACE))
            session.commit()
            sweeping.sweep(session, self.storage, older_than=ZERO, grace=ZERO)
        assert list(self.storage.list()) == []


@pytest.fixture
def machine(db, owner, monkeypatch):
    # Other tests cover decoding; here it would take most of the time.
    for module in (ingestion, uploads):
        monkeypatch.setattr(module, "facts_of", lambda *_, **__: None)
    return type("BoundMachine", (RecordingsMachine,), {"db": db, "owner": owner})


def test_every_recording_has_its_bytes_and_every_object_its_row_after_any_operations(machine):
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=15,
            stateful_step_count=20,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
