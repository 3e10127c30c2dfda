"""kill -9 at random moments, in several processes that use one storage: nothing is lost or orphaned."""

from __future__ import annotations

import random

import pytest

from tests.services.recordings.crash_harness import (
    create_config,
    find_inconsistencies,
    kill_workers,
    read_journals,
    s3_options,
)
from tests.storage.s3_server import running_moto


def kill_and_check(config, seed, kills):
    kill_workers(config, random.Random(seed), kills)
    journal = read_journals(config.folder)
    assert find_inconsistencies(config, journal) == [], f"seed {seed}"
    # Without these the kills would have tested nothing.
    assert journal.ingested
    assert journal.interrupted >= kills // 3, journal
    return journal


def test_kills_lose_no_recordings_and_orphan_no_objects_on_local(speech_server, owner_url, tmp_path):
    config = create_config(speech_server, owner_url, tmp_path, "local", {"root": tmp_path / "audio"})
    journal = kill_and_check(config, 5, kills=44)
    assert {"ingest", "receive", "archive", "restore", "delete", "sweep"} <= journal.finished.keys()


def test_kills_lose_no_recordings_and_orphan_no_objects_on_s3(speech_server, owner_url, tmp_path):
    pytest.importorskip("moto.server", reason="moto's server is not installed")
    with running_moto() as address:
        config = create_config(speech_server, owner_url, tmp_path, "s3", s3_options(address))
        config.open_storage()._bucket.client.create_bucket(Bucket="speech")
        kill_and_check(config, 6, kills=8)
