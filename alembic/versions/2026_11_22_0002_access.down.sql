SET LOCAL check_function_bodies = off;

DROP POLICY cases_wide_select ON public.cases;

DROP POLICY cases_wide_insert ON public.cases;

DROP POLICY cases_wide_update ON public.cases;

DROP POLICY cases_wide_delete ON public.cases;

DROP POLICY case_participants_wide_select ON public.case_participants;

DROP POLICY case_participants_wide_insert ON public.case_participants;

DROP POLICY case_participants_wide_update ON public.case_participants;

DROP POLICY case_participants_wide_delete ON public.case_participants;

DROP POLICY case_notes_wide_select ON public.case_notes;

DROP POLICY case_notes_wide_insert ON public.case_notes;

DROP POLICY case_notes_wide_update ON public.case_notes;

DROP POLICY case_notes_wide_delete ON public.case_notes;

DROP POLICY legal_holds_wide_select ON public.legal_holds;

DROP POLICY legal_holds_wide_insert ON public.legal_holds;

DROP POLICY legal_holds_wide_update ON public.legal_holds;

DROP POLICY audio_files_wide_select ON public.audio_files;

DROP POLICY audio_files_wide_insert ON public.audio_files;

DROP POLICY audio_files_wide_update ON public.audio_files;

DROP POLICY audio_files_wide_delete ON public.audio_files;

DROP POLICY storage_objects_wide_select ON public.storage_objects;

DROP POLICY processing_jobs_wide_select ON public.processing_jobs;

DROP POLICY processing_jobs_wide_insert ON public.processing_jobs;

DROP POLICY processing_jobs_wide_delete ON public.processing_jobs;

DROP POLICY transcriptions_wide_select ON public.transcriptions;

DROP POLICY transcriptions_wide_insert ON public.transcriptions;

DROP POLICY transcriptions_wide_update ON public.transcriptions;

DROP POLICY transcriptions_wide_delete ON public.transcriptions;

DROP POLICY analysis_results_wide_select ON public.analysis_results;

DROP POLICY analysis_results_wide_insert ON public.analysis_results;

DROP POLICY analysis_results_wide_update ON public.analysis_results;

DROP POLICY analysis_results_wide_delete ON public.analysis_results;

DROP POLICY transcription_segments_wide_select ON public.transcription_segments;

DROP POLICY transcription_segments_wide_insert ON public.transcription_segments;

DROP POLICY transcription_sources_wide_select ON public.transcription_sources;

DROP POLICY transcription_sources_wide_insert ON public.transcription_sources;

DROP POLICY users_wide_select ON public.users;

DROP POLICY users_wide_update ON public.users;

DROP POLICY user_roles_wide_select ON public.user_roles;

DROP POLICY activity_types_wide_select ON public.activity_types;

DROP POLICY audio_statuses_wide_select ON public.audio_statuses;

DROP POLICY case_priorities_wide_select ON public.case_priorities;

DROP POLICY case_statuses_wide_select ON public.case_statuses;

DROP POLICY languages_wide_select ON public.languages;

DROP POLICY sentiments_wide_select ON public.sentiments;

DROP POLICY activity_logs_wide_select ON public.activity_logs;

REVOKE INSERT (case_code, title, description, status_id, priority_id, opened_by_id, closed_at) ON public.cases FROM sti_app, sti_wide, sti_admin;

REVOKE INSERT (case_id, audio_file_id, kind, priority, payload, result, run_after, max_attempts, leased_by_id, lease_expires_at, worker, started_at, finished_at, error_message, created_by_id) ON public.processing_jobs FROM sti_app, sti_wide, sti_admin;

REVOKE INSERT (case_id, audio_file_id, language_id, version, based_on_id, content, confidence, model_name, model_version, accepted_at, accepted_by_id, created_by_id) ON public.transcriptions FROM sti_app, sti_wide, sti_admin;

