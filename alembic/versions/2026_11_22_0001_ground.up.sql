DO $body$ BEGIN
    -- Asked first: without the right to create roles not even an existing one could be "created".
    IF to_regrole('sti_app') IS NULL THEN
        CREATE ROLE sti_app NOLOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL; -- another database of this server made it, perhaps this very moment
END $body$;
DO $body$ BEGIN
    -- Asked first: without the right to create roles not even an existing one could be "created".
    IF to_regrole('sti_admin') IS NULL THEN
        CREATE ROLE sti_admin NOLOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL; -- another database of this server made it, perhaps this very moment
END $body$;

SET LOCAL check_function_bodies = off;

CREATE OR REPLACE FUNCTION public.schema_revision()
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $body$ SELECT '0001'::text $body$;
REVOKE ALL ON FUNCTION public.schema_revision() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.schema_revision() TO PUBLIC;

CREATE OR REPLACE FUNCTION public.verify_token(token text, purpose text)
RETURNS text LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    part text[] := string_to_array(token, '|');
    pads record;
BEGIN
    IF cardinality(part) IS DISTINCT FROM 6 OR octet_length(token) > 2000 OR part[2] !~ '^[0-9]{1,18}$' THEN
        RETURN NULL;
    END IF;
    SELECT k.inner_pad, k.outer_pad INTO pads FROM public.actor_keys k
     WHERE k.id = part[2]::bigint AND (k.retired_at IS NULL OR k.retired_at > now());
    IF NOT FOUND OR part[1] <> encode(sha256(pads.outer_pad || sha256(
        pads.inner_pad || convert_to(array_to_string(part[2:6], '|'), 'UTF8'))), 'hex') THEN
        RETURN NULL;
    END IF;
    -- Authentic from here on, so the casts below cannot fail on somebody's invention.
    IF part[3]::bigint <> pg_backend_pid() OR part[4]::bigint < extract(epoch FROM now())
       OR part[5] <> verify_token.purpose THEN
        RETURN NULL;
    END IF;
    RETURN part[6];
END
$body$;
REVOKE ALL ON FUNCTION public.verify_token(text, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.mint_actor(who bigint, key_id bigint)
RETURNS text LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    body text := concat_ws('|', who, pg_backend_pid(), (extract(epoch FROM now()) * 1000000)::bigint, key_id,
                           (SELECT system_identifier FROM pg_control_system()));
BEGIN
    RETURN (SELECT body || '|' || encode(sha256(k.outer_pad || sha256(k.inner_pad || convert_to(body, 'UTF8'))), 'hex')
              FROM public.actor_keys k WHERE k.id = key_id);
END
$body$;
REVOKE ALL ON FUNCTION public.mint_actor(bigint, bigint) FROM PUBLIC;

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

CREATE OR REPLACE FUNCTION public.actor_epoch()
RETURNS bigint LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
    -- The token carries it since pg_control_system() reads a file; without a token there is nothing to trust but that.
    SELECT CASE WHEN public.signed_actor() IS NULL THEN (SELECT system_identifier FROM pg_control_system())
                ELSE split_part(current_setting('sti.actor', true), '|', 5)::bigint END
$body$;
REVOKE ALL ON FUNCTION public.actor_epoch() FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.login_wait(who bigint)
RETURNS double precision LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
    SELECT coalesce((
        SELECT greatest(0, least(
                   power(2, least(t.failures, 60) - 5),
                   CASE WHEN public.role_permits(u.role_id, '*', '*') AND NOT EXISTS (
                            SELECT FROM public.users other WHERE other.id <> u.id AND other.is_active
                               AND public.role_permits(other.role_id, '*', '*'))
                        THEN 30 ELSE 900 END)
                 - extract(epoch FROM clock_timestamp() - t.last_failed_at))
          FROM public.login_throttles t JOIN public.users u ON u.id = t.user_id
         WHERE t.user_id = who AND t.failures >= 5), 0)
$body$;
REVOKE ALL ON FUNCTION public.login_wait(bigint) FROM PUBLIC;

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

CREATE OR REPLACE FUNCTION public.touch_row()
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    NEW.created_at := OLD.created_at;
    NEW.updated_at := now();
    RETURN NEW;
END
$body$;
REVOKE ALL ON FUNCTION public.touch_row() FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.touch_versioned_row()
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    NEW.created_at := OLD.created_at;
    NEW.updated_at := now();
    NEW.row_version := OLD.row_version + 1;
    RETURN NEW;
END
$body$;
REVOKE ALL ON FUNCTION public.touch_versioned_row() FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.prepare_case()
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    NEW.case_code := coalesce(NEW.case_code, 'C-' || lpad(NEW.id::text, greatest(6, length(NEW.id::text)), '0'));
    NEW.opened_xid := pg_current_xact_id();
    RETURN NEW;
END
$body$;
REVOKE ALL ON FUNCTION public.prepare_case() FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.own_case()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    INSERT INTO public.case_participants (case_id, user_id, role, added_by_id)
    VALUES (NEW.id, NEW.opened_by_id, 'owner', NEW.opened_by_id);
    RETURN NULL;
END
$body$;
REVOKE ALL ON FUNCTION public.own_case() FROM PUBLIC;

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

CREATE OR REPLACE FUNCTION public.adopt_object()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    -- The bytes are durable before the row commits: their object was announced in a transaction of its own, and it
    -- becomes live together with the recording, or not at all.
    UPDATE public.storage_objects o
       SET state = 'live', size_bytes = NEW.size_bytes, sha256 = NEW.sha256, delete_after = NULL
     WHERE o.key = NEW.path AND o.case_id = NEW.case_id AND o.backend = NEW.storage_type AND o.state = 'pending';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no object of case % is waiting under %: store the bytes first', NEW.case_id, NEW.path
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'audio_files_path_fkey', TABLE = 'audio_files';
    END IF;
    RETURN NEW;
END
$body$;
REVOKE ALL ON FUNCTION public.adopt_object() FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.release_object()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    UPDATE public.storage_objects o SET state = 'deleting', delete_after = now() WHERE o.key = OLD.path;
    RETURN NULL;
END
$body$;
REVOKE ALL ON FUNCTION public.release_object() FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.refuse_change()
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    RAISE EXCEPTION '% of % is refused: %', TG_OP, TG_TABLE_NAME, TG_ARGV[0] USING ERRCODE = 'insufficient_privilege';
END
$body$;
REVOKE ALL ON FUNCTION public.refuse_change() FROM PUBLIC;

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

CREATE OR REPLACE FUNCTION public.guard_hierarchy()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    IF NEW.parent_id IS NULL THEN
        RETURN NEW;
    END IF;
    -- Two edges of one cycle can be drawn at once: whoever draws one locks all roles, of which there are few.
    PERFORM FROM public.user_roles ORDER BY id FOR UPDATE;
    IF EXISTS (
        WITH RECURSIVE chain (id, parent_id, depth) AS (
            SELECT r.id, r.parent_id, 1 FROM public.user_roles r WHERE r.id = NEW.parent_id
            UNION ALL
            SELECT r.id, r.parent_id, c.depth + 1 FROM public.user_roles r JOIN chain c ON r.id = c.parent_id
             WHERE c.depth <= 16
        )
        SELECT FROM chain c WHERE c.id = NEW.id OR c.depth > 15
    ) THEN
        RAISE EXCEPTION 'the role % cannot have this parent: a hierarchy has no cycle and at most 16 levels', NEW.code
            USING ERRCODE = 'STI02', CONSTRAINT = 'user_roles_hierarchy_check', TABLE = 'user_roles';
    END IF;
    RETURN NEW;
END
$body$;
REVOKE ALL ON FUNCTION public.guard_hierarchy() FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.guard_administrators()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    concerned boolean;
BEGIN
    IF TG_TABLE_NAME = 'users' THEN
        concerned := public.role_permits(OLD.role_id, '*', '*');
    ELSE
        -- A role that was, or inherited, an administrator's, and that somebody has.
        concerned := (coalesce(jsonb_exists(OLD.permissions -> '*', '*'), false)
                      OR public.role_permits(OLD.parent_id, '*', '*'))
            AND EXISTS (
                WITH RECURSIVE heirs (id) AS (
                    SELECT OLD.id UNION SELECT r.id FROM public.user_roles r JOIN heirs h ON r.parent_id = h.id
                )
                SELECT FROM public.users u JOIN heirs h ON h.id = u.role_id WHERE u.is_active);
    END IF;
    IF NOT concerned THEN
        RETURN NULL;
    END IF;
    -- Locking them all makes two who remove each other meet: the second one sees what the first one left.
    PERFORM pg_advisory_xact_lock(hashtextextended('administrators', 0));
    PERFORM FROM public.users u WHERE u.is_active AND public.role_permits(u.role_id, '*', '*') ORDER BY u.id FOR UPDATE;
    IF NOT EXISTS (SELECT FROM public.users u WHERE u.is_active AND public.role_permits(u.role_id, '*', '*')) THEN
        RAISE EXCEPTION 'the last active administrator must stay: name another one first'
            USING ERRCODE = 'STI02', CONSTRAINT = 'users_last_administrator_check', TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NULL;
END
$body$;
REVOKE ALL ON FUNCTION public.guard_administrators() FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.guard_owners()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    -- Deleting the case itself takes its owners along, and is asked for elsewhere.
    PERFORM FROM public.cases c WHERE c.id = OLD.case_id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    PERFORM FROM public.case_participants p WHERE p.case_id = OLD.case_id AND p.role = 'owner' ORDER BY p.id FOR UPDATE;
    IF NOT EXISTS (SELECT FROM public.case_participants p
                    WHERE p.case_id = OLD.case_id AND p.role = 'owner' AND p.expires_at IS NULL) THEN
        RAISE EXCEPTION 'a case keeps at least one owner whose part does not expire: name another one first'
            USING ERRCODE = 'STI02', CONSTRAINT = 'case_participants_last_owner_check',
                  TABLE = 'case_participants';
    END IF;
    RETURN NULL;
END
$body$;
REVOKE ALL ON FUNCTION public.guard_owners() FROM PUBLIC;

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

CREATE OR REPLACE FUNCTION public.announce_hold()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    -- Changing the case's row, and not only locking it, is what a deletion under REPEATABLE READ trips over.
    UPDATE public.cases c SET active_holds = 0 WHERE c.id = NEW.case_id;
    RETURN NULL;
END
$body$;
REVOKE ALL ON FUNCTION public.announce_hold() FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.count_holds()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    -- Whatever was asked for: the holds themselves say how many there are.
    NEW.active_holds := (SELECT count(*) FROM public.legal_holds h WHERE h.case_id = NEW.id AND h.released_at IS NULL);
    RETURN NEW;
END
$body$;
REVOKE ALL ON FUNCTION public.count_holds() FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.guard_hold()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    held bigint;
BEGIN
    IF TG_TABLE_NAME = 'cases' THEN
        held := OLD.active_holds;
    ELSE
        -- Whoever places a hold needs this row too: one of the two waits, and then sees what the other did.
        SELECT c.active_holds INTO held FROM public.cases c WHERE c.id = OLD.case_id FOR SHARE;
    END IF;
    IF held > 0 THEN
        RAISE EXCEPTION 'a legal hold forbids deleting from % in this case', TG_TABLE_NAME
            USING ERRCODE = 'STI02', CONSTRAINT = 'legal_holds_deletion_check', TABLE = TG_TABLE_NAME;
    END IF;
    RETURN OLD;
END
$body$;
REVOKE ALL ON FUNCTION public.guard_hold() FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.append_activity(type_code text, operation text, actor_id bigint, actor text, case_id bigint, entity text, entity_id bigint, old jsonb, new jsonb, salt bytea)
RETURNS bigint LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres' SET bytea_output = 'hex' SET extra_float_digits = 1 AS $body$
DECLARE
    entry bigint := nextval('public.activity_logs_id_seq');
    happened timestamptz := clock_timestamp();
    kind bigint := (SELECT t.id FROM public.activity_types t WHERE t.code = type_code);
    why text := left(nullif(current_setting('sti.reason', true), ''), 2000);
    request text := left(nullif(current_setting('sti.request', true), ''), 200);
    xid xid8 := pg_current_xact_id();
    cluster bigint := public.actor_epoch();
    revision text := public.schema_revision();
    grain bytea := coalesce(salt, uuid_send(gen_random_uuid()));
    payload bytea := sha256(grain || convert_to(jsonb_build_object('new', new, 'old', old)::text, 'UTF8'));
BEGIN
    IF kind IS NULL THEN
        RAISE EXCEPTION 'no activity type has the code %', type_code USING ERRCODE = 'invalid_parameter_value';
    END IF;
    INSERT INTO public.activity_logs (id, created_at, updated_at, activity_type_id, actor_id, actor, case_id, entity,
        entity_id, operation, old, new, reason, request_id, transaction_id, epoch, schema_revision, salt, payload_hash,
        leaf_hash)
    VALUES (entry, happened, happened, kind, append_activity.actor_id, append_activity.actor, append_activity.case_id,
        append_activity.entity, append_activity.entity_id, append_activity.operation, append_activity.old,
        append_activity.new, why, request, xid, cluster, revision, grain, payload,
        sha256(decode('00', 'hex') || convert_to(jsonb_build_array(entry,
            (extract(epoch FROM happened) * 1000000)::bigint, kind, append_activity.actor_id, append_activity.actor,
            append_activity.case_id, append_activity.entity, append_activity.entity_id, append_activity.operation,
            why, request, xid::text, cluster, revision)::text, 'UTF8') || payload));
    RETURN entry;
END
$body$;
REVOKE ALL ON FUNCTION public.append_activity(text, text, bigint, text, bigint, text, bigint, jsonb, jsonb, bytea) FROM PUBLIC;

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

CREATE OR REPLACE FUNCTION public.redact(image jsonb, columns text[], salt bytea)
RETURNS jsonb LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $body$
    SELECT image || coalesce((
        SELECT jsonb_object_agg(name, 'sha256:' || encode(sha256(salt || convert_to(image ->> name, 'UTF8')), 'hex'))
          FROM unnest(columns) AS name WHERE image ->> name IS NOT NULL), '{}')
$body$;
REVOKE ALL ON FUNCTION public.redact(jsonb, text[], bytea) FROM PUBLIC;

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

CREATE OR REPLACE FUNCTION public.ensure_activity_partitions(months_ahead integer)
RETURNS integer LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' AS $body$
DECLARE
    first_day date;
    made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('activity_logs partitions', 0));
    FOR month IN 0..months_ahead LOOP
        first_day := (date_trunc('month', now()) + make_interval(months => month))::date;
        IF to_regclass('public.activity_logs_' || to_char(first_day, 'YYYY_MM')) IS NULL THEN
            EXECUTE format('CREATE TABLE public.%I PARTITION OF public.activity_logs FOR VALUES FROM (%L) TO (%L)',
                'activity_logs_' || to_char(first_day, 'YYYY_MM'), first_day || ' 00:00:00+00',
                (first_day + interval '1 month')::date || ' 00:00:00+00');
            made := made + 1;
        END IF;
    END LOOP;
    RETURN made;
