"""Putting and getting recordings, compared with `cp`, plain writes, boto3's transfers and other storage libraries.

The local libraries guarantee less: none of them syncs the file or its directory or computes a hash, and some make
incomplete files visible. Plain writes sync the file but not its directory.
"""

from __future__ import annotations

import importlib
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

from _file_libraries import django, fsspec, obstore
from _report import Goal, Row, main

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from _ingest import ingest_parts
from pydantic import SecretStr

from src.storage import LocalStorage, S3Storage, case_key
from tests.storage.s3_proxy import running_proxy
from tests.storage.s3_server import running_moto

MIB = 1024 * 1024
NOT_INSTALLED = "not installed"

# Measured in a separate process: memory that this process used before would hide the memory of a put.
GROWTH = """
import resource, sys
from src.storage import LocalStorage, case_key
storage = LocalStorage(sys.argv[1])
storage.put(case_key(1, "wav"), bytes(1000))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with open(sys.argv[2], "rb") as source:
    storage.put(case_key(1, "wav"), source)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


class _NullStream(io.RawIOBase):
    """Discards all bytes."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return len(data)


def storage(quick: bool) -> tuple[Sequence[str], Sequence[Row], Sequence[Goal]]:
    rows: list[Row] = []
    goals: list[Goal] = []
    with tempfile.TemporaryDirectory(dir=_disk_directory()) as folder:
        large(Path(folder), 32 if quick else 1024, rows, goals)
    with tempfile.TemporaryDirectory(dir=_disk_directory()) as folder:
        small(Path(folder), 40 if quick else 2000, rows, goals)
    with tempfile.TemporaryDirectory(dir=_disk_directory()) as folder:
        rows += ingest_parts(Path(folder), 1 if quick else 10, 2 if quick else 7)
    with running_moto() as url:
        s3(url, 24 if quick else 256, 1 if quick else 3, rows, goals)
    with running_moto() as url:
        ranges(url, 32 if quick else 1024, rows, goals)
    return ("what", "seconds", "MiB/s", "remark"), rows, goals


def large(folder: Path, mebibytes: int, rows: list[Row], goals: list[Goal]) -> None:
    """Put one large file, from the page cache to the disk."""
    source = folder / "source"
    with source.open("wb") as file:
        for _ in range(mebibytes):
            file.write(os.urandom(MIB))
        os.fsync(file.fileno())
    ours = LocalStorage(folder / "ours")

    def put() -> None:
        with source.open("rb") as stream:
            ours.put(case_key(1, "wav"), stream, size=source.stat().st_size)

    def copy() -> None:
        target = folder / "copy"
        for command in (["cp", source, target], ["sync", target], ["sha256sum", target]):
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    candidates: dict[str, tuple[Callable[[], object] | None, str]] = {
        "cp + sync + sha256sum": (copy, "durable file, hash"),
        "ours": (put, "durable file and name, create-only, atomic, hash"),
        "Django FileSystemStorage": (django(folder, source), "create-only; half a file can be seen"),
        "obstore LocalStore": (obstore(folder, source), "atomic"),
        "fsspec local": (fsspec(folder, source), "replaces; half a file can be seen"),
    }
    seconds = _rows(f"put {mebibytes} MiB", mebibytes, candidates, rows)
    growth = float(_python(GROWTH, str(folder / "ours"), str(source)))
    rows.append((f"put {mebibytes} MiB, ours: memory growth", "", "", f"{growth:.1f} MiB"))
    goals.append(
        Goal(
            "local put, × cp + sync + sha256sum", seconds["cp + sync + sha256sum"] / seconds["ours"], 0.8, at_most=False
        )
    )
    goals.append(Goal("local put, memory growth in MiB", growth, 16))


