"""Failures of disks and servers during ingest and archive: a clear error, no data loss, no partial objects."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import select
from sqlalchemy.orm import Session

from src.database import AudioFile
from src.errors import ConfigurationError, InvalidInput, NoSpace, SpeechError, StorageUnavailable
from src.maintenance import sweeping
from src.services import cases, recordings
from src.services.recordings import ingestion, uploads
from src.storage import LocalStorage
from tests.services.recordings.conftest import CONTENT, ZERO, log_outcomes, read_recording
from tests.storage.hostile_names import HOSTILE_NAMES
from tests.storage.s3_proxy import FAILED


@pytest.fixture(autouse=True)
def _no_decoding(monkeypatch):
    """Decoding is covered by other tests."""
    for module in (ingestion, uploads):
        monkeypatch.setattr(module, "facts_of", lambda *_, **__: None)


@pytest.fixture
def create_scenario(open_database, owner):
    """A class: a case with one recording in the given storage, and the check that nothing is lost."""

    class Scenario:
        def __init__(self, storage):
            self.storage, self.db = storage, open_database(storage)
            with self.db.session(actor="alice") as session:
                self.case = cases.open_case(session, title="Harbour interviews")
                self.audio = recordings.ingest(session, self.case, CONTENT, name="a.wav")

        def ingest(self, content=b"RIFF more"):
            with self.db.session(actor="alice") as session:
                return recordings.ingest(session, self.case, content, name="b.wav")

        def archive(self):
            with self.db.session(actor="alice") as session:
                return recordings.archive(session, self.audio, reason="finished")

        def assert_writes_fail(self, error, match):
            for operation, entry_type in ((self.ingest, "audio.ingested"), (self.archive, "audio.archived")):
                with pytest.raises(error, match=match):
                    operation()
                assert log_outcomes(self.db, self.case, entry_type)[-1] == "failed"

        def assert_complete(self, *added):
            """The recordings are the first one and `added`, and a sweep leaves no other objects."""
            expected = {self.audio.id: CONTENT, **{audio.id: content for audio, content in added}}
            with self.db.session(actor="alice") as session:
                rows = session.scalars(select(AudioFile).order_by(AudioFile.id)).all()
            assert {row.id: read_recording(self.db, row) for row in rows} == expected
            with Session(owner) as session:
                done = sweeping.sweep(session, self.storage, older_than=ZERO)
            assert done.failed == {}
            assert {info.key for info in self.storage.list()} == {row.path for row in rows}
            assert {row.id: read_recording(self.db, row) for row in rows} == expected

    return Scenario


def is_inside(descriptor, folder):
    """Whether a file is in the folder; sources are spooled to temporary files elsewhere, which must not fail."""
    return Path(f"/proc/self/fd/{descriptor}").readlink().is_relative_to(folder)


def test_a_full_disk(create_scenario, tmp_path, monkeypatch):
    scenario = create_scenario(LocalStorage(tmp_path / "audio"))
    write = os.write
    with monkeypatch.context() as patch:

        def failing_write(descriptor, data):
            if is_inside(descriptor, tmp_path):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return write(descriptor, data)

        patch.setattr(os, "write", failing_write)
        scenario.assert_writes_fail(NoSpace, "space")
    scenario.assert_complete((scenario.ingest(), b"RIFF more"))


def test_a_root_that_becomes_read_only(create_scenario, tmp_path, monkeypatch):
    scenario = create_scenario(LocalStorage(tmp_path / "audio"))
    real_open = os.open
    with monkeypatch.context() as patch:

        def failing_open(path, flags, *rest, **options):
            if flags & (os.O_WRONLY | os.O_RDWR):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))
            return real_open(path, flags, *rest, **options)

        # The spool file of the source is opened with the real function.
        patch.setattr("src.storage.local.os.open", failing_open)
        patch.setattr("tempfile.TemporaryFile", lambda: open_spool(real_open, tmp_path))
        scenario.assert_writes_fail(StorageUnavailable, "Read-only")
    scenario.assert_complete((scenario.ingest(), b"RIFF more"))


def open_spool(real_open, tmp_path):
    return os.fdopen(real_open(tmp_path, os.O_RDWR | os.O_TMPFILE, 0o600), "w+b")


def test_a_root_that_is_replaced_by_a_symlink(create_scenario, tmp_path):
    root, elsewhere = tmp_path / "audio", tmp_path / "elsewhere"
    scenario = create_scenario(LocalStorage(root))
    root.rename(elsewhere)
    root.symlink_to(elsewhere)
    scenario.assert_writes_fail(StorageUnavailable, "link")
    with pytest.raises(StorageUnavailable, match="link"):
        read_recording(scenario.db, scenario.audio)
    root.unlink()
    elsewhere.rename(root)
    scenario.assert_complete((scenario.ingest(), b"RIFF more"))


def test_a_folder_that_is_exchanged_with_a_symlink_during_a_write(create_scenario, tmp_path, monkeypatch):
    scenario = create_scenario(LocalStorage(tmp_path / "audio"))
    outside = tmp_path / "outside"
    outside.mkdir()
    folder, link = scenario.storage.root / "cases" / str(scenario.case.id), scenario.storage.root / "cases" / "link"
    link.symlink_to(outside)
    write, swapped = os.write, []

    def swap(descriptor, data):
        if not swapped and is_inside(descriptor, tmp_path):
            _exchange(folder, link)
            swapped.append(True)
        return write(descriptor, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", swap)
        try:
            added = [(scenario.ingest(), b"RIFF more")]
        except StorageUnavailable:
            added = []
    assert swapped
    _exchange(folder, link)
    link.unlink()
    assert list(outside.iterdir()) == []
    scenario.assert_complete(*added)


def _exchange(first, second):
    """Exchange two names atomically by renameat2(RENAME_EXCHANGE), which Python's os does not provide."""
    assert ctypes.CDLL(None).renameat2(-100, os.fsencode(first), -100, os.fsencode(second), 2) == 0


