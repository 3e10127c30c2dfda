-- build 14 · sha256 cb2d0c80d038
-- Claiming jobs. A worker cannot see a job before it has claimed it, so claiming needs a definer function.
--
-- A lease grants access to the case of the job until it expires; `lease` is the fencing token, which grows with every
-- claim: a worker that lost its lease cannot store a result. The caller stores the result and completes the job in one
-- transaction.
--
-- Elsewhere: enqueueing, a plain INSERT under row security (services/work.py).

-- A lease grants access to a case, so its duration is limited to one day. Callers check that it is at least a second.
CREATE OR REPLACE FUNCTION public.lease_end(lease_seconds integer)
RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE
RETURN clock_timestamp() + make_interval(secs => greatest(least(lease_seconds, 86400), 0));
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

-- Raises when the actor has so many unexpired leases that another one would only keep a job from other workers.
CREATE OR REPLACE FUNCTION public.require_free_lease()
RETURNS void LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    IF (SELECT count(*) FROM public.processing_jobs j
         WHERE j.leased_by_id + 0 = public.actor_id() AND j.state = 'running'
           AND j.lease_expires_at > clock_timestamp()) >= public.most_leases() THEN
        RAISE EXCEPTION 'this user already works on % jobs, the limit; complete or fail some before claiming more',
            public.most_leases() USING ERRCODE = 'insufficient_privilege';
    END IF;
END
$body$;
REVOKE ALL ON FUNCTION public.require_free_lease() FROM PUBLIC;

-- Why a job cannot be handed to a worker: values from before the CHECKs of the tables, or written without them; null
-- for a job that can.
CREATE OR REPLACE FUNCTION public.unreadable_job(job_id bigint)
RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $body$
    SELECT 'values that no client can read: ' || string_agg(v.name, ', ' ORDER BY v.name)
      FROM public.processing_jobs j JOIN public.audio_files a ON a.id = j.audio_file_id,
           LATERAL (VALUES ('payload', public.readable_json_1(j.payload, 1048576)),
                           ('result', public.readable_json_1(j.result, 16777216)),
                           ('run_after', public.readable_time_1(j.run_after)),
                           ('started_at', public.readable_time_1(j.started_at)),
                           ('finished_at', public.readable_time_1(j.finished_at)),
                           ('created_at', public.readable_time_1(j.created_at)),
                           ('audio_files.storage_config', public.readable_json_1(a.storage_config, 16384)),
                           ('audio_files.recorded_at', public.readable_time_1(a.recorded_at)),
                           ('audio_files.processed_at', public.readable_time_1(a.processed_at)),
                           ('audio_files.created_at', public.readable_time_1(a.created_at))) AS v (name, is_readable)
     WHERE j.id = job_id AND NOT v.is_readable
$body$;
REVOKE ALL ON FUNCTION public.unreadable_job(bigint) FROM PUBLIC;

-- Sets the status of the recording of a job that ended without a worker. One that cannot be changed, since its row has
-- values from before the CHECKs, keeps its status, with a warning in the log of the server.
CREATE OR REPLACE FUNCTION public.end_processing(job_id bigint, status_code text, reason text)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    UPDATE public.audio_files a
       SET status_id = public.code_id('audio_statuses', status_code), error_message = left(reason, 4000)
      FROM public.processing_jobs j WHERE j.id = job_id AND a.id = j.audio_file_id;
EXCEPTION WHEN data_exception OR integrity_constraint_violation OR program_limit_exceeded THEN
    RAISE WARNING 'the recording of job % keeps its status, since its row cannot be changed: %', job_id, SQLERRM
        USING HINT = 'As the owner of the database, correct the row.';
END
$body$;
REVOKE ALL ON FUNCTION public.end_processing(bigint, text, text) FROM PUBLIC;

-- Ends a job without a worker, in the state failed. Values that violate a CHECK would make the change fail, so they are
-- replaced; the log has them as the old values of this change. A job that cannot be changed even then stays as it is,
-- with a warning in the log of the server: it must not stop the claims of others.
CREATE OR REPLACE FUNCTION public.end_job(job_id bigint, reason text)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    UPDATE public.processing_jobs j
       SET state = 'failed', finished_at = now(), lease_expires_at = NULL, leased_by_id = NULL,
           error_message = left(reason, 4000),
           payload = CASE WHEN public.readable_json_1(j.payload, 1048576) THEN j.payload ELSE '{}' END,
           result = CASE WHEN public.readable_json_1(j.result, 16777216) THEN j.result END,
           run_after = CASE WHEN public.readable_time_1(j.run_after) THEN j.run_after ELSE now() END,
           started_at = CASE WHEN public.readable_time_1(j.started_at) THEN j.started_at END
     WHERE j.id = job_id;
    PERFORM public.record_job('job.failed', job_id, jsonb_build_object('error', left(reason, 500)));
    PERFORM public.end_processing(job_id, 'failed', reason);
