-- build 3 · sha256 b8bafac73a04
-- Permissions of roles and participants.
--
-- Elsewhere: the cases that an actor may read, which the row policies compare with (case_access.sql); the names of
-- permissions (permission_names_1.sql), who may grant them (guards.sql).

-- The verbs that each role of a participant includes.
CREATE OR REPLACE FUNCTION public.participant_verbs(role text)
RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE role WHEN 'owner' THEN public.case_verbs_1()
                 WHEN 'editor' THEN '{read,write}'::text[]
                 WHEN 'viewer' THEN '{read}'::text[] END;
REVOKE ALL ON FUNCTION public.participant_verbs(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.participant_verbs(text) TO sti_app, sti_wide, sti_admin;

-- Whether this participant is denied the verb. Denying `read` denies every verb, since a writer sees the written row.
-- The first condition avoids building an array for most participants: few have a `deny` list.
CREATE OR REPLACE FUNCTION public.is_denied(permissions jsonb, verb text)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN permissions -> 'deny' IS NOT NULL AND jsonb_exists_any(permissions -> 'deny', ARRAY[verb, 'read']);
REVOKE ALL ON FUNCTION public.is_denied(jsonb, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.is_denied(jsonb, text) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.participant_may(role text, permissions jsonb, verb text)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (coalesce(verb = ANY (public.participant_verbs(role)), false)
        OR coalesce(jsonb_exists(permissions -> 'allow', verb), false))
   AND NOT public.is_denied(permissions, verb);
REVOKE ALL ON FUNCTION public.participant_may(text, jsonb, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.participant_may(text, jsonb, text) TO sti_app, sti_wide, sti_admin;

-- Uses clock_timestamp(), so that a permission also expires within an open transaction.
CREATE OR REPLACE FUNCTION public.is_current(expires_at timestamptz)
RETURNS boolean LANGUAGE sql VOLATILE PARALLEL SAFE
RETURN expires_at IS NULL OR expires_at > clock_timestamp();
REVOKE ALL ON FUNCTION public.is_current(timestamptz) FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.role_permits(role_id bigint, subject text, verb text)
RETURNS boolean LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan AS $body$
DECLARE
    link bigint := role_id;
    granted jsonb;
BEGIN
    -- A loop: most roles have no parent, and for these a recursive query takes three times as long.
    FOR depth IN 1..32 LOOP
        SELECT r.parent_id, r.permissions INTO link, granted FROM public.user_roles r WHERE r.id = link;
        EXIT WHEN NOT FOUND;
        IF jsonb_exists(granted -> '*', '*') OR jsonb_exists_any(granted -> subject, ARRAY[verb, '*']) THEN
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
    IF NOT public.is_transaction_token(part) THEN
        RETURN false;
    END IF;
    RETURN coalesce((
        SELECT public.role_permits(u.role_id, subject, verb) FROM public.actor_keys k, public.users u
         WHERE k.id = part[4]::bigint AND u.id = part[1]::bigint AND u.is_active
           AND public.is_signed(part, k.inner_pad, k.outer_pad)), false);
END
$body$;
REVOKE ALL ON FUNCTION public.actor_may(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.actor_may(text, text) TO sti_app, sti_wide, sti_admin;

-- Whether a user may do this in a case, as a participant or by the lease of a job, which grants access to its case
-- until it ends. A denial takes precedence over the lease too.
CREATE OR REPLACE FUNCTION public.user_may_in(user_id bigint, case_id bigint, verb text)
RETURNS boolean LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    part record;
BEGIN
    SELECT p.role, p.permissions INTO part FROM public.case_participants p
     WHERE p.case_id = user_may_in.case_id AND p.user_id = user_may_in.user_id AND public.is_current(p.expires_at);
    IF FOUND THEN
        IF public.participant_may(part.role, part.permissions, verb) THEN
            RETURN true;
        ELSIF public.is_denied(part.permissions, verb) THEN
            RETURN false;
        END IF;
    END IF;
    RETURN verb IN ('read', 'write') AND EXISTS (
        SELECT FROM public.processing_jobs j
         WHERE j.leased_by_id + 0 = user_may_in.user_id AND j.case_id = user_may_in.case_id AND j.state = 'running'
           AND j.lease_expires_at > clock_timestamp());
END
$body$;
REVOKE ALL ON FUNCTION public.user_may_in(bigint, bigint, text) FROM PUBLIC;

-- Whether the actor may do this in the case: as a participant, by a lease, or as an administrator. Policies for writing
-- call it for each row.
CREATE OR REPLACE FUNCTION public.actor_may_in(case_id bigint, verb text)
RETURNS boolean LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan AS $body$
DECLARE
    part text[] := string_to_array(current_setting('sti.actor', true), '|');
    acting record;
BEGIN
    IF case_id IS NULL OR NOT public.is_transaction_token(part) THEN
        RETURN false;
    END IF;
    SELECT u.id, u.role_id INTO acting FROM public.actor_keys k, public.users u
     WHERE k.id = part[4]::bigint AND u.id = part[1]::bigint AND u.is_active
       AND public.is_signed(part, k.inner_pad, k.outer_pad);
    RETURN FOUND AND (public.user_may_in(acting.id, case_id, verb) OR public.role_permits(acting.role_id, '*', '*'));
END
$body$;
REVOKE ALL ON FUNCTION public.actor_may_in(bigint, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.actor_may_in(bigint, text) TO sti_app, sti_wide, sti_admin;
