"""File systems and sandboxes that refuse some operations: work goes on with a note, or the probe says why it cannot."""

import errno
import json
import subprocess
import sys

import pytest

from tests.storage import refused_calls
from tests.storage.refused_calls import FOLDER_FSYNC, TMPFILE

pytestmark = pytest.mark.skipif(refused_calls.NUMBERS is None, reason="no numbers of system calls for this processor")


def run(tmp_path, calls):
    finished = subprocess.run(
        [sys.executable, refused_calls.__file__, tmp_path / "audio", json.dumps(calls)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return json.loads(finished.stdout)


@pytest.mark.parametrize(
    ("calls", "notes"),
    [
        ({}, []),
        ({TMPFILE: errno.EOPNOTSUPP}, ["Interrupted writes leave files"]),
        ({"fchmod": errno.EPERM}, ["does not keep the modes of files (Operation not permitted)"]),
        ({"fchmod": errno.EOPNOTSUPP}, ["does not keep the modes of files (Operation not supported)"]),
        ({"fallocate": errno.EOPNOTSUPP}, []),  # the C library writes zeros instead
        ({"fallocate": errno.ENOSYS}, ["reserves no space (Function not implemented)"]),
        ({FOLDER_FSYNC: errno.EINVAL}, ["does not sync folders (Invalid argument)"]),
        ({"fadvise64": errno.ENOSYS}, []),
        (
            {TMPFILE: errno.EOPNOTSUPP, "flock": errno.ENOLCK},
            ["Interrupted writes leave files", "has no locks (No locks available)"],
        ),
    ],
)
def test_work_goes_on_without_what_does_not_make_objects_incomplete(tmp_path, calls, notes):
    outcomes = run(tmp_path, calls)
    assert len(outcomes["probe"]["result"]) == len(notes)
    for expected, note in zip(notes, outcomes["probe"]["result"], strict=True):
        assert expected in note
    assert all(outcomes[name] == {"result": True} for name in ("put", "get", "copy", "list", "delete"))
    assert outcomes["left"] == {"result": 0}


@pytest.mark.parametrize(
    ("calls", "reason"),
    [
        (
            {"linkat": errno.EPERM},
            "a hard link failed (Operation not permitted); store recordings on a file system with",
        ),
        ({"linkat": errno.EOPNOTSUPP}, "a hard link failed (Operation not supported)"),
        ({"fsync": errno.EINVAL}, "syncing a file failed (Invalid argument)"),
        ({"fsync": errno.EIO}, "Input/output error"),
    ],
)
def test_what_work_cannot_do_without_is_refused_by_the_probe_and_by_put_alike(tmp_path, calls, reason):
    outcomes = run(tmp_path, calls)
    assert outcomes["probe"]["error"] == outcomes["put"]["error"] == "StorageUnavailable"
    assert reason in outcomes["probe"]["message"]
    assert outcomes["list"] == {"result": False}
    assert outcomes["left"] == {"result": 0}
