SET LOCAL check_function_bodies = off;

DO $body$ BEGIN
    -- Asked first: without the right to create roles not even an existing one could be "created".
    IF to_regrole('sti_wide') IS NULL THEN
        CREATE ROLE sti_wide NOLOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL; -- another database of this server made it, perhaps this very moment
END $body$;

GRANT USAGE ON SCHEMA public TO sti_wide;

-- Logins that serve sessions may become it; where this owner may not give it, their users stay with sti_app.
DO $body$ DECLARE
    login text;
BEGIN
    FOR login IN SELECT m.rolname FROM pg_auth_members a JOIN pg_roles m ON m.oid = a.member
                  WHERE a.roleid = 'sti_app'::regrole AND m.rolcanlogin LOOP
        EXECUTE format('GRANT sti_wide TO %I', login);
    END LOOP;
EXCEPTION WHEN insufficient_privilege THEN
    RAISE NOTICE 'run init_db as somebody who may grant sti_wide';
END $body$;

REVOKE INSERT (case_code, title, description, status_id, priority_id, opened_by_id, closed_at) ON public.cases FROM sti_app, sti_admin;

REVOKE INSERT (case_id, audio_file_id, kind, priority, payload, result, run_after, max_attempts, leased_by_id, lease_expires_at, worker, started_at, finished_at, error_message, created_by_id) ON public.processing_jobs FROM sti_app, sti_admin;

REVOKE INSERT (case_id, audio_file_id, language_id, version, based_on_id, content, confidence, model_name, model_version, accepted_at, accepted_by_id, created_by_id) ON public.transcriptions FROM sti_app, sti_admin;

REVOKE INSERT (case_id, audio_file_id, transcription_id, version, summary, sentiment_id, sentiment_score, details, model_name, model_version, accepted_at, accepted_by_id, created_by_id) ON public.analysis_results FROM sti_app, sti_admin;

REVOKE INSERT (case_id, author_id, body) ON public.case_notes FROM sti_app, sti_admin;

REVOKE INSERT (case_id, name, path, size_bytes, sha256, content_type, duration_ms, sample_rate_hz, channels, codec, is_truncated, recorded_at, language_id, status_id, processed_at, error_message, storage_type, storage_config, is_archived, archive_reason, uploaded_by_id) ON public.audio_files FROM sti_app, sti_admin;

REVOKE INSERT (case_id, reason, placed_by_id, released_at, released_by_id, release_reason) ON public.legal_holds FROM sti_app, sti_admin;

REVOKE INSERT (case_id, transcription_id, dialect, name, sha256, content) ON public.transcription_sources FROM sti_app, sti_admin;

REVOKE INSERT (case_id, transcription_id, position, start_ms, end_ms, speaker, text, words, confidence, flags, search_config) ON public.transcription_segments FROM sti_app, sti_admin;

REVOKE INSERT (case_id, user_id, role, permissions, expires_at, added_by_id) ON public.case_participants FROM sti_app, sti_admin;

REVOKE SELECT (id, username, email, full_name, is_active, last_login, role_id, created_at, updated_at, row_version) ON public.users FROM sti_app, sti_admin;

REVOKE SELECT ON public.activity_logs FROM sti_app, sti_admin;

REVOKE SELECT ON public.activity_types FROM sti_app;

REVOKE SELECT ON public.audio_statuses FROM sti_app;

REVOKE SELECT ON public.case_priorities FROM sti_app;

REVOKE SELECT ON public.case_statuses FROM sti_app;

REVOKE SELECT ON public.languages FROM sti_app;

REVOKE SELECT ON public.legal_holds FROM sti_app, sti_admin;

REVOKE SELECT ON public.sentiments FROM sti_app;

REVOKE SELECT ON public.storage_objects FROM sti_app, sti_admin;

REVOKE SELECT ON public.transcription_segments FROM sti_app, sti_admin;

REVOKE SELECT ON public.transcription_sources FROM sti_app, sti_admin;

REVOKE SELECT ON public.user_roles FROM sti_app;

REVOKE SELECT, DELETE ON public.analysis_results FROM sti_app, sti_admin;

REVOKE SELECT, DELETE ON public.audio_files FROM sti_app, sti_admin;

REVOKE SELECT, DELETE ON public.case_notes FROM sti_app, sti_admin;

REVOKE SELECT, DELETE ON public.case_participants FROM sti_app, sti_admin;

REVOKE SELECT, DELETE ON public.cases FROM sti_app, sti_admin;

