SET LOCAL check_function_bodies = off;

DROP TRIGGER keep_id ON public.users;

DROP TRIGGER keep_id ON public.user_roles;

DROP TRIGGER keep_id ON public.cases;

DROP TRIGGER keep_id ON public.case_participants;

DROP TRIGGER keep_id ON public.case_notes;

DROP TRIGGER keep_id ON public.legal_holds;

DROP TRIGGER keep_id ON public.audio_files;

DROP TRIGGER keep_id ON public.transcriptions;

DROP TRIGGER keep_id ON public.analysis_results;

DROP TRIGGER keep_id ON public.processing_jobs;

DROP TRIGGER finish_version ON public.transcriptions;

DROP TRIGGER guard_new_parts ON public.transcription_segments;

DROP TRIGGER guard_new_parts ON public.transcription_sources;

DROP TRIGGER guard_part ON public.transcription_segments;

DROP TRIGGER guard_part ON public.transcription_sources;

DROP TRIGGER guard_text ON public.transcriptions;

DROP TRIGGER guard_digest ON public.transcriptions;

DROP TRIGGER guard_seal ON public.activity_seals;

DROP TRIGGER refuse_truncate ON public.activity_seals;

CREATE OR REPLACE FUNCTION public.schema_revision()
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $body$ SELECT '0002'::text $body$;
REVOKE ALL ON FUNCTION public.schema_revision() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.schema_revision() TO PUBLIC;

CREATE OR REPLACE FUNCTION public.participant_may(role text, permissions jsonb, verb text)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $body$
    SELECT (CASE role WHEN 'owner' THEN true WHEN 'editor' THEN verb IN ('read', 'write') ELSE verb = 'read' END
            OR coalesce(pg_catalog.jsonb_exists(permissions -> 'allow', verb), false))
       AND NOT coalesce(pg_catalog.jsonb_exists(permissions -> 'deny', verb), false)
