"""Jobs for pipeline services: enqueue, claim, heartbeat, complete, fail, give back.

A job is claimed with SKIP LOCKED under a lease that expires; when a worker stops sending heartbeats, the next one gets
the job. The lease's number is a fencing token: a worker whose lease expired cannot store results. The lease is also
the grant: while it is valid, the service can read and write the job's case.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Integer, Text, cast, func, select
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, insert
from sqlalchemy.orm import Session, joinedload
from sqlalchemy.orm.attributes import set_committed_value

from src.database.connection.session import actor_of
from src.database.models import AudioFile, AudioStatus, ProcessingJob
from src.database.models.jobs import JobState
from src.errors import Conflict, InvalidInput, NotFound, Unavailable
from src.services.parameters import by_code, row_of
from src.services.readable_rows import readable_scalars
from src.services.recordings.context import require_reachable

LEASE_SECONDS = 300
LONGEST_DELAY_SECONDS = 604_800
"""How long a failed job may wait for its next attempt: a week, as in `src/database/sql/limits.sql`."""

MOST_PASSED_OVER = 20
"""Jobs that one claim returns to the queue because the storage of their recording is out of reach."""


def enqueue(
    session: Session,
    audio: AudioFile | int,
    kind: str,
    *,
    payload: Mapping[str, Any] | None = None,
    priority: int = 0,
    max_attempts: int = 3,
) -> ProcessingJob:
    """Queue a job for a recording, such as `transcribe`; if a job of this kind is already open, return that one.

    Jobs with a higher `priority` run first. Raises NotFound for a recording that the actor may not see, Conflict for
    one that is marked as deleted, Forbidden for a viewer.
    """
    audio = row_of(AudioFile, audio)
    actor_of(session)
    found = session.scalars(
        select(AudioFile).where(AudioFile.id == audio.id).execution_options(populate_existing=True)
    ).one_or_none()
    if found is None:
        raise NotFound(f"Recording {audio.id} does not exist, or you may not see it.")
    if found.deleted_at is not None:
        raise Conflict(f"Recording {found.id} is marked as deleted; restore it before queueing jobs.")
    values = {
        "case_id": found.case_id,
        "audio_file_id": found.id,
        "kind": kind,
        "payload": dict(payload or {}),
        "priority": priority,
        "max_attempts": max_attempts,
    }
    inserted = session.scalar(
        insert(ProcessingJob).values(**values).on_conflict_do_nothing().returning(ProcessingJob.id)
    )
    if inserted is not None:
        found.status = by_code(session, AudioStatus, "queued", "status")
        session.flush()  # status and job are stored together
    open_job = select(ProcessingJob).where(
        ProcessingJob.case_id == found.case_id,
        ProcessingJob.audio_file_id == found.id,
        ProcessingJob.kind == kind,
        ProcessingJob.state.in_(("queued", "running")),
    )
    return session.scalars(open_job).one()


def claim(
    session: Session,
    *kinds: str,
    worker: str | None = None,
    lease_seconds: int = LEASE_SECONDS,
    require_storage: bool = True,
) -> ProcessingJob | None:
    """Claim the next job of these kinds, with its recording loaded; None when the queue is empty.

    Jobs of a recording that is marked as deleted wait until it is restored. A job that cannot be read, or whose
    recording cannot, fails with a message that says why. Commit (leave the session) before working. Call `heartbeat`
    within `lease_seconds`. Raises Forbidden when the actor's role may not claim jobs, or the actor already works on so
    many jobs that the database hands out no more (500).

    A job whose recording is in a storage that is out of reach is not handed out and costs no attempt: others come
    first, and without others StorageUnavailable or ConfigurationError is raised. `require_storage=False` is for workers
    that read no recordings.
    """
    actor_of(session)
    if not kinds:
        raise InvalidInput(
            "kinds: empty; give the kinds of jobs that this worker runs, such as 'transcribe'.", field="kinds"
        )
    _require_lease_seconds(lease_seconds)
    name = worker or f"{socket.gethostname()}:{os.getpid()}"
    claiming = select(func.public.claim_job(cast(list(kinds), ARRAY(Text)), name, cast(lease_seconds, Integer)))
    outages: dict[tuple[str, str | None], Unavailable] = {}
    passed_over = 0
    # Ends with the queue: a job that cannot be read is not claimed again, and one that is given back waits.
    while (claimed := session.scalar(claiming)) is not None:
        reading = (
            select(ProcessingJob)
            .where(ProcessingJob.id == claimed)
            .options(joinedload(ProcessingJob.audio_file, innerjoin=True))
            .execution_options(populate_existing=True)
        )
        (job,) = readable_scalars(session, reading, ProcessingJob)
        if not isinstance(job, ProcessingJob):
            lease = session.scalars(select(ProcessingJob.lease).where(ProcessingJob.id == claimed)).one()
            session.execute(select(func.public.fail_job(claimed, lease, str(job), False, 0)))
            continue
        outage = _outage(session, job.audio_file, outages) if require_storage else None
        if outage is None:
            return job
        give_back(session, job, f"the storage of the recording is out of reach ({type(outage).__name__})")
        passed_over += 1
        if passed_over >= MOST_PASSED_OVER:
            break
    if outages:
        raise next(iter(outages.values()))
    return None


def _outage(session: Session, audio: AudioFile, known: dict[tuple[str, str | None], Unavailable]) -> Unavailable | None:
    """Return why the storage of a recording is out of reach, and keep it in `known`: each storage is asked once."""
    storage = (audio.storage_config or {}).get("storage")
    place = (audio.storage_type, storage)
    if place not in known:
        try:
            require_reachable(session, audio.storage_type, storage, audio.path)
        except Unavailable as error:
            known[place] = error
    return known.get(place)


def heartbeat(session: Session, job: ProcessingJob, *, lease_seconds: int = LEASE_SECONDS) -> datetime:
    """Extend the lease to `lease_seconds` from now; return its end, at most a week after the claim.

    Raises LeaseLost if another worker has the job.
    """
    _require_lease_seconds(lease_seconds)
    until: datetime = session.scalars(
        select(func.public.extend_lease(job.id, job.lease, cast(lease_seconds, Integer)))
    ).one()
    set_committed_value(job, "lease_expires_at", until)
    return until


def complete(session: Session, job: ProcessingJob, result: Mapping[str, Any] | None = None) -> None:
    """Finish a job in the transaction that stores its results, as its last statement: the grant ends with the lease.

    Raises LeaseLost when another worker has the job; the transaction is rolled back.
    """
    session.flush()  # store the results while the lease still grants the case
    session.execute(select(func.public.complete_job(job.id, job.lease, cast(dict(result or {}), JSONB))))
    set_committed_value(job, "state", "done")


def fail(session: Session, job: ProcessingJob, error: str, *, retry: bool = True, delay_seconds: int = 30) -> JobState:
    """Report an error of a job: it is queued again after `delay_seconds` while attempts are left, else failed.

    Returns the job's new state. Raises LeaseLost when another worker has the job, InvalidInput for a delay of more than
    a week.
    """
    _require_delay(delay_seconds)
    failing = func.public.fail_job(job.id, job.lease, error, retry, cast(delay_seconds, Integer))
    state: JobState = session.scalars(select(failing)).one()
    set_committed_value(job, "state", state)
    return state


def give_back(session: Session, job: ProcessingJob, reason: str, *, delay_seconds: int = 60) -> JobState:
    """Return a job to the queue without counting the attempt: for an outage of what it needs, not for its own errors.

    It is queued again after `delay_seconds`; the log has the reason. Also after the lease expired, while no other
    worker has the job. After 10,000 claims that cost no attempt it is like `fail`. Returns the job's new state. Raises
    LeaseLost when another worker has the job or it has ended, InvalidInput for a delay of more than a week.
    """
    _require_delay(delay_seconds)
    returning = func.public.give_back_job(job.id, job.lease, reason, cast(delay_seconds, Integer))
    state: JobState = session.scalars(select(returning)).one()
    set_committed_value(job, "state", state)
    return state


def _require_delay(given: int) -> None:
    if not 0 <= given <= LONGEST_DELAY_SECONDS:
        raise InvalidInput(
            f"delay_seconds: {given}; give a number from 0 to {LONGEST_DELAY_SECONDS}.",
            field="delay_seconds",
            value=given,
            limit=LONGEST_DELAY_SECONDS,
        )


def _require_lease_seconds(given: int) -> None:
    if not 1 <= given <= 86_400:
        raise InvalidInput(
            f"lease_seconds: {given}; give a number from 1 to 86400.", field="lease_seconds", value=given, limit=86400
        )