REVOKE SELECT, DELETE ON public.processing_jobs FROM sti_app, sti_admin;

REVOKE SELECT, DELETE ON public.transcriptions FROM sti_app, sti_admin;

REVOKE UPDATE (accepted_at, accepted_by_id) ON public.analysis_results FROM sti_app, sti_admin;

REVOKE UPDATE (accepted_at, accepted_by_id) ON public.transcriptions FROM sti_app, sti_admin;

REVOKE UPDATE (body) ON public.case_notes FROM sti_app, sti_admin;

REVOKE UPDATE (case_code, title, description, status_id, priority_id, closed_at) ON public.cases FROM sti_app, sti_admin;

REVOKE UPDATE (email, full_name) ON public.users FROM sti_app;

REVOKE UPDATE (name, recorded_at, language_id, status_id, processed_at, error_message, is_archived, archive_reason) ON public.audio_files FROM sti_app, sti_admin;

REVOKE UPDATE (released_at, released_by_id, release_reason) ON public.legal_holds FROM sti_app, sti_admin;

REVOKE UPDATE (role, permissions, expires_at) ON public.case_participants FROM sti_app, sti_admin;

CREATE OR REPLACE FUNCTION public.schema_revision()
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $body$ SELECT '0002'::text $body$;
REVOKE ALL ON FUNCTION public.schema_revision() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.schema_revision() TO PUBLIC;