END
$body$;
REVOKE ALL ON FUNCTION public.ensure_activity_partitions(integer) FROM PUBLIC;

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

CREATE TABLE activity_logs (
    id BIGINT GENERATED BY DEFAULT AS IDENTITY,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    activity_type_id BIGINT NOT NULL,
    actor_id BIGINT,
    actor TEXT NOT NULL,
    case_id BIGINT,
    entity TEXT,
    entity_id BIGINT,
    operation TEXT NOT NULL,
    "old" JSONB,
    "new" JSONB,
    reason TEXT,
    request_id TEXT,
    transaction_id xid8 NOT NULL,
    epoch BIGINT NOT NULL,
    schema_revision TEXT NOT NULL,
    salt BYTEA,
    payload_hash BYTEA NOT NULL,
    leaf_hash BYTEA NOT NULL,
    CONSTRAINT activity_logs_pkey PRIMARY KEY (id, created_at),
    CONSTRAINT activity_logs_operation_known_check CHECK (operation IN ('insert', 'update', 'delete', 'baseline', 'event')),
    CONSTRAINT activity_logs_reason_length_check CHECK (char_length(reason) <= 2000),
    CONSTRAINT activity_logs_request_id_length_check CHECK (char_length(request_id) <= 200)
)
 PARTITION BY RANGE (created_at);

CREATE INDEX activity_logs_actor_id_created_at_idx ON activity_logs (actor_id, created_at, id);

CREATE INDEX activity_logs_case_id_created_at_idx ON activity_logs (case_id, created_at, id);

CREATE INDEX activity_logs_entity_entity_id_idx ON activity_logs (entity, entity_id, created_at, id);

CREATE INDEX activity_logs_transaction_id_idx ON activity_logs (transaction_id);

COMMENT ON COLUMN activity_logs.updated_at IS 'always created_at';

COMMENT ON COLUMN activity_logs.actor_id IS 'null: the owner of the database, not a session';

COMMENT ON COLUMN activity_logs.actor IS 'the name as it was then';

COMMENT ON COLUMN activity_logs.entity IS 'the table';

COMMENT ON COLUMN activity_logs."old" IS 'changed columns, as before';

COMMENT ON COLUMN activity_logs."new" IS 'the whole row, or an event''s detail';

COMMENT ON COLUMN activity_logs.epoch IS 'the cluster''s system identifier: transaction ids restart elsewhere';

CREATE TABLE activity_seals (
    id BIGINT GENERATED BY DEFAULT AS IDENTITY,
    previous_id BIGINT,
    month DATE NOT NULL,
    epoch BIGINT NOT NULL,
    low_xid xid8 NOT NULL,
    high_xid xid8 NOT NULL,
    entry_count BIGINT NOT NULL,
    root BYTEA NOT NULL,
    seal_hash BYTEA NOT NULL,
    signature BYTEA,
    signing_key TEXT,
    pruned_at TIMESTAMP WITH TIME ZONE,
    details JSONB DEFAULT '{}'::jsonb NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT activity_seals_pkey PRIMARY KEY (id),
    CONSTRAINT activity_seals_previous_id_key UNIQUE (previous_id),
    CONSTRAINT activity_seals_entry_count_positive_check CHECK (entry_count >= 0),
    CONSTRAINT activity_seals_xid_order_check CHECK (low_xid <= high_xid),
    CONSTRAINT activity_seals_month_first_day_check CHECK (month = date_trunc('month', month::timestamp)::date),
    CONSTRAINT activity_seals_signing_key_length_check CHECK (char_length(signing_key) <= 200),
    CONSTRAINT activity_seals_previous_id_fkey FOREIGN KEY(previous_id) REFERENCES activity_seals (id) ON DELETE RESTRICT
);

COMMENT ON COLUMN activity_seals.low_xid IS 'first transaction of the batch';

COMMENT ON COLUMN activity_seals.high_xid IS 'first transaction after the batch';

COMMENT ON COLUMN activity_seals.root IS 'Merkle root over the leaf hashes';

COMMENT ON COLUMN activity_seals.seal_hash IS 'over the previous seal_hash and this seal''s own fields';

COMMENT ON COLUMN activity_seals.signing_key IS 'fingerprint of the key that signed';

COMMENT ON COLUMN activity_seals.pruned_at IS 'when the entries left for the archive';

CREATE TABLE activity_types (
    id BIGINT GENERATED BY DEFAULT AS IDENTITY,
    category TEXT DEFAULT 'change' NOT NULL,
    code TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT DEFAULT '' NOT NULL,
    is_active BOOLEAN DEFAULT true NOT NULL,
    seed_fingerprint TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT activity_types_pkey PRIMARY KEY (id),
    CONSTRAINT activity_types_code_length_check CHECK (char_length(code) >= 1 AND char_length(code) <= 64),
    CONSTRAINT activity_types_code_form_check CHECK (code ~ '^[A-Za-z0-9][A-Za-z0-9._-]*$'),
    CONSTRAINT activity_types_name_length_check CHECK (char_length(name) >= 1 AND char_length(name) <= 200),
    CONSTRAINT activity_types_description_length_check CHECK (char_length(description) <= 2000),
    CONSTRAINT activity_types_code_key UNIQUE (code)
);

COMMENT ON COLUMN activity_types.category IS 'change, access, file, work, people';

COMMENT ON COLUMN activity_types.is_active IS 'offered for new rows';

COMMENT ON COLUMN activity_types.seed_fingerprint IS 'null: not a seed of ours';

CREATE TABLE actor_keys (
    id BIGINT GENERATED BY DEFAULT AS IDENTITY,
    inner_pad BYTEA NOT NULL,
    outer_pad BYTEA NOT NULL,
    retired_at TIMESTAMP WITH TIME ZONE,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT actor_keys_pkey PRIMARY KEY (id),
    CONSTRAINT actor_keys_pad_length_check CHECK (octet_length(inner_pad) = 64 AND octet_length(outer_pad) = 64)
);

COMMENT ON COLUMN actor_keys.retired_at IS 'tokens of this key are refused from then on';

CREATE TABLE audio_statuses (
    id BIGINT GENERATED BY DEFAULT AS IDENTITY,
    code TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT DEFAULT '' NOT NULL,
    is_active BOOLEAN DEFAULT true NOT NULL,
    seed_fingerprint TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT audio_statuses_pkey PRIMARY KEY (id),
    CONSTRAINT audio_statuses_code_length_check CHECK (char_length(code) >= 1 AND char_length(code) <= 64),
    CONSTRAINT audio_statuses_code_form_check CHECK (code ~ '^[A-Za-z0-9][A-Za-z0-9._-]*$'),
    CONSTRAINT audio_statuses_name_length_check CHECK (char_length(name) >= 1 AND char_length(name) <= 200),
    CONSTRAINT audio_statuses_description_length_check CHECK (char_length(description) <= 2000),
    CONSTRAINT audio_statuses_code_key UNIQUE (code)
);

COMMENT ON COLUMN audio_statuses.is_active IS 'offered for new rows';

COMMENT ON COLUMN audio_statuses.seed_fingerprint IS 'null: not a seed of ours';

CREATE TABLE case_priorities (
    id BIGINT GENERATED BY DEFAULT AS IDENTITY,
    weight BIGINT NOT NULL,
    code TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT DEFAULT '' NOT NULL,
    is_active BOOLEAN DEFAULT true NOT NULL,
    seed_fingerprint TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT case_priorities_pkey PRIMARY KEY (id),
    CONSTRAINT case_priorities_code_length_check CHECK (char_length(code) >= 1 AND char_length(code) <= 64),
    CONSTRAINT case_priorities_code_form_check CHECK (code ~ '^[A-Za-z0-9][A-Za-z0-9._-]*$'),
    CONSTRAINT case_priorities_name_length_check CHECK (char_length(name) >= 1 AND char_length(name) <= 200),
    CONSTRAINT case_priorities_description_length_check CHECK (char_length(description) <= 2000),
    CONSTRAINT case_priorities_code_key UNIQUE (code)
);

COMMENT ON COLUMN case_priorities.weight IS 'sorts the levels; heavier is more urgent';

COMMENT ON COLUMN case_priorities.is_active IS 'offered for new rows';

COMMENT ON COLUMN case_priorities.seed_fingerprint IS 'null: not a seed of ours';

CREATE TABLE case_statuses (
    id BIGINT GENERATED BY DEFAULT AS IDENTITY,
    code TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT DEFAULT '' NOT NULL,
    is_active BOOLEAN DEFAULT true NOT NULL,
    seed_fingerprint TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT case_statuses_pkey PRIMARY KEY (id),
    CONSTRAINT case_statuses_code_length_check CHECK (char_length(code) >= 1 AND char_length(code) <= 64),
    CONSTRAINT case_statuses_code_form_check CHECK (code ~ '^[A-Za-z0-9][A-Za-z0-9._-]*$'),
    CONSTRAINT case_statuses_name_length_check CHECK (char_length(name) >= 1 AND char_length(name) <= 200),
    CONSTRAINT case_statuses_description_length_check CHECK (char_length(description) <= 2000),
    CONSTRAINT case_statuses_code_key UNIQUE (code)
);

COMMENT ON COLUMN case_statuses.is_active IS 'offered for new rows';

COMMENT ON COLUMN case_statuses.seed_fingerprint IS 'null: not a seed of ours';

CREATE TABLE languages (
    id BIGINT GENERATED BY DEFAULT AS IDENTITY,
    native_name TEXT DEFAULT '' NOT NULL,
    search_config TEXT DEFAULT 'simple' NOT NULL,
    code TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT DEFAULT '' NOT NULL,
    is_active BOOLEAN DEFAULT true NOT NULL,
    seed_fingerprint TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT languages_pkey PRIMARY KEY (id),
    CONSTRAINT languages_code_length_check CHECK (char_length(code) >= 1 AND char_length(code) <= 64),
    CONSTRAINT languages_code_form_check CHECK (code ~ '^[A-Za-z0-9][A-Za-z0-9._-]*$'),
    CONSTRAINT languages_name_length_check CHECK (char_length(name) >= 1 AND char_length(name) <= 200),
    CONSTRAINT languages_description_length_check CHECK (char_length(description) <= 2000),
    CONSTRAINT languages_code_key UNIQUE (code)
);

