"""Disks and servers that go wrong under an ingest: a clear error, nothing lost, nothing half."""

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
from tests.services.recordings.conftest import BYTES, NOW, outcomes, read
from tests.storage.hostile_names import HOSTILE_NAMES
from tests.storage.s3_proxy import FAILED


@pytest.fixture(autouse=True)
def _undecoded(monkeypatch):
    """What the audio is concerns other tests."""
    for module in (ingestion, uploads):
        monkeypatch.setattr(module, "facts_of", lambda *_, **__: None)


@pytest.fixture
def place(opened, owner):
    """A storage with one recording in it, and the judge: what was there is there, and a sweep leaves nothing else."""

    class Place:
        def __init__(self, storage):
            self.storage, self.db = storage, opened(storage)
            with self.db.session(actor="alice") as session:
                self.case = cases.open_case(session, title="Harbour interviews")
                self.first = recordings.ingest(session, self.case, BYTES, name="a.wav")

        def ingest(self, content=b"RIFF more"):
            with self.db.session(actor="alice") as session:
                return recordings.ingest(session, self.case, content, name="b.wav")

        def archive(self):
            with self.db.session(actor="alice") as session:
                return recordings.archive(session, self.first, reason="finished")

        def is_refused(self, error, match):
            for deed, kind in ((self.ingest, "audio.ingested"), (self.archive, "audio.archived")):
                with pytest.raises(error, match=match):
                    deed()
                assert outcomes(self.db, self.case, kind)[-1] == "failed"

        def has_lost_nothing(self, *more):
            expected = {self.first.id: BYTES, **{audio.id: content for audio, content in more}}
            with self.db.session(actor="alice") as session:
                rows = session.scalars(select(AudioFile).order_by(AudioFile.id)).all()
            assert {row.id: read(self.db, row) for row in rows} == expected
            with Session(owner) as session:
                done = sweeping.sweep(session, self.storage, older_than=NOW)
            assert done.failed == {}
            assert {found.key for found in self.storage.list()} == {row.path for row in rows}
            assert {row.id: read(self.db, row) for row in rows} == expected

    return Place


def is_inside(descriptor, folder):
    """Sources are spooled to temporary files elsewhere, and these are to work."""
    return Path(f"/proc/self/fd/{descriptor}").readlink().is_relative_to(folder)


def test_a_full_disk(place, tmp_path, monkeypatch):
    here = place(LocalStorage(tmp_path / "audio"))
    write = os.write
    with monkeypatch.context() as patch:

        def full(descriptor, data):
            if is_inside(descriptor, tmp_path):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return write(descriptor, data)

        patch.setattr(os, "write", full)
        here.is_refused(NoSpace, "space")
    here.has_lost_nothing((here.ingest(), b"RIFF more"))


def test_a_root_that_became_read_only(place, tmp_path, monkeypatch):
    here = place(LocalStorage(tmp_path / "audio"))
    open_ = os.open
    with monkeypatch.context() as patch:

        def read_only(path, flags, *rest, **options):
            if flags & (os.O_WRONLY | os.O_RDWR):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))
            return open_(path, flags, *rest, **options)

        # Sources are spooled to a temporary file elsewhere, which the system opens by itself.
        patch.setattr("src.storage.local.os.open", read_only)
        patch.setattr("tempfile.TemporaryFile", lambda: open_spool(open_, tmp_path))
        here.is_refused(StorageUnavailable, "Read-only")
    here.has_lost_nothing((here.ingest(), b"RIFF more"))


def open_spool(open_, tmp_path):
    return os.fdopen(open_(tmp_path, os.O_RDWR | os.O_TMPFILE, 0o600), "w+b")


def test_a_root_that_was_replaced_by_a_link(place, tmp_path):
    root, elsewhere = tmp_path / "audio", tmp_path / "elsewhere"
    here = place(LocalStorage(root))
    root.rename(elsewhere)
    root.symlink_to(elsewhere)
    here.is_refused(StorageUnavailable, "link")
    with pytest.raises(StorageUnavailable, match="link"):
        read(here.db, here.first)
    root.unlink()
    elsewhere.rename(root)
    here.has_lost_nothing((here.ingest(), b"RIFF more"))


def test_a_folder_swapped_for_a_link_during_the_write(place, tmp_path, monkeypatch):
    here = place(LocalStorage(tmp_path / "audio"))
    outside = tmp_path / "outside"
    outside.mkdir()
    folder, link = here.storage.root / "cases" / str(here.case.id), here.storage.root / "cases" / "link"
    link.symlink_to(outside)
    write, swapped = os.write, []

    def swap(descriptor, data):
        if not swapped and is_inside(descriptor, tmp_path):
            swapped.append(_exchange(folder, link))
        return write(descriptor, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", swap)
        try:
            kept = [(here.ingest(), b"RIFF more")]
        except StorageUnavailable:
            kept = []
    assert swapped
    _exchange(folder, link)
    link.unlink()
    assert list(outside.iterdir()) == []
    here.has_lost_nothing(*kept)


def _exchange(one, other):
    """renameat2(RENAME_EXCHANGE), which Python does not have: both names exist at every moment."""
    assert ctypes.CDLL(None).renameat2(-100, os.fsencode(one), -100, os.fsencode(other), 2) == 0
    return True


@pytest.mark.usefixtures("no_waiting")
def test_s3_that_answers_500_every_third_time_is_survived(place, proxy, spoiled):
    here = place(spoiled())

    def spoil(request):
        request.fate = FAILED if request.number % 3 == 0 else None

    proxy.spoil = spoil
    more = [(here.ingest(bytes([number])), bytes([number])) for number in range(4)]
    here.archive()
    here.has_lost_nothing(*more)
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
def test_s3_that_keeps_failing(place, proxy, spoiled, fate, error, match):  # noqa: PLR0917 - fixtures
    here = place(spoiled())
    proxy.spoil = lambda request: setattr(request, "fate", fate)
    here.is_refused(error, match)
    with pytest.raises(SpeechError):
        read(here.db, here.first)
    proxy.reset()
    here.has_lost_nothing((here.ingest(), b"RIFF more"))


def test_s3_that_is_down(place, s3, opened, monkeypatch):
    here = place(s3())
    monkeypatch.setattr("src.storage.s3_client._ATTEMPTS", 2)
    reachable = here.db
    here.db = opened(type(here.storage)("speech", endpoint_url="http://127.0.0.1:9", access_key_id="x",
                                        secret_access_key=SecretStr("x")))  # fmt: skip
    here.is_refused(StorageUnavailable, "does not answer")
    here.db = reachable
    here.has_lost_nothing((here.ingest(), b"RIFF more"))


def test_hostile_names_survive_or_are_refused(db, case, storage):
    refused = set()
    for what, name in HOSTILE_NAMES.items():
        try:
            with db.session(actor="alice") as session:
                number = recordings.ingest(session, case, BYTES, name=name).id
                session.expire_all()
                audio = session.get(AudioFile, number)
                assert audio.name == name
                with recordings.open(session, audio) as file:
                    assert file.read() == BYTES
        except InvalidInput:
            refused.add(what)
    assert {"empty", "zero byte"} <= refused
    assert all(not HOSTILE_NAMES[what] or len(HOSTILE_NAMES[what]) > 1024 or "\0" in HOSTILE_NAMES[what]
               or any("\ud800" <= c <= "\udfff" for c in HOSTILE_NAMES[what]) for what in refused)  # fmt: skip
    assert len(refused) < 10
    assert all(found.key.startswith(f"cases/{case.id}/") for found in storage.list())
