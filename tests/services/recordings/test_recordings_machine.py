"""Any order of ingestion, archiving, restoring, deleting and sweeping, with faults of the storage in between."""

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

NOW = timedelta(0)
GRACE = timedelta(days=30)
FAULTS = [
    f"{verb}.{moment}" for verb in ("put", "copy", "delete", "head", "get") for moment in ("before", "after")
] + ["put.after_bytes", "copy.after_bytes"]  # fmt: skip


class Keeping(RuleBasedStateMachine):
    """`model` maps each committed recording to its bytes and to whether it is archived and deleted."""

    db: Database
    owner: object

    def __init__(self) -> None:
        super().__init__()
        self.storage = MemoryStorage()
        self.db.storage = self.storage
        with self.db.session(actor="alice") as session:
            self.case = cases.open_case(session, title="Any order")
        self.model: dict[int, dict] = {}
        self.received: list[tuple[recordings.Received, bytes]] = []

    def attempt(self, deed, fault, ending):
        """Do it in a transaction that commits, rolls back, or takes a savepoint back; True when it was committed."""
        if fault is not None:
            self.storage.fail(fault, StorageUnavailable("a fault"))
        try:
            with self.db.session(actor="alice") as session:
                if ending == "savepoint":
                    point = session.begin_nested()
                    deed(session)
                    point.rollback()
                    return False
                deed(session)
                if ending == "rollback":
                    session.rollback()
                    return False
        except StorageUnavailable:
            return False
        finally:
            self.storage.clear_faults()
        return True

    def chosen(self, data, **wanted):
        fits = [
            number for number, known in self.model.items() if all(known[key] == value for key, value in wanted.items())
        ]
        return data.draw(st.sampled_from(fits)) if fits else None

    endings = st.sampled_from(["commit", "commit", "rollback", "savepoint"])
    faults = st.one_of(st.none(), st.sampled_from(FAULTS))

    @rule(content=st.binary(min_size=1, max_size=3), fault=faults, ending=endings,
          on_duplicate=st.sampled_from(["add", "return", "refuse"]))  # fmt: skip
    def ingest(self, content, fault, ending, on_duplicate):
        duplicates = [n for n, known in self.model.items() if known["bytes"] == content and not known["deleted"]]
        made = []

        def deed(session):
            made.append(
                recordings.ingest(session, self.case, content, allow_non_audio=True, on_duplicate=on_duplicate).id
            )

        try:
            done = self.attempt(deed, fault, ending)
        except Conflict:
            assert duplicates
            assert on_duplicate == "refuse"
            return
        if done:
            assert (made[0] in duplicates) == (bool(duplicates) and on_duplicate == "return")
            self.model.setdefault(made[0], {"bytes": content, "archived": False, "deleted": False})

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
        made = []
        if self.attempt(lambda s: made.append(recordings.ingest(s, self.case, received).id), None, ending):
            self.received.pop()
            self.model[made[0]] = {"bytes": content, "archived": False, "deleted": False}

    @rule(data=st.data(), fault=faults, ending=endings)
    def archive(self, data, fault, ending):
        number = self.chosen(data, archived=False, deleted=False)
        if number and self.attempt(lambda s: recordings.archive(s, AudioFile(id=number), reason="x"), fault, ending):
            self.model[number]["archived"] = True

    @rule(data=st.data(), fault=faults, ending=endings)
    def restore(self, data, fault, ending):
        number = self.chosen(data, archived=True, deleted=False)
        if number and self.attempt(lambda s: recordings.restore(s, AudioFile(id=number)), fault, ending):
            self.model[number]["archived"] = False

    @rule(data=st.data(), ending=endings)
    def delete(self, data, ending):
        number = self.chosen(data, deleted=False)
        if number and self.attempt(lambda s: recordings.delete(s, AudioFile(id=number), reason="x"), None, ending):
            self.model[number]["deleted"] = True

    @rule(data=st.data(), ending=endings)
    def bring_back(self, data, ending):
        number = self.chosen(data, deleted=True)
        if number and self.attempt(lambda s: recordings.restore(s, AudioFile(id=number)), None, ending):
            self.model[number]["deleted"] = False

    @rule(data=st.data())
    def grow_old(self, data):
        number = self.chosen(data, deleted=True)
        if number:
            with Session(self.owner) as session, session.begin():
                session.execute(
                    update(AudioFile).where(AudioFile.id == number).values(deleted_at=func.now() - 2 * GRACE)
                )
            self.model[number]["old"] = True

    @rule(fault=st.one_of(st.none(), st.sampled_from(["delete.before", "delete.after"])))
    def sweep(self, fault):
        if fault is not None:
            self.storage.fail(fault, StorageUnavailable("a fault"))
        with Session(self.owner) as session:
            done = sweeping.sweep(session, self.storage, older_than=NOW, grace=GRACE)
        self.storage.clear_faults()
        self.received.clear()
        old = [number for number, known in self.model.items() if known["deleted"] and known.get("old")]
        assert done.purged_recordings == len(old)
        for number in old:
            del self.model[number]
        if not done.failed:
            assert {found.key for found in self.storage.list()} == self.paths(StorageObject.key)
            assert len(self.paths(StorageObject.key)) == len(self.model)

    @invariant()
    def every_committed_recording_has_its_bytes(self):
        with Session(self.owner) as session:
            rows = session.execute(
                select(AudioFile.id, AudioFile.path, AudioFile.is_archived, AudioFile.deleted_at)
            ).all()
        assert {row.id for row in rows} == self.model.keys()
        for row in rows:
            known = self.model[row.id]
            with self.storage.get(row.path) as file:
                assert hashlib.sha256(file.read()).digest() == hashlib.sha256(known["bytes"]).digest()
            assert row.is_archived == known["archived"] == row.path.startswith("archive/")
            assert (row.deleted_at is not None) == known["deleted"]

    @invariant()
    def every_object_has_a_row(self):
        assert {found.key for found in self.storage.list()} <= self.paths(StorageObject.key)

    def paths(self, column):
        with Session(self.owner) as session:
            return set(session.scalars(select(column)))

    def teardown(self):
        with Session(self.owner) as session:
            sweeping.sweep(session, self.storage, older_than=NOW, grace=NOW)
            session.begin()
            session.execute(update(AudioFile).values(deleted_at=func.now() - GRACE))
            session.commit()
            sweeping.sweep(session, self.storage, older_than=NOW, grace=NOW)
        assert list(self.storage.list()) == []


@pytest.fixture
def machine(db, owner, monkeypatch):
    # What the audio is concerns other tests; a decoder per step would leave no time for steps.
    for module in (ingestion, uploads):
        monkeypatch.setattr(module, "facts_of", lambda *_, **__: None)
    return type("Kept", (Keeping,), {"db": db, "owner": owner})


def test_whatever_the_order_a_recording_has_its_bytes_and_an_object_its_row(machine):
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