COMMENT ON COLUMN languages.search_config IS 'a text search configuration''s name';

COMMENT ON COLUMN languages.is_active IS 'offered for new rows';

COMMENT ON COLUMN languages.seed_fingerprint IS 'null: not a seed of ours';

CREATE TABLE sentiments (
    id BIGINT GENERATED BY DEFAULT AS IDENTITY,
    code TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT DEFAULT '' NOT NULL,
    is_active BOOLEAN DEFAULT true NOT NULL,
    seed_fingerprint TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT sentiments_pkey PRIMARY KEY (id),
    CONSTRAINT sentiments_code_length_check CHECK (char_length(code) >= 1 AND char_length(code) <= 64),
    CONSTRAINT sentiments_code_form_check CHECK (code ~ '^[A-Za-z0-9][A-Za-z0-9._-]*$'),
    CONSTRAINT sentiments_name_length_check CHECK (char_length(name) >= 1 AND char_length(name) <= 200),
    CONSTRAINT sentiments_description_length_check CHECK (char_length(description) <= 2000),
    CONSTRAINT sentiments_code_key UNIQUE (code)
);

COMMENT ON COLUMN sentiments.is_active IS 'offered for new rows';

COMMENT ON COLUMN sentiments.seed_fingerprint IS 'null: not a seed of ours';

CREATE TABLE storage_objects (
    id BIGINT GENERATED BY DEFAULT AS IDENTITY,
    case_id BIGINT NOT NULL,
    key TEXT NOT NULL,
    backend TEXT NOT NULL,
    state TEXT DEFAULT 'pending' NOT NULL,
    size_bytes BIGINT,
    sha256 TEXT,
    upload_id TEXT,
    delete_after TIMESTAMP WITH TIME ZONE,
    attempts BIGINT DEFAULT '0' NOT NULL,
    last_error TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT storage_objects_pkey PRIMARY KEY (id),
    CONSTRAINT storage_objects_key_key UNIQUE (key),
    CONSTRAINT storage_objects_key_length_check CHECK (char_length(key) >= 1 AND char_length(key) <= 512),
    CONSTRAINT storage_objects_backend_length_check CHECK (char_length(backend) >= 1 AND char_length(backend) <= 64),
    CONSTRAINT storage_objects_last_error_length_check CHECK (char_length(last_error) <= 4000),
    CONSTRAINT storage_objects_state_known_check CHECK (state IN ('pending', 'live', 'deleting')),
    CONSTRAINT storage_objects_size_bytes_positive_check CHECK (size_bytes >= 0),
    CONSTRAINT storage_objects_sha256_form_check CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    CONSTRAINT storage_objects_attempts_positive_check CHECK (attempts >= 0)
);

CREATE INDEX storage_objects_case_id_idx ON storage_objects (case_id);

CREATE INDEX storage_objects_garbage_idx ON storage_objects (state, created_at) WHERE state <> 'live';

COMMENT ON COLUMN storage_objects.backend IS 'name of the storage backend';

COMMENT ON COLUMN storage_objects.upload_id IS 'of a multipart upload that may have to be aborted';

CREATE TABLE user_roles (
    id BIGINT GENERATED BY DEFAULT AS IDENTITY,
    code TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT DEFAULT '' NOT NULL,
    parent_id BIGINT,
    permissions JSONB DEFAULT '{}'::jsonb NOT NULL,
    seed_fingerprint TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    row_version BIGINT DEFAULT '1' NOT NULL,
    CONSTRAINT user_roles_pkey PRIMARY KEY (id),
    CONSTRAINT user_roles_code_length_check CHECK (char_length(code) >= 1 AND char_length(code) <= 64),
    CONSTRAINT user_roles_name_length_check CHECK (char_length(name) >= 1 AND char_length(name) <= 200),
    CONSTRAINT user_roles_description_length_check CHECK (char_length(description) <= 2000),
    CONSTRAINT user_roles_permissions_known_check CHECK (public.role_permissions_known(permissions)),
    CONSTRAINT user_roles_permissions_size_check CHECK (octet_length(permissions::text) <= 16384),
    CONSTRAINT user_roles_parent_other_check CHECK (parent_id <> id),
    CONSTRAINT user_roles_code_key UNIQUE (code),
    CONSTRAINT user_roles_parent_id_fkey FOREIGN KEY(parent_id) REFERENCES user_roles (id) ON DELETE RESTRICT
);

CREATE INDEX user_roles_parent_id_idx ON user_roles (parent_id);

COMMENT ON COLUMN user_roles.code IS 'admin, user, service, …';

COMMENT ON COLUMN user_roles.permissions IS '{"subject": ["verb", …]}; "*" is all';

COMMENT ON COLUMN user_roles.seed_fingerprint IS 'null: not a seed of ours';

COMMENT ON COLUMN user_roles.row_version IS 'counted by a trigger';

CREATE TABLE users (
    id BIGINT GENERATED BY DEFAULT AS IDENTITY,
    username TEXT NOT NULL,
    email TEXT,
    full_name TEXT DEFAULT '' NOT NULL,
    password_hash TEXT,
    is_active BOOLEAN DEFAULT true NOT NULL,
    last_login TIMESTAMP WITH TIME ZONE,
    role_id BIGINT DEFAULT public.code_id('user_roles', 'user') NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    row_version BIGINT DEFAULT '1' NOT NULL,
    CONSTRAINT users_pkey PRIMARY KEY (id),
    CONSTRAINT users_username_length_check CHECK (char_length(username) >= 1 AND char_length(username) <= 64),
    CONSTRAINT users_username_form_check CHECK (username !~ '[[:cntrl:]|]' AND username = btrim(username)),
    CONSTRAINT users_email_length_check CHECK (char_length(email) >= 3 AND char_length(email) <= 254),
    CONSTRAINT users_email_form_check CHECK (email LIKE '%_@_%'),
    CONSTRAINT users_full_name_length_check CHECK (char_length(full_name) <= 200),
    CONSTRAINT users_password_hash_length_check CHECK (char_length(password_hash) <= 255),
    CONSTRAINT users_role_id_fkey FOREIGN KEY(role_id) REFERENCES user_roles (id) ON DELETE RESTRICT
);

CREATE UNIQUE INDEX users_email_lower_key ON users (lower(email));

CREATE INDEX users_role_id_idx ON users (role_id);

CREATE UNIQUE INDEX users_username_lower_key ON users (lower(username));

COMMENT ON COLUMN users.password_hash IS 'scheme-prefixed bcrypt; null cannot sign in';

COMMENT ON COLUMN users.row_version IS 'counted by a trigger';

CREATE TABLE cases (
    id BIGINT GENERATED BY DEFAULT AS IDENTITY,
    case_code TEXT NOT NULL,
    title TEXT NOT NULL,
    description TEXT DEFAULT '' NOT NULL,
    status_id BIGINT DEFAULT public.code_id('case_statuses', 'active') NOT NULL,
    priority_id BIGINT DEFAULT public.code_id('case_priorities', 'medium') NOT NULL,
    opened_by_id BIGINT DEFAULT public.actor_id() NOT NULL,
    closed_at TIMESTAMP WITH TIME ZONE,
    active_holds BIGINT DEFAULT '0' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    row_version BIGINT DEFAULT '1' NOT NULL,
    opened_xid xid8,
    CONSTRAINT cases_pkey PRIMARY KEY (id),
    CONSTRAINT cases_case_code_length_check CHECK (char_length(case_code) >= 1 AND char_length(case_code) <= 64),
    CONSTRAINT cases_title_length_check CHECK (char_length(title) >= 1 AND char_length(title) <= 300),
    CONSTRAINT cases_description_length_check CHECK (char_length(description) <= 20000),
    CONSTRAINT cases_closed_after_created_check CHECK (closed_at >= created_at),
    CONSTRAINT cases_case_code_key UNIQUE (case_code),
    CONSTRAINT cases_status_id_fkey FOREIGN KEY(status_id) REFERENCES case_statuses (id) ON DELETE RESTRICT,
    CONSTRAINT cases_priority_id_fkey FOREIGN KEY(priority_id) REFERENCES case_priorities (id) ON DELETE RESTRICT,
    CONSTRAINT cases_opened_by_id_fkey FOREIGN KEY(opened_by_id) REFERENCES users (id) ON DELETE RESTRICT
);

CREATE INDEX cases_created_at_idx ON cases (created_at);

CREATE INDEX cases_opened_by_id_idx ON cases (opened_by_id);

CREATE INDEX cases_opened_xid_idx ON cases (opened_xid);

CREATE INDEX cases_priority_id_idx ON cases (priority_id);

CREATE INDEX cases_status_id_idx ON cases (status_id);

CREATE INDEX cases_title_lower_idx ON cases (lower(title));

COMMENT ON COLUMN cases.case_code IS 'a trigger makes C-000042 of the id when none is given';

COMMENT ON COLUMN cases.active_holds IS 'legal holds not yet released; counted by a trigger';

COMMENT ON COLUMN cases.row_version IS 'counted by a trigger';

COMMENT ON COLUMN cases.opened_xid IS 'the transaction that opened the case';

CREATE TABLE login_throttles (
    id BIGINT GENERATED BY DEFAULT AS IDENTITY,
    user_id BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    last_failed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT login_throttles_pkey PRIMARY KEY (id),
    CONSTRAINT login_throttles_failures_positive_check CHECK (failures >= 1),
    CONSTRAINT login_throttles_user_id_key UNIQUE (user_id),
    CONSTRAINT login_throttles_user_id_fkey FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);

CREATE TABLE audio_files (
    id BIGINT GENERATED BY DEFAULT AS IDENTITY,
    case_id BIGINT NOT NULL,
    name TEXT NOT NULL,
    path TEXT NOT NULL,
    size_bytes BIGINT NOT NULL,
    sha256 TEXT NOT NULL,
    content_type TEXT,
    duration_ms BIGINT,
    sample_rate_hz BIGINT,
    channels BIGINT,
    codec TEXT,
    is_truncated BOOLEAN DEFAULT false NOT NULL,
    recorded_at TIMESTAMP WITH TIME ZONE,
    language_id BIGINT,
    status_id BIGINT DEFAULT public.code_id('audio_statuses', 'received') NOT NULL,
    processed_at TIMESTAMP WITH TIME ZONE,
    error_message TEXT,
    storage_type TEXT DEFAULT 'local' NOT NULL,
    storage_config JSONB DEFAULT '{}'::jsonb NOT NULL,
    is_archived BOOLEAN DEFAULT false NOT NULL,
    archive_reason TEXT,
    uploaded_by_id BIGINT DEFAULT public.actor_id() NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    row_version BIGINT DEFAULT '1' NOT NULL,
    CONSTRAINT audio_files_pkey PRIMARY KEY (id),
    CONSTRAINT audio_files_case_id_id_key UNIQUE (case_id, id),
    CONSTRAINT audio_files_path_key UNIQUE (path),
    CONSTRAINT audio_files_name_length_check CHECK (char_length(name) >= 1 AND char_length(name) <= 1024),
    CONSTRAINT audio_files_storage_type_length_check CHECK (char_length(storage_type) >= 1 AND char_length(storage_type) <= 64),
    CONSTRAINT audio_files_error_message_length_check CHECK (char_length(error_message) <= 4000),
    CONSTRAINT audio_files_archive_reason_length_check CHECK (char_length(archive_reason) >= 1 AND char_length(archive_reason) <= 2000),
    CONSTRAINT audio_files_content_type_length_check CHECK (char_length(content_type) <= 128),
    CONSTRAINT audio_files_codec_length_check CHECK (char_length(codec) <= 64),
    CONSTRAINT audio_files_size_bytes_positive_check CHECK (size_bytes > 0),
    CONSTRAINT audio_files_sha256_form_check CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    CONSTRAINT audio_files_duration_ms_positive_check CHECK (duration_ms >= 0),
    CONSTRAINT audio_files_sample_rate_hz_range_check CHECK (sample_rate_hz BETWEEN 1 AND 768000),
    CONSTRAINT audio_files_channels_range_check CHECK (channels BETWEEN 1 AND 64),
    CONSTRAINT audio_files_storage_config_object_check CHECK (jsonb_typeof(storage_config) = 'object'),
    CONSTRAINT audio_files_archive_has_reason_check CHECK (NOT is_archived OR archive_reason IS NOT NULL),
    CONSTRAINT audio_files_case_id_fkey FOREIGN KEY(case_id) REFERENCES cases (id) ON DELETE CASCADE,
    CONSTRAINT audio_files_path_fkey FOREIGN KEY(path) REFERENCES storage_objects (key) ON DELETE RESTRICT,
    CONSTRAINT audio_files_language_id_fkey FOREIGN KEY(language_id) REFERENCES languages (id) ON DELETE RESTRICT,
    CONSTRAINT audio_files_status_id_fkey FOREIGN KEY(status_id) REFERENCES audio_statuses (id) ON DELETE RESTRICT,
    CONSTRAINT audio_files_uploaded_by_id_fkey FOREIGN KEY(uploaded_by_id) REFERENCES users (id) ON DELETE RESTRICT
);

