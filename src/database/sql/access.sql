-- build 2 · sha256 67ca7bf9fc73
-- Permissions of roles and participants, and the case ids that the row policies compare with.
--
-- Form of a policy (schema/policies.py): `case_id = ANY ((SELECT actor_case_ids('read'))::integer[])`. The sub-select
-- becomes an InitPlan, executed once per statement, and the comparison an index condition. Administrators use a
-- separate role, sti_admin: `OR is_admin()` in the members' policy makes the query ten times slower.
--
-- Members of very many cases use a separate role too, sti_wide. The planner assumes ten elements for an array: for the
-- newest fifty rows it read and sorted half a table. The policies of sti_wide are
-- `case_id IN (SELECT unnest((SELECT actor_case_ids('read'))))`, a hash table that the planner expects to match half of
-- all rows; the inner SELECT keeps the planner from calling the function while planning. The role of a member affects
-- the cost of a query, never its result.
--
-- Elsewhere: the names of permissions (permission_names_1.sql), who may grant them (guards.sql).

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

CREATE OR REPLACE FUNCTION public.actor_case_ids(verb text)
RETURNS integer[] LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
-- A custom plan for each actor takes four times as long to plan as to execute.
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
        -- The lease of a job grants access to its case until it ends.
        SELECT j.case_id FROM public.processing_jobs j
         WHERE j.leased_by_id = acting AND j.state = 'running' AND j.lease_expires_at > clock_timestamp()
           AND verb IN ('read', 'write')
           -- A denial takes precedence over the lease too.
           AND NOT EXISTS (SELECT FROM public.case_participants d WHERE d.case_id = j.case_id AND d.user_id = acting
                              AND public.is_current(d.expires_at) AND public.is_denied(d.permissions, verb)));
END
$body$;
REVOKE ALL ON FUNCTION public.actor_case_ids(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.actor_case_ids(text) TO sti_app, sti_wide, sti_admin;

-- Whether the actor holds the verb in the case: as a participant, by a lease, or as an administrator.
CREATE OR REPLACE FUNCTION public.actor_may_in(case_id bigint, verb text)
RETURNS boolean LANGUAGE sql STABLE PARALLEL RESTRICTED
RETURN case_id = ANY (public.actor_case_ids(verb)) OR public.actor_may('*', '*');
REVOKE ALL ON FUNCTION public.actor_may_in(bigint, text) FROM PUBLIC;
