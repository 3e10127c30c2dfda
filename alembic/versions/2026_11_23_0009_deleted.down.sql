CREATE OR REPLACE FUNCTION public.schema_revision()
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $body$ SELECT '0008'::text $body$;
REVOKE ALL ON FUNCTION public.schema_revision() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.schema_revision() TO PUBLIC;

CREATE OR REPLACE FUNCTION public.claim_job(kinds text[], worker text, lease_seconds integer)
RETURNS bigint LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    job record;
BEGIN
    IF NOT public.actor_may('job', 'claim') THEN
        RAISE EXCEPTION 'this actor may not claim jobs: its role lacks the permission job.claim'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    UPDATE public.processing_jobs j
       SET state = 'failed', finished_at = now(), lease_expires_at = NULL, leased_by_id = NULL,
           error_message = 'the worker stopped answering, ' || j.attempts || ' times'
     WHERE j.id IN (SELECT d.id FROM public.processing_jobs d
                     WHERE d.kind = ANY (kinds) AND d.state = 'running' AND d.lease_expires_at < clock_timestamp()
                       AND d.attempts >= d.max_attempts FOR UPDATE SKIP LOCKED);
    UPDATE public.processing_jobs j
       SET state = 'running', leased_by_id = public.actor_id(), worker = left(claim_job.worker, 200),
           lease = j.lease + 1, attempts = j.attempts + 1,
           lease_expires_at = clock_timestamp() + make_interval(secs => least(lease_seconds, 86400)),
           started_at = now(), finished_at = NULL, error_message = NULL
     WHERE j.id = (SELECT c.id FROM public.processing_jobs c
                    WHERE c.kind = ANY (kinds) AND c.attempts < c.max_attempts
                      AND ((c.state = 'queued' AND c.run_after <= now())
                           OR (c.state = 'running' AND c.lease_expires_at < clock_timestamp()))
                    ORDER BY c.priority DESC, c.run_after, c.id FOR UPDATE SKIP LOCKED LIMIT 1)
    RETURNING j.* INTO job;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    UPDATE public.audio_files a SET status_id = public.code_id('audio_statuses', 'processing')
     WHERE a.id = job.audio_file_id;
    PERFORM public.append_activity('job.claimed', 'event', public.actor_id(), public.actor_name(), job.case_id,
        'processing_jobs', job.id, NULL, jsonb_build_object('name', job.kind, 'attempt', job.attempts), NULL);
    RETURN job.id;
END
$body$;
REVOKE ALL ON FUNCTION public.claim_job(text[], text, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.claim_job(text[], text, integer) TO sti_app, sti_wide, sti_admin;
