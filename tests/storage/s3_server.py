"""moto's S3 server on a free port of the loopback, in a process of its own: its memory must not count as ours.

Run as a program it prints the port and serves until its standard input ends, which it does when the tests die.
"""

import contextlib
import subprocess
import sys
from pathlib import Path


@contextlib.contextmanager
def running_moto():
    """The address of a fresh server."""
    with subprocess.Popen(
        [sys.executable, Path(__file__)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as server:
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.stdin.close()
            server.wait(20)


def serve():
    from moto.server import ThreadedMotoServer  # noqa: PLC0415 - slow, and only the child needs it

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    print(server.get_host_and_port()[1], flush=True)
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    serve()
