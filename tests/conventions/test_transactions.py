"""Only `with db.session(…)` commits. Other code that begins or ends a transaction is listed here, with the reason."""

from __future__ import annotations

import ast

from tests.conventions.sources import FILES, calls_of, path_name

SESSION_FILE = "src/database/connection/session.py"
# The transaction of a session: its class, and the block that begins and ends it.
BLOCK_FILES = {"src/database/connection/actor_session.py", "src/database/connection/block.py"}
# They set what holds for later transactions of a new connection.
COMMITTING_FILES = {"src/database/connection/inspection.py", "src/database/connection/pinned_settings.py"}

# Files that connect as the owner of the database, or before the schema exists: without a session and an actor.
OWNER_FILES = {
    "src/database/embedded/server.py": "creates a database on the embedded server",
    "src/database/embedded/postmaster.py": "connects to a socket, to check whether a server listens",
    "src/database/connection/inspection.py": "ends the transaction of its queries before the connection is used",
    "src/database/connection/pinned_settings.py": "sets the settings of a new connection",
    "src/database/provisioning/migrate.py": "holds the migration lock",
    "src/database/provisioning/apply.py": "applies differences as the owner, in a transaction for each table",
    "src/database/provisioning/comparison.py": "compares in a savepoint, and rolls it back",
    "src/database/provisioning/expectation.py": "creates the expected objects in savepoints, and rolls them back",
    "src/database/provisioning/databases.py": "creates the database, outside any transaction",
    "src/database/provisioning/extensions.py": "creates extensions that may fail in savepoints",
    "src/database/provisioning/logins.py": "rotates the signing key as the owner",
    "src/database/scripts/history.py": "keeps the log as the owner",
    "src/database/scripts/dump.py": "logs the dump as the owner",
    "src/database/scripts/sweep.py": "sweeps and verifies as the owner",
    "src/database/scripts/command.py": "reads the register of storages as the owner",
    "src/database/scripts/storage.py": "shows and confirms storages as the owner",
    "src/maintenance/initialisation.py": "claims the storage as the owner",
    "src/maintenance/sweeping.py": "sweeps as the owner, and commits after each object",
    "src/services/history/verification.py": "pins settings in a savepoint, and rolls it back",
    "src/maintenance/indexing.py": "reindexes as the owner, and concurrently, which cannot run in a transaction",
    "src/database/testing.py": "creates and drops databases of tests as the owner",
}
OPENERS = {"begin", "begin_nested", "connect", "commit", "rollback"}
SESSION_MAKERS = {"Session", "ActorSession", "sessionmaker", "scoped_session", "SessionTransaction"}
FILE_OBJECTS = {"file", "configuration", "spool"}


def uses(names: set[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path in FILES:
        for call, name in calls_of(path):
            if name in names:
                found.setdefault(path_name(path), []).append(f"{name} in line {call.lineno}")
    return found


def test_only_db_session_creates_sessions():
    assert set(uses(SESSION_MAKERS)) - OWNER_FILES.keys() == {SESSION_FILE}


def test_only_db_session_and_owner_files_begin_and_end_transactions():
    others = {
        path: lines
        for path, lines in uses(OPENERS).items()
        if path not in {SESSION_FILE, *BLOCK_FILES, *OWNER_FILES} and not path.startswith("src/maintenance/")
    }

    assert others == {}


def test_commit_is_called_by_the_block_and_on_new_connections_only():
    assert uses({"commit"}).keys() == {SESSION_FILE, "src/database/connection/block.py", *COMMITTING_FILES}


def test_the_list_of_owner_files_has_no_stale_entry():
    assert OWNER_FILES.keys() <= uses(OPENERS | SESSION_MAKERS).keys()


def test_only_owner_files_use_autocommit():
    found = [
        path_name(path)
        for path in FILES
        if "AUTOCOMMIT" in path.read_text(encoding="utf-8") and path_name(path) not in OWNER_FILES
    ]

    assert found == []


def test_every_flush_has_a_reason():
    without_reason = []
    for path in FILES:
        lines = path.read_text(encoding="utf-8").splitlines()
        for call, name in calls_of(path):
            if name != "flush" or not isinstance(call.func, ast.Attribute):
                continue
            receiver = call.func.value
            if isinstance(receiver, ast.Name) and receiver.id in FILE_OBJECTS:
                continue
            if "  # " not in lines[call.lineno - 1]:
                without_reason.append(f"{path_name(path)}:{call.lineno}")

    assert without_reason == []
