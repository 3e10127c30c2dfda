"""The key file: permissions, atomic writes, errors."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from src.database.connection.actor_tokens import SigningKey
from src.database.connection.key_file import KeyFile
from src.errors import ConfigurationError

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def keys():
    return KeyFile("an_app", "the password", SigningKey.generate(3))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys" / "here.json"


def test_a_saved_file_can_be_loaded(keys, path):
    keys.save(path)
    assert KeyFile.load(path) == keys
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_a_missing_file_is_none(path):
    assert KeyFile.load(path) is None


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o660, 0o644, 0o777, 0o601])
def test_a_file_readable_by_other_users_is_rejected_with_the_remedy(keys, path, mode):
    keys.save(path)
    path.chmod(mode)
    with pytest.raises(ConfigurationError, match=f"chmod 600 {path}"):
        KeyFile.load(path)


def test_saving_resets_the_mode_of_the_file(keys, path):
    keys.save(path)
    path.chmod(0o666)
    keys.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


DAMAGES = {
    "empty": b"",
    "truncated": b'{"login": "an_app", "passw',
    "null": b"null",
    "a list": b"[1, 2]",
    "not text": b"\xff\xfe\x00",
    "an empty object": b"{}",
    "id of the key": b'{"login": "a", "password": "b", "key_id": "x", "key": "AAAA"}',
    "key": b'{"login": "a", "password": "b", "key_id": 1, "key": "not base64!"}',
    "short key": b'{"login": "a", "password": "b", "key_id": 1, "key": "AAAA"}',
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("content", DAMAGES.values(), ids=DAMAGES)
def test_the_error_for_a_damaged_file_names_but_does_not_quote_it(path, content):
    path.parent.mkdir(mode=0o700)
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigurationError) as caught:
        KeyFile.load(path)
    assert str(path) in str(caught.value)
    assert "an_app" not in str(caught.value)


def test_a_folder_or_a_pipe_is_rejected(path):
    path.mkdir(parents=True)
    with pytest.raises(ConfigurationError, match="is not a regular file"):
        KeyFile.load(path)
    path.rmdir()
    os.mkfifo(path, 0o600)
    with pytest.raises(ConfigurationError, match="is not a regular file"):
        KeyFile.load(path)


def test_an_unreadable_file_is_an_error(path):
    path.parent.mkdir()
    path.symlink_to(path)  # unreadable for all users, including root
    with pytest.raises(ConfigurationError, match="cannot be read"):
        KeyFile.load(path)


def test_an_unwritable_path_is_an_error_and_leaves_no_files(keys, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="KEY_FILE"):
        keys.save(tmp_path / "file" / "key.json")
    (tmp_path / "folder" / "key.json").mkdir(parents=True)
    with pytest.raises(ConfigurationError, match="KEY_FILE"):
        keys.save(tmp_path / "folder" / "key.json")
    assert list((tmp_path / "folder").iterdir()) == [tmp_path / "folder" / "key.json"]


def test_a_symbolic_link_at_a_temporary_name_is_not_followed(keys, path, tmp_path):
    path.parent.mkdir()
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    (path.parent / f".{path.name}.{os.getpid()}").symlink_to(victim)
    keys.save(path)
    assert victim.read_text() == "untouched"
    assert KeyFile.load(path) == keys


SAVER = """
import sys
from pathlib import Path
from src.database.connection.actor_tokens import SigningKey
from src.database.connection.key_file import KeyFile
path, number = Path(sys.argv[1]), 0
while True:
    number += 1
    KeyFile("app", str(number) * 5000, SigningKey.generate(number)).save(path)
    print(number, flush=True)
"""


def test_a_killed_writer_leaves_the_old_or_the_new_file(path):
    for round_number in range(8):
        with subprocess.Popen(
            [sys.executable, "-c", SAVER, path], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
        ) as child:
            for _ in range(1 + round_number * 3):
                acknowledged = int(child.stdout.readline())
            child.send_signal(signal.SIGKILL)
        keys = KeyFile.load(path)
        assert keys.password == str(keys.signing_key.id) * 5000
        assert keys.signing_key.id >= acknowledged


def test_concurrent_writers_leave_one_complete_file(path):
    versions = [KeyFile("app", str(number) * 5000, SigningKey.generate(number)) for number in range(1, 9)]
    threads = [threading.Thread(target=keys.save, args=(path,)) for keys in versions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert KeyFile.load(path) in versions
    assert list(path.parent.iterdir()) == [path]


def test_repr_and_str_contain_no_secret(keys, path):
    keys.save(path)
    written = json.loads(path.read_text())
    for shown in (repr(keys), str(keys), repr(keys.signing_key), f"{keys!r}"):
        assert written["password"] not in shown
        assert written["key"] not in shown
        assert repr(keys.signing_key.secret) not in shown