EXCEPTION WHEN data_exception OR integrity_constraint_violation OR program_limit_exceeded THEN
    RAISE WARNING 'job % can neither be run nor ended: %; %', job_id, reason, SQLERRM
        USING HINT = 'As the owner of the database, correct the row or delete it.';
END
$body$;
REVOKE ALL ON FUNCTION public.end_job(bigint, text) FROM PUBLIC;

-- Ends expired leases: the job is queued again, or failed without attempts left, and its recording with it. The log
-- names the user who let the lease expire. A lease that ended while the server was down costs no attempt: nobody could
-- extend it. A few at a time, since the rows stay locked until the claim commits.
CREATE OR REPLACE FUNCTION public.end_expired_leases(kinds text[])
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    expired record;
    counted integer;
    outcome text;
    reason text;
BEGIN
    FOR expired IN
        SELECT j.id, j.kind, j.case_id, j.attempts, j.max_attempts, u.id AS holder_id, u.username AS holder,
               j.started_at < pg_postmaster_start_time()
               AND j.lease_expires_at < pg_postmaster_start_time() + interval '1 minute'
               AND j.lease - j.attempts < public.most_returns() AS is_free
          FROM public.processing_jobs j JOIN public.users u ON u.id = j.leased_by_id
               -- A locked recording would make this transaction wait at its status.
               JOIN public.audio_files a ON a.id = j.audio_file_id
         WHERE j.kind = ANY (kinds) AND j.state = 'running'
           AND timezone('UTC', j.lease_expires_at) < timezone('UTC', clock_timestamp())
         ORDER BY j.lease_expires_at, j.id LIMIT 20
           FOR UPDATE OF j SKIP LOCKED FOR NO KEY UPDATE OF a SKIP LOCKED
    LOOP
        PERFORM public.append_activity('job.failed', 'event', expired.holder_id, expired.holder, expired.case_id,
            'processing_jobs', expired.id, NULL, jsonb_build_object('name', expired.kind,
                'attempt', expired.attempts, 'error', 'the lease expired without a result'), NULL);
        counted := expired.attempts - coalesce(expired.is_free, false)::integer;
        outcome := CASE WHEN counted < expired.max_attempts THEN 'queued' ELSE 'failed' END;
        reason := 'the lease expired without a result, attempts: ' || counted;
        BEGIN
            UPDATE public.processing_jobs j
               SET state = outcome, finished_at = CASE outcome WHEN 'failed' THEN now() END, attempts = counted,
                   lease_expires_at = NULL, leased_by_id = NULL, error_message = reason
             WHERE j.id = expired.id;
            PERFORM public.end_processing(expired.id, outcome, reason);
        EXCEPTION WHEN data_exception OR integrity_constraint_violation OR program_limit_exceeded THEN
            PERFORM public.end_job(expired.id, 'the lease expired, and the job cannot be run: ' || SQLERRM);
        END;
    END LOOP;
END
$body$;
REVOKE ALL ON FUNCTION public.end_expired_leases(text[]) FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.claim_job(kinds text[], worker text, lease_seconds integer)
RETURNS bigint LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    job public.processing_jobs;
    problem text;
    -- Jobs that are left out: no call looks at a job twice.
    ended bigint[] := '{}';
BEGIN
    IF NOT public.actor_may('job', 'claim') THEN
        RAISE EXCEPTION 'claiming jobs needs the permission job.claim' USING ERRCODE = 'insufficient_privilege';
    END IF;
    PERFORM public.require_confirmed();
    PERFORM public.require_seconds('lease_seconds', lease_seconds, 1, 2147483647);
    PERFORM public.require_free_lease();
    PERFORM public.end_expired_leases(kinds);
    LOOP
        -- Jobs of recordings that are marked as deleted wait: the recording may be restored. A recording that another
        -- transaction has locked would make this one wait at its status below: its jobs are skipped too.
        SELECT c.* INTO job FROM public.processing_jobs c
          JOIN public.audio_files a ON a.id = c.audio_file_id AND a.deleted_at IS NULL
         WHERE c.kind = ANY (kinds) AND c.attempts < c.max_attempts AND c.id <> ALL (ended)
           -- The expressions of the index, which no session can use (docs/security.md).
           AND public.queued_job_kind_1(c.state, c.kind) = ANY (kinds)
           AND timezone('UTC', c.run_after) <= timezone('UTC', now())
         ORDER BY - c.priority, timezone('UTC', c.run_after), c.id LIMIT 1
           FOR UPDATE OF c SKIP LOCKED FOR NO KEY UPDATE OF a SKIP LOCKED;
        IF NOT FOUND THEN
            RETURN NULL;
        END IF;
        problem := public.unreadable_job(job.id);
        IF problem IS NULL THEN
            BEGIN
                UPDATE public.processing_jobs j
                   SET state = 'running', leased_by_id = public.actor_id(), worker = left(claim_job.worker, 200),
                       lease = j.lease + 1, attempts = j.attempts + 1,
                       lease_expires_at = public.lease_end(lease_seconds),
                       started_at = now(), finished_at = NULL, error_message = NULL
                 WHERE j.id = job.id;
                UPDATE public.audio_files a SET status_id = public.code_id('audio_statuses', 'processing')
                 WHERE a.id = job.audio_file_id;
                PERFORM public.record_job('job.claimed', job.id, '{}');
                RETURN job.id;
            -- Errors of this one row. Others, such as conflicts and timeouts, end the call.
            EXCEPTION WHEN data_exception OR integrity_constraint_violation OR program_limit_exceeded THEN
                problem := SQLERRM;
            END;
        END IF;
        PERFORM public.end_job(job.id, 'the job cannot be run: ' || problem);
        ended := ended || job.id;
    END LOOP;