CREATE OR REPLACE FUNCTION public.begin_actor(token text, reason text, request text)
RETURNS TABLE (actor bigint, database_role text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan AS $body$
-- All in one: each transaction waits for this, and a function that calls a function costs as much again.
DECLARE
    part text[] := string_to_array(token, '|');
    pads record;
    u record;
    body text;
    minted text := '';
BEGIN
    database_role := 'sti_app';
    IF cardinality(part) IN (6, 7) AND octet_length(token) <= 2000 AND part[2] ~ '^[0-9]{1,18}$' THEN
        SELECT k.inner_pad, k.outer_pad INTO pads FROM public.actor_keys k
         WHERE k.id = part[2]::bigint AND (k.retired_at IS NULL OR k.retired_at > now());
        IF FOUND AND part[1] = encode(sha256(pads.outer_pad || sha256(
                pads.inner_pad || convert_to(array_to_string(part[2:], '|'), 'UTF8'))), 'hex') THEN
            -- Authentic from here on, so the casts below cannot fail on somebody's invention.
            IF part[3]::bigint = pg_backend_pid() AND part[4]::bigint >= extract(epoch FROM now())
               AND part[5] = 'session' THEN
                SELECT x.id, x.role_id, r.parent_id,
                       coalesce(jsonb_exists(r.permissions -> '*', '*'), false) AS everything
                  INTO u FROM public.users x JOIN public.user_roles r ON r.id = x.role_id
                 WHERE lower(x.username) = lower(part[6]) AND x.is_active;
                actor := u.id;
            END IF;
        END IF;
    END IF;
    IF actor IS NOT NULL THEN
        body := concat_ws('|', actor, pg_backend_pid(), (extract(epoch FROM now()) * 1000000)::bigint, part[2],
            -- Reading the server's own number takes as long as all the rest, so whoever signs may tell it.
            coalesce(part[7], (SELECT system_identifier FROM pg_control_system())::text));
        minted := body || '|' || encode(sha256(pads.outer_pad || sha256(
            pads.inner_pad || convert_to(body, 'UTF8'))), 'hex');
        IF u.everything OR u.parent_id IS NOT NULL AND public.role_permits(u.role_id, '*', '*') THEN
            database_role := 'sti_admin';
        ELSIF EXISTS (SELECT FROM public.case_participants p WHERE p.user_id = actor OFFSET 1000) THEN
            -- As many as ANALYZE last saw: it need not be exact, only cheap. -1 before the first time.
            IF EXISTS (SELECT FROM public.case_participants p WHERE p.user_id = actor OFFSET greatest(0, (
                   SELECT c.reltuples FROM pg_class c WHERE c.oid = 'public.cases'::regclass))::bigint / 10)
               AND pg_has_role(session_user, 'sti_wide', 'MEMBER') THEN
                database_role := 'sti_wide';
            END IF;
        END IF;
    END IF;
    PERFORM set_config('sti.reason', coalesce(reason, ''), true),
            set_config('sti.request', coalesce(request, ''), true),
            set_config('sti.actor', minted, true);
    RETURN NEXT;
END
$body$;
REVOKE ALL ON FUNCTION public.begin_actor(text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.begin_actor(text, text, text) TO PUBLIC;

CREATE OR REPLACE FUNCTION public.signed_actor()
RETURNS bigint LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan AS $body$
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
    RETURN coalesce((
        SELECT u.id FROM public.actor_keys k, public.users u
         WHERE k.id = part[4]::bigint AND u.id = part[1]::bigint AND true
           AND part[6] = encode(sha256(k.outer_pad || sha256(
                   k.inner_pad || convert_to(array_to_string(part[1:5], '|'), 'UTF8'))), 'hex')), NULL);
END
$body$;
REVOKE ALL ON FUNCTION public.signed_actor() FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.actor_id()
RETURNS bigint LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan AS $body$
DECLARE
    part text[] := string_to_array(current_setting('sti.actor', true), '|');
BEGIN
    IF cardinality(part) IS DISTINCT FROM 6 OR part[2] <> pg_backend_pid()::text
       OR part[3] <> (extract(epoch FROM now()) * 1000000)::bigint::text
       OR part[1] !~ '^[0-9]{1,18}$' OR part[4] !~ '^[0-9]{1,18}$' THEN
        RETURN NULL;
    END IF;
    RETURN coalesce((
        SELECT u.id FROM public.actor_keys k, public.users u
         WHERE k.id = part[4]::bigint AND u.id = part[1]::bigint AND u.is_active
           AND part[6] = encode(sha256(k.outer_pad || sha256(
                   k.inner_pad || convert_to(array_to_string(part[1:5], '|'), 'UTF8'))), 'hex')), NULL);
END
$body$;
REVOKE ALL ON FUNCTION public.actor_id() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.actor_id() TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.credential(token text)
RETURNS TABLE (user_id bigint, username text, password_hash text, is_active boolean, wait_seconds double precision)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
    SELECT u.id, u.username, u.password_hash, u.is_active, public.login_wait(u.id) FROM public.users u
     WHERE lower(u.username) = lower(public.verify_token(token, 'login'))
$body$;
REVOKE ALL ON FUNCTION public.credential(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.credential(text) TO sti_app, sti_wide, sti_admin;

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
GRANT EXECUTE ON FUNCTION public.store_credential(text, text) TO sti_app, sti_wide, sti_admin;

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
GRANT EXECUTE ON FUNCTION public.record_login(text, text, text) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.role_permits(role bigint, subject text, verb text)
RETURNS boolean LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan AS $body$
DECLARE
    link bigint := role;
    given jsonb;
BEGIN
    -- Step by step: most roles have no parent, and a recursive query costs three times as much for one of these.
    FOR depth IN 1..32 LOOP
        SELECT r.parent_id, r.permissions INTO link, given FROM public.user_roles r WHERE r.id = link;
        EXIT WHEN NOT FOUND;
        IF jsonb_exists(given -> '*', '*') OR jsonb_exists_any(given -> subject, ARRAY[verb, '*']) THEN
            RETURN true;
        END IF;
    END LOOP;
    RETURN false;
END
$body$;
REVOKE ALL ON FUNCTION public.role_permits(bigint, text, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.actor_may(subject text, verb text)
RETURNS boolean LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan AS $body$
DECLARE
    part text[] := string_to_array(current_setting('sti.actor', true), '|');
BEGIN
    IF cardinality(part) IS DISTINCT FROM 6 OR part[2] <> pg_backend_pid()::text
       OR part[3] <> (extract(epoch FROM now()) * 1000000)::bigint::text
       OR part[1] !~ '^[0-9]{1,18}$' OR part[4] !~ '^[0-9]{1,18}$' THEN
        RETURN false;
    END IF;
    RETURN coalesce((
        SELECT public.role_permits(u.role_id, subject, verb) FROM public.actor_keys k, public.users u
         WHERE k.id = part[4]::bigint AND u.id = part[1]::bigint AND u.is_active
           AND part[6] = encode(sha256(k.outer_pad || sha256(
                   k.inner_pad || convert_to(array_to_string(part[1:5], '|'), 'UTF8'))), 'hex')), false);
END
$body$;
REVOKE ALL ON FUNCTION public.actor_may(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.actor_may(text, text) TO sti_app, sti_wide, sti_admin;

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

CREATE OR REPLACE FUNCTION public.role_reason(role bigint, subject text, verb text)
RETURNS text LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
    WITH RECURSIVE chain (id, code, parent_id, depth) AS (
        SELECT r.id, r.code, r.parent_id, 1 FROM public.user_roles r WHERE r.id = role
        UNION ALL
        SELECT r.id, r.code, r.parent_id, c.depth + 1
          FROM public.user_roles r JOIN chain c ON r.id = c.parent_id WHERE c.depth < 32
    )
    -- The farthest ancestor that has it is where it comes from.
    SELECT CASE WHEN c.depth = 1 THEN 'the role ' || c.code || ' has it'
                ELSE 'the role ' || (SELECT code FROM chain WHERE depth = 1) || ' has it from ' || c.code END
      FROM chain c WHERE public.role_permits(c.id, subject, verb) ORDER BY c.depth DESC LIMIT 1
$body$;
REVOKE ALL ON FUNCTION public.role_reason(bigint, text, text) FROM PUBLIC;

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
GRANT EXECUTE ON FUNCTION public.announce_object(bigint, text, text) TO sti_app, sti_wide, sti_admin;

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
GRANT EXECUTE ON FUNCTION public.role_permissions_known(jsonb) TO sti_app, sti_wide, sti_admin;

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

CREATE OR REPLACE FUNCTION public.guard_grant()
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    verb text;
BEGIN
    -- Members only: administrators hold everything, and the owner of the database is not bound by permissions.
    IF current_user <> ALL ('{sti_app,sti_wide}'::name[]) THEN
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
GRANT EXECUTE ON FUNCTION public.actor_name() TO sti_app, sti_wide, sti_admin;

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
        IF e.type NOT IN ('audio.opened', 'transcript.read', 'search.made', 'export.made', 'access.refused') THEN
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
GRANT EXECUTE ON FUNCTION public.record_reads(jsonb) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.search_vector(config text, body text)
RETURNS tsvector LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    -- A vector holds 1 MB; a text that long is cut for the index only, so that it can never make a row fail.
    RETURN to_tsvector(config::regconfig, left(body, 200000));
END
$body$;
REVOKE ALL ON FUNCTION public.search_vector(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_vector(text, text) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.search_query(config text, query text)
RETURNS tsquery LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    RETURN websearch_to_tsquery(config::regconfig, query);
END
$body$;
REVOKE ALL ON FUNCTION public.search_query(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_query(text, text) TO sti_app, sti_wide, sti_admin;

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
GRANT EXECUTE ON FUNCTION public.search_segments(text, bigint, integer) TO sti_app, sti_wide, sti_admin;

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
GRANT EXECUTE ON FUNCTION public.complete_job(bigint, bigint, jsonb) TO sti_app, sti_wide, sti_admin;

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
GRANT EXECUTE ON FUNCTION public.fail_job(bigint, bigint, text, boolean, integer) TO sti_app, sti_wide, sti_admin;

DROP POLICY IF EXISTS cases_wide_select ON public.cases;
CREATE POLICY cases_wide_select ON public.cases FOR SELECT TO sti_wide
    USING (id IN (SELECT unnest((SELECT public.actor_case_ids('read')))) OR (opened_by_id = (SELECT public.actor_id()) AND opened_xid = pg_current_xact_id_if_assigned()));

DROP POLICY IF EXISTS cases_wide_insert ON public.cases;
CREATE POLICY cases_wide_insert ON public.cases FOR INSERT TO sti_wide
    WITH CHECK (opened_by_id = (SELECT public.actor_id()) AND (SELECT public.actor_may('case', 'open')));

DROP POLICY IF EXISTS cases_wide_update ON public.cases;
CREATE POLICY cases_wide_update ON public.cases FOR UPDATE TO sti_wide
    USING (id IN (SELECT unnest((SELECT public.actor_case_ids('write')))))
    WITH CHECK (id IN (SELECT unnest((SELECT public.actor_case_ids('write')))));

DROP POLICY IF EXISTS cases_wide_delete ON public.cases;
CREATE POLICY cases_wide_delete ON public.cases FOR DELETE TO sti_wide
    USING (id IN (SELECT unnest((SELECT public.actor_case_ids('delete')))));

DROP POLICY IF EXISTS case_participants_wide_select ON public.case_participants;
CREATE POLICY case_participants_wide_select ON public.case_participants FOR SELECT TO sti_wide
    USING (case_id IN (SELECT unnest((SELECT public.actor_case_ids('read')))));

DROP POLICY IF EXISTS case_participants_wide_insert ON public.case_participants;
CREATE POLICY case_participants_wide_insert ON public.case_participants FOR INSERT TO sti_wide
    WITH CHECK (case_id IN (SELECT unnest((SELECT public.actor_case_ids('manage')))) AND coalesce(added_by_id = (SELECT public.actor_id()), true));

DROP POLICY IF EXISTS case_participants_wide_update ON public.case_participants;
CREATE POLICY case_participants_wide_update ON public.case_participants FOR UPDATE TO sti_wide
    USING (case_id IN (SELECT unnest((SELECT public.actor_case_ids('manage')))))
    WITH CHECK (case_id IN (SELECT unnest((SELECT public.actor_case_ids('manage')))));

DROP POLICY IF EXISTS case_participants_wide_delete ON public.case_participants;
CREATE POLICY case_participants_wide_delete ON public.case_participants FOR DELETE TO sti_wide
    USING (case_id IN (SELECT unnest((SELECT public.actor_case_ids('manage')))));

DROP POLICY IF EXISTS case_notes_wide_select ON public.case_notes;
CREATE POLICY case_notes_wide_select ON public.case_notes FOR SELECT TO sti_wide
    USING (case_id IN (SELECT unnest((SELECT public.actor_case_ids('read')))));

DROP POLICY IF EXISTS case_notes_wide_insert ON public.case_notes;
CREATE POLICY case_notes_wide_insert ON public.case_notes FOR INSERT TO sti_wide
    WITH CHECK (case_id IN (SELECT unnest((SELECT public.actor_case_ids('write')))) AND coalesce(author_id = (SELECT public.actor_id()), true));

DROP POLICY IF EXISTS case_notes_wide_update ON public.case_notes;
CREATE POLICY case_notes_wide_update ON public.case_notes FOR UPDATE TO sti_wide
    USING (case_id IN (SELECT unnest((SELECT public.actor_case_ids('write')))))
    WITH CHECK (case_id IN (SELECT unnest((SELECT public.actor_case_ids('write')))));

DROP POLICY IF EXISTS case_notes_wide_delete ON public.case_notes;
CREATE POLICY case_notes_wide_delete ON public.case_notes FOR DELETE TO sti_wide
    USING (case_id IN (SELECT unnest((SELECT public.actor_case_ids('delete')))));

DROP POLICY IF EXISTS legal_holds_wide_select ON public.legal_holds;
CREATE POLICY legal_holds_wide_select ON public.legal_holds FOR SELECT TO sti_wide
    USING (case_id IN (SELECT unnest((SELECT public.actor_case_ids('read')))));

DROP POLICY IF EXISTS legal_holds_wide_insert ON public.legal_holds;
CREATE POLICY legal_holds_wide_insert ON public.legal_holds FOR INSERT TO sti_wide
    WITH CHECK (case_id IN (SELECT unnest((SELECT public.actor_case_ids('manage')))) AND coalesce(placed_by_id = (SELECT public.actor_id()), true) AND coalesce(released_by_id = (SELECT public.actor_id()), true));

DROP POLICY IF EXISTS legal_holds_wide_update ON public.legal_holds;
CREATE POLICY legal_holds_wide_update ON public.legal_holds FOR UPDATE TO sti_wide
    USING (case_id IN (SELECT unnest((SELECT public.actor_case_ids('manage')))))
    WITH CHECK (case_id IN (SELECT unnest((SELECT public.actor_case_ids('manage')))) AND coalesce(released_by_id = (SELECT public.actor_id()), true));

DROP POLICY IF EXISTS audio_files_wide_select ON public.audio_files;
CREATE POLICY audio_files_wide_select ON public.audio_files FOR SELECT TO sti_wide
    USING (case_id IN (SELECT unnest((SELECT public.actor_case_ids('read')))));

DROP POLICY IF EXISTS audio_files_wide_insert ON public.audio_files;
CREATE POLICY audio_files_wide_insert ON public.audio_files FOR INSERT TO sti_wide
    WITH CHECK (case_id IN (SELECT unnest((SELECT public.actor_case_ids('write')))) AND coalesce(uploaded_by_id = (SELECT public.actor_id()), true));

DROP POLICY IF EXISTS audio_files_wide_update ON public.audio_files;
CREATE POLICY audio_files_wide_update ON public.audio_files FOR UPDATE TO sti_wide
    USING (case_id IN (SELECT unnest((SELECT public.actor_case_ids('write')))))
    WITH CHECK (case_id IN (SELECT unnest((SELECT public.actor_case_ids('write')))));

DROP POLICY IF EXISTS audio_files_wide_delete ON public.audio_files;
CREATE POLICY audio_files_wide_delete ON public.audio_files FOR DELETE TO sti_wide
    USING (case_id IN (SELECT unnest((SELECT public.actor_case_ids('delete')))));

DROP POLICY IF EXISTS storage_objects_wide_select ON public.storage_objects;
CREATE POLICY storage_objects_wide_select ON public.storage_objects FOR SELECT TO sti_wide
    USING (case_id IN (SELECT unnest((SELECT public.actor_case_ids('read')))));

DROP POLICY IF EXISTS processing_jobs_wide_select ON public.processing_jobs;
CREATE POLICY processing_jobs_wide_select ON public.processing_jobs FOR SELECT TO sti_wide
    USING (case_id IN (SELECT unnest((SELECT public.actor_case_ids('read')))));

DROP POLICY IF EXISTS processing_jobs_wide_insert ON public.processing_jobs;
CREATE POLICY processing_jobs_wide_insert ON public.processing_jobs FOR INSERT TO sti_wide
    WITH CHECK (case_id IN (SELECT unnest((SELECT public.actor_case_ids('write')))) AND state = 'queued' AND coalesce(created_by_id = (SELECT public.actor_id()), true));

DROP POLICY IF EXISTS processing_jobs_wide_delete ON public.processing_jobs;
CREATE POLICY processing_jobs_wide_delete ON public.processing_jobs FOR DELETE TO sti_wide
    USING (case_id IN (SELECT unnest((SELECT public.actor_case_ids('delete')))));

DROP POLICY IF EXISTS transcriptions_wide_select ON public.transcriptions;
CREATE POLICY transcriptions_wide_select ON public.transcriptions FOR SELECT TO sti_wide
    USING (case_id IN (SELECT unnest((SELECT public.actor_case_ids('read')))));

DROP POLICY IF EXISTS transcriptions_wide_insert ON public.transcriptions;
CREATE POLICY transcriptions_wide_insert ON public.transcriptions FOR INSERT TO sti_wide
    WITH CHECK (case_id IN (SELECT unnest((SELECT public.actor_case_ids('write')))) AND coalesce(created_by_id = (SELECT public.actor_id()), true) AND coalesce(accepted_by_id = (SELECT public.actor_id()), true));

DROP POLICY IF EXISTS transcriptions_wide_update ON public.transcriptions;
CREATE POLICY transcriptions_wide_update ON public.transcriptions FOR UPDATE TO sti_wide
    USING (case_id IN (SELECT unnest((SELECT public.actor_case_ids('write')))))
    WITH CHECK (case_id IN (SELECT unnest((SELECT public.actor_case_ids('write')))) AND coalesce(accepted_by_id = (SELECT public.actor_id()), true));

DROP POLICY IF EXISTS transcriptions_wide_delete ON public.transcriptions;
CREATE POLICY transcriptions_wide_delete ON public.transcriptions FOR DELETE TO sti_wide
    USING (case_id IN (SELECT unnest((SELECT public.actor_case_ids('delete')))));

DROP POLICY IF EXISTS analysis_results_wide_select ON public.analysis_results;
CREATE POLICY analysis_results_wide_select ON public.analysis_results FOR SELECT TO sti_wide
    USING (case_id IN (SELECT unnest((SELECT public.actor_case_ids('read')))));

DROP POLICY IF EXISTS analysis_results_wide_insert ON public.analysis_results;
CREATE POLICY analysis_results_wide_insert ON public.analysis_results FOR INSERT TO sti_wide
    WITH CHECK (case_id IN (SELECT unnest((SELECT public.actor_case_ids('write')))) AND coalesce(created_by_id = (SELECT public.actor_id()), true) AND coalesce(accepted_by_id = (SELECT public.actor_id()), true));

DROP POLICY IF EXISTS analysis_results_wide_update ON public.analysis_results;
CREATE POLICY analysis_results_wide_update ON public.analysis_results FOR UPDATE TO sti_wide
    USING (case_id IN (SELECT unnest((SELECT public.actor_case_ids('write')))))
    WITH CHECK (case_id IN (SELECT unnest((SELECT public.actor_case_ids('write')))) AND coalesce(accepted_by_id = (SELECT public.actor_id()), true));

DROP POLICY IF EXISTS analysis_results_wide_delete ON public.analysis_results;
CREATE POLICY analysis_results_wide_delete ON public.analysis_results FOR DELETE TO sti_wide
    USING (case_id IN (SELECT unnest((SELECT public.actor_case_ids('delete')))));

DROP POLICY IF EXISTS transcription_segments_wide_select ON public.transcription_segments;
CREATE POLICY transcription_segments_wide_select ON public.transcription_segments FOR SELECT TO sti_wide
    USING (case_id IN (SELECT unnest((SELECT public.actor_case_ids('read')))));

DROP POLICY IF EXISTS transcription_segments_wide_insert ON public.transcription_segments;
CREATE POLICY transcription_segments_wide_insert ON public.transcription_segments FOR INSERT TO sti_wide
    WITH CHECK (case_id IN (SELECT unnest((SELECT public.actor_case_ids('write')))));

DROP POLICY IF EXISTS transcription_sources_wide_select ON public.transcription_sources;
CREATE POLICY transcription_sources_wide_select ON public.transcription_sources FOR SELECT TO sti_wide
    USING (case_id IN (SELECT unnest((SELECT public.actor_case_ids('read')))));

DROP POLICY IF EXISTS transcription_sources_wide_insert ON public.transcription_sources;
CREATE POLICY transcription_sources_wide_insert ON public.transcription_sources FOR INSERT TO sti_wide
    WITH CHECK (case_id IN (SELECT unnest((SELECT public.actor_case_ids('write')))));

DROP POLICY IF EXISTS users_wide_select ON public.users;
CREATE POLICY users_wide_select ON public.users FOR SELECT TO sti_wide
    USING ((SELECT public.actor_id()) IS NOT NULL);

DROP POLICY IF EXISTS users_wide_update ON public.users;
CREATE POLICY users_wide_update ON public.users FOR UPDATE TO sti_wide
    USING (id = (SELECT public.actor_id()))
    WITH CHECK (id = (SELECT public.actor_id()));

DROP POLICY IF EXISTS user_roles_wide_select ON public.user_roles;
CREATE POLICY user_roles_wide_select ON public.user_roles FOR SELECT TO sti_wide
    USING ((SELECT public.actor_id()) IS NOT NULL);

DROP POLICY IF EXISTS activity_types_wide_select ON public.activity_types;
CREATE POLICY activity_types_wide_select ON public.activity_types FOR SELECT TO sti_wide
    USING ((SELECT public.actor_id()) IS NOT NULL);

DROP POLICY IF EXISTS audio_statuses_wide_select ON public.audio_statuses;
CREATE POLICY audio_statuses_wide_select ON public.audio_statuses FOR SELECT TO sti_wide
    USING ((SELECT public.actor_id()) IS NOT NULL);

DROP POLICY IF EXISTS case_priorities_wide_select ON public.case_priorities;
CREATE POLICY case_priorities_wide_select ON public.case_priorities FOR SELECT TO sti_wide
    USING ((SELECT public.actor_id()) IS NOT NULL);

DROP POLICY IF EXISTS case_statuses_wide_select ON public.case_statuses;
CREATE POLICY case_statuses_wide_select ON public.case_statuses FOR SELECT TO sti_wide
    USING ((SELECT public.actor_id()) IS NOT NULL);

DROP POLICY IF EXISTS languages_wide_select ON public.languages;
CREATE POLICY languages_wide_select ON public.languages FOR SELECT TO sti_wide
    USING ((SELECT public.actor_id()) IS NOT NULL);

DROP POLICY IF EXISTS sentiments_wide_select ON public.sentiments;
CREATE POLICY sentiments_wide_select ON public.sentiments FOR SELECT TO sti_wide
    USING ((SELECT public.actor_id()) IS NOT NULL);

DROP POLICY IF EXISTS activity_logs_wide_select ON public.activity_logs;
CREATE POLICY activity_logs_wide_select ON public.activity_logs FOR SELECT TO sti_wide
    USING (case_id IN (SELECT unnest((SELECT public.actor_case_ids('read')))) OR actor_id = (SELECT public.actor_id()));

GRANT INSERT (case_code, title, description, status_id, priority_id, opened_by_id, closed_at) ON public.cases TO sti_app, sti_wide, sti_admin;

GRANT INSERT (case_id, audio_file_id, kind, priority, payload, result, run_after, max_attempts, leased_by_id, lease_expires_at, worker, started_at, finished_at, error_message, created_by_id) ON public.processing_jobs TO sti_app, sti_wide, sti_admin;

GRANT INSERT (case_id, audio_file_id, language_id, version, based_on_id, content, confidence, model_name, model_version, accepted_at, accepted_by_id, created_by_id) ON public.transcriptions TO sti_app, sti_wide, sti_admin;

GRANT INSERT (case_id, audio_file_id, transcription_id, version, summary, sentiment_id, sentiment_score, details, model_name, model_version, accepted_at, accepted_by_id, created_by_id) ON public.analysis_results TO sti_app, sti_wide, sti_admin;

GRANT INSERT (case_id, author_id, body) ON public.case_notes TO sti_app, sti_wide, sti_admin;

GRANT INSERT (case_id, name, path, size_bytes, sha256, content_type, duration_ms, sample_rate_hz, channels, codec, is_truncated, recorded_at, language_id, status_id, processed_at, error_message, storage_type, storage_config, is_archived, archive_reason, uploaded_by_id) ON public.audio_files TO sti_app, sti_wide, sti_admin;

GRANT INSERT (case_id, reason, placed_by_id, released_at, released_by_id, release_reason) ON public.legal_holds TO sti_app, sti_wide, sti_admin;

GRANT INSERT (case_id, transcription_id, dialect, name, sha256, content) ON public.transcription_sources TO sti_app, sti_wide, sti_admin;

GRANT INSERT (case_id, transcription_id, position, start_ms, end_ms, speaker, text, words, confidence, flags, search_config) ON public.transcription_segments TO sti_app, sti_wide, sti_admin;

GRANT INSERT (case_id, user_id, role, permissions, expires_at, added_by_id) ON public.case_participants TO sti_app, sti_wide, sti_admin;

GRANT SELECT (id, username, email, full_name, is_active, last_login, role_id, created_at, updated_at, row_version) ON public.users TO sti_app, sti_wide, sti_admin;

GRANT SELECT ON public.activity_logs TO sti_app, sti_wide, sti_admin;

GRANT SELECT ON public.activity_types TO sti_app, sti_wide;

GRANT SELECT ON public.audio_statuses TO sti_app, sti_wide;

GRANT SELECT ON public.case_priorities TO sti_app, sti_wide;

GRANT SELECT ON public.case_statuses TO sti_app, sti_wide;

GRANT SELECT ON public.languages TO sti_app, sti_wide;

GRANT SELECT ON public.legal_holds TO sti_app, sti_wide, sti_admin;

GRANT SELECT ON public.sentiments TO sti_app, sti_wide;

GRANT SELECT ON public.storage_objects TO sti_app, sti_wide, sti_admin;

GRANT SELECT ON public.transcription_segments TO sti_app, sti_wide, sti_admin;

GRANT SELECT ON public.transcription_sources TO sti_app, sti_wide, sti_admin;

GRANT SELECT ON public.user_roles TO sti_app, sti_wide;

GRANT SELECT, DELETE ON public.analysis_results TO sti_app, sti_wide, sti_admin;

GRANT SELECT, DELETE ON public.audio_files TO sti_app, sti_wide, sti_admin;

GRANT SELECT, DELETE ON public.case_notes TO sti_app, sti_wide, sti_admin;

GRANT SELECT, DELETE ON public.case_participants TO sti_app, sti_wide, sti_admin;

GRANT SELECT, DELETE ON public.cases TO sti_app, sti_wide, sti_admin;

GRANT SELECT, DELETE ON public.processing_jobs TO sti_app, sti_wide, sti_admin;

GRANT SELECT, DELETE ON public.transcriptions TO sti_app, sti_wide, sti_admin;

GRANT UPDATE (accepted_at, accepted_by_id) ON public.analysis_results TO sti_app, sti_wide, sti_admin;

GRANT UPDATE (accepted_at, accepted_by_id) ON public.transcriptions TO sti_app, sti_wide, sti_admin;

GRANT UPDATE (body) ON public.case_notes TO sti_app, sti_wide, sti_admin;

GRANT UPDATE (case_code, title, description, status_id, priority_id, closed_at) ON public.cases TO sti_app, sti_wide, sti_admin;

GRANT UPDATE (email, full_name) ON public.users TO sti_app, sti_wide;

GRANT UPDATE (name, recorded_at, language_id, status_id, processed_at, error_message, is_archived, archive_reason) ON public.audio_files TO sti_app, sti_wide, sti_admin;

GRANT UPDATE (released_at, released_by_id, release_reason) ON public.legal_holds TO sti_app, sti_wide, sti_admin;

GRANT UPDATE (role, permissions, expires_at) ON public.case_participants TO sti_app, sti_wide, sti_admin;

INSERT INTO public.activity_types (code, name, category) VALUES ('role.assigned', 'Gave a role', 'people')
ON CONFLICT (code) DO NOTHING;
