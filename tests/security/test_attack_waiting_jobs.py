"""Attacks on the queue of jobs: leases that burn attempts, never end, or keep jobs from all other workers."""

from __future__ import annotations

import pytest
from sqlalchemy import select, text

from src.database import ProcessingJob
from src.errors import Forbidden, InvalidInput, LeaseLost
from src.services import activity, work
from tests.security.population import rows_written_by

CLAIM = text("SELECT public.claim_job('{transcribe}', 'w', :seconds)")


def set_limit(populated, function, value):
    """Replace the constant of a limit, so that a test can reach it."""
    with populated.owner.begin() as connection:
        kind = "interval" if function == "longest_claim" else "integer"
        connection.execute(
            text(f"CREATE OR REPLACE FUNCTION public.{function}() RETURNS {kind} LANGUAGE sql IMMUTABLE RETURN {value}")
        )


def attempts(populated):
    with populated.owner.connect() as connection:
        return connection.scalars(text("SELECT attempts FROM processing_jobs ORDER BY id")).all()


@pytest.mark.parametrize("seconds", [None, -1, 0, -(2**31)])
def test_a_lease_that_nobody_could_use_is_refused_by_name_and_counts_no_attempt(populated, seconds):
    for _ in range(3):
        with pytest.raises(InvalidInput, match="lease_seconds"), populated.db.session(actor="transcriber") as session:
            session.execute(CLAIM, {"seconds": seconds})
    assert set(attempts(populated)) == {0}
    with populated.db.session(actor="transcriber") as session:
        job = work.claim(session, "transcribe")
    extend = text("SELECT public.extend_lease(:job, :lease, :seconds)")
    with pytest.raises(InvalidInput, match="lease_seconds"), populated.db.session(actor="transcriber") as session:
        session.execute(extend, {"job": job.id, "lease": job.lease, "seconds": seconds})
    with pytest.raises(InvalidInput, match="lease_seconds"), populated.db.session(actor="transcriber") as session:
        work.heartbeat(session, job, lease_seconds=-1)
    with populated.db.session(actor="transcriber") as session:
        work.complete(session, job)


@pytest.mark.parametrize("seconds", [None, -1, 604_801, 2**31 - 1])
def test_a_failed_job_cannot_be_put_off_forever(populated, seconds):
    with populated.db.session(actor="transcriber") as session:
        job = work.claim(session, "transcribe")
    fail = text("SELECT public.fail_job(:job, :lease, 'x', true, :seconds)")
    with pytest.raises(InvalidInput, match="delay_seconds"), populated.db.session(actor="transcriber") as session:
        session.execute(fail, {"job": job.id, "lease": job.lease, "seconds": seconds})
    with pytest.raises(InvalidInput, match="delay_seconds"), populated.db.session(actor="transcriber") as session:
        work.fail(session, job, "x", delay_seconds=2**31 - 1)


def test_a_claim_cannot_be_extended_without_end(populated):
    with populated.db.session(actor="transcriber") as session:
        job = work.claim(session, "transcribe")
    with populated.owner.begin() as connection:
        connection.execute(text("UPDATE processing_jobs SET started_at = now() - interval '6 days 23 hours 59 minutes'"
                                " WHERE state = 'running'"))  # fmt: skip
    with populated.db.session(actor="transcriber") as session:
        work.heartbeat(session, job, lease_seconds=86_400)
        left = select(ProcessingJob.lease_expires_at - ProcessingJob.started_at).where(ProcessingJob.id == job.id)
        assert session.scalar(left).days == 7
    set_limit(populated, "longest_claim", "interval '1 hour'")
    with populated.db.session(actor="transcriber") as session:
        work.heartbeat(session, job, lease_seconds=86_400)
    with pytest.raises(LeaseLost), populated.db.session(actor="transcriber") as session:
        work.heartbeat(session, job, lease_seconds=86_400)


def test_a_claimer_who_never_works_holds_a_limited_number_of_jobs(populated):
    set_limit(populated, "most_leases", 1)
    with populated.db.session(actor="transcriber") as session:
        assert work.claim(session, "transcribe") is not None
    with (
        pytest.raises(Forbidden, match="already works on 1 jobs"),
        populated.db.session(actor="transcriber") as session,
    ):
        session.execute(CLAIM, {"seconds": 86_400})
    with populated.db.session(actor="root") as session:
        assert work.claim(session, "transcribe") is not None, "the limit of one user is not that of another"
        refused = activity.feed(session, type="access.refused")[-1]
    assert refused.actor == "transcriber"
    assert "already works on 1 jobs" in refused.detail["refused"]


def test_the_log_names_the_user_who_let_a_lease_expire(populated):
    with populated.db.session(actor="transcriber") as session:
        lost = work.claim(session, "transcribe")
    with populated.owner.begin() as connection:
        connection.execute(text("UPDATE processing_jobs SET lease_expires_at = now() - interval '1 second'"
                                " WHERE state = 'running'"))  # fmt: skip
    with populated.db.session(actor="root") as session:
        while (job := work.claim(session, "transcribe")) is not None and job.id != lost.id:
            pass
        assert (job.id, job.attempts) == (lost.id, 2)
        (entry,) = activity.feed(session, type="job.failed")
    assert (entry.actor, entry.entity_id, entry.case_id) == ("transcriber", lost.id, lost.case_id)
    assert entry.detail["error"] == "the lease expired without a result"


def test_a_locked_recording_does_not_hold_up_the_workers(populated):
    """Claiming sets the status of the recording: a member who keeps its row locked must not stop the queue."""
    job_of = {name: min(populated.rows_of(name, "processing_jobs")) for name in ("alice", "bob")}
    assert job_of["alice"] < job_of["bob"]
    with populated.db.session(actor="alice") as holder:
        holder.execute(text("SELECT id FROM audio_files FOR UPDATE"))
        with populated.db.session(actor="transcriber") as session:
            session.execute(text("SET LOCAL lock_timeout = '1s'"))
            assert work.claim(session, "transcribe").id == job_of["bob"]
            assert work.claim(session, "transcribe") is None
    with populated.db.session(actor="transcriber") as session:
        assert work.claim(session, "transcribe").id == job_of["alice"]


def test_a_member_cannot_queue_a_job_that_is_already_leased(populated):
    """The limit counts leases: a job that is inserted as running would evade it."""
    row = rows_written_by(populated, "alice", populated.case_of["alice"])["processing_jobs"]
    forged = text(
        "INSERT INTO processing_jobs (case_id, audio_file_id, kind, state) VALUES (:case, :audio, 'x', 'running')"
    )
    with pytest.raises(Forbidden), populated.db.session(actor="alice") as session:
        session.execute(forged, {"case": row["case_id"], "audio": row["audio_file_id"]})
