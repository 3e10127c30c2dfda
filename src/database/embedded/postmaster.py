"""The state of a running server, from its pid file, its arguments and its socket."""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PORT = 5432  # only part of the name of the socket; no TCP port is opened
SOCKET_NAME = f".s.PGSQL.{PORT}"


@dataclass(frozen=True)
class PidFile:
    """The content of `postmaster.pid`; it may be incomplete, or left behind by a killed server."""

    pid: int
    socket_directory: Path | None
    status: str


def read_pid_file(path: Path) -> PidFile | None:
    """Return the pid file; None when it does not exist or has no pid yet."""
    try:
        lines = [line.strip() for line in path.read_text(errors="replace").splitlines()]
    except FileNotFoundError:
        return None
    if not lines or not lines[0].isdigit():
        return None
    lines += [""] * (8 - len(lines))
    return PidFile(int(lines[0]), Path(lines[4]) if lines[4] else None, lines[7])


def has_argument(pid: int, argument: str) -> bool:
    """Whether this process runs and was started with this argument.

    The pid alone is not enough: after a crash it may belong to another program. Arguments are readable for all users,
    even if a container hides other properties of processes of other accounts from root.
    """
    return os.fsencode(argument) in _arguments(pid)


def belongs_to_another(pid: int, argument: str) -> bool:
    """Whether the pid now belongs to another program, or to a zombie process.

    False for a process that is exiting: it may still use the data.
    """
    arguments = _arguments(pid)
    if any(arguments):
        return os.fsencode(argument) not in arguments
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _arguments(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


def processes_with(argument: str) -> Iterator[int]:
    """Yield the pids of all processes that were started with this argument."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    yield from (pid for pid in pids if has_argument(pid, argument))


def listens(directory: Path) -> bool:
    """Whether a server accepts connections in this folder; it may run in another container."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1)
        try:
            client.connect(str(directory / SOCKET_NAME))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except (TimeoutError, BlockingIOError):
            return True  # its queue is full
    return True


def stop_process(pid: int, argument: str, how: signal.Signals, *, patience: float) -> bool:
    """Signal the process if it has this argument; return whether it has exited within `patience` seconds."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        # Checked after opening the handle, which keeps referring to the same process.
        if not has_argument(pid, argument):
            return True
        signal.pidfd_send_signal(handle, how)
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        return bool(poll.poll(patience * 1000))
    except ProcessLookupError:
        return True
    finally:
        os.close(handle)