CREATE INDEX audio_files_case_id_created_at_idx ON audio_files (case_id, created_at);

CREATE INDEX audio_files_case_id_sha256_idx ON audio_files (case_id, sha256);

CREATE INDEX audio_files_language_id_idx ON audio_files (language_id);

CREATE INDEX audio_files_name_lower_idx ON audio_files (lower(name));

CREATE INDEX audio_files_status_id_idx ON audio_files (status_id);

CREATE INDEX audio_files_uploaded_by_id_idx ON audio_files (uploaded_by_id);

COMMENT ON COLUMN audio_files.name IS 'the file name as the user gave it; never part of a path';

COMMENT ON COLUMN audio_files.path IS 'key of the bytes in their storage backend';

COMMENT ON COLUMN audio_files.sha256 IS 'of the bytes, lowercase hexadecimal';

COMMENT ON COLUMN audio_files.content_type IS 'by content, not by name';

COMMENT ON COLUMN audio_files.duration_ms IS 'of the samples that decode, in milliseconds';

COMMENT ON COLUMN audio_files.is_truncated IS 'decodes to less than it promises';

COMMENT ON COLUMN audio_files.recorded_at IS 'when people spoke, if known';

COMMENT ON COLUMN audio_files.storage_type IS 'name of the storage backend';

COMMENT ON COLUMN audio_files.storage_config IS 'where in the backend: bucket, version; never a credential';

COMMENT ON COLUMN audio_files.row_version IS 'counted by a trigger';

CREATE TABLE case_notes (
    id BIGINT GENERATED BY DEFAULT AS IDENTITY,
    case_id BIGINT NOT NULL,
    author_id BIGINT DEFAULT public.actor_id() NOT NULL,
    body TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    row_version BIGINT DEFAULT '1' NOT NULL,
    CONSTRAINT case_notes_pkey PRIMARY KEY (id),
    CONSTRAINT case_notes_body_length_check CHECK (char_length(body) >= 1 AND char_length(body) <= 100000),
    CONSTRAINT case_notes_case_id_fkey FOREIGN KEY(case_id) REFERENCES cases (id) ON DELETE CASCADE,
    CONSTRAINT case_notes_author_id_fkey FOREIGN KEY(author_id) REFERENCES users (id) ON DELETE RESTRICT
);

CREATE INDEX case_notes_author_id_idx ON case_notes (author_id);

CREATE INDEX case_notes_case_id_idx ON case_notes (case_id, created_at);

COMMENT ON COLUMN case_notes.row_version IS 'counted by a trigger';

CREATE TABLE case_participants (
    id BIGINT GENERATED BY DEFAULT AS IDENTITY,
    case_id BIGINT NOT NULL,
    user_id BIGINT NOT NULL,
    role TEXT NOT NULL,
    permissions JSONB DEFAULT '{}'::jsonb NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE,
    added_by_id BIGINT DEFAULT public.actor_id(),
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    row_version BIGINT DEFAULT '1' NOT NULL,
    CONSTRAINT case_participants_pkey PRIMARY KEY (id),
    CONSTRAINT case_participants_case_id_user_id_key UNIQUE (case_id, user_id),
    CONSTRAINT case_participants_role_known_check CHECK (role IN ('owner', 'editor', 'viewer')),
    CONSTRAINT case_participants_permissions_known_check CHECK (public.participation_known(permissions)),
    CONSTRAINT case_participants_permissions_size_check CHECK (octet_length(permissions::text) <= 16384),
    CONSTRAINT case_participants_case_id_fkey FOREIGN KEY(case_id) REFERENCES cases (id) ON DELETE CASCADE,
    CONSTRAINT case_participants_user_id_fkey FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE RESTRICT,
    CONSTRAINT case_participants_added_by_id_fkey FOREIGN KEY(added_by_id) REFERENCES users (id) ON DELETE RESTRICT
);

CREATE INDEX case_participants_added_by_id_idx ON case_participants (added_by_id);

CREATE INDEX case_participants_user_id_idx ON case_participants (user_id) INCLUDE (case_id, role, expires_at);

COMMENT ON COLUMN case_participants.role IS 'owner, editor or viewer';

COMMENT ON COLUMN case_participants.permissions IS '{"allow": [verb, …], "deny": [verb, …]}';

COMMENT ON COLUMN case_participants.row_version IS 'counted by a trigger';

CREATE TABLE legal_holds (
    id BIGINT GENERATED BY DEFAULT AS IDENTITY,
    case_id BIGINT NOT NULL,
    reason TEXT NOT NULL,
    placed_by_id BIGINT DEFAULT public.actor_id() NOT NULL,
    released_at TIMESTAMP WITH TIME ZONE,
    released_by_id BIGINT,
    release_reason TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    row_version BIGINT DEFAULT '1' NOT NULL,
    CONSTRAINT legal_holds_pkey PRIMARY KEY (id),
    CONSTRAINT legal_holds_reason_length_check CHECK (char_length(reason) >= 1 AND char_length(reason) <= 2000),
    CONSTRAINT legal_holds_release_reason_length_check CHECK (char_length(release_reason) >= 1 AND char_length(release_reason) <= 2000),
    CONSTRAINT legal_holds_released_whole_check CHECK ((released_at IS NULL) = (released_by_id IS NULL) AND (released_at IS NULL) = (release_reason IS NULL)),
    CONSTRAINT legal_holds_case_id_fkey FOREIGN KEY(case_id) REFERENCES cases (id) ON DELETE CASCADE,
    CONSTRAINT legal_holds_placed_by_id_fkey FOREIGN KEY(placed_by_id) REFERENCES users (id) ON DELETE RESTRICT,
    CONSTRAINT legal_holds_released_by_id_fkey FOREIGN KEY(released_by_id) REFERENCES users (id) ON DELETE RESTRICT
);

CREATE INDEX legal_holds_case_id_idx ON legal_holds (case_id);

CREATE INDEX legal_holds_placed_by_id_idx ON legal_holds (placed_by_id);

CREATE INDEX legal_holds_released_by_id_idx ON legal_holds (released_by_id);

COMMENT ON COLUMN legal_holds.row_version IS 'counted by a trigger';

CREATE TABLE processing_jobs (
    id BIGINT GENERATED BY DEFAULT AS IDENTITY,
    case_id BIGINT NOT NULL,
    audio_file_id BIGINT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT DEFAULT 'queued' NOT NULL,
    priority BIGINT DEFAULT '0' NOT NULL,
    payload JSONB DEFAULT '{}'::jsonb NOT NULL,
    result JSONB,
    run_after TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    attempts BIGINT DEFAULT '0' NOT NULL,
    max_attempts BIGINT DEFAULT '3' NOT NULL,
    lease BIGINT DEFAULT '0' NOT NULL,
    leased_by_id BIGINT,
    lease_expires_at TIMESTAMP WITH TIME ZONE,
    worker TEXT,
    started_at TIMESTAMP WITH TIME ZONE,
    finished_at TIMESTAMP WITH TIME ZONE,
    error_message TEXT,
    created_by_id BIGINT DEFAULT public.actor_id() NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    row_version BIGINT DEFAULT '1' NOT NULL,
    CONSTRAINT processing_jobs_pkey PRIMARY KEY (id),
    CONSTRAINT processing_jobs_case_id_audio_file_id_fkey FOREIGN KEY(case_id, audio_file_id) REFERENCES audio_files (case_id, id) ON DELETE CASCADE,
    CONSTRAINT processing_jobs_kind_length_check CHECK (char_length(kind) >= 1 AND char_length(kind) <= 64),
    CONSTRAINT processing_jobs_worker_length_check CHECK (char_length(worker) <= 200),
    CONSTRAINT processing_jobs_error_message_length_check CHECK (char_length(error_message) <= 4000),
    CONSTRAINT processing_jobs_state_known_check CHECK (state IN ('queued', 'running', 'done', 'failed')),
    CONSTRAINT processing_jobs_lease_positive_check CHECK (lease >= 0),
    CONSTRAINT processing_jobs_attempts_positive_check CHECK (attempts >= 0 AND max_attempts >= 1),
    CONSTRAINT processing_jobs_payload_object_check CHECK (jsonb_typeof(payload) = 'object'),
    CONSTRAINT processing_jobs_result_object_check CHECK (jsonb_typeof(result) = 'object'),
    CONSTRAINT processing_jobs_running_has_lease_check CHECK ((state = 'running') = (lease_expires_at IS NOT NULL) AND (state = 'running') = (leased_by_id IS NOT NULL)),
    CONSTRAINT processing_jobs_leased_by_id_fkey FOREIGN KEY(leased_by_id) REFERENCES users (id) ON DELETE RESTRICT,
    CONSTRAINT processing_jobs_created_by_id_fkey FOREIGN KEY(created_by_id) REFERENCES users (id) ON DELETE RESTRICT
);

CREATE INDEX processing_jobs_case_id_audio_file_id_idx ON processing_jobs (case_id, audio_file_id);

CREATE INDEX processing_jobs_created_by_id_idx ON processing_jobs (created_by_id);

CREATE INDEX processing_jobs_lease_idx ON processing_jobs (lease_expires_at) WHERE state = 'running';

CREATE INDEX processing_jobs_leased_by_id_idx ON processing_jobs (leased_by_id);

CREATE UNIQUE INDEX processing_jobs_open_key ON processing_jobs (case_id, audio_file_id, kind) WHERE state IN ('queued', 'running');

CREATE INDEX processing_jobs_queue_idx ON processing_jobs (kind, priority DESC, run_after, id) WHERE state = 'queued';

COMMENT ON COLUMN processing_jobs.kind IS 'transcribe, analyse, …';

COMMENT ON COLUMN processing_jobs.priority IS 'higher is sooner';

COMMENT ON COLUMN processing_jobs.lease IS 'grows with every claim; names the newest one';

COMMENT ON COLUMN processing_jobs.worker IS 'which process, as it calls itself';

COMMENT ON COLUMN processing_jobs.row_version IS 'counted by a trigger';

CREATE TABLE transcriptions (
    id BIGINT GENERATED BY DEFAULT AS IDENTITY,
    case_id BIGINT NOT NULL,
    audio_file_id BIGINT NOT NULL,
    language_id BIGINT NOT NULL,
    version BIGINT NOT NULL,
    based_on_id BIGINT,
    content TEXT NOT NULL,
    confidence DOUBLE PRECISION,
    model_name TEXT,
    model_version TEXT,
    accepted_at TIMESTAMP WITH TIME ZONE,
    accepted_by_id BIGINT,
    created_by_id BIGINT DEFAULT public.actor_id() NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    row_version BIGINT DEFAULT '1' NOT NULL,
    CONSTRAINT transcriptions_pkey PRIMARY KEY (id),
    CONSTRAINT transcriptions_case_id_id_key UNIQUE (case_id, id),
    CONSTRAINT transcriptions_audio_file_id_language_id_version_key UNIQUE (audio_file_id, language_id, version),
    CONSTRAINT transcriptions_case_id_audio_file_id_fkey FOREIGN KEY(case_id, audio_file_id) REFERENCES audio_files (case_id, id) ON DELETE CASCADE,
    CONSTRAINT transcriptions_case_id_based_on_id_fkey FOREIGN KEY(case_id, based_on_id) REFERENCES transcriptions (case_id, id) ON DELETE SET NULL (based_on_id),
    CONSTRAINT transcriptions_version_positive_check CHECK (version >= 1),
    CONSTRAINT transcriptions_accepted_whole_check CHECK ((accepted_at IS NULL) = (accepted_by_id IS NULL)),
    CONSTRAINT transcriptions_confidence_range_check CHECK (confidence BETWEEN 0 AND 1),
    CONSTRAINT transcriptions_model_name_length_check CHECK (char_length(model_name) <= 200),
    CONSTRAINT transcriptions_model_version_length_check CHECK (char_length(model_version) <= 200),
    CONSTRAINT transcriptions_language_id_fkey FOREIGN KEY(language_id) REFERENCES languages (id) ON DELETE RESTRICT,
    CONSTRAINT transcriptions_accepted_by_id_fkey FOREIGN KEY(accepted_by_id) REFERENCES users (id) ON DELETE RESTRICT,
    CONSTRAINT transcriptions_created_by_id_fkey FOREIGN KEY(created_by_id) REFERENCES users (id) ON DELETE RESTRICT
);