END
$body$;
REVOKE ALL ON FUNCTION public.claim_job(text[], text, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.claim_job(text[], text, integer) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.extend_lease(job_id bigint, held_lease bigint, lease_seconds integer)
RETURNS timestamptz LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    ends timestamptz;
BEGIN
    PERFORM public.require_seconds('lease_seconds', lease_seconds, 1, 2147483647);
    PERFORM public.require_lease(job_id, held_lease);
    -- A claim that is extended without end would keep the job, and the access to its case, forever.
    UPDATE public.processing_jobs
       SET lease_expires_at = least(public.lease_end(lease_seconds), started_at + public.longest_claim())
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

-- A delay is at most a year.
CREATE OR REPLACE FUNCTION public.fail_job(
    job_id bigint, held_lease bigint, message text, retry boolean, delay_seconds integer)
RETURNS text LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    job public.processing_jobs;
    outcome text;
BEGIN
    PERFORM public.require_seconds('delay_seconds', delay_seconds, 0, public.longest_delay());
    PERFORM public.require_lease(job_id, held_lease);
    SELECT j.* INTO job FROM public.processing_jobs j WHERE j.id = job_id;
    PERFORM public.record_job('job.failed', job_id, jsonb_build_object('error', left(message, 500)));
    outcome := CASE WHEN retry AND job.attempts < job.max_attempts THEN 'queued' ELSE 'failed' END;
    UPDATE public.audio_files
       SET status_id = public.code_id('audio_statuses', CASE outcome WHEN 'queued' THEN 'queued' ELSE 'failed' END),
           error_message = left(message, 4000) WHERE id = job.audio_file_id;
    UPDATE public.processing_jobs SET state = outcome, error_message = left(message, 4000), lease_expires_at = NULL,
           leased_by_id = NULL,
           run_after = now() + make_interval(secs => least(greatest(coalesce(delay_seconds, 0), 0), 31536000)),
           finished_at = CASE outcome WHEN 'failed' THEN now() END WHERE id = job_id;
    RETURN outcome;
END
$body$;
REVOKE ALL ON FUNCTION public.fail_job(bigint, bigint, text, boolean, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.fail_job(bigint, bigint, text, boolean, integer) TO sti_app, sti_wide, sti_admin;

-- Returns a job to the queue without counting the attempt: what it needs is out of reach, so nothing was tried. Also
-- after the lease expired, while no other worker has the job. `lease` counts all claims and `attempts` those that cost
-- one; beyond the limit of their difference the attempt counts.
CREATE OR REPLACE FUNCTION public.give_back_job(
    job_id bigint, held_lease bigint, message text, delay_seconds integer)
RETURNS text LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    job public.processing_jobs;
BEGIN
    PERFORM public.require_seconds('delay_seconds', delay_seconds, 0, public.longest_delay());
    SELECT j.* INTO job FROM public.processing_jobs j
     WHERE j.id = job_id AND j.state = 'running' AND j.lease = held_lease AND j.leased_by_id = public.actor_id()
       FOR UPDATE;
    IF job.lease - job.attempts >= public.most_returns() THEN
        RETURN public.fail_job(job_id, held_lease, message, true, delay_seconds);
    END IF;
    IF job.id IS NULL THEN
        RAISE EXCEPTION 'job %: another worker has it, or it has ended', job_id USING ERRCODE = 'STI01';
    END IF;
    PERFORM public.record_job('job.returned', job_id, jsonb_build_object('error', left(message, 500)));
    UPDATE public.audio_files SET status_id = public.code_id('audio_statuses', 'queued')
     WHERE id = job.audio_file_id;
    UPDATE public.processing_jobs SET state = 'queued', attempts = greatest(job.attempts - 1, 0),
           error_message = left(message, 4000), lease_expires_at = NULL, leased_by_id = NULL,
           run_after = now() + make_interval(secs => delay_seconds), finished_at = NULL WHERE id = job_id;
    RETURN 'queued';
END
$body$;
REVOKE ALL ON FUNCTION public.give_back_job(bigint, bigint, text, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.give_back_job(bigint, bigint, text, integer) TO sti_app, sti_wide, sti_admin;
