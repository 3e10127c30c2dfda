"""`python -m src.database.scripts.sweep` as a process, with a real database and a folder of recordings."""

from __future__ import annotations

import os

import pytest
from sqlalchemy import text

from src.services import recordings
from src.storage import LocalStorage
from tests.migrations.conftest import outside
from tests.services.recordings.conftest import BYTES, outcomes, read


@pytest.fixture
def storage(tmp_path):
    return LocalStorage(tmp_path / "audio")


@pytest.fixture
def command(owner_url, storage, warm_python, tmp_path):
    environment = outside(owner_url, AUDIO_STORAGE_ROOT=os.fspath(storage.root))

    def run(*arguments):
        done = warm_python.run("src.database.scripts.sweep", arguments, folder=tmp_path, environment=environment)
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout + done.stderr

    return run


def test_operators_sweep_and_verify(db, case, audio, make_audio, storage, owner, command):  # noqa: PLR0917 - fixtures
    with db.session(actor="alice") as session:
        recordings.archive(session, audio, reason="finished")
        other = make_audio(session, case, content=b"RIFF other")
    with db.session(actor="alice") as session:
        recordings.delete(session, other, reason="wrong person")
    unknown = f"cases/{case.id}/00000000-0000-4000-8000-000000000000.wav"
    storage.put(unknown, b"without a row")

    # Nothing is old enough yet.
    assert command("storage") == (0, "purged: 0, removed: 0 (0 bytes), incomplete: 0, kept back: 0\n")
    code, said = command("storage", "--hours", "0", "--days", "0")
    size = len(BYTES) + len(b"RIFF other")
    assert code == 0
    assert said == f"purged: 1, removed: 2 ({size} bytes), incomplete: 0, kept back: 0\n"
    assert command("unknown") == (0, "")
    assert command("unknown", "--hours", "0") == (0, f"local: {unknown}\n")
    assert {found.key for found in storage.list()} == {audio_path(owner), unknown}
    assert read(db, audio) == BYTES
    assert outcomes(db, case, "audio.purged") == ["done"]
    assert command("remove-unknown", "--hours", "0") == (0, f"local: {unknown}, removed\n")
    assert {found.key for found in storage.list()} == {audio_path(owner)}

    assert command("verify") == (0, "sound: 1, missing: 0, damaged: 0\n")
    storage.delete(audio_path(owner))
    code, said = command("verify", "--days", "0", "--sample", "5")
    assert (code, said) == (
        1, f"recording {audio.id}: missing ({audio_path(owner)})\nsound: 0, missing: 1, damaged: 0\n"
    )  # fmt: skip
    with owner.connect() as connection:
        query = text(
            "SELECT t.code, l.new ->> 'outcome' FROM activity_logs l JOIN activity_types t ON t.id = l.activity_type_id"
            " WHERE t.code IN ('storage.swept', 'audio.verified') AND l.case_id IS NULL ORDER BY l.id"
        )
        entries = connection.execute(query).all()
    assert entries[0] == ("storage.swept", "done")
    assert entries[1] == ("storage.swept", "unknown objects removed")
    assert len(entries) == 4  # and both runs of verify


def audio_path(owner):
    with owner.connect() as connection:
        return connection.scalar(text("SELECT path FROM audio_files"))


def test_what_cannot_be_removed_is_said(db, case, audio, storage, command):
    with db.session(actor="alice") as session:
        recordings.archive(session, audio, reason="finished")
    folder = storage.root / audio.path
    folder.unlink()
    folder.mkdir()  # in the place of the object
    code, said = command("storage", "--hours", "0")
    assert code == 1
    assert audio.path in said
    assert "removed: 0 (0 bytes)" in said
    folder.rmdir()
    assert command("storage", "--hours", "0")[0] == 0
