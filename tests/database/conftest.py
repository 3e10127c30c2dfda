"""Run programs of this layer as an operator does: as processes, in an empty folder, with given variables."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import URL, text

from src.config import load_settings
from src.database.connection.addresses import login_names
from src.database.connection.engine import PoolOptions, make_engine
from src.database.testing import SpeechServer
from tests.warm import ANNOUNCEMENT, WarmPython

REPOSITORY = Path(__file__).resolve().parents[2]


class Ended(subprocess.CompletedProcess[str]):
    """A command that has ended: `announced` is the line about its database and storage, `stderr` the rest."""

    announced = ""


@dataclass
class Operator:
    """A folder, the environment variables of a database, and methods to run commands in the folder."""

    folder: Path
    url: URL
    warm: WarmPython
    variables: dict[str, str] = field(default_factory=dict)

    def run(self, *command: str, **variables: str | None) -> Ended:
        """Run a command without a terminal on standard input; None removes a variable."""
        done = self._run(*command, **variables)
        ended = Ended(done.args, done.returncode, done.stdout, done.stderr)
        line = ANNOUNCEMENT.match(done.stderr)
        if line:
            ended.announced, ended.stderr = line[0], done.stderr[line.end() :]
        return ended

    def _run(self, *command: str, **variables: str | None) -> subprocess.CompletedProcess[str]:
        settings = {
            "DATABASE_URL": self.url.render_as_string(hide_password=False),
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "PYTHONPATH": str(REPOSITORY),
            **self.variables,
            **variables,
        }
        environment = {name: value for name, value in settings.items() if value is not None}
        option, *rest = command
        if option == "-m":
            module, *arguments = rest
            return self.warm.run(module, arguments, folder=self.folder, environment=environment)
        return subprocess.run(
            [sys.executable, *command],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def init_db(self, *arguments: str, **variables: str | None) -> Ended:
        return self.run("-m", "src.database.scripts.init_db", *arguments, **variables)

    def alembic(self, *arguments: str, **variables: str | None) -> Ended:
        return self.run("-m", "alembic", "-c", str(REPOSITORY / "alembic.ini"), *arguments, **variables)

    @property
    def key_file(self) -> Path:
        (found,) = (self.folder / "storage" / "keys").iterdir()
        return found

    def sql(self, statement: str) -> object:
        """Run a statement as the owner; return the first value of its result, if any."""
        engine = make_engine(self.url, PoolOptions(size=1))
        try:
            with engine.begin() as connection:
                result = connection.execute(text(statement))
                return result.scalar() if result.returns_rows else None
        finally:
            engine.dispose()


@pytest.fixture
def new_operator(
    speech_server: SpeechServer, tmp_path: Path, warm_python: WarmPython
) -> Iterator[Callable[..., Operator]]:
    """Create operators of databases; afterwards remove these databases and their logins."""
    yield from _operators(speech_server, tmp_path, warm_python)


@pytest.fixture(scope="module")
def set_up(
    speech_server: SpeechServer, tmp_path_factory: pytest.TempPathFactory, warm_python: WarmPython
) -> Iterator[Operator]:
    """A database initialised by `init_db`, for tests that change nothing or undo their changes."""
    makers = _operators(speech_server, tmp_path_factory.mktemp("operator"), warm_python)
    operator = next(makers)(f"{speech_server.template}_set_up")
    done = operator.init_db()
    assert done.returncode == 0, done.stderr
    operator.variables["FIRST_OUTPUT"] = done.stdout
    yield operator
    next(makers, None)


def _operators(server: SpeechServer, folder: Path, warm: WarmPython) -> Iterator[Callable[..., Operator]]:
    made: list[str] = []

    def make(database: str, **variables: str) -> Operator:
        made.append(database)
        return Operator(folder, server.owner.set(database=database), warm, variables)

    yield make
    engine = make_engine(server.maintenance, PoolOptions(size=1))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        quote = connection.dialect.identifier_preparer.quote_identifier
        for database in made:
            server.drop(quote(database))
            names = login_names(load_settings(), database)
            for login in (names.members, names.administrators):
                connection.exec_driver_sql(f"DROP ROLE IF EXISTS {quote(login)}")
    engine.dispose()