def small(folder: Path, count: int, rows: list[Row], goals: list[Goal]) -> None:
    """Put many files of 1 MiB, all candidates in turn, so that load on the disk affects all of them."""
    data = os.urandom(MIB)
    source = folder / "source"
    source.write_bytes(data)
    (folder / "plain").mkdir()
    ours = LocalStorage(folder / "ours")
    numbers = iter(range(10**9))

    def plain() -> None:
        descriptor = os.open(folder / "plain" / str(next(numbers)), os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        os.write(descriptor, data)
        os.fsync(descriptor)
        os.close(descriptor)

    candidates: dict[str, tuple[Callable[[], object] | None, str]] = {
        "write + fsync": (plain, "durable file"),
        "ours": (
            lambda: ours.put(case_key(1, "wav"), data, size=MIB),
            "durable file and name, create-only, atomic, hash",
        ),
        "Django FileSystemStorage": (django(folder, source), "create-only; half a file can be seen"),
        "obstore LocalStore": (obstore(folder, source), "atomic"),
        "fsspec local": (fsspec(folder, source), "replaces; half a file can be seen"),
    }
    seconds = _rows(f"put {count} × 1 MiB", 1, candidates, rows, turns=count)
    goals.append(
        Goal("2,000 files of 1 MiB, × write + fsync", seconds["write + fsync"] / seconds["ours"], 0.5, at_most=False)
    )


def s3(url: str, mebibytes: int, rounds: int, rows: list[Row], goals: list[Goal]) -> None:
    """Put and get one object on moto's server, compared with boto3's transfer manager."""
    ours, client = _bucket(url)
    data = os.urandom(MIB) * mebibytes
    kept: list[str] = []

    def put() -> None:
        # boto3 replaces its object, so our previous object is deleted too.
        for key in kept:
            ours.delete(key)
        kept[:] = [ours.put(case_key(1, "wav"), io.BytesIO(data), size=len(data)).key]

    def get() -> None:
        with ours.get(kept[-1]) as stream:
            while stream.read(MIB):
                pass

    def upload() -> None:
        client.upload_fileobj(io.BytesIO(data), "speech", "theirs")

    def download() -> None:
        client.download_fileobj("speech", "theirs", cast("BinaryIO", _NullStream()))

    pairs: tuple[tuple[str, str, Callable[[], object], str, Callable[[], object]], ...] = (
        ("put", "create-only, hash", put, "upload_fileobj", upload),
        ("get", "seekable stream", get, "download_fileobj", download),
    )
    for verb, remark, mine, name, theirs in pairs:
        seconds = _rows(
            f"S3 {verb} {mebibytes} MiB",
            mebibytes,
            {f"boto3 {name}": (theirs, "replaces" if verb == "put" else "whole"), "ours": (mine, remark)},
            rows,
            turns=rounds,
        )
        goals.append(
            Goal(f"S3 {verb}, × boto3's {name}", seconds[f"boto3 {name}"] / seconds["ours"], 0.9, at_most=False)
        )


def ranges(url: str, mebibytes: int, rows: list[Row], goals: list[Goal]) -> None:
    """Measure the bytes sent for 64 KiB from the middle of an object, read as a range and by seeking."""
    with running_proxy(url) as (proxy, address):
        _, client = _bucket(url)
        ours, _ = _bucket(address, create=False)
        key = case_key(1, "wav")
        upload = client.create_multipart_upload(Bucket="speech", Key=key)["UploadId"]
        part = os.urandom(32 * MIB)
        numbers = range(1, mebibytes // 32 + 1)
        sent = [
            client.upload_part(Bucket="speech", Key=key, UploadId=upload, PartNumber=number, Body=part)["ETag"]
            for number in numbers
        ]
        parts = [{"PartNumber": number, "ETag": etag} for number, etag in zip(numbers, sent, strict=True)]
        client.complete_multipart_upload(Bucket="speech", Key=key, UploadId=upload, MultipartUpload={"Parts": parts})
        for way, offset in (("as a range", mebibytes * MIB // 2), ("by seeking", 0)):
            proxy.reset()
            started = time.perf_counter()
            with ours.get(key, offset=offset, length=65536 if offset else None) as stream:
                stream.seek(0 if offset else mebibytes * MIB // 2)
                middle = stream.read(65536)
            seconds = time.perf_counter() - started
            start = mebibytes * MIB // 2 % len(part)
            if middle != part[start : start + 65536]:
                raise AssertionError("unexpected content of the range")
            read = proxy.bytes_sent / MIB
            rows.append((f"S3 64 KiB of {mebibytes} MiB, {way}", seconds, "", f"{read:.2f} MiB sent by the server"))
            goals.append(Goal(f"S3 64 KiB of 1 GiB {way}, MiB sent", read, 1))


def _rows(
    title: str,
    mebibytes: int,
    candidates: dict[str, tuple[Callable[[], object] | None, str]],
    rows: list[Row],
    turns: int = 1,
) -> dict[str, float]:
    seconds = dict.fromkeys(candidates, 0.0)
    for _ in range(turns):
        for name, (work, _) in candidates.items():
            if work is not None:
                started = time.perf_counter()
                work()
                seconds[name] += time.perf_counter() - started
    for name, (work, remark) in candidates.items():
        measured = (
            (seconds[name], mebibytes * turns / seconds[name], remark) if work is not None else ("", "", NOT_INSTALLED)
        )
        rows.append((f"{title}, {name}", *measured))
    return seconds


def _bucket(url: str, *, create: bool = True) -> tuple[S3Storage, Any]:
    ours = S3Storage("speech", endpoint_url=url, access_key_id="bench", secret_access_key=SecretStr("bench"))
    # boto3 with its defaults: its own checksums, ten threads.
    client = importlib.import_module("boto3").client(
        "s3",
        endpoint_url=url,
        aws_access_key_id="bench",
        aws_secret_access_key="bench",  # a placeholder: moto does not check it
        region_name="us-east-1",
    )
    if create:
        client.create_bucket(Bucket="speech")
        ours.probe()
    return ours, client


def _python(program: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        check=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.stdout


def _disk_directory() -> str:
    """Return a directory on a disk: on many systems /tmp is in memory, where fsync costs nothing."""
    place = ROOT / "storage"
    place.mkdir(exist_ok=True)
    return str(place)


if __name__ == "__main__":
    main(storage, __doc__ or "")
