"""One door commits: `with db.session(…)`. What else opens or ends a transaction is listed here, with its reason."""

from __future__ import annotations

import ast

from tests.conventions.sources import FILES, calls_of, path_name

DOOR = "src/database/connection/session.py"

# Files that work as the owner of the database, or before there is a schema: no session, and no actor.
OWNERS_WORK = {
    "src/database/embedded/server.py": "creates a database on the embedded server",
    "src/database/embedded/postmaster.py": "connects a socket, to ask whether anybody listens",
    "src/database/connection/inspection.py": "ends the transaction of its questions, before the connection is used",
    "src/database/provisioning/migrate.py": "holds the migration lock",
    "src/database/provisioning/apply.py": "applies as the owner what differs, a transaction for each table",
    "src/database/provisioning/comparison.py": "compares in a savepoint, and rolls it back",
    "src/database/provisioning/expectation.py": "makes in savepoints what should be there, and rolls it back",
    "src/database/provisioning/databases.py": "creates the database, outside any transaction",
    "src/database/provisioning/extensions.py": "creates extensions that may fail in savepoints",
    "src/database/provisioning/logins.py": "rotates the signing key as the owner",
    "src/database/scripts/history.py": "keeps the log as the owner",
    "src/database/scripts/sweep.py": "sweeps and verifies as the owner",
    "src/maintenance/sweeping.py": "sweeps as the owner, and commits after each object",
    "src/services/history/verification.py": "pins settings in a savepoint, and rolls it back",
    "src/maintenance/indexing.py": "indexes anew as the owner, and names concurrently, which no transaction can",
    "src/database/testing.py": "makes and drops databases of tests as the owner",
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


def test_only_the_door_makes_sessions():
    assert set(uses(SESSION_MAKERS)) - OWNERS_WORK.keys() == {DOOR}


def test_only_the_door_and_the_owners_work_open_and_end_transactions():
    strangers = {
        path: lines
        for path, lines in uses(OPENERS).items()
        if path not in {DOOR, *OWNERS_WORK} and not path.startswith("src/maintenance/")
    }

    assert strangers == {}


def test_nobody_commits():
    assert uses({"commit"}) == {}


def test_the_list_of_the_owners_work_has_no_dead_entry():
    assert OWNERS_WORK.keys() <= uses(OPENERS | SESSION_MAKERS).keys()


def test_services_never_turn_the_door_off():
    guilty = [
        path_name(path)
        for path in FILES
        if "AUTOCOMMIT" in path.read_text(encoding="utf-8") and path_name(path) not in OWNERS_WORK
    ]

    assert guilty == []


def test_every_flush_says_why():
    silent = []
    for path in FILES:
        lines = path.read_text(encoding="utf-8").splitlines()
        for call, name in calls_of(path):
            if name != "flush" or not isinstance(call.func, ast.Attribute):
                continue
            receiver = call.func.value
            if isinstance(receiver, ast.Name) and receiver.id in FILE_OBJECTS:
                continue
            if "  # " not in lines[call.lineno - 1]:
                silent.append(f"{path_name(path)}:{call.lineno}")

    assert silent == []
