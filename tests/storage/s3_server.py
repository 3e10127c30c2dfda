"""The S3 server of moto on a free loopback port, in a separate process, whose memory tests do not measure.

Run as a program it prints the port and serves until its standard input ends, also when the tests are killed.
"""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest


@contextlib.contextmanager
def running_moto():
    """Yield the address of a new server."""
    with subprocess.Popen(
        [sys.executable, Path(__file__)],
        # Some tests send small parts, to be fast.
        env={**os.environ, "S3_UPLOAD_PART_MIN_SIZE": "1024"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as server:
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.stdin.close()
            server.wait(20)


@contextlib.contextmanager
def isolated_moto():
    """Run moto's server, with the AWS settings of the machine and the user hidden from its clients."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        with running_moto() as url:
            yield url


def serve():
    from moto.server import ThreadedMotoServer  # noqa: PLC0415 - slow, needed in the child only

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    print(server.get_host_and_port()[1], flush=True)
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    serve()