CREATE INDEX transcriptions_accepted_by_id_idx ON transcriptions (accepted_by_id);

CREATE INDEX transcriptions_case_id_audio_file_id_idx ON transcriptions (case_id, audio_file_id);

CREATE INDEX transcriptions_case_id_based_on_id_idx ON transcriptions (case_id, based_on_id);

CREATE INDEX transcriptions_created_by_id_idx ON transcriptions (created_by_id);

CREATE INDEX transcriptions_language_id_idx ON transcriptions (language_id);

COMMENT ON COLUMN transcriptions.version IS '1, 2, 3 … per recording and language';

COMMENT ON COLUMN transcriptions.based_on_id IS 'the version that this one corrects';

COMMENT ON COLUMN transcriptions.content IS 'the whole text';

COMMENT ON COLUMN transcriptions.model_name IS 'the recogniser; null where people wrote';

COMMENT ON COLUMN transcriptions.row_version IS 'counted by a trigger';

CREATE TABLE analysis_results (
    id BIGINT GENERATED BY DEFAULT AS IDENTITY,
    case_id BIGINT NOT NULL,
    audio_file_id BIGINT NOT NULL,
    transcription_id BIGINT,
    version BIGINT NOT NULL,
    summary TEXT DEFAULT '' NOT NULL,
    sentiment_id BIGINT,
    sentiment_score DOUBLE PRECISION,
    details JSONB DEFAULT '{}'::jsonb NOT NULL,
    model_name TEXT,
    model_version TEXT,
    accepted_at TIMESTAMP WITH TIME ZONE,
    accepted_by_id BIGINT,
    created_by_id BIGINT DEFAULT public.actor_id() NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    row_version BIGINT DEFAULT '1' NOT NULL,
    CONSTRAINT analysis_results_pkey PRIMARY KEY (id),
    CONSTRAINT analysis_results_audio_file_id_version_key UNIQUE (audio_file_id, version),
    CONSTRAINT analysis_results_case_id_audio_file_id_fkey FOREIGN KEY(case_id, audio_file_id) REFERENCES audio_files (case_id, id) ON DELETE CASCADE,
    CONSTRAINT analysis_results_case_id_transcription_id_fkey FOREIGN KEY(case_id, transcription_id) REFERENCES transcriptions (case_id, id) ON DELETE CASCADE,
    CONSTRAINT analysis_results_version_positive_check CHECK (version >= 1),
    CONSTRAINT analysis_results_sentiment_score_range_check CHECK (sentiment_score BETWEEN -1 AND 1),
    CONSTRAINT analysis_results_details_object_check CHECK (jsonb_typeof(details) = 'object'),
    CONSTRAINT analysis_results_accepted_whole_check CHECK ((accepted_at IS NULL) = (accepted_by_id IS NULL)),
    CONSTRAINT analysis_results_model_name_length_check CHECK (char_length(model_name) <= 200),
    CONSTRAINT analysis_results_model_version_length_check CHECK (char_length(model_version) <= 200),
    CONSTRAINT analysis_results_sentiment_id_fkey FOREIGN KEY(sentiment_id) REFERENCES sentiments (id) ON DELETE RESTRICT,
    CONSTRAINT analysis_results_accepted_by_id_fkey FOREIGN KEY(accepted_by_id) REFERENCES users (id) ON DELETE RESTRICT,
    CONSTRAINT analysis_results_created_by_id_fkey FOREIGN KEY(created_by_id) REFERENCES users (id) ON DELETE RESTRICT
);

CREATE INDEX analysis_results_accepted_by_id_idx ON analysis_results (accepted_by_id);

CREATE INDEX analysis_results_case_id_audio_file_id_idx ON analysis_results (case_id, audio_file_id);

CREATE INDEX analysis_results_case_id_transcription_id_idx ON analysis_results (case_id, transcription_id);

CREATE INDEX analysis_results_created_by_id_idx ON analysis_results (created_by_id);

CREATE INDEX analysis_results_sentiment_id_idx ON analysis_results (sentiment_id);

COMMENT ON COLUMN analysis_results.transcription_id IS 'the version that was read';

COMMENT ON COLUMN analysis_results.version IS '1, 2, 3 … per recording';

COMMENT ON COLUMN analysis_results.sentiment_score IS '-1 negative … 1 positive';

COMMENT ON COLUMN analysis_results.row_version IS 'counted by a trigger';

CREATE TABLE transcription_segments (
    id BIGINT GENERATED BY DEFAULT AS IDENTITY,
    case_id BIGINT NOT NULL,
    transcription_id BIGINT NOT NULL,
    position BIGINT NOT NULL,
    start_ms BIGINT,
    end_ms BIGINT,
    speaker TEXT,
    text TEXT NOT NULL,
    words JSONB,
    confidence DOUBLE PRECISION,
    flags TEXT[] DEFAULT '{}'::text[] NOT NULL,
    search_config TEXT DEFAULT 'simple' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    search TSVECTOR GENERATED ALWAYS AS (public.search_vector(search_config, text)) STORED,
    CONSTRAINT transcription_segments_pkey PRIMARY KEY (id),
    CONSTRAINT transcription_segments_case_id_transcription_id_position_key UNIQUE (case_id, transcription_id, position),
    CONSTRAINT transcription_segments_case_id_transcription_id_fkey FOREIGN KEY(case_id, transcription_id) REFERENCES transcriptions (case_id, id) ON DELETE CASCADE,
    CONSTRAINT transcription_segments_position_positive_check CHECK (position >= 0),
    CONSTRAINT transcription_segments_start_ms_positive_check CHECK (start_ms >= 0),
    CONSTRAINT transcription_segments_end_after_start_check CHECK (end_ms >= start_ms),
    CONSTRAINT transcription_segments_confidence_range_check CHECK (confidence BETWEEN 0 AND 1),
    CONSTRAINT transcription_segments_words_array_check CHECK (jsonb_typeof(words) = 'array'),
    CONSTRAINT transcription_segments_speaker_length_check CHECK (char_length(speaker) <= 200)
);

CREATE INDEX transcription_segments_search_idx ON transcription_segments USING gin (search);

COMMENT ON COLUMN transcription_segments.position IS '0, 1, 2 … in the order of the source';

COMMENT ON COLUMN transcription_segments.start_ms IS 'from the start of the recording, in milliseconds';

COMMENT ON COLUMN transcription_segments.words IS '[{"text", "start_ms", "end_ms", "confidence"}, …]; absent stays absent';

COMMENT ON COLUMN transcription_segments.flags IS 'what to doubt: no_speech, repetition, …';

CREATE TABLE transcription_sources (
    id BIGINT GENERATED BY DEFAULT AS IDENTITY,
    case_id BIGINT NOT NULL,
    transcription_id BIGINT NOT NULL,
    dialect TEXT NOT NULL,
    name TEXT,
    sha256 TEXT NOT NULL,
    content BYTEA NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT transcription_sources_pkey PRIMARY KEY (id),
    CONSTRAINT transcription_sources_case_id_transcription_id_fkey FOREIGN KEY(case_id, transcription_id) REFERENCES transcriptions (case_id, id) ON DELETE CASCADE,
    CONSTRAINT transcription_sources_sha256_form_check CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    CONSTRAINT transcription_sources_dialect_length_check CHECK (char_length(dialect) >= 1 AND char_length(dialect) <= 64),
    CONSTRAINT transcription_sources_name_length_check CHECK (char_length(name) <= 1024)
);

CREATE INDEX transcription_sources_case_id_transcription_id_idx ON transcription_sources (case_id, transcription_id);

CREATE INDEX transcription_sources_sha256_idx ON transcription_sources (sha256);

COMMENT ON COLUMN transcription_sources.dialect IS 'whisper, amazon-batch, webvtt, …';

CREATE TABLE IF NOT EXISTS public.activity_logs_default PARTITION OF public.activity_logs DEFAULT;
SELECT public.ensure_activity_partitions(3);

INSERT INTO public.activity_types (code, name, category) VALUES
    ('row.insert', 'Row added', 'change'), ('row.update', 'Row changed', 'change'),
    ('row.delete', 'Row deleted', 'change'), ('row.baseline', 'Row found when capture began', 'change')
ON CONFLICT (code) DO NOTHING;

CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.users
    FOR EACH ROW EXECUTE FUNCTION public.touch_versioned_row();

CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.user_roles
    FOR EACH ROW EXECUTE FUNCTION public.touch_versioned_row();

CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.case_participants
    FOR EACH ROW EXECUTE FUNCTION public.touch_versioned_row();

CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.case_notes
    FOR EACH ROW EXECUTE FUNCTION public.touch_versioned_row();

CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.legal_holds
    FOR EACH ROW EXECUTE FUNCTION public.touch_versioned_row();

CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.audio_files
    FOR EACH ROW EXECUTE FUNCTION public.touch_versioned_row();

CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.processing_jobs
    FOR EACH ROW EXECUTE FUNCTION public.touch_versioned_row();

CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.transcriptions
    FOR EACH ROW EXECUTE FUNCTION public.touch_versioned_row();

CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.analysis_results
    FOR EACH ROW EXECUTE FUNCTION public.touch_versioned_row();

CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.cases
    FOR EACH ROW WHEN (OLD.active_holds IS NOT DISTINCT FROM NEW.active_holds) EXECUTE FUNCTION public.touch_versioned_row();

CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.storage_objects
    FOR EACH ROW EXECUTE FUNCTION public.touch_row();

CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.transcription_sources
    FOR EACH ROW EXECUTE FUNCTION public.touch_row();

CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.activity_types
    FOR EACH ROW EXECUTE FUNCTION public.touch_row();

CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.audio_statuses
    FOR EACH ROW EXECUTE FUNCTION public.touch_row();

CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.case_priorities
    FOR EACH ROW EXECUTE FUNCTION public.touch_row();

CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.case_statuses
    FOR EACH ROW EXECUTE FUNCTION public.touch_row();

CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.languages
    FOR EACH ROW EXECUTE FUNCTION public.touch_row();

CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.sentiments
    FOR EACH ROW EXECUTE FUNCTION public.touch_row();

CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.actor_keys
    FOR EACH ROW EXECUTE FUNCTION public.touch_row();

CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.activity_seals
    FOR EACH ROW EXECUTE FUNCTION public.touch_row();

CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.login_throttles
    FOR EACH ROW EXECUTE FUNCTION public.touch_row();

CREATE OR REPLACE TRIGGER prepare BEFORE INSERT ON public.cases
    FOR EACH ROW EXECUTE FUNCTION public.prepare_case();

CREATE OR REPLACE TRIGGER own AFTER INSERT ON public.cases
    FOR EACH ROW EXECUTE FUNCTION public.own_case();

CREATE OR REPLACE TRIGGER adopt BEFORE INSERT ON public.audio_files
    FOR EACH ROW EXECUTE FUNCTION public.adopt_object();

CREATE OR REPLACE TRIGGER adopt_moved BEFORE UPDATE OF path ON public.audio_files
    FOR EACH ROW WHEN (OLD.path <> NEW.path) EXECUTE FUNCTION public.adopt_object();

CREATE OR REPLACE TRIGGER release AFTER DELETE ON public.audio_files
    FOR EACH ROW EXECUTE FUNCTION public.release_object();
ALTER TABLE public.audio_files ENABLE ALWAYS TRIGGER release;

CREATE OR REPLACE TRIGGER release_moved AFTER UPDATE OF path ON public.audio_files
    FOR EACH ROW WHEN (OLD.path <> NEW.path) EXECUTE FUNCTION public.release_object();

CREATE OR REPLACE TRIGGER refuse_update BEFORE UPDATE ON public.transcription_segments
    FOR EACH ROW EXECUTE FUNCTION public.refuse_change('a transcription is never edited, add a version');
ALTER TABLE public.transcription_segments ENABLE ALWAYS TRIGGER refuse_update;

CREATE OR REPLACE TRIGGER guard_hierarchy BEFORE INSERT OR UPDATE OF parent_id, id ON public.user_roles
    FOR EACH ROW EXECUTE FUNCTION public.guard_hierarchy();
ALTER TABLE public.user_roles ENABLE ALWAYS TRIGGER guard_hierarchy;

CREATE OR REPLACE TRIGGER guard_administrators AFTER UPDATE OF parent_id, permissions ON public.user_roles
    FOR EACH ROW EXECUTE FUNCTION public.guard_administrators();
ALTER TABLE public.user_roles ENABLE ALWAYS TRIGGER guard_administrators;

