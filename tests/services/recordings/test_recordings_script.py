"""`python -m src.database.scripts.sweep` as a process, with a real database and a local storage."""

from __future__ import annotations

import os

import pytest
from sqlalchemy import text

from src.services import recordings
from src.storage import LocalStorage
from tests.migrations.conftest import outside
from tests.services.recordings.conftest import CONTENT, log_outcomes, read_recording
from tests.warm import ANNOUNCEMENT


@pytest.fixture
def storage(tmp_path):
    return LocalStorage(tmp_path / "audio")


@pytest.fixture
def command(owner_url, storage, warm_python, tmp_path):
    environment = outside(owner_url, AUDIO_STORAGE_ROOT=os.fspath(storage.root))

    def run(*arguments):
        done = warm_python.run("src.database.scripts.sweep", arguments, folder=tmp_path, environment=environment)
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout + ANNOUNCEMENT.sub("", done.stderr)

    return run


def test_the_commands_sweep_list_remove_and_verify(db, case, audio, make_audio, storage, owner, command):  # noqa: PLR0917 - fixtures
    with db.session(actor="alice") as session:
        recordings.archive(session, audio, reason="finished")
        other = make_audio(session, case, content=b"RIFF other")
    with db.session(actor="alice") as session:
        recordings.delete(session, other, reason="wrong person")
    unknown = f"cases/{case.id}/00000000-0000-4000-8000-000000000000.wav"
    storage.put(unknown, b"without a row")

    # By default only older objects are removed.
    assert command("storage") == (0, "purged: 0, removed: 0 (0 bytes), incomplete: 0, kept back: 0\n")
    code, output = command("storage", "--hours", "0", "--days", "0")
    size = len(CONTENT) + len(b"RIFF other")
    assert code == 0
    assert output == f"purged: 1, removed: 2 ({size} bytes), incomplete: 0, kept back: 0\n"
    assert command("unknown") == (0, "")
    assert command("unknown", "--hours", "0") == (0, f"local: {unknown}\n")
    assert {info.key for info in storage.list()} == {audio_path(owner), unknown}
    assert read_recording(db, audio) == CONTENT
    assert log_outcomes(db, case, "audio.purged") == ["done"]
    assert command("remove-unknown", "--hours", "0") == (0, f"local: {unknown}, removed\n")
    assert {info.key for info in storage.list()} == {audio_path(owner)}

    assert command("verify") == (0, "sound: 1, missing: 0, damaged: 0\n")
    storage.delete(audio_path(owner))
    code, output = command("verify", "--days", "0", "--sample", "5")
    assert (code, output) == (
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


def test_objects_that_cannot_be_removed_are_reported(db, case, audio, storage, command):
    with db.session(actor="alice") as session:
        recordings.archive(session, audio, reason="finished")
    path = storage.root / audio.path
    path.unlink()
    path.mkdir()  # a directory instead of the object's file
    code, output = command("storage", "--hours", "0")
    assert code == 1
    assert audio.path in output
    assert "removed: 0 (0 bytes)" in output
    path.rmdir()
    assert command("storage", "--hours", "0")[0] == 0