REVOKE INSERT (case_id, audio_file_id, transcription_id, version, summary, sentiment_id, sentiment_score, details, model_name, model_version, accepted_at, accepted_by_id, created_by_id) ON public.analysis_results FROM sti_app, sti_wide, sti_admin;

REVOKE INSERT (case_id, author_id, body) ON public.case_notes FROM sti_app, sti_wide, sti_admin;

REVOKE INSERT (case_id, name, path, size_bytes, sha256, content_type, duration_ms, sample_rate_hz, channels, codec, is_truncated, recorded_at, language_id, status_id, processed_at, error_message, storage_type, storage_config, is_archived, archive_reason, uploaded_by_id) ON public.audio_files FROM sti_app, sti_wide, sti_admin;

REVOKE INSERT (case_id, reason, placed_by_id, released_at, released_by_id, release_reason) ON public.legal_holds FROM sti_app, sti_wide, sti_admin;

REVOKE INSERT (case_id, transcription_id, dialect, name, sha256, content) ON public.transcription_sources FROM sti_app, sti_wide, sti_admin;

REVOKE INSERT (case_id, transcription_id, position, start_ms, end_ms, speaker, text, words, confidence, flags, search_config) ON public.transcription_segments FROM sti_app, sti_wide, sti_admin;

REVOKE INSERT (case_id, user_id, role, permissions, expires_at, added_by_id) ON public.case_participants FROM sti_app, sti_wide, sti_admin;

REVOKE SELECT (id, username, email, full_name, is_active, last_login, role_id, created_at, updated_at, row_version) ON public.users FROM sti_app, sti_wide, sti_admin;

REVOKE SELECT ON public.activity_logs FROM sti_app, sti_wide, sti_admin;

REVOKE SELECT ON public.activity_types FROM sti_app, sti_wide;

REVOKE SELECT ON public.audio_statuses FROM sti_app, sti_wide;

REVOKE SELECT ON public.case_priorities FROM sti_app, sti_wide;

REVOKE SELECT ON public.case_statuses FROM sti_app, sti_wide;

REVOKE SELECT ON public.languages FROM sti_app, sti_wide;

REVOKE SELECT ON public.legal_holds FROM sti_app, sti_wide, sti_admin;

REVOKE SELECT ON public.sentiments FROM sti_app, sti_wide;

REVOKE SELECT ON public.storage_objects FROM sti_app, sti_wide, sti_admin;

REVOKE SELECT ON public.transcription_segments FROM sti_app, sti_wide, sti_admin;

REVOKE SELECT ON public.transcription_sources FROM sti_app, sti_wide, sti_admin;

REVOKE SELECT ON public.user_roles FROM sti_app, sti_wide;

REVOKE SELECT, DELETE ON public.analysis_results FROM sti_app, sti_wide, sti_admin;

REVOKE SELECT, DELETE ON public.audio_files FROM sti_app, sti_wide, sti_admin;

REVOKE SELECT, DELETE ON public.case_notes FROM sti_app, sti_wide, sti_admin;

REVOKE SELECT, DELETE ON public.case_participants FROM sti_app, sti_wide, sti_admin;

REVOKE SELECT, DELETE ON public.cases FROM sti_app, sti_wide, sti_admin;

REVOKE SELECT, DELETE ON public.processing_jobs FROM sti_app, sti_wide, sti_admin;

REVOKE SELECT, DELETE ON public.transcriptions FROM sti_app, sti_wide, sti_admin;

REVOKE UPDATE (accepted_at, accepted_by_id) ON public.analysis_results FROM sti_app, sti_wide, sti_admin;

REVOKE UPDATE (accepted_at, accepted_by_id) ON public.transcriptions FROM sti_app, sti_wide, sti_admin;

REVOKE UPDATE (body) ON public.case_notes FROM sti_app, sti_wide, sti_admin;

REVOKE UPDATE (case_code, title, description, status_id, priority_id, closed_at) ON public.cases FROM sti_app, sti_wide, sti_admin;

