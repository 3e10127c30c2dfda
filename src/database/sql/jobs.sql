-- build 6 · sha256 98a27919b909
-- Claiming jobs. A worker cannot see a job before it has claimed it, so claiming needs a definer function.
--
-- A lease grants access to the case of the job until it expires; `lease` is the fencing token, which grows with every
-- claim: a worker that lost its lease cannot store a result. The caller stores the result and completes the job in one
-- transaction.
--
-- Elsewhere: enqueueing, a plain INSERT under row security (services/work.py).

-- A lease grants access to a case, so its duration is limited to one day.
CREATE OR REPLACE FUNCTION public.lease_end(lease_seconds integer)
RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE
RETURN clock_timestamp() + make_interval(secs => least(lease_seconds, 86400));
REVOKE ALL ON FUNCTION public.lease_end(integer) FROM PUBLIC;

-- Locks the job. Raises unless the actor holds exactly this lease and the lease is unexpired.
CREATE OR REPLACE FUNCTION public.require_lease(job_id bigint, held_lease bigint)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    PERFORM FROM public.processing_jobs j
     WHERE j.id = job_id AND j.state = 'running' AND j.lease = held_lease AND j.leased_by_id = public.actor_id()
       AND j.lease_expires_at > clock_timestamp() FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'job %: another worker has it, or the lease expired', job_id
            USING ERRCODE = 'STI01';
    END IF;
END
$body$;
REVOKE ALL ON FUNCTION public.require_lease(bigint, bigint) FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.record_job(type_code text, job_id bigint, detail jsonb)
RETURNS void LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $body$
    SELECT public.append_activity(type_code, 'event', public.actor_id(), public.actor_name(), j.case_id,
               'processing_jobs', j.id, NULL,
               jsonb_build_object('name', j.kind, 'attempt', j.attempts) || detail, NULL)
      FROM public.processing_jobs j WHERE j.id = job_id
$body$;
REVOKE ALL ON FUNCTION public.record_job(text, bigint, jsonb) FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.claim_job(kinds text[], worker text, lease_seconds integer)
RETURNS bigint LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    job public.processing_jobs;
BEGIN
    IF NOT public.actor_may('job', 'claim') THEN
        RAISE EXCEPTION 'claiming jobs needs the permission job.claim' USING ERRCODE = 'insufficient_privilege';
    END IF;
    UPDATE public.processing_jobs j
       SET state = 'failed', finished_at = now(), lease_expires_at = NULL, leased_by_id = NULL,
           error_message = 'the lease expired without a result, attempts: ' || j.attempts
     WHERE j.id IN (SELECT d.id FROM public.processing_jobs d
                     WHERE d.kind = ANY (kinds) AND d.state = 'running'
                       AND timezone('UTC', d.lease_expires_at) < timezone('UTC', clock_timestamp())
                       AND d.attempts >= d.max_attempts FOR UPDATE SKIP LOCKED);
    UPDATE public.processing_jobs j
       SET state = 'running', leased_by_id = public.actor_id(), worker = left(claim_job.worker, 200),
           lease = j.lease + 1, attempts = j.attempts + 1,
           lease_expires_at = public.lease_end(lease_seconds),
           started_at = now(), finished_at = NULL, error_message = NULL
     WHERE j.id = (SELECT c.id FROM public.processing_jobs c
                    WHERE c.kind = ANY (kinds) AND c.attempts < c.max_attempts
                      -- The forms of the indexes, which no session can use (docs/security.md).
                      AND (public.queued_job_kind_1(c.state, c.kind) = ANY (kinds) AND c.run_after <= now()
                           OR timezone('UTC', c.lease_expires_at) < timezone('UTC', clock_timestamp())
                              AND c.state = 'running')
                      -- Jobs of recordings that are marked as deleted wait: the recording may be restored.
                      AND EXISTS (SELECT FROM public.audio_files a
                                   WHERE a.id = c.audio_file_id AND a.deleted_at IS NULL)
                    ORDER BY c.priority DESC, c.run_after, c.id FOR UPDATE SKIP LOCKED LIMIT 1)
    RETURNING j.* INTO job;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    UPDATE public.audio_files a SET status_id = public.code_id('audio_statuses', 'processing')
     WHERE a.id = job.audio_file_id;
    PERFORM public.record_job('job.claimed', job.id, '{}');
    RETURN job.id;
END
$body$;
REVOKE ALL ON FUNCTION public.claim_job(text[], text, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.claim_job(text[], text, integer) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.extend_lease(job_id bigint, held_lease bigint, lease_seconds integer)
RETURNS timestamptz LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    ends timestamptz;
BEGIN
    PERFORM public.require_lease(job_id, held_lease);
    UPDATE public.processing_jobs SET lease_expires_at = public.lease_end(lease_seconds)
     WHERE id = job_id RETURNING lease_expires_at INTO ends;
    RETURN ends;
END
$body$;
REVOKE ALL ON FUNCTION public.extend_lease(bigint, bigint, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.extend_lease(bigint, bigint, integer) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.complete_job(job_id bigint, held_lease bigint, outcome jsonb)
RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    job public.processing_jobs;
BEGIN
    PERFORM public.require_lease(job_id, held_lease);
    SELECT j.* INTO job FROM public.processing_jobs j WHERE j.id = job_id;
    PERFORM public.record_job('job.completed', job_id, '{}');
    UPDATE public.audio_files SET status_id = public.code_id('audio_statuses', 'processed'), processed_at = now(),
           error_message = NULL WHERE id = job.audio_file_id;
    UPDATE public.processing_jobs SET state = 'done', result = outcome, finished_at = now(), lease_expires_at = NULL,
           leased_by_id = NULL, error_message = NULL WHERE id = job_id;
END
$body$;
REVOKE ALL ON FUNCTION public.complete_job(bigint, bigint, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.complete_job(bigint, bigint, jsonb) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.fail_job(
    job_id bigint, held_lease bigint, message text, retry boolean, delay_seconds integer)
RETURNS text LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    job public.processing_jobs;
    outcome text;
BEGIN
    PERFORM public.require_lease(job_id, held_lease);
    SELECT j.* INTO job FROM public.processing_jobs j WHERE j.id = job_id;
    PERFORM public.record_job('job.failed', job_id, jsonb_build_object('error', left(message, 500)));
    outcome := CASE WHEN retry AND job.attempts < job.max_attempts THEN 'queued' ELSE 'failed' END;
    UPDATE public.audio_files
       SET status_id = public.code_id('audio_statuses', CASE outcome WHEN 'queued' THEN 'queued' ELSE 'failed' END),
           error_message = left(message, 4000) WHERE id = job.audio_file_id;
    UPDATE public.processing_jobs SET state = outcome, error_message = left(message, 4000), lease_expires_at = NULL,
           leased_by_id = NULL, run_after = now() + make_interval(secs => delay_seconds),
           finished_at = CASE outcome WHEN 'failed' THEN now() END WHERE id = job_id;
    RETURN outcome;
END
$body$;
REVOKE ALL ON FUNCTION public.fail_job(bigint, bigint, text, boolean, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.fail_job(bigint, bigint, text, boolean, integer) TO sti_app, sti_wide, sti_admin;
