"""kill -9 at random moments, in several processes at work on one storage at once: nothing lost, nothing left over."""

from __future__ import annotations

import random

import pytest

from tests.services.recordings.killing import judge, kill_many, read_journals, s3_options, set_stage
from tests.storage.s3_server import running_moto


def killed(stage, seed, kills):
    kill_many(stage, random.Random(seed), kills)
    journal = read_journals(stage.folder)
    assert judge(stage, journal) == [], f"seed {seed}"
    # Otherwise nothing was tried.
    assert journal.ingested
    assert journal.interrupted >= kills // 3, journal
    return journal


def test_nothing_is_lost_or_left_over_on_local(speech_server, owner_url, tmp_path):
    stage = set_stage(speech_server, owner_url, tmp_path, "local", {"root": tmp_path / "audio"})
    journal = killed(stage, 5, kills=44)
    assert {"ingest", "receive", "archive", "restore", "delete", "sweep"} <= journal.ended.keys()


def test_nothing_is_lost_or_left_over_on_s3(speech_server, owner_url, tmp_path):
    pytest.importorskip("moto.server", reason="moto's server is not installed")
    with running_moto() as address:
        stage = set_stage(speech_server, owner_url, tmp_path, "s3", s3_options(address))
        stage.storage()._bucket.client.create_bucket(Bucket="speech")
        killed(stage, 6, kills=8)
