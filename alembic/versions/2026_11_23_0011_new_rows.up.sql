SET LOCAL check_function_bodies = off;

CREATE OR REPLACE FUNCTION public.schema_revision()
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $body$ SELECT '0011'::text $body$;
REVOKE ALL ON FUNCTION public.schema_revision() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.schema_revision() TO PUBLIC;

CREATE OR REPLACE FUNCTION public.participant_may(role text, permissions jsonb, verb text)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $body$
    SELECT (CASE role WHEN 'owner' THEN true WHEN 'editor' THEN verb IN ('read', 'write') ELSE verb = 'read' END
            OR coalesce(pg_catalog.jsonb_exists(permissions -> 'allow', verb), false))
       -- Who may not read may do nothing: what one writes one sees.
       -- Most are denied nothing, and then no array is made for each of somebody's thousands of cases.
       AND (permissions -> 'deny' IS NULL
            OR NOT pg_catalog.jsonb_exists_any(permissions -> 'deny', ARRAY[verb, 'read']))
$body$;
REVOKE ALL ON FUNCTION public.participant_may(text, jsonb, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.participant_may(text, jsonb, text) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.own_case()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    INSERT INTO public.case_participants (case_id, user_id, role, added_by_id)
    SELECT c.id, c.opened_by_id, 'owner', c.opened_by_id FROM new_cases c;
    RETURN NULL;
END
$body$;
REVOKE ALL ON FUNCTION public.own_case() FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.capture_new_rows()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres' SET bytea_output = 'hex' SET extra_float_digits = 1 AS $body$
DECLARE
    part text[] := string_to_array(current_setting('sti.actor', true), '|');
    in_column text := nullif(TG_ARGV[0], '');
    left_out text[] := string_to_array(TG_ARGV[1], ',');
    sensitive text[] := string_to_array(TG_ARGV[2], ',');
    has_sensitive boolean := cardinality(sensitive) > 0;
    of_table text := TG_TABLE_NAME;
    kind bigint;
    signer bigint;
    who text;
    cluster bigint;
    why text := left(nullif(current_setting('sti.reason', true), ''), 2000);
    request text := left(nullif(current_setting('sti.request', true), ''), 200);
    xid xid8 := pg_current_xact_id();
    revision text := public.schema_revision();
BEGIN
    IF TG_TABLE_SCHEMA <> 'public' OR TG_TABLE_NAME <> ALL ('{users,user_roles,cases,case_participants,case_notes,legal_holds,audio_files,transcriptions,analysis_results,processing_jobs}') THEN
        RAISE EXCEPTION 'capture_new_rows was not made for %.%', TG_TABLE_SCHEMA, TG_TABLE_NAME
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF current_setting('session_replication_role') = 'replica' THEN
        RETURN NULL;
    END IF;
    IF cardinality(part) IS NOT DISTINCT FROM 6 AND part[2] = pg_backend_pid()::text
       AND part[3] = (extract(epoch FROM now()) * 1000000)::bigint::text
       AND part[1] ~ '^[0-9]{1,18}$' AND part[4] ~ '^[0-9]{1,18}$' THEN
        SELECT u.id, u.username, part[5]::bigint INTO signer, who, cluster FROM public.actor_keys k, public.users u
         WHERE k.id = part[4]::bigint AND u.id = part[1]::bigint AND part[6] = encode(sha256(k.outer_pad || sha256(
                   k.inner_pad || convert_to(array_to_string(part[1:5], '|'), 'UTF8'))), 'hex');
    END IF;
    IF signer IS NULL THEN
        IF NOT EXISTS (SELECT FROM new_rows) THEN
            RETURN NULL;
        ELSIF NOT pg_has_role(session_user, current_user, 'MEMBER') THEN
            RAISE EXCEPTION 'no actor: nothing is written unsigned' USING ERRCODE = 'insufficient_privilege';
        END IF;
        who := 'operator:' || session_user;
        cluster := (SELECT system_identifier FROM pg_control_system());
    END IF;
    kind := (SELECT t.id FROM public.activity_types t WHERE t.code = 'row.insert');
    IF kind IS NULL THEN
        RAISE EXCEPTION 'no activity type has the code row.insert' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    INSERT INTO public.activity_logs (id, created_at, updated_at, activity_type_id, actor_id, actor, case_id, entity,
        entity_id, operation, new, reason, request_id, transaction_id, epoch, schema_revision, salt, payload_hash,
        leaf_hash)
    SELECT r.entry, r.happened, r.happened, kind, signer, who, r.in_case, of_table, r.number, 'insert', r.image, why,
        request, xid, cluster, revision, r.grain, r.payload,
        sha256(decode('00', 'hex') || convert_to(jsonb_build_array(r.entry,
            (extract(epoch FROM r.happened) * 1000000)::bigint, kind, signer, who, r.in_case, of_table, r.number,
            'insert', why, request, xid::text, cluster, revision)::text, 'UTF8') || r.payload)
      FROM (
        SELECT i.*, (i.image ->> in_column)::bigint AS in_case,
            sha256(i.grain || convert_to(jsonb_build_object('new', i.image, 'old', NULL)::text, 'UTF8')) AS payload
          FROM (
            SELECT nextval('public.activity_logs_id_seq') AS entry, clock_timestamp() AS happened, g.number, g.grain,
                CASE WHEN has_sensitive THEN public.redact(g.image, sensitive, g.grain) ELSE g.image END AS image
              FROM (SELECT n.id AS number, to_jsonb(n) - left_out AS image, uuid_send(gen_random_uuid()) AS grain
                      FROM new_rows n) AS g
          ) AS i
        -- Else the planner would write the payload out wherever it is named, and hash it twice.
        OFFSET 0
      ) AS r;
    RETURN NULL;
END
$body$;
REVOKE ALL ON FUNCTION public.capture_new_rows() FROM PUBLIC;

CREATE OR REPLACE TRIGGER own AFTER INSERT ON public.cases
    REFERENCING NEW TABLE AS new_cases FOR EACH STATEMENT EXECUTE FUNCTION public.own_case();

CREATE OR REPLACE TRIGGER capture AFTER INSERT ON public.users
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION public.capture_new_rows('', '', 'password_hash,email');
ALTER TABLE public.users ENABLE ALWAYS TRIGGER capture;

CREATE OR REPLACE TRIGGER capture AFTER INSERT ON public.user_roles
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION public.capture_new_rows('', '', '');
ALTER TABLE public.user_roles ENABLE ALWAYS TRIGGER capture;

CREATE OR REPLACE TRIGGER capture AFTER INSERT ON public.cases
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION public.capture_new_rows('id', 'opened_xid,active_holds', '');
ALTER TABLE public.cases ENABLE ALWAYS TRIGGER capture;

CREATE OR REPLACE TRIGGER capture AFTER INSERT ON public.case_participants
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION public.capture_new_rows('case_id', '', '');
ALTER TABLE public.case_participants ENABLE ALWAYS TRIGGER capture;

CREATE OR REPLACE TRIGGER capture AFTER INSERT ON public.case_notes
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION public.capture_new_rows('case_id', '', '');
ALTER TABLE public.case_notes ENABLE ALWAYS TRIGGER capture;

CREATE OR REPLACE TRIGGER capture AFTER INSERT ON public.legal_holds
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION public.capture_new_rows('case_id', '', '');
ALTER TABLE public.legal_holds ENABLE ALWAYS TRIGGER capture;

CREATE OR REPLACE TRIGGER capture AFTER INSERT ON public.audio_files
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION public.capture_new_rows('case_id', '', '');
ALTER TABLE public.audio_files ENABLE ALWAYS TRIGGER capture;

CREATE OR REPLACE TRIGGER capture AFTER INSERT ON public.transcriptions
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION public.capture_new_rows('case_id', 'content', '');
ALTER TABLE public.transcriptions ENABLE ALWAYS TRIGGER capture;

CREATE OR REPLACE TRIGGER capture AFTER INSERT ON public.analysis_results
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION public.capture_new_rows('case_id', '', '');
ALTER TABLE public.analysis_results ENABLE ALWAYS TRIGGER capture;

CREATE OR REPLACE TRIGGER capture AFTER INSERT ON public.processing_jobs
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION public.capture_new_rows('case_id', 'lease_expires_at', '');
ALTER TABLE public.processing_jobs ENABLE ALWAYS TRIGGER capture;

CREATE OR REPLACE TRIGGER capture_replicated AFTER INSERT ON public.users
    FOR EACH ROW WHEN (pg_catalog.current_setting('session_replication_role') = 'replica') EXECUTE FUNCTION public.capture_change('', '', 'password_hash,email');
ALTER TABLE public.users ENABLE ALWAYS TRIGGER capture_replicated;

CREATE OR REPLACE TRIGGER capture_replicated AFTER INSERT ON public.user_roles
    FOR EACH ROW WHEN (pg_catalog.current_setting('session_replication_role') = 'replica') EXECUTE FUNCTION public.capture_change('', '', '');
ALTER TABLE public.user_roles ENABLE ALWAYS TRIGGER capture_replicated;

CREATE OR REPLACE TRIGGER capture_replicated AFTER INSERT ON public.cases
    FOR EACH ROW WHEN (pg_catalog.current_setting('session_replication_role') = 'replica') EXECUTE FUNCTION public.capture_change('id', 'opened_xid,active_holds', '');
ALTER TABLE public.cases ENABLE ALWAYS TRIGGER capture_replicated;

CREATE OR REPLACE TRIGGER capture_replicated AFTER INSERT ON public.case_participants
    FOR EACH ROW WHEN (pg_catalog.current_setting('session_replication_role') = 'replica') EXECUTE FUNCTION public.capture_change('case_id', '', '');
ALTER TABLE public.case_participants ENABLE ALWAYS TRIGGER capture_replicated;

CREATE OR REPLACE TRIGGER capture_replicated AFTER INSERT ON public.case_notes
    FOR EACH ROW WHEN (pg_catalog.current_setting('session_replication_role') = 'replica') EXECUTE FUNCTION public.capture_change('case_id', '', '');
ALTER TABLE public.case_notes ENABLE ALWAYS TRIGGER capture_replicated;

CREATE OR REPLACE TRIGGER capture_replicated AFTER INSERT ON public.legal_holds
    FOR EACH ROW WHEN (pg_catalog.current_setting('session_replication_role') = 'replica') EXECUTE FUNCTION public.capture_change('case_id', '', '');
ALTER TABLE public.legal_holds ENABLE ALWAYS TRIGGER capture_replicated;

CREATE OR REPLACE TRIGGER capture_replicated AFTER INSERT ON public.audio_files
    FOR EACH ROW WHEN (pg_catalog.current_setting('session_replication_role') = 'replica') EXECUTE FUNCTION public.capture_change('case_id', '', '');
ALTER TABLE public.audio_files ENABLE ALWAYS TRIGGER capture_replicated;

CREATE OR REPLACE TRIGGER capture_replicated AFTER INSERT ON public.transcriptions
    FOR EACH ROW WHEN (pg_catalog.current_setting('session_replication_role') = 'replica') EXECUTE FUNCTION public.capture_change('case_id', 'content', '');
ALTER TABLE public.transcriptions ENABLE ALWAYS TRIGGER capture_replicated;

CREATE OR REPLACE TRIGGER capture_replicated AFTER INSERT ON public.analysis_results
    FOR EACH ROW WHEN (pg_catalog.current_setting('session_replication_role') = 'replica') EXECUTE FUNCTION public.capture_change('case_id', '', '');
ALTER TABLE public.analysis_results ENABLE ALWAYS TRIGGER capture_replicated;

CREATE OR REPLACE TRIGGER capture_replicated AFTER INSERT ON public.processing_jobs
    FOR EACH ROW WHEN (pg_catalog.current_setting('session_replication_role') = 'replica') EXECUTE FUNCTION public.capture_change('case_id', 'lease_expires_at', '');
ALTER TABLE public.processing_jobs ENABLE ALWAYS TRIGGER capture_replicated;

CREATE OR REPLACE TRIGGER capture_change AFTER UPDATE OR DELETE ON public.users
    FOR EACH ROW EXECUTE FUNCTION public.capture_change('', '', 'password_hash,email');
ALTER TABLE public.users ENABLE ALWAYS TRIGGER capture_change;

CREATE OR REPLACE TRIGGER capture_change AFTER UPDATE OR DELETE ON public.user_roles
    FOR EACH ROW EXECUTE FUNCTION public.capture_change('', '', '');
ALTER TABLE public.user_roles ENABLE ALWAYS TRIGGER capture_change;

CREATE OR REPLACE TRIGGER capture_change AFTER UPDATE OR DELETE ON public.cases
    FOR EACH ROW EXECUTE FUNCTION public.capture_change('id', 'opened_xid,active_holds', '');
ALTER TABLE public.cases ENABLE ALWAYS TRIGGER capture_change;

CREATE OR REPLACE TRIGGER capture_change AFTER UPDATE OR DELETE ON public.case_participants
    FOR EACH ROW EXECUTE FUNCTION public.capture_change('case_id', '', '');
ALTER TABLE public.case_participants ENABLE ALWAYS TRIGGER capture_change;

CREATE OR REPLACE TRIGGER capture_change AFTER UPDATE OR DELETE ON public.case_notes
    FOR EACH ROW EXECUTE FUNCTION public.capture_change('case_id', '', '');
ALTER TABLE public.case_notes ENABLE ALWAYS TRIGGER capture_change;

CREATE OR REPLACE TRIGGER capture_change AFTER UPDATE OR DELETE ON public.legal_holds
    FOR EACH ROW EXECUTE FUNCTION public.capture_change('case_id', '', '');
ALTER TABLE public.legal_holds ENABLE ALWAYS TRIGGER capture_change;

CREATE OR REPLACE TRIGGER capture_change AFTER UPDATE OR DELETE ON public.audio_files
    FOR EACH ROW EXECUTE FUNCTION public.capture_change('case_id', '', '');
ALTER TABLE public.audio_files ENABLE ALWAYS TRIGGER capture_change;

CREATE OR REPLACE TRIGGER capture_change AFTER UPDATE OR DELETE ON public.transcriptions
    FOR EACH ROW EXECUTE FUNCTION public.capture_change('case_id', 'content', '');
ALTER TABLE public.transcriptions ENABLE ALWAYS TRIGGER capture_change;

CREATE OR REPLACE TRIGGER capture_change AFTER UPDATE OR DELETE ON public.analysis_results
    FOR EACH ROW EXECUTE FUNCTION public.capture_change('case_id', '', '');
ALTER TABLE public.analysis_results ENABLE ALWAYS TRIGGER capture_change;

CREATE OR REPLACE TRIGGER capture_change AFTER DELETE ON public.processing_jobs
    FOR EACH ROW EXECUTE FUNCTION public.capture_change('case_id', 'lease_expires_at', '');
ALTER TABLE public.processing_jobs ENABLE ALWAYS TRIGGER capture_change;
