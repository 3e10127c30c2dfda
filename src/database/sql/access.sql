-- build 1 · sha256 362b64a74cca
-- What the actor may do: permissions of roles and participants, and the cases that row policies ask for.
--
-- Shape of a policy (schema/policies.py): `case_id = ANY ((SELECT actor_case_ids('read'))::integer[])`. The sub-select
-- makes it an InitPlan, run once per statement, and the comparison an index condition. Administrators come through a
-- role of their own: `OR is_admin()` in the members' policy costs ten times the query.
--
-- So do members of very many cases. An array is planned as if it had ten elements: for the newest fifty rows half a
-- table was read and sorted. Their policies say `case_id IN (SELECT unnest((SELECT actor_case_ids('read'))))`, a hash
-- table that the planner expects to let half of all rows through. Which role a member gets decides what a query costs,
-- never what it shows. The inner SELECT keeps the planner from calling the function too.
--
-- Not here: which permissions exist (permission_names_1.sql), who may grant them (guards.sql).

-- The one table of what each role of a participant includes.
CREATE OR REPLACE FUNCTION public.participant_verbs(role text)
RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE role WHEN 'owner' THEN public.case_verbs_1()
                 WHEN 'editor' THEN '{read,write}'::text[]
                 WHEN 'viewer' THEN '{read}'::text[] END;
REVOKE ALL ON FUNCTION public.participant_verbs(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.participant_verbs(text) TO sti_app, sti_wide, sti_admin;

-- Whether this participant is denied the verb. Without reading nothing is left: what one writes one sees.
-- Most are denied nothing, and then no array is made for each of somebody's thousands of cases.
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

-- By the clock, so that a right ends inside an open transaction too.
CREATE OR REPLACE FUNCTION public.is_current(expires_at timestamptz)
RETURNS boolean LANGUAGE sql VOLATILE PARALLEL SAFE
RETURN expires_at IS NULL OR expires_at > clock_timestamp();
REVOKE ALL ON FUNCTION public.is_current(timestamptz) FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.role_permits(role_id bigint, subject text, verb text)
RETURNS boolean LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan AS $body$
DECLARE
    link bigint := role_id;
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

CREATE OR REPLACE FUNCTION public.actor_case_ids(verb text)
RETURNS integer[] LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
-- Planning anew for each actor takes four times as long as the query.
SET plan_cache_mode = force_generic_plan AS $body$
DECLARE
    acting bigint := public.actor_id();
BEGIN
    IF acting IS NULL THEN
        RETURN '{}';
    END IF;
    RETURN ARRAY(
        SELECT p.case_id FROM public.case_participants p
         WHERE p.user_id = acting AND public.is_current(p.expires_at)
           AND public.participant_may(p.role, p.permissions, verb)
        UNION ALL
        -- A lease is also the grant: as long as the work lasts, and no longer.
        SELECT j.case_id FROM public.processing_jobs j
         WHERE j.leased_by_id = acting AND j.state = 'running' AND j.lease_expires_at > clock_timestamp()
           AND verb IN ('read', 'write')
           -- Denied wins, over the lease too.
           AND NOT EXISTS (SELECT FROM public.case_participants d WHERE d.case_id = j.case_id AND d.user_id = acting
                              AND public.is_current(d.expires_at) AND public.is_denied(d.permissions, verb)));
END
$body$;
REVOKE ALL ON FUNCTION public.actor_case_ids(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.actor_case_ids(text) TO sti_app, sti_wide, sti_admin;

-- Whether the actor may do this in a case: as a participant, by a lease, or as an administrator.
CREATE OR REPLACE FUNCTION public.actor_may_in(case_id bigint, verb text)
RETURNS boolean LANGUAGE sql STABLE PARALLEL RESTRICTED
RETURN case_id = ANY (public.actor_case_ids(verb)) OR public.actor_may('*', '*');
REVOKE ALL ON FUNCTION public.actor_may_in(bigint, text) FROM PUBLIC;
