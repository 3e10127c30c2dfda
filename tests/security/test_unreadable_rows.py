"""Rows that drivers cannot read, from before the CHECKs or written by the owner, stop no claim and no reader."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from src.database import ActivityLog, AudioFile, Case, ProcessingJob
from src.errors import InvalidInput
from src.maintenance import sweeping
from src.maintenance.fixity_rounds import verify_all
from src.services import activity, cases, history, transcripts, work
from src.services.transcripts import Segment, Word
from tests.security.unreadable import DOCUMENTS, drop_checks, enqueue, restore_checks

REASON = "has a value that cannot be read"


@pytest.fixture
def audio(db, make_audio):
    with db.session(actor="alice") as session:
        return make_audio(session, cases.open_case(session, title="Attack"))


BAD_JOBS = {
    "payload": {"payload": '{"a": ' + "9" * 5000 + "}"},
    "payload, nested": {"payload": '{"a": ' + "[" * 2000 + "]" * 2000 + "}"},
    "result": {"result": '{"a": ' + "9" * 5000 + "}"},
    "run_after": {"run_after": "0044-03-15 BC"},
    "run_after, infinite": {"run_after": "-infinity"},
}


@pytest.mark.parametrize("checks", ["none", "not valid"])
@pytest.mark.parametrize("columns", BAD_JOBS.values(), ids=BAD_JOBS)
def test_a_job_that_cannot_be_read_fails_and_the_next_one_is_claimed(db, audio, owner, columns, checks):
    drop_checks(owner, "processing_jobs")
    bad = enqueue(db, audio, "poison", priority=9, **columns)
    good = enqueue(db, audio, "transcribe")
    column = next(iter(columns))
    if checks == "not valid":
        function = "readable_json_1({}, 1048576)" if column in {"payload", "result"} else "readable_time_1({})"
        restore_checks(owner, "processing_jobs", (column, function.format(column)))

    with db.session(actor="transcriber") as session:
        assert work.claim(session, "poison", "transcribe").id == good
        assert work.claim(session, "poison", "transcribe") is None
    with db.session(actor="alice") as session:
        state, message = session.execute(
            select(ProcessingJob.state, ProcessingJob.error_message).where(ProcessingJob.id == bad)
        ).one()
        assert state == "failed"
        assert column in message
    with db.session(actor="root") as session:
        (failed,) = [entry for entry in activity.feed(session, type="job.failed") if entry.entity_id == bad]
        assert column in failed.detail["error"]


@pytest.fixture
def other(db, make_audio):
    with db.session(actor="alice") as session:
        return make_audio(session, cases.open_case(session, title="Other"))


@pytest.mark.parametrize("damage", [("recorded_at", True), ("recorded_at", False), ("created_at", True)], ids=str)
def test_a_job_of_a_recording_that_cannot_be_read_fails(db, audio, other, owner, damage):
    column, has_checks = damage
    enqueue(db, audio, "transcribe", priority=9)
    good = enqueue(db, other, "transcribe")
    drop_checks(owner, "audio_files")
    with owner.begin() as connection:
        connection.execute(text("ALTER TABLE audio_files DISABLE TRIGGER touch"))
        connection.execute(text(f"UPDATE audio_files SET {column} = '20000-01-01' WHERE id = :id"), {"id": audio.id})
        connection.execute(text("ALTER TABLE audio_files ENABLE TRIGGER touch"))
    if has_checks:
        restore_checks(owner, "audio_files", (column, f"readable_time_1({column})"))

    with db.session(actor="transcriber") as session:
        assert work.claim(session, "transcribe").id == good
    with db.session(actor="alice") as session:
        messages = session.scalars(select(ProcessingJob.error_message).where(ProcessingJob.state == "failed")).all()
        assert len(messages) == 1
        assert f"audio_files.{column}" in messages[0]


def test_an_expired_job_that_cannot_be_read_does_not_stop_claims(db, audio, owner):
    drop_checks(owner, "processing_jobs")
    bad = enqueue(db, audio, "transcribe", payload=DOCUMENTS["5000 digits"], max_attempts=1)
    good = enqueue(db, audio, "analyse")
    with owner.begin() as connection:
        connection.execute(
            text(
                "UPDATE processing_jobs SET state = 'running', attempts = 1, lease = 1, leased_by_id = 1,"
                " lease_expires_at = now() - interval '1 second' WHERE id = :id"
            ),
            {"id": bad},
        )
    restore_checks(owner, "processing_jobs", ("payload", "readable_json_1(payload, 1048576)"))

    with db.session(actor="transcriber") as session:
        assert work.claim(session, "transcribe", "analyse").id == good
    with owner.connect() as connection:
        state = connection.scalar(text("SELECT state FROM processing_jobs WHERE id = :id"), {"id": bad})
    assert state == "failed"


def test_counters_at_the_limit_of_bigint_do_not_stop_claims(db, audio, owner):
    bad = enqueue(db, audio, "transcribe", priority=9)
    good = enqueue(db, audio, "analyse")
    with owner.begin() as connection:
        connection.execute(text("UPDATE processing_jobs SET lease = 9223372036854775807 WHERE id = :id"), {"id": bad})

    with db.session(actor="transcriber") as session:
        assert work.claim(session, "transcribe", "analyse").id == good
    with db.session(actor="alice") as session:
        failed = session.get(ProcessingJob, bad)
        assert (failed.state, "out of range" in failed.error_message) == ("failed", True)


@pytest.mark.parametrize("seconds", [None, -(2**31), 0])
def test_a_lease_without_a_usable_number_of_seconds_is_refused(db, audio, seconds):
    enqueue(db, audio, "transcribe")
    with pytest.raises(InvalidInput, match="lease_seconds"), db.session(actor="transcriber") as session:
        session.scalar(text("SELECT claim_job('{transcribe}', NULL, CAST(:s AS integer))"), {"s": seconds})


def test_the_feed_names_an_entry_that_cannot_be_read_and_shows_the_others(db, audio, owner, caplog):
    drop_checks(owner, "activity_logs")
    with db.session(actor="alice") as session:
        before = activity.record(session, "case.opened", case=audio.case_id, detail={"title": "before"})
    with owner.begin() as connection:
        bad = connection.scalar(
            text(
                "SELECT append_activity('case.opened', 'event', NULL, 'mallory', CAST(:case AS bigint), NULL, NULL,"
                " NULL, CAST(:detail AS jsonb), NULL)"
            ),
            {"case": audio.case_id, "detail": DOCUMENTS["2000 lists"]},
        )
    with db.session(actor="alice") as session:
        after = activity.record(session, "case.opened", case=audio.case_id, detail={"title": "after"})
    with db.session(actor="root") as session, caplog.at_level(logging.WARNING):
        entries = activity.feed(session, type="case.opened")
        assert [entry.id for entry in entries][-3:] == [before, bad, after]
        assert entries[-2].detail == {
            "unreadable": f"activity_logs {bad} has a value that cannot be read: new; correct it as the owner"
        }
        assert "cannot be read" in str(entries[-2])
    assert f"activity_logs {bad} has a value that cannot be read: new" in caplog.text
    with owner.connect() as connection:
        assert connection.scalar(select(ActivityLog.id).where(ActivityLog.id == bad)) == bad


def test_history_names_an_entry_that_cannot_be_read(db, audio, owner):
    drop_checks(owner, "audio_files", "activity_logs")
    with owner.begin() as connection:
        connection.execute(
            text("UPDATE audio_files SET storage_config = CAST(:d AS jsonb)"), {"d": DOCUMENTS["2000 lists"]}
        )
        connection.execute(text("UPDATE audio_files SET storage_config = '{}'"))
    with db.session(actor="alice") as session:
        newest, bad, oldest = history.versions(session, (AudioFile, audio.id))
        assert (oldest.values["name"], oldest.unreadable) == ("interview.wav", None)
        assert bad.unreadable == f"activity_logs {bad.entry_id} {REASON}: new; correct it as the owner"
        assert newest.unreadable == f"activity_logs {newest.entry_id} {REASON}: old; correct it as the owner"
        assert REASON in str(bad)
        with pytest.raises(InvalidInput, match=f"activity_logs {newest.entry_id} {REASON}: old"):
            history.as_of(session, AudioFile, audio.id, datetime.now(UTC))
        whole = history.as_of(session, Case, audio.case_id, datetime.now(UTC), whole=True)
        assert whole.audio_files == []
        assert whole.unreadable == (newest.unreadable,)


def test_the_feed_shows_an_entry_whose_time_cannot_be_read(db, audio, owner):
    drop_checks(owner, "activity_logs")
    bad = forged_entry(owner, "20000-01-01 UTC")
    with db.session(actor="root") as session:
        (entry,) = [entry for entry in activity.feed(session) if entry.id == bad]
        assert "created_at" in entry.detail["unreadable"]
        assert entry.at.year == 9999


def forged_entry(owner, moment):
    """Let the owner copy an entry to a time that no driver can read."""
    with owner.begin() as connection:
        return connection.scalar(
            text(
                "INSERT INTO activity_logs (created_at, updated_at, activity_type_id, actor, operation, transaction_id,"
                " epoch, schema_revision, salt, payload_hash, leaf_hash) SELECT CAST(:moment AS timestamptz), now(),"
                " activity_type_id, actor, 'event', pg_current_xact_id(), epoch, schema_revision, salt, payload_hash,"
                " leaf_hash FROM activity_logs ORDER BY id DESC LIMIT 1 RETURNING id"
            ),
            {"moment": moment},
        )


@pytest.mark.parametrize("moment", ["20000-01-01 UTC", "0044-03-15 BC", "infinity", "-infinity"])
def test_sealing_and_verifying_continue_past_a_time_that_cannot_be_read(db, audio, owner, moment, tmp_path):
    key, heads = history.SealKey.create(tmp_path / "seal.pem"), history.HeadFile(tmp_path / "heads.jsonl")
    drop_checks(owner, "activity_logs")
    bad = forged_entry(owner, moment)
    with db.session(actor="root") as session:
        history.seal(session, key=key, heads=heads)
        report = history.verify(session, key=key, heads=heads)
    assert {finding.entry_id for finding in report.findings} == {bad}
    assert "an impossible time" in str(report)


def test_a_fixity_round_checks_a_recording_whose_other_values_cannot_be_read(db, audio, owner):
    drop_checks(owner, "audio_files", "storage_objects")
    with owner.begin() as connection:
        connection.execute(
            text("UPDATE audio_files SET recorded_at = '20000-01-01', storage_config = CAST(:d AS jsonb)"),
            {"d": DOCUMENTS["5000 digits"]},
        )
        connection.execute(text("UPDATE storage_objects SET delete_after = '20000-01-01'"))
    with Session(owner) as session:
        checks = list(verify_all(session, {db.storage.name: db.storage}))
    assert [(check.audio_id, check.outcome) for check in checks] == [(audio.id, "sound")]


def test_a_sweep_removes_an_object_whose_other_values_cannot_be_read(db, audio, owner):
    drop_checks(owner, "storage_objects")
    with db.session(actor="alice") as session:
        session.delete(session.get(AudioFile, audio.id))
    with owner.begin() as connection:
        connection.execute(
            text("UPDATE storage_objects SET verified_at = '20000-01-01', delete_after = '0044-01-01 BC'")
        )
    with Session(owner) as session:
        done = sweeping.sweep(session, db.storage, older_than=timedelta(0), grace=timedelta(0))
    assert (done.removed_objects, done.failed) == (1, {})


def test_maintenance_continues_past_a_row_that_a_check_does_not_let_it_change(db, audio, other, owner, caplog):
    drop_checks(owner, "storage_objects")
    change = text(
        "UPDATE storage_objects SET delete_after = '20000-01-01', verified_at = '0044-03-15 BC' WHERE key = :key"
    )
    with owner.begin() as connection:
        connection.execute(change, {"key": audio.path})
    columns = ("delete_after", "verified_at")
    restore_checks(owner, "storage_objects", *((name, f"readable_time_1({name})") for name in columns))
    with Session(owner) as session, caplog.at_level(logging.WARNING):
        checks = list(verify_all(session, {db.storage.name: db.storage}))
    assert sorted((check.audio_id, check.outcome) for check in checks) == [(audio.id, "sound"), (other.id, "sound")]
    assert f"The check of recording {audio.id} cannot be stored" in caplog.text
    with owner.begin() as connection:
        connection.execute(text("UPDATE audio_files SET deleted_at = now() - interval '1 hour'"))
    with Session(owner) as session:
        done = sweeping.sweep(session, db.storage, older_than=timedelta(0), grace=timedelta(0))
    assert (done.purged_recordings, done.removed_objects) == (1, 1)
    assert "verified_at_again" in done.failed[f"recording {audio.id}"]


@pytest.mark.parametrize("count", [3, 5000])
def test_a_segment_whose_words_cannot_be_read_is_exported_without_them(db, audio, owner, caplog, count):
    with db.session(actor="alice") as session:
        spoken = [Segment(f"s{n}", words=[Word(f"s{n}")]) for n in range(count)]
        version = transcripts.add(session, audio, spoken, language="en")
    drop_checks(owner, "transcription_segments")
    with owner.begin() as connection:
        connection.execute(text("ALTER TABLE transcription_segments DISABLE TRIGGER USER"))
        bad = connection.scalar(
            text("UPDATE transcription_segments SET words = CAST(:d AS jsonb) WHERE position = :last RETURNING id"),
            {"d": "[" * 2000 + "]" * 2000, "last": count - 2},
        )
        connection.execute(text("ALTER TABLE transcription_segments ENABLE TRIGGER USER"))
    with db.session(actor="alice") as session, caplog.at_level(logging.WARNING):
        found = transcripts.segments(session, version)
    assert [segment.text for segment in found] == [f"s{n}" for n in range(count)]
    assert [bool(segment.words) for segment in found] == [n != count - 2 for n in range(count)]
    assert f"transcription_segments {bad} {REASON}: words" in caplog.text