CREATE OR REPLACE TRIGGER guard_administrators AFTER UPDATE ON public.users
    FOR EACH ROW WHEN (OLD.is_active AND (NOT NEW.is_active OR OLD.role_id <> NEW.role_id)) EXECUTE FUNCTION public.guard_administrators();
ALTER TABLE public.users ENABLE ALWAYS TRIGGER guard_administrators;

CREATE OR REPLACE TRIGGER guard_administrators_delete AFTER DELETE ON public.users
    FOR EACH ROW WHEN (OLD.is_active) EXECUTE FUNCTION public.guard_administrators();
ALTER TABLE public.users ENABLE ALWAYS TRIGGER guard_administrators_delete;

CREATE OR REPLACE TRIGGER guard_owners AFTER DELETE ON public.case_participants
    FOR EACH ROW WHEN (OLD.role = 'owner') EXECUTE FUNCTION public.guard_owners();
ALTER TABLE public.case_participants ENABLE ALWAYS TRIGGER guard_owners;

CREATE OR REPLACE TRIGGER guard_owners_update AFTER UPDATE ON public.case_participants
    FOR EACH ROW WHEN (OLD.role = 'owner' AND (NEW.role <> 'owner' OR NEW.expires_at IS NOT NULL OR NEW.case_id <> OLD.case_id)) EXECUTE FUNCTION public.guard_owners();
ALTER TABLE public.case_participants ENABLE ALWAYS TRIGGER guard_owners_update;

CREATE OR REPLACE TRIGGER guard_grant BEFORE INSERT OR UPDATE ON public.case_participants
    FOR EACH ROW EXECUTE FUNCTION public.guard_grant();
ALTER TABLE public.case_participants ENABLE ALWAYS TRIGGER guard_grant;

CREATE OR REPLACE TRIGGER announce_hold AFTER INSERT OR UPDATE ON public.legal_holds
    FOR EACH ROW EXECUTE FUNCTION public.announce_hold();
ALTER TABLE public.legal_holds ENABLE ALWAYS TRIGGER announce_hold;

CREATE OR REPLACE TRIGGER count_holds BEFORE INSERT OR UPDATE OF active_holds ON public.cases
    FOR EACH ROW EXECUTE FUNCTION public.count_holds();
ALTER TABLE public.cases ENABLE ALWAYS TRIGGER count_holds;

CREATE OR REPLACE TRIGGER guard_hold BEFORE DELETE ON public.cases
    FOR EACH ROW EXECUTE FUNCTION public.guard_hold();
ALTER TABLE public.cases ENABLE ALWAYS TRIGGER guard_hold;

CREATE OR REPLACE TRIGGER guard_hold BEFORE DELETE ON public.case_participants
    FOR EACH ROW EXECUTE FUNCTION public.guard_hold();
ALTER TABLE public.case_participants ENABLE ALWAYS TRIGGER guard_hold;

CREATE OR REPLACE TRIGGER guard_hold BEFORE DELETE ON public.case_notes
    FOR EACH ROW EXECUTE FUNCTION public.guard_hold();
ALTER TABLE public.case_notes ENABLE ALWAYS TRIGGER guard_hold;

CREATE OR REPLACE TRIGGER guard_hold BEFORE DELETE ON public.legal_holds
    FOR EACH ROW EXECUTE FUNCTION public.guard_hold();
ALTER TABLE public.legal_holds ENABLE ALWAYS TRIGGER guard_hold;

CREATE OR REPLACE TRIGGER guard_hold BEFORE DELETE ON public.audio_files
    FOR EACH ROW EXECUTE FUNCTION public.guard_hold();
ALTER TABLE public.audio_files ENABLE ALWAYS TRIGGER guard_hold;

CREATE OR REPLACE TRIGGER guard_hold BEFORE DELETE ON public.storage_objects
    FOR EACH ROW EXECUTE FUNCTION public.guard_hold();
ALTER TABLE public.storage_objects ENABLE ALWAYS TRIGGER guard_hold;

CREATE OR REPLACE TRIGGER guard_hold BEFORE DELETE ON public.processing_jobs
    FOR EACH ROW EXECUTE FUNCTION public.guard_hold();
ALTER TABLE public.processing_jobs ENABLE ALWAYS TRIGGER guard_hold;

CREATE OR REPLACE TRIGGER guard_hold BEFORE DELETE ON public.transcriptions
    FOR EACH ROW EXECUTE FUNCTION public.guard_hold();
ALTER TABLE public.transcriptions ENABLE ALWAYS TRIGGER guard_hold;

CREATE OR REPLACE TRIGGER guard_hold BEFORE DELETE ON public.transcription_segments
    FOR EACH ROW EXECUTE FUNCTION public.guard_hold();
ALTER TABLE public.transcription_segments ENABLE ALWAYS TRIGGER guard_hold;

CREATE OR REPLACE TRIGGER guard_hold BEFORE DELETE ON public.transcription_sources
    FOR EACH ROW EXECUTE FUNCTION public.guard_hold();
ALTER TABLE public.transcription_sources ENABLE ALWAYS TRIGGER guard_hold;

CREATE OR REPLACE TRIGGER guard_hold BEFORE DELETE ON public.analysis_results
    FOR EACH ROW EXECUTE FUNCTION public.guard_hold();
ALTER TABLE public.analysis_results ENABLE ALWAYS TRIGGER guard_hold;

CREATE OR REPLACE TRIGGER capture AFTER INSERT OR UPDATE OR DELETE ON public.users
    FOR EACH ROW EXECUTE FUNCTION public.capture_change('', '', 'password_hash,email');
ALTER TABLE public.users ENABLE ALWAYS TRIGGER capture;

CREATE OR REPLACE TRIGGER capture AFTER INSERT OR UPDATE OR DELETE ON public.user_roles
    FOR EACH ROW EXECUTE FUNCTION public.capture_change('', '', '');
ALTER TABLE public.user_roles ENABLE ALWAYS TRIGGER capture;

CREATE OR REPLACE TRIGGER capture AFTER INSERT OR UPDATE OR DELETE ON public.cases
    FOR EACH ROW EXECUTE FUNCTION public.capture_change('id', 'opened_xid,active_holds', '');
ALTER TABLE public.cases ENABLE ALWAYS TRIGGER capture;

CREATE OR REPLACE TRIGGER capture AFTER INSERT OR UPDATE OR DELETE ON public.case_participants
    FOR EACH ROW EXECUTE FUNCTION public.capture_change('case_id', '', '');
ALTER TABLE public.case_participants ENABLE ALWAYS TRIGGER capture;

CREATE OR REPLACE TRIGGER capture AFTER INSERT OR UPDATE OR DELETE ON public.case_notes
    FOR EACH ROW EXECUTE FUNCTION public.capture_change('case_id', '', '');
ALTER TABLE public.case_notes ENABLE ALWAYS TRIGGER capture;

CREATE OR REPLACE TRIGGER capture AFTER INSERT OR UPDATE OR DELETE ON public.legal_holds
    FOR EACH ROW EXECUTE FUNCTION public.capture_change('case_id', '', '');
ALTER TABLE public.legal_holds ENABLE ALWAYS TRIGGER capture;

CREATE OR REPLACE TRIGGER capture AFTER INSERT OR UPDATE OR DELETE ON public.audio_files
    FOR EACH ROW EXECUTE FUNCTION public.capture_change('case_id', '', '');
ALTER TABLE public.audio_files ENABLE ALWAYS TRIGGER capture;

CREATE OR REPLACE TRIGGER capture AFTER INSERT OR UPDATE OR DELETE ON public.transcriptions
    FOR EACH ROW EXECUTE FUNCTION public.capture_change('case_id', '', '');
ALTER TABLE public.transcriptions ENABLE ALWAYS TRIGGER capture;

CREATE OR REPLACE TRIGGER capture AFTER INSERT OR UPDATE OR DELETE ON public.analysis_results
    FOR EACH ROW EXECUTE FUNCTION public.capture_change('case_id', '', '');
ALTER TABLE public.analysis_results ENABLE ALWAYS TRIGGER capture;

CREATE OR REPLACE TRIGGER capture AFTER INSERT OR DELETE ON public.processing_jobs
    FOR EACH ROW EXECUTE FUNCTION public.capture_change('case_id', 'lease_expires_at', '');
ALTER TABLE public.processing_jobs ENABLE ALWAYS TRIGGER capture;

CREATE OR REPLACE TRIGGER capture_outcome AFTER UPDATE ON public.processing_jobs
    FOR EACH ROW WHEN (OLD.state IS DISTINCT FROM NEW.state OR OLD.lease IS DISTINCT FROM NEW.lease) EXECUTE FUNCTION public.capture_change('case_id', 'lease_expires_at', '');
ALTER TABLE public.processing_jobs ENABLE ALWAYS TRIGGER capture_outcome;

CREATE OR REPLACE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.users
    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change('it would leave no trace, delete rows instead');
ALTER TABLE public.users ENABLE ALWAYS TRIGGER refuse_truncate;

CREATE OR REPLACE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.user_roles
    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change('it would leave no trace, delete rows instead');
ALTER TABLE public.user_roles ENABLE ALWAYS TRIGGER refuse_truncate;

CREATE OR REPLACE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.cases
    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change('it would leave no trace, delete rows instead');
ALTER TABLE public.cases ENABLE ALWAYS TRIGGER refuse_truncate;

CREATE OR REPLACE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.case_participants
    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change('it would leave no trace, delete rows instead');
ALTER TABLE public.case_participants ENABLE ALWAYS TRIGGER refuse_truncate;

CREATE OR REPLACE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.case_notes
    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change('it would leave no trace, delete rows instead');
ALTER TABLE public.case_notes ENABLE ALWAYS TRIGGER refuse_truncate;

CREATE OR REPLACE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.legal_holds
    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change('it would leave no trace, delete rows instead');
ALTER TABLE public.legal_holds ENABLE ALWAYS TRIGGER refuse_truncate;

CREATE OR REPLACE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.audio_files
    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change('it would leave no trace, delete rows instead');
ALTER TABLE public.audio_files ENABLE ALWAYS TRIGGER refuse_truncate;

CREATE OR REPLACE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.transcriptions
    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change('it would leave no trace, delete rows instead');
ALTER TABLE public.transcriptions ENABLE ALWAYS TRIGGER refuse_truncate;

CREATE OR REPLACE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.analysis_results
    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change('it would leave no trace, delete rows instead');
ALTER TABLE public.analysis_results ENABLE ALWAYS TRIGGER refuse_truncate;

CREATE OR REPLACE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.processing_jobs
    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change('it would leave no trace, delete rows instead');
ALTER TABLE public.processing_jobs ENABLE ALWAYS TRIGGER refuse_truncate;

CREATE OR REPLACE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.transcription_segments
    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change('it would leave no trace, delete rows instead');
ALTER TABLE public.transcription_segments ENABLE ALWAYS TRIGGER refuse_truncate;

CREATE OR REPLACE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.transcription_sources
    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change('it would leave no trace, delete rows instead');
ALTER TABLE public.transcription_sources ENABLE ALWAYS TRIGGER refuse_truncate;

CREATE OR REPLACE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.storage_objects
    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change('it would leave no trace, delete rows instead');
ALTER TABLE public.storage_objects ENABLE ALWAYS TRIGGER refuse_truncate;

CREATE OR REPLACE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.activity_logs
    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change('it would leave no trace, delete rows instead');
ALTER TABLE public.activity_logs ENABLE ALWAYS TRIGGER refuse_truncate;

CREATE OR REPLACE TRIGGER refuse_change BEFORE UPDATE OR DELETE ON public.activity_logs
    FOR EACH ROW EXECUTE FUNCTION public.refuse_change('the log is append-only');
ALTER TABLE public.activity_logs ENABLE ALWAYS TRIGGER refuse_change;

ALTER TABLE public.cases ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.case_participants ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.case_notes ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.legal_holds ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.audio_files ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.storage_objects ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.processing_jobs ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.transcriptions ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.transcription_segments ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.transcription_sources ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.analysis_results ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.users ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.user_roles ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.activity_types ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.audio_statuses ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.case_priorities ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.case_statuses ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.languages ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.sentiments ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.activity_logs ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.activity_seals ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.actor_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.login_throttles ENABLE ROW LEVEL SECURITY;

DROP POLICY IF EXISTS cases_app_select ON public.cases;
CREATE POLICY cases_app_select ON public.cases FOR SELECT TO sti_app
    USING (id = ANY ((SELECT public.actor_case_ids('read'))::bigint[]) OR (opened_by_id = (SELECT public.actor_id()) AND opened_xid = pg_current_xact_id_if_assigned()));

