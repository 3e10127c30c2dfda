"""The guide to worker processes: gunicorn with preload and Celery's prefork, each for real.

pytest-xdist runs this suite itself (`make test`), with the fixtures of the guide.
"""

import os
import re
import socket
import subprocess
import sys
from urllib.request import urlopen

import pytest
from sqlalchemy import select

from src.database import CaseNote
from src.database.connection.key_file import KeyFile
from tests.conventions.sources import ROOT
from tests.docs.pages import HOW_TO, blocks

# Each worker opens a session for each request, from a Database that the parent made and used before the fork.
SERVICE = """
import os
from sqlalchemy import text
from src.database import Database

db = Database.from_env()
with db.session(actor="alice") as s:
    s.execute(text("SELECT 1"))

def application(environ, start_response):
    with db.session(actor="alice") as s:
        backend = s.scalar(text("SELECT pg_backend_pid()"))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} {backend}".encode()]
"""

# The worker stops after its task, without a signal from outside.
USED_BEFORE_THE_FORK = """
from celery import signals

with db.session(actor="alice") as s:
    s.connection()

@signals.task_postrun.connect
def stop(**_):
    tasks.control.shutdown()
"""


@pytest.fixture
def environment(db, owner_url, tmp_path):
    """The environment of a program that finds the database of the test by its settings."""
    members, administrators = db.engine.url, db.admin_engine.url
    keys = KeyFile(
        members.username, members.password, db.signing_key, administrators.username, administrators.password or ""
    )
    keys.save(tmp_path / "keys.json")
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("POSTGRES_", "PYTEST_"))},
        "DATABASE_URL": owner_url.render_as_string(hide_password=False),
        "KEY_FILE": os.fspath(tmp_path / "keys.json"),
        "AUDIO_STORAGE_ROOT": os.fspath(tmp_path / "audio"),
        "PYTHONPATH": f"{tmp_path}:{ROOT}",
    }


def test_workers_of_gunicorn_use_connections_of_their_own(environment, tmp_path):
    (tmp_path / "service.py").write_text(SERVICE)
    command = next(code for code in blocks(HOW_TO / "processes.md", "bash") if "gunicorn" in code)
    # The socket listens before the server starts, so that no request is refused.
    listener = socket.create_server(("127.0.0.1", 0))
    command = re.sub(r"--bind \S+", f"--bind fd://{listener.fileno()}", command).replace("--workers 4", "--workers 2")
    server = subprocess.Popen(
        [sys.executable, "-m", *command.split(), "--log-level", "warning"],
        env=environment, cwd=tmp_path, pass_fds=[listener.fileno()],
    )  # fmt: skip
    try:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        answers = [urlopen(address, timeout=60).read().split() for _ in range(40)]
    finally:
        server.terminate()
        server.wait()
        listener.close()
    backends_of = {}
    for worker, backend in answers:
        backends_of.setdefault(worker, set()).add(backend)
    everything = [backend for backends in backends_of.values() for backend in backends]
    assert len(everything) == len(set(everything))


def test_a_task_of_celery_runs_in_a_forked_worker(environment, db, tmp_path):
    tasks, producer = (code for code in blocks(HOW_TO / "processes.md") if "describe" in code)
    (tmp_path / "messages").mkdir()
    folders = dict.fromkeys(("data_folder_in", "data_folder_out"), os.fspath(tmp_path / "messages"))
    tasks = tasks.replace('broker="memory://"', f'broker="filesystem://", broker_transport_options={folders!r}')
    assert "filesystem" in tasks
    (tmp_path / "service.py").write_text(tasks + USED_BEFORE_THE_FORK)
    (tmp_path / "producer.py").write_text("from service import *\n" + producer)

    subprocess.run([sys.executable, "producer.py"], env=environment, cwd=tmp_path, check=True)
    worker = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "service:tasks",
        "worker",
        "--pool",
        "prefork",
        "--concurrency",
        "1",
    ]
    ended = subprocess.run(
        worker, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )

    with db.session(actor="alice") as session:
        assert list(session.scalars(select(CaseNote.body))) == ["Described: Harbour interviews"], ended.stderr


@pytest.mark.parametrize(
    ("page", "program", "command"),
    [
        ("web-api", "service", ["-m", "uvicorn", "service:app"]),
        ("pipeline-worker", "recogniser", ["service.py"]),
        ("processes", "tasks", ["-m", "celery", "-A", "service", "worker"]),
        ("own-tables", "alembic", ["-m", "alembic", "upgrade", "head"]),
    ],
)
def test_a_misspelt_setting_ends_a_program_of_a_guide_with_one_sentence(tmp_path, page, program, command):
    (tmp_path / ".env").write_text("POSTRGES_HOST=db\n")
    (tmp_path / "service.py").write_text("\n".join(blocks(HOW_TO / f"{page}.md")[:1]))
    (tmp_path / "migrations").mkdir()
    (tmp_path / "alembic.ini").write_text(f"[alembic]\nscript_location = {tmp_path}/migrations\nprepend_sys_path = .\n")
    for code in blocks(HOW_TO / "own-tables.md", "py"):
        name = code.split("\n", 1)[0].removeprefix("# ")
        if name in {"tags.py", "migrations/env.py"}:
            (tmp_path / name).write_text(code)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("POSTGRES_", "PYTEST_"))}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=tmp_path, env=environment | {"PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True, encoding="utf-8", timeout=60, check=False,
    )  # fmt: skip
    said = f"{program}: POSTRGES_HOST ({tmp_path}/.env, line 1) is not a setting: POSTGRES_HOST is probably meant."
    assert (done.returncode, done.stderr.splitlines()) == (3, [f"{said} Correct the name or remove it."]), done
