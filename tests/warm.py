"""Programs of this layer in separate processes, forked from a process that has already imported their modules.

Starting Python and importing the layer takes half a second, and the suite runs about 150 programs. A forked process has
its own memory, folder, environment and output, runs its module as `__main__`, and exits like an interpreter. Only a new
interpreter shows that a program imports everything that it needs, so the first run of each program uses one.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import re
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
# The line in which every command says which database and storage it works on.
ANNOUNCEMENT = re.compile(r"^\w+: database .*; recordings in .*\n")
# Imported for their dependencies, then removed from sys.modules, since they run as `__main__`.
PROGRAMS = (
    "alembic.__main__",
    "src.database.scripts.history",
    "src.database.scripts.init_db",
    "src.database.scripts.sweep",
)
# Imported by these programs inside functions.
LAZY_IMPORTS = (
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
    """The process that forks programs; it exits with the process that started it, also after a crash."""

    def __init__(self) -> None:
        self._has_run: set[str] = set()
        self._control, child_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with child_end:
            # The minimal environment of the programs, since Python chooses the encoding of its output at startup.
            environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY)}
            command = [sys.executable, str(Path(__file__)), str(child_end.fileno())]
            self._process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, pass_fds=[child_end.fileno()]
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
        """Run `python -m module arguments` with an empty standard input."""
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
        reader, writer = os.pipe()
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors, os.fdopen(reader, "rb") as status:
            try:
                socket.send_fds(
                    self._control, [json.dumps(request).encode()], [output.fileno(), errors.fileno(), writer]
                )
            finally:
                os.close(writer)
            pid = int(status.readline())
            if not select.select([status], [], [], timeout)[0]:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired([module, *arguments], timeout)
            code = int(status.readline())
            output.seek(0)
            errors.seek(0)
            streams = output.read().decode(), errors.read().decode()
        return subprocess.CompletedProcess([module, *arguments], code, *streams)

    def close(self) -> None:
        self._control.close()
        self._process.wait()


def await_request(control: socket.socket) -> dict:
    """Fork for each request and return it in the child, with redirected output; exit when the socket is closed."""
    while True:
        message, files, _, _ = socket.recv_fds(control, LARGEST_REQUEST, 3)
        if not message:
            sys.exit()
        output, errors, status_pipe = files
        monitor = os.fork()
        if monitor == 0:
            child = os.fork()
            if child == 0:
                os.dup2(output, 1)
                os.dup2(errors, 2)
                for file in files:
                    os.close(file)
                control.close()
                return json.loads(message)
            # The monitor waits for the child, so that the parent can accept further requests.
            os.write(status_pipe, f"{child}\n".encode())
            _, status = os.waitpid(child, 0)
            with contextlib.suppress(BrokenPipeError):  # the client timed out
                os.write(status_pipe, f"{os.waitstatus_to_exitcode(status)}\n".encode())
            os._exit(0)
        for file in files:
            os.close(file)
        # Collect monitors that have exited; the others are collected when this process exits.
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def main() -> None:
    for module in (*LAZY_IMPORTS, *PROGRAMS):
        importlib.import_module(module)
    for module in PROGRAMS:
        package, _, name = module.rpartition(".")
        delattr(sys.modules[package], name)
        del sys.modules[module]
    importlib.import_module("sqlalchemy.orm").configure_mappers()  # saves 0.1 s at the first query
    gc.freeze()  # keeps the garbage collector of forked processes from scanning and copying these objects
    request = await_request(socket.socket(fileno=int(sys.argv[1])))
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    sys.path[0] = request["folder"]  # instead of the folder of this file
    sys.argv[1:] = request["arguments"]
    runpy.run_module(request["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