DROP POLICY IF EXISTS cases_app_insert ON public.cases;
CREATE POLICY cases_app_insert ON public.cases FOR INSERT TO sti_app
    WITH CHECK (opened_by_id = (SELECT public.actor_id()) AND (SELECT public.actor_may('case', 'open')));

DROP POLICY IF EXISTS cases_app_update ON public.cases;
CREATE POLICY cases_app_update ON public.cases FOR UPDATE TO sti_app
    USING (id = ANY ((SELECT public.actor_case_ids('write'))::bigint[]))
    WITH CHECK (id = ANY ((SELECT public.actor_case_ids('write'))::bigint[]));

DROP POLICY IF EXISTS cases_app_delete ON public.cases;
CREATE POLICY cases_app_delete ON public.cases FOR DELETE TO sti_app
    USING (id = ANY ((SELECT public.actor_case_ids('delete'))::bigint[]));

DROP POLICY IF EXISTS case_participants_app_select ON public.case_participants;
CREATE POLICY case_participants_app_select ON public.case_participants FOR SELECT TO sti_app
    USING (case_id = ANY ((SELECT public.actor_case_ids('read'))::bigint[]));

DROP POLICY IF EXISTS case_participants_app_insert ON public.case_participants;
CREATE POLICY case_participants_app_insert ON public.case_participants FOR INSERT TO sti_app
    WITH CHECK (case_id = ANY ((SELECT public.actor_case_ids('manage'))::bigint[]) AND coalesce(added_by_id = (SELECT public.actor_id()), true));

DROP POLICY IF EXISTS case_participants_app_update ON public.case_participants;
CREATE POLICY case_participants_app_update ON public.case_participants FOR UPDATE TO sti_app
    USING (case_id = ANY ((SELECT public.actor_case_ids('manage'))::bigint[]))
    WITH CHECK (case_id = ANY ((SELECT public.actor_case_ids('manage'))::bigint[]));

DROP POLICY IF EXISTS case_participants_app_delete ON public.case_participants;
CREATE POLICY case_participants_app_delete ON public.case_participants FOR DELETE TO sti_app
    USING (case_id = ANY ((SELECT public.actor_case_ids('manage'))::bigint[]));

DROP POLICY IF EXISTS case_notes_app_select ON public.case_notes;
CREATE POLICY case_notes_app_select ON public.case_notes FOR SELECT TO sti_app
    USING (case_id = ANY ((SELECT public.actor_case_ids('read'))::bigint[]));

DROP POLICY IF EXISTS case_notes_app_insert ON public.case_notes;
CREATE POLICY case_notes_app_insert ON public.case_notes FOR INSERT TO sti_app
    WITH CHECK (case_id = ANY ((SELECT public.actor_case_ids('write'))::bigint[]) AND coalesce(author_id = (SELECT public.actor_id()), true));

DROP POLICY IF EXISTS case_notes_app_update ON public.case_notes;
CREATE POLICY case_notes_app_update ON public.case_notes FOR UPDATE TO sti_app
    USING (case_id = ANY ((SELECT public.actor_case_ids('write'))::bigint[]))
    WITH CHECK (case_id = ANY ((SELECT public.actor_case_ids('write'))::bigint[]));

DROP POLICY IF EXISTS case_notes_app_delete ON public.case_notes;
CREATE POLICY case_notes_app_delete ON public.case_notes FOR DELETE TO sti_app
    USING (case_id = ANY ((SELECT public.actor_case_ids('delete'))::bigint[]));

DROP POLICY IF EXISTS legal_holds_app_select ON public.legal_holds;
CREATE POLICY legal_holds_app_select ON public.legal_holds FOR SELECT TO sti_app
    USING (case_id = ANY ((SELECT public.actor_case_ids('read'))::bigint[]));

DROP POLICY IF EXISTS legal_holds_app_insert ON public.legal_holds;
CREATE POLICY legal_holds_app_insert ON public.legal_holds FOR INSERT TO sti_app
    WITH CHECK (case_id = ANY ((SELECT public.actor_case_ids('manage'))::bigint[]) AND coalesce(placed_by_id = (SELECT public.actor_id()), true) AND coalesce(released_by_id = (SELECT public.actor_id()), true));

DROP POLICY IF EXISTS legal_holds_app_update ON public.legal_holds;
CREATE POLICY legal_holds_app_update ON public.legal_holds FOR UPDATE TO sti_app
    USING (case_id = ANY ((SELECT public.actor_case_ids('manage'))::bigint[]))
    WITH CHECK (case_id = ANY ((SELECT public.actor_case_ids('manage'))::bigint[]) AND coalesce(released_by_id = (SELECT public.actor_id()), true));

DROP POLICY IF EXISTS audio_files_app_select ON public.audio_files;
CREATE POLICY audio_files_app_select ON public.audio_files FOR SELECT TO sti_app
    USING (case_id = ANY ((SELECT public.actor_case_ids('read'))::bigint[]));

DROP POLICY IF EXISTS audio_files_app_insert ON public.audio_files;
CREATE POLICY audio_files_app_insert ON public.audio_files FOR INSERT TO sti_app
    WITH CHECK (case_id = ANY ((SELECT public.actor_case_ids('write'))::bigint[]) AND coalesce(uploaded_by_id = (SELECT public.actor_id()), true));

DROP POLICY IF EXISTS audio_files_app_update ON public.audio_files;
CREATE POLICY audio_files_app_update ON public.audio_files FOR UPDATE TO sti_app
    USING (case_id = ANY ((SELECT public.actor_case_ids('write'))::bigint[]))
    WITH CHECK (case_id = ANY ((SELECT public.actor_case_ids('write'))::bigint[]));

DROP POLICY IF EXISTS audio_files_app_delete ON public.audio_files;
CREATE POLICY audio_files_app_delete ON public.audio_files FOR DELETE TO sti_app
    USING (case_id = ANY ((SELECT public.actor_case_ids('delete'))::bigint[]));

DROP POLICY IF EXISTS storage_objects_app_select ON public.storage_objects;
CREATE POLICY storage_objects_app_select ON public.storage_objects FOR SELECT TO sti_app
    USING (case_id = ANY ((SELECT public.actor_case_ids('read'))::bigint[]));

DROP POLICY IF EXISTS processing_jobs_app_select ON public.processing_jobs;
CREATE POLICY processing_jobs_app_select ON public.processing_jobs FOR SELECT TO sti_app
    USING (case_id = ANY ((SELECT public.actor_case_ids('read'))::bigint[]));

DROP POLICY IF EXISTS processing_jobs_app_insert ON public.processing_jobs;
CREATE POLICY processing_jobs_app_insert ON public.processing_jobs FOR INSERT TO sti_app
    WITH CHECK (case_id = ANY ((SELECT public.actor_case_ids('write'))::bigint[]) AND state = 'queued' AND coalesce(created_by_id = (SELECT public.actor_id()), true));

DROP POLICY IF EXISTS processing_jobs_app_delete ON public.processing_jobs;
CREATE POLICY processing_jobs_app_delete ON public.processing_jobs FOR DELETE TO sti_app
    USING (case_id = ANY ((SELECT public.actor_case_ids('delete'))::bigint[]));

DROP POLICY IF EXISTS transcriptions_app_select ON public.transcriptions;
CREATE POLICY transcriptions_app_select ON public.transcriptions FOR SELECT TO sti_app
    USING (case_id = ANY ((SELECT public.actor_case_ids('read'))::bigint[]));

DROP POLICY IF EXISTS transcriptions_app_insert ON public.transcriptions;
CREATE POLICY transcriptions_app_insert ON public.transcriptions FOR INSERT TO sti_app
    WITH CHECK (case_id = ANY ((SELECT public.actor_case_ids('write'))::bigint[]) AND coalesce(created_by_id = (SELECT public.actor_id()), true) AND coalesce(accepted_by_id = (SELECT public.actor_id()), true));

DROP POLICY IF EXISTS transcriptions_app_update ON public.transcriptions;
CREATE POLICY transcriptions_app_update ON public.transcriptions FOR UPDATE TO sti_app
    USING (case_id = ANY ((SELECT public.actor_case_ids('write'))::bigint[]))
    WITH CHECK (case_id = ANY ((SELECT public.actor_case_ids('write'))::bigint[]) AND coalesce(accepted_by_id = (SELECT public.actor_id()), true));

DROP POLICY IF EXISTS transcriptions_app_delete ON public.transcriptions;
CREATE POLICY transcriptions_app_delete ON public.transcriptions FOR DELETE TO sti_app
    USING (case_id = ANY ((SELECT public.actor_case_ids('delete'))::bigint[]));

DROP POLICY IF EXISTS transcription_segments_app_select ON public.transcription_segments;
CREATE POLICY transcription_segments_app_select ON public.transcription_segments FOR SELECT TO sti_app
    USING (case_id = ANY ((SELECT public.actor_case_ids('read'))::bigint[]));

DROP POLICY IF EXISTS transcription_segments_app_insert ON public.transcription_segments;
CREATE POLICY transcription_segments_app_insert ON public.transcription_segments FOR INSERT TO sti_app
    WITH CHECK (case_id = ANY ((SELECT public.actor_case_ids('write'))::bigint[]));

DROP POLICY IF EXISTS transcription_sources_app_select ON public.transcription_sources;
CREATE POLICY transcription_sources_app_select ON public.transcription_sources FOR SELECT TO sti_app
    USING (case_id = ANY ((SELECT public.actor_case_ids('read'))::bigint[]));

DROP POLICY IF EXISTS transcription_sources_app_insert ON public.transcription_sources;
CREATE POLICY transcription_sources_app_insert ON public.transcription_sources FOR INSERT TO sti_app
    WITH CHECK (case_id = ANY ((SELECT public.actor_case_ids('write'))::bigint[]));

DROP POLICY IF EXISTS analysis_results_app_select ON public.analysis_results;
CREATE POLICY analysis_results_app_select ON public.analysis_results FOR SELECT TO sti_app
    USING (case_id = ANY ((SELECT public.actor_case_ids('read'))::bigint[]));

DROP POLICY IF EXISTS analysis_results_app_insert ON public.analysis_results;
CREATE POLICY analysis_results_app_insert ON public.analysis_results FOR INSERT TO sti_app
    WITH CHECK (case_id = ANY ((SELECT public.actor_case_ids('write'))::bigint[]) AND coalesce(created_by_id = (SELECT public.actor_id()), true) AND coalesce(accepted_by_id = (SELECT public.actor_id()), true));

DROP POLICY IF EXISTS analysis_results_app_update ON public.analysis_results;
CREATE POLICY analysis_results_app_update ON public.analysis_results FOR UPDATE TO sti_app
    USING (case_id = ANY ((SELECT public.actor_case_ids('write'))::bigint[]))
    WITH CHECK (case_id = ANY ((SELECT public.actor_case_ids('write'))::bigint[]) AND coalesce(accepted_by_id = (SELECT public.actor_id()), true));

DROP POLICY IF EXISTS analysis_results_app_delete ON public.analysis_results;
CREATE POLICY analysis_results_app_delete ON public.analysis_results FOR DELETE TO sti_app
    USING (case_id = ANY ((SELECT public.actor_case_ids('delete'))::bigint[]));

DROP POLICY IF EXISTS users_app_select ON public.users;
CREATE POLICY users_app_select ON public.users FOR SELECT TO sti_app
    USING ((SELECT public.actor_id()) IS NOT NULL);

DROP POLICY IF EXISTS users_app_update ON public.users;
CREATE POLICY users_app_update ON public.users FOR UPDATE TO sti_app
    USING (id = (SELECT public.actor_id()))
    WITH CHECK (id = (SELECT public.actor_id()));

DROP POLICY IF EXISTS user_roles_app_select ON public.user_roles;
CREATE POLICY user_roles_app_select ON public.user_roles FOR SELECT TO sti_app
    USING ((SELECT public.actor_id()) IS NOT NULL);

DROP POLICY IF EXISTS activity_types_app_select ON public.activity_types;
CREATE POLICY activity_types_app_select ON public.activity_types FOR SELECT TO sti_app
    USING ((SELECT public.actor_id()) IS NOT NULL);

DROP POLICY IF EXISTS audio_statuses_app_select ON public.audio_statuses;
CREATE POLICY audio_statuses_app_select ON public.audio_statuses FOR SELECT TO sti_app
    USING ((SELECT public.actor_id()) IS NOT NULL);

DROP POLICY IF EXISTS case_priorities_app_select ON public.case_priorities;
CREATE POLICY case_priorities_app_select ON public.case_priorities FOR SELECT TO sti_app
    USING ((SELECT public.actor_id()) IS NOT NULL);