$body$;
REVOKE ALL ON FUNCTION public.participant_may(text, jsonb, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.participant_may(text, jsonb, text) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.actor_case_ids(verb text)
RETURNS bigint[] LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
-- Planning anew for each actor takes four times as long as the query.
SET plan_cache_mode = force_generic_plan AS $body$
DECLARE
    who bigint := public.actor_id();
BEGIN
    IF who IS NULL THEN
        RETURN '{}';
    END IF;
    RETURN ARRAY(
        SELECT p.case_id FROM public.case_participants p
         WHERE p.user_id = who AND (p.expires_at IS NULL OR p.expires_at > now())
           AND public.participant_may(p.role, p.permissions, verb)
        UNION ALL
        -- A lease is also the grant: as long as the work lasts, and no longer.
        SELECT j.case_id FROM public.processing_jobs j
         WHERE j.leased_by_id = who AND j.state = 'running' AND j.lease_expires_at > now()
           AND verb IN ('read', 'write')
           -- Denied wins, over the lease too.
           AND NOT EXISTS (SELECT FROM public.case_participants d WHERE d.case_id = j.case_id AND d.user_id = who
                              AND (d.expires_at IS NULL OR d.expires_at > now())
                              AND jsonb_exists(d.permissions -> 'deny', verb)));
END
$body$;
REVOKE ALL ON FUNCTION public.actor_case_ids(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.actor_case_ids(text) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.explain_permissions(who bigint, in_case bigint)
RETURNS TABLE (subject text, verb text, allowed boolean, why text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' AS $body$
DECLARE
    person public.users;
    part public.case_participants;
    lease public.processing_jobs;
    ends text;
    expired boolean;
BEGIN
    IF public.actor_id() IS NULL
       OR NOT (in_case IS NULL OR in_case = ANY (public.actor_case_ids('read')) OR public.actor_may('*', '*')) THEN
        RETURN;
    END IF;
    SELECT u.* INTO person FROM public.users u WHERE u.id = who;
    IF NOT FOUND OR in_case IS NOT NULL AND NOT EXISTS (SELECT FROM public.cases c WHERE c.id = in_case) THEN
        RETURN;
    END IF;
    SELECT p.* INTO part FROM public.case_participants p WHERE p.case_id = in_case AND p.user_id = who;
    SELECT j.* INTO lease FROM public.processing_jobs j
     WHERE j.case_id = in_case AND j.leased_by_id = who AND j.state = 'running' AND j.lease_expires_at > now()
     ORDER BY j.lease_expires_at DESC LIMIT 1;
    expired := coalesce(part.expires_at <= now(), false);
    ends := ' until ' || to_char(part.expires_at, 'YYYY-MM-DD HH24:MI:SS "UTC"');
    FOR subject, verb IN
        SELECT n.subject, n.verb FROM (VALUES ('case', 'read'), ('case', 'write'), ('case', 'delete'), ('case', 'manage')) AS n (subject, verb) WHERE in_case IS NOT NULL
        UNION ALL
        SELECT n.subject, n.verb FROM (VALUES ('case', 'open'), ('job', 'claim'), ('*', '*')) AS n (subject, verb) WHERE in_case IS NULL
    LOOP
        allowed := public.role_permits(person.role_id, CASE WHEN in_case IS NULL THEN subject ELSE '*' END,
                                       CASE WHEN in_case IS NULL THEN verb ELSE '*' END);
        IF NOT person.is_active THEN
            allowed := false;
            why := 'the user is not active';
        ELSIF allowed THEN
            why := public.role_reason(person.role_id, CASE WHEN in_case IS NULL THEN subject ELSE '*' END,
                                      CASE WHEN in_case IS NULL THEN verb ELSE '*' END);
        ELSIF in_case IS NULL THEN
            why := 'neither the role nor a parent of it has it';
        ELSIF NOT expired AND jsonb_exists(part.permissions -> 'deny', verb) THEN
            why := 'denied to this participant' || coalesce(ends, '');
        ELSIF NOT expired AND part.id IS NOT NULL
              AND public.participant_may(part.role, part.permissions, verb) THEN
            allowed := true;
            why := CASE WHEN public.participant_may(part.role, '{}', verb) THEN 'takes part as ' || part.role
                        ELSE 'allowed to this participant' END || coalesce(ends, '');
        ELSIF lease.id IS NOT NULL AND verb IN ('read', 'write') THEN
            allowed := true;
            why := 'holds the lease of job ' || lease.id || ' until '
                   || to_char(lease.lease_expires_at, 'YYYY-MM-DD HH24:MI:SS "UTC"');
        ELSIF expired THEN
            why := 'took part as ' || part.role || ends;
        ELSE
            why := coalesce('takes part as ' || part.role || ', which does not include it', 'does not take part');
        END IF;
        RETURN NEXT;
    END LOOP;
END
$body$;
REVOKE ALL ON FUNCTION public.explain_permissions(bigint, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.explain_permissions(bigint, bigint) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.code_id(lookup text, code text)
RETURNS bigint LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    found_id bigint;
BEGIN
    EXECUTE format('SELECT id FROM public.%I WHERE code = $1', lookup) INTO found_id USING code;
    RETURN found_id;
END
$body$;
REVOKE ALL ON FUNCTION public.code_id(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.code_id(text, text) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.participation_known(permissions jsonb)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $body$
    SELECT CASE WHEN jsonb_typeof(permissions) = 'object' THEN (
        SELECT coalesce(bool_and(CASE WHEN jsonb_typeof(e.value) = 'array'
                   THEN e.key = ANY ('{allow,deny}')
                    AND e.value <@ to_jsonb('{read,write,delete,manage}'::text[]) ELSE false END), true)
          FROM jsonb_each(permissions) e)
        ELSE false END
$body$;
REVOKE ALL ON FUNCTION public.participation_known(jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.participation_known(jsonb) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.count_holds()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    -- Whatever was asked for: the holds themselves say how many there are.
    NEW.active_holds := (SELECT count(*) FROM public.legal_holds h WHERE h.case_id = NEW.id AND h.released_at IS NULL);
    RETURN NEW;
END
$body$;
REVOKE ALL ON FUNCTION public.count_holds() FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.capture_change()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres' SET bytea_output = 'hex' SET extra_float_digits = 1 AS $body$
DECLARE
    left_out text[] := string_to_array(TG_ARGV[1], ',');
    sensitive text[] := string_to_array(TG_ARGV[2], ',');
    was jsonb;
    is_now jsonb;
    image jsonb;
    grain bytea := uuid_send(gen_random_uuid());
    who text := public.actor_name();
BEGIN
    -- Attached to a table of somebody's own, this function would forge entries.
    IF TG_TABLE_SCHEMA <> 'public' OR TG_TABLE_NAME <> ALL ('{users,user_roles,cases,case_participants,case_notes,legal_holds,audio_files,transcriptions,analysis_results,processing_jobs}') THEN
        RAISE EXCEPTION 'capture_change was not made for %.%', TG_TABLE_SCHEMA, TG_TABLE_NAME
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF who IS NULL THEN
        RAISE EXCEPTION 'no actor: nothing is written unsigned' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF TG_OP <> 'INSERT' THEN
        was := to_jsonb(OLD) - left_out;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        is_now := to_jsonb(NEW) - left_out;
    END IF;
    image := coalesce(is_now, was);
    IF TG_OP = 'UPDATE' THEN
        SELECT jsonb_object_agg(b.key, b.value) INTO was FROM jsonb_each(was) b
         WHERE is_now -> b.key IS DISTINCT FROM b.value;
        IF was - '{updated_at,row_version}'::text[] = '{}' THEN
            RETURN NULL;
        END IF;
    END IF;
    IF cardinality(sensitive) > 0 THEN
        was := public.redact(was, sensitive, grain);
        is_now := public.redact(is_now, sensitive, grain);
    END IF;
    PERFORM public.append_activity('row.' || lower(TG_OP), lower(TG_OP), public.signed_actor(), who,
        (image ->> nullif(TG_ARGV[0], ''))::bigint, TG_TABLE_NAME, (image ->> 'id')::bigint, was, is_now, grain);
    RETURN NULL;
END
$body$;
REVOKE ALL ON FUNCTION public.capture_change() FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.record_activity(type_code text, case_id bigint, entity text, entity_id bigint, detail jsonb)
RETURNS bigint LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    IF public.actor_id() IS NULL THEN
        RAISE EXCEPTION 'no actor: nothing is recorded unsigned' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF type_code ~ '^(row|login)[.]' THEN
        RAISE EXCEPTION '% is written by the database itself', type_code USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF case_id <> ALL (public.actor_case_ids('read')) AND NOT public.actor_may('*', '*') THEN
        RAISE EXCEPTION 'no such case' USING ERRCODE = 'no_data_found';
    END IF;
    RETURN public.append_activity(type_code, 'event', public.actor_id(), public.actor_name(), case_id, entity,
        entity_id, NULL, detail, NULL);
END
$body$;
REVOKE ALL ON FUNCTION public.record_activity(text, bigint, text, bigint, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.record_activity(text, bigint, text, bigint, jsonb) TO sti_app, sti_wide, sti_admin;

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
                     WHERE d.state = 'running' AND d.lease_expires_at < clock_timestamp()
                       AND d.attempts >= d.max_attempts FOR UPDATE SKIP LOCKED);
    UPDATE public.processing_jobs j
       SET state = 'running', leased_by_id = public.actor_id(), worker = claim_job.worker, lease = j.lease + 1,
           lease_expires_at = clock_timestamp() + make_interval(secs => lease_seconds), attempts = j.attempts + 1,
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

CREATE OR REPLACE FUNCTION public.extend_lease(job_id bigint, held_lease bigint, lease_seconds integer)
RETURNS timestamptz LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    job record;
BEGIN
    SELECT j.* INTO job FROM public.processing_jobs j
     WHERE j.id = job_id AND j.state = 'running' AND j.lease = held_lease AND j.leased_by_id = public.actor_id()
       AND j.lease_expires_at > clock_timestamp() FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'job %: the lease is lost; another worker has the job, or its time ran out', job_id
            USING ERRCODE = 'STI01';
    END IF;
    UPDATE public.processing_jobs SET lease_expires_at = clock_timestamp() + make_interval(secs => lease_seconds)
     WHERE id = job_id RETURNING lease_expires_at INTO job.lease_expires_at;
    RETURN job.lease_expires_at;
END
$body$;
REVOKE ALL ON FUNCTION public.extend_lease(bigint, bigint, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.extend_lease(bigint, bigint, integer) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE TRIGGER refuse_update BEFORE UPDATE ON public.transcription_segments
    FOR EACH ROW EXECUTE FUNCTION public.refuse_change('a transcription is never edited, add a version');
ALTER TABLE public.transcription_segments ENABLE ALWAYS TRIGGER refuse_update;

CREATE OR REPLACE TRIGGER guard_hold BEFORE DELETE ON public.storage_objects
    FOR EACH ROW EXECUTE FUNCTION public.guard_hold();
ALTER TABLE public.storage_objects ENABLE ALWAYS TRIGGER guard_hold;

CREATE OR REPLACE TRIGGER capture AFTER INSERT OR UPDATE OR DELETE ON public.transcriptions
    FOR EACH ROW EXECUTE FUNCTION public.capture_change('case_id', '', '');
ALTER TABLE public.transcriptions ENABLE ALWAYS TRIGGER capture;

CREATE OR REPLACE TRIGGER refuse_change BEFORE UPDATE OR DELETE ON public.activity_logs
    FOR EACH ROW EXECUTE FUNCTION public.refuse_change('the log is append-only');
ALTER TABLE public.activity_logs ENABLE ALWAYS TRIGGER refuse_change;

DROP POLICY IF EXISTS storage_objects_app_select ON public.storage_objects;
CREATE POLICY storage_objects_app_select ON public.storage_objects FOR SELECT TO sti_app
    USING (case_id = ANY ((SELECT public.actor_case_ids('read'))::bigint[]));

DROP POLICY IF EXISTS activity_logs_app_select ON public.activity_logs;
CREATE POLICY activity_logs_app_select ON public.activity_logs FOR SELECT TO sti_app
    USING (case_id = ANY ((SELECT public.actor_case_ids('read'))::bigint[]) OR actor_id = (SELECT public.actor_id()));

DROP POLICY IF EXISTS storage_objects_wide_select ON public.storage_objects;
CREATE POLICY storage_objects_wide_select ON public.storage_objects FOR SELECT TO sti_wide
    USING (case_id IN (SELECT unnest((SELECT public.actor_case_ids('read')))));

DROP POLICY IF EXISTS activity_logs_wide_select ON public.activity_logs;
CREATE POLICY activity_logs_wide_select ON public.activity_logs FOR SELECT TO sti_wide
    USING (case_id IN (SELECT unnest((SELECT public.actor_case_ids('read')))) OR actor_id = (SELECT public.actor_id()));

DROP FUNCTION public.transcription_digest(bigint);

DROP FUNCTION public.finish_version();

DROP FUNCTION public.guard_new_parts();

DROP FUNCTION public.guard_part();

DROP FUNCTION public.restore_deleted(bigint);

DROP FUNCTION public.write_baseline(text, integer);

DROP FUNCTION public.begin_seal();

DROP FUNCTION public.append_seal(jsonb, bytea);

DROP FUNCTION public.guard_seal();

DROP FUNCTION public.guard_entry();

DROP FUNCTION public.erase_payloads(bigint, bigint, integer);

DROP FUNCTION public.empty_default_partition();

DROP TABLE public.activity_archives;
ALTER TABLE public.activity_seals DROP COLUMN leaves;
ALTER TABLE public.activity_seals DROP COLUMN next_xid;
COMMENT ON COLUMN public.activity_seals.low_xid IS 'first transaction of the batch';
ALTER TABLE public.transcriptions DROP COLUMN segments_sha256;