@pytest.mark.usefixtures("no_waiting")
def test_s3_that_answers_every_third_request_with_500(create_scenario, proxy, spoiled):
    scenario = create_scenario(spoiled())

    def spoil(request):
        request.fate = FAILED if request.number % 3 == 0 else None

    proxy.spoil = spoil
    contents = [bytes([index]) for index in range(4)]
    added = [(scenario.ingest(content), content) for content in contents]
    scenario.archive()
    scenario.assert_complete(*added)
    assert sum(request.fate == FAILED for request in proxy.requests) >= 5


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize(
    ("fate", "error", "match"),
    [
        (FAILED, StorageUnavailable, "500"),
        ((403, "InvalidAccessKeyId"), ConfigurationError, "AWS_ACCESS_KEY_ID"),
        ((403, "SignatureDoesNotMatch"), ConfigurationError, "AWS_SECRET_ACCESS_KEY"),
        ((404, "NoSuchBucket"), ConfigurationError, "S3_BUCKET"),
    ],
)
def test_s3_that_answers_every_request_with_an_error(create_scenario, proxy, spoiled, fate, error, match):  # noqa: PLR0917 - fixtures
    scenario = create_scenario(spoiled())
    proxy.spoil = lambda request: setattr(request, "fate", fate)
    scenario.assert_writes_fail(error, match)
    with pytest.raises(SpeechError):
        read_recording(scenario.db, scenario.audio)
    proxy.reset()
    scenario.assert_complete((scenario.ingest(), b"RIFF more"))


def test_s3_that_is_unreachable(create_scenario, s3, open_database, monkeypatch):
    scenario = create_scenario(s3())
    monkeypatch.setattr("src.storage.s3_client._ATTEMPTS", 2)
    working_db = scenario.db
    scenario.db = open_database(type(scenario.storage)("speech", endpoint_url="http://127.0.0.1:9", access_key_id="x",
                                        secret_access_key=SecretStr("x")))  # fmt: skip
    scenario.assert_writes_fail(StorageUnavailable, "does not answer")
    scenario.db = working_db
    scenario.assert_complete((scenario.ingest(), b"RIFF more"))


def test_hostile_names_are_stored_unchanged_or_rejected(db, case, storage):
    rejected = set()
    for label, name in HOSTILE_NAMES.items():
        try:
            with db.session(actor="alice") as session:
                audio_id = recordings.ingest(session, case, CONTENT, name=name).id
                session.expire_all()
                audio = session.get(AudioFile, audio_id)
                assert audio.name == name
                with recordings.open(session, audio) as file:
                    assert file.read() == CONTENT
        except InvalidInput:
            rejected.add(label)
    assert {"empty", "zero byte"} <= rejected
    assert all(not HOSTILE_NAMES[label] or len(HOSTILE_NAMES[label]) > 1024 or "\0" in HOSTILE_NAMES[label]
               or any("\ud800" <= c <= "\udfff" for c in HOSTILE_NAMES[label]) for label in rejected)  # fmt: skip
    assert len(rejected) < 10
    assert all(info.key.startswith(f"cases/{case.id}/") for info in storage.list())