DROP POLICY IF EXISTS case_statuses_app_select ON public.case_statuses;
CREATE POLICY case_statuses_app_select ON public.case_statuses FOR SELECT TO sti_app
    USING ((SELECT public.actor_id()) IS NOT NULL);

DROP POLICY IF EXISTS languages_app_select ON public.languages;
CREATE POLICY languages_app_select ON public.languages FOR SELECT TO sti_app
    USING ((SELECT public.actor_id()) IS NOT NULL);

DROP POLICY IF EXISTS sentiments_app_select ON public.sentiments;
CREATE POLICY sentiments_app_select ON public.sentiments FOR SELECT TO sti_app
    USING ((SELECT public.actor_id()) IS NOT NULL);

DROP POLICY IF EXISTS activity_logs_app_select ON public.activity_logs;
CREATE POLICY activity_logs_app_select ON public.activity_logs FOR SELECT TO sti_app
    USING (case_id = ANY ((SELECT public.actor_case_ids('read'))::bigint[]) OR actor_id = (SELECT public.actor_id()));

DROP POLICY IF EXISTS cases_admin_all ON public.cases;
CREATE POLICY cases_admin_all ON public.cases FOR ALL TO sti_admin
    USING ((SELECT public.actor_may('*', '*')))
    WITH CHECK ((SELECT public.actor_may('*', '*')));

DROP POLICY IF EXISTS case_participants_admin_all ON public.case_participants;
CREATE POLICY case_participants_admin_all ON public.case_participants FOR ALL TO sti_admin
    USING ((SELECT public.actor_may('*', '*')))
    WITH CHECK ((SELECT public.actor_may('*', '*')));

DROP POLICY IF EXISTS case_notes_admin_all ON public.case_notes;
CREATE POLICY case_notes_admin_all ON public.case_notes FOR ALL TO sti_admin
    USING ((SELECT public.actor_may('*', '*')))
    WITH CHECK ((SELECT public.actor_may('*', '*')));

DROP POLICY IF EXISTS legal_holds_admin_all ON public.legal_holds;
CREATE POLICY legal_holds_admin_all ON public.legal_holds FOR ALL TO sti_admin
    USING ((SELECT public.actor_may('*', '*')))
    WITH CHECK ((SELECT public.actor_may('*', '*')));

DROP POLICY IF EXISTS audio_files_admin_all ON public.audio_files;
CREATE POLICY audio_files_admin_all ON public.audio_files FOR ALL TO sti_admin
    USING ((SELECT public.actor_may('*', '*')))
    WITH CHECK ((SELECT public.actor_may('*', '*')));

DROP POLICY IF EXISTS storage_objects_admin_all ON public.storage_objects;
CREATE POLICY storage_objects_admin_all ON public.storage_objects FOR ALL TO sti_admin
    USING ((SELECT public.actor_may('*', '*')))
    WITH CHECK ((SELECT public.actor_may('*', '*')));

DROP POLICY IF EXISTS processing_jobs_admin_all ON public.processing_jobs;
CREATE POLICY processing_jobs_admin_all ON public.processing_jobs FOR ALL TO sti_admin
    USING ((SELECT public.actor_may('*', '*')))
    WITH CHECK ((SELECT public.actor_may('*', '*')));

DROP POLICY IF EXISTS transcriptions_admin_all ON public.transcriptions;
CREATE POLICY transcriptions_admin_all ON public.transcriptions FOR ALL TO sti_admin
    USING ((SELECT public.actor_may('*', '*')))
    WITH CHECK ((SELECT public.actor_may('*', '*')));

DROP POLICY IF EXISTS transcription_segments_admin_all ON public.transcription_segments;
CREATE POLICY transcription_segments_admin_all ON public.transcription_segments FOR ALL TO sti_admin
    USING ((SELECT public.actor_may('*', '*')))
    WITH CHECK ((SELECT public.actor_may('*', '*')));

DROP POLICY IF EXISTS transcription_sources_admin_all ON public.transcription_sources;
CREATE POLICY transcription_sources_admin_all ON public.transcription_sources FOR ALL TO sti_admin
    USING ((SELECT public.actor_may('*', '*')))
    WITH CHECK ((SELECT public.actor_may('*', '*')));

DROP POLICY IF EXISTS analysis_results_admin_all ON public.analysis_results;
CREATE POLICY analysis_results_admin_all ON public.analysis_results FOR ALL TO sti_admin
    USING ((SELECT public.actor_may('*', '*')))
    WITH CHECK ((SELECT public.actor_may('*', '*')));

DROP POLICY IF EXISTS users_admin_all ON public.users;
CREATE POLICY users_admin_all ON public.users FOR ALL TO sti_admin
    USING ((SELECT public.actor_may('*', '*')))
    WITH CHECK ((SELECT public.actor_may('*', '*')));

DROP POLICY IF EXISTS user_roles_admin_all ON public.user_roles;
CREATE POLICY user_roles_admin_all ON public.user_roles FOR ALL TO sti_admin
    USING ((SELECT public.actor_may('*', '*')))
    WITH CHECK ((SELECT public.actor_may('*', '*')));

DROP POLICY IF EXISTS activity_types_admin_all ON public.activity_types;
CREATE POLICY activity_types_admin_all ON public.activity_types FOR ALL TO sti_admin
    USING ((SELECT public.actor_may('*', '*')))
    WITH CHECK ((SELECT public.actor_may('*', '*')));

DROP POLICY IF EXISTS audio_statuses_admin_all ON public.audio_statuses;
CREATE POLICY audio_statuses_admin_all ON public.audio_statuses FOR ALL TO sti_admin
    USING ((SELECT public.actor_may('*', '*')))
    WITH CHECK ((SELECT public.actor_may('*', '*')));

DROP POLICY IF EXISTS case_priorities_admin_all ON public.case_priorities;
CREATE POLICY case_priorities_admin_all ON public.case_priorities FOR ALL TO sti_admin
    USING ((SELECT public.actor_may('*', '*')))
    WITH CHECK ((SELECT public.actor_may('*', '*')));

DROP POLICY IF EXISTS case_statuses_admin_all ON public.case_statuses;
CREATE POLICY case_statuses_admin_all ON public.case_statuses FOR ALL TO sti_admin
    USING ((SELECT public.actor_may('*', '*')))
    WITH CHECK ((SELECT public.actor_may('*', '*')));

DROP POLICY IF EXISTS languages_admin_all ON public.languages;
CREATE POLICY languages_admin_all ON public.languages FOR ALL TO sti_admin
    USING ((SELECT public.actor_may('*', '*')))
    WITH CHECK ((SELECT public.actor_may('*', '*')));

DROP POLICY IF EXISTS sentiments_admin_all ON public.sentiments;
CREATE POLICY sentiments_admin_all ON public.sentiments FOR ALL TO sti_admin
    USING ((SELECT public.actor_may('*', '*')))
    WITH CHECK ((SELECT public.actor_may('*', '*')));

DROP POLICY IF EXISTS activity_logs_admin_select ON public.activity_logs;
CREATE POLICY activity_logs_admin_select ON public.activity_logs FOR SELECT TO sti_admin
    USING ((SELECT public.actor_may('*', '*')));

DROP POLICY IF EXISTS activity_seals_admin_select ON public.activity_seals;
CREATE POLICY activity_seals_admin_select ON public.activity_seals FOR SELECT TO sti_admin
    USING ((SELECT public.actor_may('*', '*')));

GRANT USAGE ON SCHEMA public TO sti_app, sti_admin;

GRANT INSERT (case_code, title, description, status_id, priority_id, opened_by_id, closed_at) ON public.cases TO sti_app, sti_admin;
GRANT INSERT (case_id, user_id, role, permissions, expires_at, added_by_id) ON public.case_participants TO sti_app, sti_admin;
GRANT INSERT (case_id, author_id, body) ON public.case_notes TO sti_app, sti_admin;
GRANT INSERT (case_id, reason, placed_by_id, released_at, released_by_id, release_reason) ON public.legal_holds TO sti_app, sti_admin;
GRANT INSERT (case_id, name, path, size_bytes, sha256, content_type, duration_ms, sample_rate_hz, channels, codec, is_truncated, recorded_at, language_id, status_id, processed_at, error_message, storage_type, storage_config, is_archived, archive_reason, uploaded_by_id) ON public.audio_files TO sti_app, sti_admin;
GRANT INSERT (case_id, audio_file_id, kind, priority, payload, result, run_after, max_attempts, leased_by_id, lease_expires_at, worker, started_at, finished_at, error_message, created_by_id) ON public.processing_jobs TO sti_app, sti_admin;
GRANT INSERT (case_id, audio_file_id, language_id, version, based_on_id, content, confidence, model_name, model_version, accepted_at, accepted_by_id, created_by_id) ON public.transcriptions TO sti_app, sti_admin;
GRANT INSERT (case_id, transcription_id, position, start_ms, end_ms, speaker, text, words, confidence, flags, search_config) ON public.transcription_segments TO sti_app, sti_admin;
GRANT INSERT (case_id, transcription_id, dialect, name, sha256, content) ON public.transcription_sources TO sti_app, sti_admin;
GRANT INSERT (case_id, audio_file_id, transcription_id, version, summary, sentiment_id, sentiment_score, details, model_name, model_version, accepted_at, accepted_by_id, created_by_id) ON public.analysis_results TO sti_app, sti_admin;
GRANT SELECT, DELETE ON public.cases TO sti_app, sti_admin;
GRANT UPDATE (case_code, title, description, status_id, priority_id, closed_at) ON public.cases TO sti_app, sti_admin;
GRANT SELECT, DELETE ON public.case_participants TO sti_app, sti_admin;
GRANT UPDATE (role, permissions, expires_at) ON public.case_participants TO sti_app, sti_admin;
GRANT SELECT, DELETE ON public.case_notes TO sti_app, sti_admin;
GRANT UPDATE (body) ON public.case_notes TO sti_app, sti_admin;
GRANT SELECT ON public.legal_holds TO sti_app, sti_admin;
GRANT UPDATE (released_at, released_by_id, release_reason) ON public.legal_holds TO sti_app, sti_admin;
GRANT SELECT, DELETE ON public.audio_files TO sti_app, sti_admin;
GRANT UPDATE (name, recorded_at, language_id, status_id, processed_at, error_message, is_archived, archive_reason) ON public.audio_files TO sti_app, sti_admin;
GRANT SELECT ON public.storage_objects TO sti_app, sti_admin;
GRANT SELECT, DELETE ON public.processing_jobs TO sti_app, sti_admin;
GRANT SELECT, DELETE ON public.transcriptions TO sti_app, sti_admin;
GRANT UPDATE (accepted_at, accepted_by_id) ON public.transcriptions TO sti_app, sti_admin;
GRANT SELECT ON public.transcription_segments TO sti_app, sti_admin;
GRANT SELECT ON public.transcription_sources TO sti_app, sti_admin;
GRANT SELECT, DELETE ON public.analysis_results TO sti_app, sti_admin;
GRANT UPDATE (accepted_at, accepted_by_id) ON public.analysis_results TO sti_app, sti_admin;
GRANT SELECT (id, username, email, full_name, is_active, last_login, role_id, created_at, updated_at, row_version) ON public.users TO sti_app, sti_admin;
GRANT UPDATE (email, full_name) ON public.users TO sti_app;
GRANT INSERT, DELETE ON public.users TO sti_admin;
GRANT UPDATE (username, email, full_name, is_active, role_id) ON public.users TO sti_admin;
GRANT SELECT ON public.user_roles TO sti_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON public.user_roles TO sti_admin;
GRANT SELECT ON public.activity_types TO sti_app;
GRANT SELECT ON public.audio_statuses TO sti_app;
GRANT SELECT ON public.case_priorities TO sti_app;
GRANT SELECT ON public.case_statuses TO sti_app;
GRANT SELECT ON public.languages TO sti_app;
GRANT SELECT ON public.sentiments TO sti_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON public.activity_types TO sti_admin;
GRANT SELECT, INSERT, UPDATE, DELETE ON public.audio_statuses TO sti_admin;
GRANT SELECT, INSERT, UPDATE, DELETE ON public.case_priorities TO sti_admin;
GRANT SELECT, INSERT, UPDATE, DELETE ON public.case_statuses TO sti_admin;
GRANT SELECT, INSERT, UPDATE, DELETE ON public.languages TO sti_admin;
GRANT SELECT, INSERT, UPDATE, DELETE ON public.sentiments TO sti_admin;
GRANT SELECT ON public.activity_logs TO sti_app, sti_admin;
GRANT SELECT ON public.activity_seals TO sti_admin;

