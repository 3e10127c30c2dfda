"""Programs of ours in processes of their own, forked from one that has imported already what they import.

To start Python and import us takes half a second, and the suite runs some hundred and fifty programs. A forked one has
its own memory, folder, environment and output, runs its module as `__main__` from the first line on, and ends as an
interpreter ends: what it does is what it would do. That a program imports what it needs, only a cold start shows, so
the first run of each is one.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
# These run as `__main__`: imported for what they import, and then forgotten.
PROGRAMS = (
    "alembic.__main__",
    "src.database.scripts.history",
    "src.database.scripts.init_db",
    "src.database.scripts.sweep",
)
# Imported by these late, inside of functions.
LATE = (
    "alembic.command",
    "alembic.ddl.postgresql",
    "logging.config",
    "psycopg2.extras",
    "rich.traceback",
    "sqlalchemy.dialects.postgresql.psycopg2",
    "src.database.models",
    "typer.rich_utils",
)
LARGEST_REQUEST = 1 << 17


class WarmPython:
    """The process that forks; it ends with the one that started it, however that ends."""

    def __init__(self) -> None:
        self._has_run: set[str] = set()
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            # Bare, as the environment of the programs is: how Python encodes its output is settled when it starts.
            environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY)}
            command = [sys.executable, str(Path(__file__)), str(theirs.fileno())]
            self._process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()]
            )

    def run(
        self,
        module: str,
        arguments: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str],
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        """Do what `python -m module arguments` does, with an empty standard input."""
        if module not in self._has_run:
            self._has_run.add(module)
            return subprocess.run(
                [sys.executable, "-m", module, *arguments],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        request = {"module": module, "arguments": arguments, "folder": str(folder), "environment": dict(environment)}
        ended, ending = os.pipe()
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as complaint, os.fdopen(ended, "rb") as told:
            try:
                socket.send_fds(
                    self._ours, [json.dumps(request).encode()], [output.fileno(), complaint.fileno(), ending]
                )
            finally:
                os.close(ending)
            pid = int(told.readline())
            if not select.select([told], [], [], timeout)[0]:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired([module, *arguments], timeout)
            code = int(told.readline())
            output.seek(0)
            complaint.seek(0)
            said = output.read().decode(), complaint.read().decode()
        return subprocess.CompletedProcess([module, *arguments], code, *said)

    def close(self) -> None:
        self._ours.close()
        self._process.wait()


def await_request(control: socket.socket) -> dict:
    """Fork at each request and return it in the child, with its output in place; end with the one who asks."""
    while True:
        message, files, _, _ = socket.recv_fds(control, LARGEST_REQUEST, 3)
        if not message:
            sys.exit()
        output, complaint, ending = files
        keeper = os.fork()
        if keeper == 0:
            child = os.fork()
            if child == 0:
                os.dup2(output, 1)
                os.dup2(complaint, 2)
                for file in files:
                    os.close(file)
                control.close()
                return json.loads(message)
            # Somebody has to wait for the child while others are asked for.
            os.write(ending, f"{child}\n".encode())
            _, status = os.waitpid(child, 0)
            with contextlib.suppress(BrokenPipeError):  # nobody waits any more
                os.write(ending, f"{os.waitstatus_to_exitcode(status)}\n".encode())
            os._exit(0)
        for file in files:
            os.close(file)
        # Of keepers that have ended; what is left at the end goes with this process.
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def main() -> None:
    for module in (*LATE, *PROGRAMS):
        importlib.import_module(module)
    for module in PROGRAMS:
        package, _, name = module.rpartition(".")
        delattr(sys.modules[package], name)
        del sys.modules[module]
    importlib.import_module("sqlalchemy.orm").configure_mappers()  # a tenth of a second, at the first query else
    gc.freeze()  # a forked program need not look through, nor copy by looking, what it will not use
    request = await_request(socket.socket(fileno=int(sys.argv[1])))
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    sys.path[0] = request["folder"]  # of this program it is the folder of tests
    sys.argv[1:] = request["arguments"]
    runpy.run_module(request["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
