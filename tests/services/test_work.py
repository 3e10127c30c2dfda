"""Jobs: claims, leases, fencing, and the access that a lease grants."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select, text

from src.database import AudioFile, Case, ProcessingJob
from src.errors import Conflict, Forbidden, InvalidInput, LeaseLost, NotFound, StorageUnavailable
from src.services import activity, cases, history, transcripts, work
from src.services.transcripts import Segment
from src.storage import MemoryStorage


@pytest.fixture
def audio(db, make_audio):
    with db.session(actor="alice") as session:
        audio = make_audio(session, cases.open_case(session, title="Work"))
        work.enqueue(session, audio, "transcribe", payload={"model": "small"})
        return audio


class Unreachable(MemoryStorage):
    """A storage that does not answer."""

    def head(self, key):
        raise StorageUnavailable(f"no answer for {key}")


def expire_leases(owner):
    with owner.begin() as connection:
        connection.execute(text("UPDATE processing_jobs SET lease_expires_at = now() - interval '1 second'"))


def test_a_service_sees_the_case_while_it_holds_the_lease(db, audio):
    with db.session(actor="transcriber") as session:
        assert session.scalars(select(Case)).all() == []
        job = work.claim(session, "transcribe", worker="one")
        assert (job.audio_file.id, job.payload, job.attempts) == (audio.id, {"model": "small"}, 1)
        assert work.claim(session, "transcribe") is None
    with db.session(actor="transcriber") as session:
        assert session.get(AudioFile, audio.id).status.code == "processing"
        transcripts.add(session, audio, [Segment("done")], language="en")
        work.complete(session, job, {"words": 1})
    with db.session(actor="transcriber") as session:
        assert session.scalars(select(Case)).all() == []
    with db.session(actor="alice") as session:
        done = session.get(ProcessingJob, job.id)
        assert (done.state, done.result, done.leased_by_id) == ("done", {"words": 1}, None)
        stored = session.get(AudioFile, audio.id)
        assert stored.status.code == "processed"
        assert stored.processed_at is not None
        types = [entry.type for entry in activity.feed(session)]
    assert types[-3:] == ["job.claimed", "transcript.added", "job.completed"]


def test_enqueueing_again_returns_the_open_job(db, audio):
    with db.session(actor="alice") as session:
        again = work.enqueue(session, audio, "transcribe")
        other = work.enqueue(session, audio, "analyse")
    assert again.id != other.id
    with db.session(actor="alice") as session:
        assert session.scalars(select(ProcessingJob.kind).order_by(ProcessingJob.id)).all() == ["transcribe", "analyse"]


def test_a_worker_whose_lease_expired_cannot_store_results(db, audio, owner):
    with db.session(actor="transcriber") as session:
        late = work.claim(session, "transcribe", worker="late")
    expire_leases(owner)
    with db.session(actor="transcriber") as session:
        taken = work.claim(session, "transcribe", worker="quick")
    assert (taken.id, taken.lease, taken.attempts) == (late.id, late.lease + 1, 2)

    with pytest.raises(LeaseLost), db.session(actor="transcriber") as session:
        transcripts.add(session, audio, [Segment("too late")], language="en")
        work.complete(session, late)
    with pytest.raises(LeaseLost), db.session(actor="transcriber") as session:
        work.heartbeat(session, late)
    with pytest.raises(LeaseLost), db.session(actor="transcriber") as session:
        work.fail(session, late, "too late")
    with db.session(actor="transcriber") as session:
        transcripts.add(session, audio, [Segment("in time")], language="en")
        work.complete(session, taken)
    with db.session(actor="alice") as session:
        assert transcripts.latest(session, audio).content == "in time"


def test_an_expired_lease_grants_nothing_even_if_the_job_is_unclaimed(db, audio, owner):
    with db.session(actor="transcriber") as session:
        job = work.claim(session, "transcribe")
    expire_leases(owner)
    with pytest.raises(NotFound), db.session(actor="transcriber") as session:
        transcripts.add(session, audio, [Segment("late")])
    with pytest.raises(LeaseLost), db.session(actor="transcriber") as session:
        session.execute(text("SELECT public.complete_job(:job, :lease, '{}')"), {"job": job.id, "lease": job.lease})


def test_failed_jobs_are_retried_until_max_attempts(db, audio):
    states = []
    for _ in range(3):
        with db.session(actor="transcriber") as session:
            job = work.claim(session, "transcribe")
            states.append(work.fail(session, job, "no model", delay_seconds=0))
    assert states == ["queued", "queued", "failed"]
    with db.session(actor="transcriber") as session:
        assert work.claim(session, "transcribe") is None
    with db.session(actor="alice") as session:
        stored = session.get(AudioFile, audio.id)
        assert (stored.status.code, stored.error_message) == ("failed", "no model")


def test_the_next_claim_fails_a_job_whose_attempts_all_expired(db, audio, owner):
    for _ in range(3):
        with db.session(actor="transcriber") as session:
            assert work.claim(session, "transcribe") is not None
        expire_leases(owner)
    with db.session(actor="transcriber") as session:
        assert work.claim(session, "transcribe") is None
    with db.session(actor="alice") as session:
        job = session.scalars(select(ProcessingJob)).one()
        assert (job.state, job.error_message) == ("failed", "the lease expired without a result, attempts: 3")
        stored = session.get(AudioFile, audio.id)
        assert (stored.status.code, stored.error_message) == ("failed", job.error_message)
        newest, *_ = history.versions(session, stored)
        assert newest.changes["error_message"][1] == job.error_message
        assert [entry.type for entry in activity.feed(session, type="job.failed")] == ["job.failed"] * 3


def test_an_expired_lease_with_attempts_left_queues_the_recording_again(db, audio, owner):
    with db.session(actor="transcriber") as session:
        work.claim(session, "transcribe")
    with owner.begin() as connection:
        connection.execute(
            text("UPDATE processing_jobs SET lease_expires_at = now() - interval '1 s', max_attempts = 2")
        )
        # Nothing is claimed in the same call.
        connection.execute(text("UPDATE processing_jobs SET run_after = now() + interval '1 h'"))
    with db.session(actor="transcriber") as session:
        assert work.claim(session, "transcribe") is None
    with db.session(actor="alice") as session:
        assert session.scalars(select(ProcessingJob.state)).one() == "queued"
        assert session.get(AudioFile, audio.id).status.code == "queued"


def test_a_lease_that_ended_while_the_server_was_down_costs_no_attempt(db, audio, owner):
    with db.session(actor="transcriber") as session:
        work.claim(session, "transcribe")
    with owner.begin() as connection:
        connection.execute(
            text(
                "UPDATE processing_jobs SET started_at = pg_postmaster_start_time() - interval '1 h',"
                " lease_expires_at = pg_postmaster_start_time() - interval '50 min'"
            )
        )
    with db.session(actor="transcriber") as session:
        job = work.claim(session, "transcribe")
        assert (job.attempts, job.lease) == (1, 2)


def test_a_job_that_is_given_back_costs_no_attempt(db, audio, owner):
    for _ in range(4):
        with db.session(actor="transcriber") as session:
            job = work.claim(session, "transcribe")
            assert job.attempts == 1
        expire_leases(owner)  # also after the lease expired: nobody else has the job
        with db.session(actor="transcriber") as session:
            assert work.give_back(session, job, "no storage", delay_seconds=0) == "queued"
            assert job.state == "queued"
    with pytest.raises(LeaseLost), db.session(actor="transcriber") as session:
        work.give_back(session, job, "again")
    with db.session(actor="alice") as session:
        stored = session.scalars(select(ProcessingJob)).one()
        assert (stored.attempts, stored.lease, stored.error_message) == (0, 4, "no storage")
        assert session.get(AudioFile, audio.id).status.code == "queued"
        entries = activity.feed(session, type="job.returned")
        assert [entry.detail["error"] for entry in entries] == ["no storage"] * 4


def test_a_job_is_not_given_back_without_end(db, audio, owner):
    with db.session(actor="transcriber") as session:
        job = work.claim(session, "transcribe")
    with owner.begin() as connection:
        connection.execute(text("UPDATE processing_jobs SET lease = 10001, max_attempts = 1"))
    with db.session(actor="transcriber") as session:
        job = session.get(ProcessingJob, job.id)
        assert work.give_back(session, job, "still no storage") == "failed"


def test_a_job_whose_recording_is_out_of_reach_is_not_handed_out(db, audio, make_audio, owner):
    reachable, outage = db.storage, MemoryStorage()
    with db.session(actor="alice") as session:
        db.storage, other = outage, None
        other = make_audio(session, session.get(Case, audio.case_id))
        work.enqueue(session, other, "transcribe", priority=10)
        db.storage = reachable
    db.storages["memory"] = Unreachable()
    with db.session(actor="transcriber") as session:
        assert work.claim(session, "transcribe").audio_file.id == audio.id  # another one comes first
    with owner.begin() as connection:
        connection.execute(text("UPDATE processing_jobs SET run_after = now() - interval '1 s'"))
    with pytest.raises(StorageUnavailable), db.session(actor="transcriber") as session:
        work.claim(session, "transcribe")
    with db.session(actor="alice") as session:
        waiting = session.scalars(select(ProcessingJob).where(ProcessingJob.audio_file_id == other.id)).one()
        assert (waiting.state, waiting.attempts) == ("queued", 0)


def test_concurrent_workers_claim_different_jobs(db, audio, make_audio):
    with db.session(actor="alice") as session:
        case = session.get(Case, audio.case_id)
        for _ in range(11):
            work.enqueue(session, make_audio(session, case), "transcribe")

    def drain(_):
        taken = []
        while True:
            with db.session(actor="transcriber") as session:
                job = work.claim(session, "transcribe")
                if job is None:
                    return taken
                taken.append(job.id)

    with ThreadPoolExecutor(4) as pool:
        taken = [job for claimed in pool.map(drain, range(4)) for job in claimed]
    assert len(taken) == len(set(taken)) == 12


def test_only_services_claim_and_only_members_enqueue(db, audio):
    with pytest.raises(Forbidden, match=r"job\.claim"), db.session(actor="alice") as session:
        work.claim(session, "transcribe")
    with pytest.raises(NotFound), db.session(actor="bob") as session:
        work.enqueue(session, audio, "transcribe")
    with pytest.raises(InvalidInput), db.session(actor="transcriber") as session:
        work.claim(session)


def test_a_heartbeat_extends_the_lease_without_a_log_entry(db, audio):
    with db.session(actor="transcriber") as session:
        job = work.claim(session, "transcribe", lease_seconds=10)
        before = job.lease_expires_at
    with db.session(actor="transcriber") as session:
        assert work.heartbeat(session, job, lease_seconds=600) > before
    with db.session(actor="alice") as session:
        entries = activity.feed(session, changes=True)
    changes = [entry for entry in entries if entry.entity == "processing_jobs" and entry.type == "row.update"]
    assert len(changes) == 1


def test_a_deleted_recording_gets_no_jobs_until_it_is_restored(db, audio, owner):
    def mark(moment):
        with owner.begin() as connection:
            connection.execute(text(f"UPDATE audio_files SET deleted_at = {moment}"))

    mark("now()")
    with db.session(actor="alice") as session:
        for kind in ("transcribe", "analyse"):
            with pytest.raises(Conflict, match="marked as deleted"):
                work.enqueue(session, audio, kind)
    with db.session(actor="transcriber") as session:
        assert work.claim(session, "transcribe") is None
    mark("NULL")
    with db.session(actor="transcriber") as session:
        assert work.claim(session, "transcribe") is not None
    # Also not claimed by the next worker after the lease of the first one expired.
    mark("now()")
    expire_leases(owner)
    with db.session(actor="transcriber") as session:
        assert work.claim(session, "transcribe") is None