REVOKE UPDATE (email, full_name) ON public.users FROM sti_app, sti_wide;

REVOKE UPDATE (name, recorded_at, language_id, status_id, processed_at, error_message, is_archived, archive_reason) ON public.audio_files FROM sti_app, sti_wide, sti_admin;

REVOKE UPDATE (released_at, released_by_id, release_reason) ON public.legal_holds FROM sti_app, sti_wide, sti_admin;

REVOKE UPDATE (role, permissions, expires_at) ON public.case_participants FROM sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.schema_revision()
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $body$ SELECT '0001'::text $body$;
REVOKE ALL ON FUNCTION public.schema_revision() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.schema_revision() TO PUBLIC;

CREATE OR REPLACE FUNCTION public.begin_actor(token text, reason text, request text)
RETURNS TABLE (actor bigint, database_role text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    subject text := public.verify_token(token, 'session');
    role bigint;
BEGIN
    PERFORM set_config('sti.reason', coalesce(reason, ''), true),
            set_config('sti.request', coalesce(request, ''), true);
    SELECT u.id, u.role_id INTO actor, role FROM public.users u
     WHERE lower(u.username) = lower(subject) AND u.is_active;
    PERFORM set_config('sti.actor', CASE WHEN actor IS NULL THEN ''
                            ELSE public.mint_actor(actor, split_part(token, '|', 2)::bigint) END, true);
    database_role := CASE WHEN public.role_permits(role, '*', '*') THEN 'sti_admin' ELSE 'sti_app' END;
    RETURN NEXT;
END
$body$;
REVOKE ALL ON FUNCTION public.begin_actor(text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.begin_actor(text, text, text) TO PUBLIC;

CREATE OR REPLACE FUNCTION public.signed_actor()
RETURNS bigint LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
-- Whose signature this transaction bears, active or not: what somebody did before he was switched off, switching
-- himself off included, stands under his name.
DECLARE
    part text[] := string_to_array(current_setting('sti.actor', true), '|');
BEGIN
    IF cardinality(part) IS DISTINCT FROM 6 OR part[2] <> pg_backend_pid()::text
       OR part[3] <> (extract(epoch FROM now()) * 1000000)::bigint::text
       OR part[1] !~ '^[0-9]{1,18}$' OR part[4] !~ '^[0-9]{1,18}$' THEN
        RETURN NULL;
    END IF;
    RETURN (
        SELECT u.id FROM public.actor_keys k, public.users u
         WHERE k.id = part[4]::bigint AND u.id = part[1]::bigint
           AND part[6] = encode(sha256(k.outer_pad || sha256(
                   k.inner_pad || convert_to(array_to_string(part[1:5], '|'), 'UTF8'))), 'hex'));
END
$body$;
REVOKE ALL ON FUNCTION public.signed_actor() FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.actor_id()
RETURNS bigint LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    RETURN (SELECT u.id FROM public.users u WHERE u.id = public.signed_actor() AND u.is_active);
END
$body$;
REVOKE ALL ON FUNCTION public.actor_id() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.actor_id() TO sti_app, sti_admin;

CREATE OR REPLACE FUNCTION public.credential(token text)
RETURNS TABLE (user_id bigint, username text, password_hash text, is_active boolean, wait_seconds double precision)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
    SELECT u.id, u.username, u.password_hash, u.is_active, public.login_wait(u.id) FROM public.users u
     WHERE lower(u.username) = lower(public.verify_token(token, 'login'))
$body$;
REVOKE ALL ON FUNCTION public.credential(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.credential(text) TO sti_app, sti_admin;

CREATE OR REPLACE FUNCTION public.store_credential(token text, hash text)
RETURNS bigint LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    -- The subject names the user and the hash, so that the token is good for nothing else.
    subject text := public.verify_token(token, 'password');
    changed bigint;
BEGIN
    IF public.actor_id() IS NULL OR subject IS NULL
       OR split_part(subject, ' ', 1) <> encode(sha256(convert_to(hash, 'UTF8')), 'hex') THEN
        RAISE EXCEPTION 'the password was not changed: no proof that this actor may change it'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    UPDATE public.users u SET password_hash = hash
     WHERE lower(u.username) = lower(substr(subject, 66))
       AND (u.id = public.actor_id() OR public.actor_may('*', '*')) RETURNING u.id INTO changed;
    IF changed IS NULL THEN
        RAISE EXCEPTION 'no such user' USING ERRCODE = 'no_data_found';
    END IF;
    RETURN changed;
END
$body$;
REVOKE ALL ON FUNCTION public.store_credential(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.store_credential(text, text) TO sti_app, sti_admin;

CREATE OR REPLACE FUNCTION public.record_login(token text, outcome text, fresh_hash text)
RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    subject text := public.verify_token(token, 'login');
    outer_actor text := coalesce(current_setting('sti.actor', true), '');
    who bigint;
    known text;
BEGIN
    IF subject IS NULL OR outcome NOT IN ('succeeded', 'failed', 'early') THEN
        RAISE EXCEPTION 'the sign-in was not recorded: no valid token' USING ERRCODE = 'insufficient_privilege';
    END IF;
    SELECT u.id, u.username INTO who, known FROM public.users u WHERE lower(u.username) = lower(subject);
    IF outcome = 'succeeded' THEN
        DELETE FROM public.login_throttles t WHERE t.user_id = who;
        -- The password was right, so for this moment the transaction acts as its owner.
        PERFORM set_config('sti.actor', public.mint_actor(who, split_part(token, '|', 2)::bigint), true);
        UPDATE public.users u SET last_login = now(), password_hash = coalesce(fresh_hash, u.password_hash)
         WHERE u.id = who;
        PERFORM set_config('sti.actor', outer_actor, true);
    ELSIF outcome = 'failed' AND who IS NOT NULL THEN
        INSERT INTO public.login_throttles AS t (user_id, failures, last_failed_at) VALUES (who, 1, clock_timestamp())
            ON CONFLICT (user_id) DO UPDATE SET failures = t.failures + 1, last_failed_at = clock_timestamp();
    END IF;
    -- A name that nobody has may be a password in the wrong field: it is not written down.
    PERFORM public.append_activity(
        CASE outcome WHEN 'succeeded' THEN 'login.succeeded' ELSE 'login.failed' END, 'event', who,
        coalesce(known, '(unknown)'), NULL, 'users', who, NULL,
        CASE outcome WHEN 'early' THEN jsonb_build_object('early', true) END, NULL);
END
$body$;
REVOKE ALL ON FUNCTION public.record_login(text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.record_login(text, text, text) TO sti_app, sti_admin;

CREATE OR REPLACE FUNCTION public.role_permits(role bigint, subject text, verb text)
RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
    WITH RECURSIVE chain (parent_id, permissions, depth) AS (
        SELECT r.parent_id, r.permissions, 1 FROM public.user_roles r WHERE r.id = role
        UNION ALL
        SELECT r.parent_id, r.permissions, c.depth + 1
          FROM public.user_roles r JOIN chain c ON r.id = c.parent_id WHERE c.depth < 32
    )
    SELECT coalesce(bool_or(jsonb_exists(permissions -> '*', '*')
                            OR jsonb_exists_any(permissions -> subject, ARRAY[verb, '*'])), false) FROM chain
$body$;
REVOKE ALL ON FUNCTION public.role_permits(bigint, text, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.actor_may(subject text, verb text)
RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
    SELECT coalesce((SELECT public.role_permits(u.role_id, subject, verb)
                       FROM public.users u WHERE u.id = public.actor_id()), false)
$body$;
REVOKE ALL ON FUNCTION public.actor_may(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.actor_may(text, text) TO sti_app, sti_admin;

CREATE OR REPLACE FUNCTION public.participant_may(role text, permissions jsonb, verb text)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $body$
    SELECT (CASE role WHEN 'owner' THEN true WHEN 'editor' THEN verb IN ('read', 'write') ELSE verb = 'read' END
            OR coalesce(pg_catalog.jsonb_exists(permissions -> 'allow', verb), false))
       AND NOT coalesce(pg_catalog.jsonb_exists(permissions -> 'deny', verb), false)
$body$;
REVOKE ALL ON FUNCTION public.participant_may(text, jsonb, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.participant_may(text, jsonb, text) TO sti_app, sti_admin;

CREATE OR REPLACE FUNCTION public.actor_case_ids(verb text)
RETURNS bigint[] LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
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
        UNION
        -- A lease is also the grant: as long as the work lasts, and no longer.
        SELECT j.case_id FROM public.processing_jobs j
         WHERE j.leased_by_id = who AND j.state = 'running' AND j.lease_expires_at > now()
           AND verb IN ('read', 'write'));
END
$body$;
REVOKE ALL ON FUNCTION public.actor_case_ids(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.actor_case_ids(text) TO sti_app, sti_admin;

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
GRANT EXECUTE ON FUNCTION public.code_id(text, text) TO sti_app, sti_admin;

CREATE OR REPLACE FUNCTION public.announce_object(case_id bigint, key text, backend text)
RETURNS bigint LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    announced bigint;
BEGIN
    -- In a transaction of its own, so it cannot ask whether the case is the actor's: it may have been opened in a
    -- transaction that has not committed. Nothing is gained by announcing: only the case's recordings can adopt it.
    IF public.actor_id() IS NULL THEN
        RAISE EXCEPTION 'no actor: nothing is stored unsigned' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF key !~ ('^cases/' || case_id || '/[0-9a-f-]{36}[.][a-z0-9]{1,8}$') THEN
        RAISE EXCEPTION 'not a key of case %: %', case_id, key USING ERRCODE = 'invalid_parameter_value';
    END IF;
    INSERT INTO public.storage_objects (case_id, key, backend)
    VALUES (announce_object.case_id, announce_object.key, announce_object.backend) RETURNING id INTO announced;
    RETURN announced;
END
$body$;
REVOKE ALL ON FUNCTION public.announce_object(bigint, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.announce_object(bigint, text, text) TO sti_app, sti_admin;

CREATE OR REPLACE FUNCTION public.role_permissions_known(permissions jsonb)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $body$
    -- A CASE, since AND does not promise to look at the type before it looks inside.
    SELECT CASE WHEN jsonb_typeof(permissions) = 'object' THEN (
        SELECT coalesce(bool_and(CASE WHEN jsonb_typeof(e.value) = 'array'
                   THEN coalesce(e.value <@ (k.known -> e.key), false) ELSE false END), true)
          FROM jsonb_each(permissions) e, (SELECT '{"case": ["open"], "job": ["claim"], "*": ["*"]}'::jsonb) AS k (known))
        ELSE false END
$body$;
REVOKE ALL ON FUNCTION public.role_permissions_known(jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.role_permissions_known(jsonb) TO sti_app, sti_admin;

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
GRANT EXECUTE ON FUNCTION public.participation_known(jsonb) TO sti_app, sti_admin;

CREATE OR REPLACE FUNCTION public.guard_grant()
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    verb text;
BEGIN
    -- Members only: administrators hold everything, and the owner of the database is not bound by permissions.
    IF current_user <> 'sti_app' THEN
        RETURN NEW;
    END IF;
    FOREACH verb IN ARRAY '{read,write,delete,manage}'::text[] LOOP
        IF public.participant_may(NEW.role, NEW.permissions, verb)
           AND NOT NEW.case_id = ANY (public.actor_case_ids(verb)) THEN
            RAISE EXCEPTION 'nobody grants what he does not hold: % in case %', verb, NEW.case_id
                USING ERRCODE = 'insufficient_privilege';
        END IF;
    END LOOP;
    RETURN NEW;
END
$body$;
REVOKE ALL ON FUNCTION public.guard_grant() FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.actor_name()
RETURNS text LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    known text := (SELECT u.username FROM public.users u WHERE u.id = public.signed_actor());
BEGIN
    IF known IS NULL AND pg_has_role(session_user, current_user, 'MEMBER') THEN
        -- The owner at work: a migration, maintenance, the first administrator.
        RETURN 'operator:' || session_user;
    END IF;
    RETURN known;
END
$body$;
REVOKE ALL ON FUNCTION public.actor_name() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.actor_name() TO sti_app, sti_admin;

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
GRANT EXECUTE ON FUNCTION public.record_activity(text, bigint, text, bigint, jsonb) TO sti_app, sti_admin;

CREATE OR REPLACE FUNCTION public.record_reads(entries jsonb)
RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    who bigint := public.actor_id();
    known text := public.actor_name();
    everything boolean := public.actor_may('*', '*');
    readable bigint[] := public.actor_case_ids('read');
    e record;
BEGIN
    IF who IS NULL THEN
        RAISE EXCEPTION 'no actor: nothing is recorded unsigned' USING ERRCODE = 'insufficient_privilege';
    END IF;
    FOR e IN SELECT * FROM jsonb_to_recordset(entries)
                 AS x (type text, case_id bigint, entity text, entity_id bigint, detail jsonb) LOOP
        IF e.type NOT IN ('audio.opened', 'transcript.read', 'search.made', 'export.made') THEN
            RAISE EXCEPTION '% is no kind of reading', e.type USING ERRCODE = 'invalid_parameter_value';
        END IF;
        -- A case that was opened in a transaction that rolled back is nobody's: the reading stands without it.
        PERFORM public.append_activity(e.type, 'event', who, known,
            CASE WHEN everything OR e.case_id = ANY (readable) THEN e.case_id END, e.entity, e.entity_id, NULL,
            e.detail, NULL);
    END LOOP;
END
$body$;
REVOKE ALL ON FUNCTION public.record_reads(jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.record_reads(jsonb) TO sti_app, sti_admin;

CREATE OR REPLACE FUNCTION public.search_vector(config text, body text)
RETURNS tsvector LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    -- A vector holds 1 MB; a text that long is cut for the index only, so that it can never make a row fail.
    RETURN to_tsvector(config::regconfig, left(body, 200000));
END
$body$;
REVOKE ALL ON FUNCTION public.search_vector(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_vector(text, text) TO sti_app, sti_admin;

CREATE OR REPLACE FUNCTION public.search_query(config text, query text)
RETURNS tsquery LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    RETURN websearch_to_tsquery(config::regconfig, query);
END
$body$;
REVOKE ALL ON FUNCTION public.search_query(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_query(text, text) TO sti_app, sti_admin;

CREATE OR REPLACE FUNCTION public.search_segments(query text, only_case bigint, most integer)
RETURNS TABLE (segment_id bigint, rank real)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    everything boolean := public.actor_may('*', '*');
    allowed bigint[] := public.actor_case_ids('read');
    config text;
    terms tsquery;
BEGIN
    FOR config IN SELECT DISTINCT l.search_config FROM public.languages l LOOP
        terms := public.search_query(config, query);
        CONTINUE WHEN numnode(terms) = 0;
        RETURN QUERY
            SELECT s.id, ts_rank(s.search, terms) FROM public.transcription_segments s
              JOIN public.transcriptions t ON t.id = s.transcription_id
             WHERE s.search @@ terms AND s.search_config = config
               AND (only_case IS NULL OR s.case_id = only_case)
               AND (everything OR s.case_id = ANY (allowed))
               AND NOT EXISTS (SELECT FROM public.transcriptions newer
                                WHERE newer.audio_file_id = t.audio_file_id AND newer.language_id = t.language_id
                                  AND newer.version > t.version)
             ORDER BY 2 DESC, 1 LIMIT least(most, 1000);
    END LOOP;
END
$body$;
REVOKE ALL ON FUNCTION public.search_segments(text, bigint, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_segments(text, bigint, integer) TO sti_app, sti_admin;

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
GRANT EXECUTE ON FUNCTION public.claim_job(text[], text, integer) TO sti_app, sti_admin;

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
GRANT EXECUTE ON FUNCTION public.extend_lease(bigint, bigint, integer) TO sti_app, sti_admin;

CREATE OR REPLACE FUNCTION public.complete_job(job_id bigint, held_lease bigint, outcome jsonb)
RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
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
    PERFORM public.append_activity('job.completed', 'event', public.actor_id(), public.actor_name(), job.case_id,
        'processing_jobs', job.id, NULL, jsonb_build_object('name', job.kind, 'attempt', job.attempts), NULL);
    UPDATE public.audio_files SET status_id = public.code_id('audio_statuses', 'processed'), processed_at = now(),
           error_message = NULL WHERE id = job.audio_file_id;
    UPDATE public.processing_jobs SET state = 'done', result = outcome, finished_at = now(), lease_expires_at = NULL,
           leased_by_id = NULL, error_message = NULL WHERE id = job_id;
END
$body$;
REVOKE ALL ON FUNCTION public.complete_job(bigint, bigint, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.complete_job(bigint, bigint, jsonb) TO sti_app, sti_admin;

CREATE OR REPLACE FUNCTION public.fail_job(job_id bigint, held_lease bigint, message text, retry boolean, delay_seconds integer)
RETURNS text LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    job record;
    outcome text;
BEGIN
    SELECT j.* INTO job FROM public.processing_jobs j
     WHERE j.id = job_id AND j.state = 'running' AND j.lease = held_lease AND j.leased_by_id = public.actor_id()
       AND j.lease_expires_at > clock_timestamp() FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'job %: the lease is lost; another worker has the job, or its time ran out', job_id
            USING ERRCODE = 'STI01';
    END IF;
    PERFORM public.append_activity('job.failed', 'event', public.actor_id(), public.actor_name(), job.case_id,
        'processing_jobs', job.id, NULL, jsonb_build_object('name', job.kind, 'attempt', job.attempts) || jsonb_build_object('error', left(message, 500)), NULL);
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
GRANT EXECUTE ON FUNCTION public.fail_job(bigint, bigint, text, boolean, integer) TO sti_app, sti_admin;

GRANT INSERT (case_code, title, description, status_id, priority_id, opened_by_id, closed_at) ON public.cases TO sti_app, sti_admin;

GRANT INSERT (case_id, audio_file_id, kind, priority, payload, result, run_after, max_attempts, leased_by_id, lease_expires_at, worker, started_at, finished_at, error_message, created_by_id) ON public.processing_jobs TO sti_app, sti_admin;

GRANT INSERT (case_id, audio_file_id, language_id, version, based_on_id, content, confidence, model_name, model_version, accepted_at, accepted_by_id, created_by_id) ON public.transcriptions TO sti_app, sti_admin;

GRANT INSERT (case_id, audio_file_id, transcription_id, version, summary, sentiment_id, sentiment_score, details, model_name, model_version, accepted_at, accepted_by_id, created_by_id) ON public.analysis_results TO sti_app, sti_admin;

GRANT INSERT (case_id, author_id, body) ON public.case_notes TO sti_app, sti_admin;

GRANT INSERT (case_id, name, path, size_bytes, sha256, content_type, duration_ms, sample_rate_hz, channels, codec, is_truncated, recorded_at, language_id, status_id, processed_at, error_message, storage_type, storage_config, is_archived, archive_reason, uploaded_by_id) ON public.audio_files TO sti_app, sti_admin;

GRANT INSERT (case_id, reason, placed_by_id, released_at, released_by_id, release_reason) ON public.legal_holds TO sti_app, sti_admin;

GRANT INSERT (case_id, transcription_id, dialect, name, sha256, content) ON public.transcription_sources TO sti_app, sti_admin;

GRANT INSERT (case_id, transcription_id, position, start_ms, end_ms, speaker, text, words, confidence, flags, search_config) ON public.transcription_segments TO sti_app, sti_admin;

GRANT INSERT (case_id, user_id, role, permissions, expires_at, added_by_id) ON public.case_participants TO sti_app, sti_admin;

GRANT SELECT (id, username, email, full_name, is_active, last_login, role_id, created_at, updated_at, row_version) ON public.users TO sti_app, sti_admin;

GRANT SELECT ON public.activity_logs TO sti_app, sti_admin;

GRANT SELECT ON public.activity_types TO sti_app;

GRANT SELECT ON public.audio_statuses TO sti_app;

GRANT SELECT ON public.case_priorities TO sti_app;

GRANT SELECT ON public.case_statuses TO sti_app;

GRANT SELECT ON public.languages TO sti_app;

GRANT SELECT ON public.legal_holds TO sti_app, sti_admin;

GRANT SELECT ON public.sentiments TO sti_app;

GRANT SELECT ON public.storage_objects TO sti_app, sti_admin;

GRANT SELECT ON public.transcription_segments TO sti_app, sti_admin;

GRANT SELECT ON public.transcription_sources TO sti_app, sti_admin;

GRANT SELECT ON public.user_roles TO sti_app;

GRANT SELECT, DELETE ON public.analysis_results TO sti_app, sti_admin;

GRANT SELECT, DELETE ON public.audio_files TO sti_app, sti_admin;

GRANT SELECT, DELETE ON public.case_notes TO sti_app, sti_admin;

GRANT SELECT, DELETE ON public.case_participants TO sti_app, sti_admin;

GRANT SELECT, DELETE ON public.cases TO sti_app, sti_admin;

GRANT SELECT, DELETE ON public.processing_jobs TO sti_app, sti_admin;

GRANT SELECT, DELETE ON public.transcriptions TO sti_app, sti_admin;

GRANT UPDATE (accepted_at, accepted_by_id) ON public.analysis_results TO sti_app, sti_admin;

GRANT UPDATE (accepted_at, accepted_by_id) ON public.transcriptions TO sti_app, sti_admin;

GRANT UPDATE (body) ON public.case_notes TO sti_app, sti_admin;

GRANT UPDATE (case_code, title, description, status_id, priority_id, closed_at) ON public.cases TO sti_app, sti_admin;

GRANT UPDATE (email, full_name) ON public.users TO sti_app;

GRANT UPDATE (name, recorded_at, language_id, status_id, processed_at, error_message, is_archived, archive_reason) ON public.audio_files TO sti_app, sti_admin;

GRANT UPDATE (released_at, released_by_id, release_reason) ON public.legal_holds TO sti_app, sti_admin;

GRANT UPDATE (role, permissions, expires_at) ON public.case_participants TO sti_app, sti_admin;

DROP FUNCTION public.role_reason(bigint, text, text);

DROP FUNCTION public.explain_permissions(bigint, bigint);

REVOKE ALL ON ALL TABLES IN SCHEMA public FROM sti_wide;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA public FROM sti_wide;
DO $body$ BEGIN
    REVOKE ALL ON SCHEMA public FROM sti_wide;
EXCEPTION WHEN undefined_object THEN
    NULL; -- removed before
END $body$;
DO $body$ BEGIN
    DROP ROLE sti_wide;
EXCEPTION WHEN dependent_objects_still_exist OR insufficient_privilege OR undefined_object THEN
    NULL; -- another database of this server uses it
END $body$;
