"""What can be known about a running server from outside: its pid file, its arguments, its socket."""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PORT = 5432  # no TCP port: it only names the socket
SOCKET_NAME = f".s.PGSQL.{PORT}"


@dataclass(frozen=True)
class PidFile:
    """What `postmaster.pid` says; it may be half written, or left behind by a server that was killed."""

    pid: int
    socket_directory: Path | None
    status: str


def read_pid_file(path: Path) -> PidFile | None:
    """The pid file, or None when there is none or nothing useful in it yet."""
    try:
        lines = [line.strip() for line in path.read_text(errors="replace").splitlines()]
    except FileNotFoundError:
        return None
    if not lines or not lines[0].isdigit():
        return None
    lines += [""] * (8 - len(lines))
    return PidFile(int(lines[0]), Path(lines[4]) if lines[4] else None, lines[7])


def has_argument(pid: int, argument: str) -> bool:
    """Whether a process runs that was started with this argument.

    A number alone proves nothing: after a crash it may be anybody's. The arguments are readable for everybody, even
    where a container hides the rest of another account's process from root.
    """
    return os.fsencode(argument) in _arguments(pid)


def belongs_to_another(pid: int, argument: str) -> bool:
    """Whether the number is another program's by now, or a dead process's that nobody collects.

    False for a process that is just ending: it may still hold the data.
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
    """Ids of all processes that were started with this argument."""
    numbers = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    yield from (pid for pid in numbers if has_argument(pid, argument))


def listens(directory: Path) -> bool:
    """Whether a server accepts connections in this folder, also one that runs in another container."""
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
    """Signals the process if it is the one with this argument; whether it has ended within `patience` seconds."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        # Asked after the handle is open: from here on the number cannot pass to another process unnoticed.
        if not has_argument(pid, argument):
            return True
        signal.pidfd_send_signal(handle, how)
        ended = select.poll()
        ended.register(handle, select.POLLIN)
        return bool(ended.poll(patience * 1000))
    except ProcessLookupError:
        return True
    finally:
        os.close(handle)
