"""A program on a kernel that refuses some system calls, as FUSE, CIFS, NFS and sandboxes do: probe, then real work.

    python tests/storage/refused_calls.py ROOT '{"linkat": 95}'

refuses them with a seccomp filter for itself and prints what the probe says and which operations worked.
`fsync of a folder` and `O_TMPFILE` are parts of a system call, which the filter does not see: Python refuses these.
"""

import ctypes
import json
import os
import platform
import stat
import struct
import sys
from datetime import timedelta
from pathlib import Path

NUMBERS = {
    "x86_64": {"fsync": 74, "flock": 73, "fchmod": 91, "linkat": 265, "fadvise64": 221, "fallocate": 285},
    "aarch64": {"fsync": 82, "flock": 32, "fchmod": 52, "linkat": 37, "fadvise64": 223, "fallocate": 47},
}.get(platform.machine())
FOLDER_FSYNC, TMPFILE = "fsync of a folder", "O_TMPFILE"


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def refuse(calls):
    """Make these system calls fail with their errno, in this process, permanently."""
    load_number, allow = (0x20, 0, 0, 0), (0x06, 0, 0, 0x7FFF0000)
    refusals = [
        instruction
        for name, code in calls.items()
        for instruction in ((0x15, 0, 1, NUMBERS[name]), (0x06, 0, 0, 0x00050000 | code))
    ]
    instructions = [load_number, *refusals, allow]
    program = _Program(len(instructions), b"".join(struct.pack("HBBI", *each) for each in instructions))
    libc = ctypes.CDLL(None, use_errno=True)
    no_new_privileges, set_seccomp, filter_mode = 38, 22, 2
    for arguments in ((no_new_privileges, 1, 0, 0, 0), (set_seccomp, filter_mode, ctypes.byref(program), 0, 0)):
        if libc.prctl(*arguments) != 0:
            raise OSError(ctypes.get_errno(), "prctl")


def refuse_parts(calls):
    fsync, open_ = os.fsync, os.open

    def fsync_of_files(descriptor):
        if FOLDER_FSYNC in calls and stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(calls[FOLDER_FSYNC], os.strerror(calls[FOLDER_FSYNC]))
        fsync(descriptor)

    def open_with_names(path, flags, *rest, **options):
        if TMPFILE in calls and flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(calls[TMPFILE], os.strerror(calls[TMPFILE]))
        return open_(path, flags, *rest, **options)

    os.fsync, os.open = fsync_of_files, open_with_names


def main(root, calls):
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from src.errors import SpeechError  # noqa: PLC0415 - after the path was set
    from src.storage import LocalStorage, archive_key, case_key  # noqa: PLC0415 - the same

    refuse_parts(calls)
    refuse({name: code for name, code in calls.items() if name in NUMBERS})
    storage, key, data = LocalStorage(root), case_key(1, "wav"), bytes(17 * 2**20)

    def report(operation):
        try:
            return {"result": operation()}
        except SpeechError as error:
            return {"error": type(error).__name__, "message": str(error)}

    def read():
        with storage.get(key) as stream:
            return stream.read() == data

    outcomes = {
        "probe": report(lambda: storage.probe().notes),
        # A new process that was not probed behaves in the same way.
        "put": report(lambda: LocalStorage(root).put(key, data, size=len(data)).size == len(data)),
        "get": report(read),
        "copy": report(lambda: storage.copy(key, archive_key(1, "wav")).size == len(data)),
        "list": report(lambda: [found.key for found in storage.list()] != []),
        "delete": report(lambda: storage.delete(key)),
        "left": report(lambda: storage.sweep_incomplete(timedelta(0), dry_run=True).found),
    }
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
