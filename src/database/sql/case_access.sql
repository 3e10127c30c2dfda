-- build 7 · sha256 661ae4ded863
-- The cases that the actor may read: what the row policies compare with (schema/policies.py).
--
-- The planner evaluates cheap leakproof conditions of the caller before a policy that costs more, and shows which of
-- the two ran. So the deciding condition of a policy costs nothing to the planner: it is a subscript,
-- `((SELECT actor_case_flags()))[case_id]`, in which the sub-select becomes an InitPlan, executed once per statement.
-- `case_id = ANY ((SELECT actor_case_ids())::integer[])` follows it as an index condition. Only the flags decide.
--
-- The sets are stored in `case_accesses`, so their cost does not grow with the number of cases. A change of a
-- participation adds a row to `case_access_changes`, which the next statement of that user looks up one by one; when
-- there are more than sixteen, the next transaction of the user stores a new set. A stored set is only changed under
-- its row lock, and a transaction that finds the lock held computes the set for itself. Leases are always looked up.
--
-- Elsewhere: permissions in one case (access.sql), the tables (models/case_access.py).

-- One flag for each case id up to the largest one.
CREATE OR REPLACE FUNCTION public.flags_of(case_ids integer[])
RETURNS boolean[] LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    flags boolean[] := '{}';
    case_id integer;
BEGIN
    IF cardinality(case_ids) > 0 THEN
        flags := array_fill(false, ARRAY[(SELECT max(c) FROM unnest(case_ids) c)]);
        FOREACH case_id IN ARRAY case_ids LOOP
            flags[case_id] := true;
        END LOOP;
    END IF;
    RETURN flags;
END
$body$;
REVOKE ALL ON FUNCTION public.flags_of(integer[]) FROM PUBLIC;

-- The cases that a user may read as a participant. `user_id + 0` is the form of the index, which no session
-- can use (docs/security.md).
CREATE OR REPLACE FUNCTION public.participant_case_ids(user_id bigint)
RETURNS integer[] LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    RETURN ARRAY(SELECT p.case_id FROM public.case_participants p
                  WHERE p.user_id + 0 = participant_case_ids.user_id AND public.is_current(p.expires_at)
                    AND public.participant_may(p.role, p.permissions, 'read') ORDER BY p.case_id);
END
$body$;
REVOKE ALL ON FUNCTION public.participant_case_ids(bigint) FROM PUBLIC;

-- Cases of a user that the stored set cannot answer for: those of running jobs and, unless the set was just computed,
-- those with a changed participation.
CREATE OR REPLACE FUNCTION public.changed_cases(user_id bigint, with_participations boolean)
RETURNS TABLE (case_id integer, readable boolean)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp ROWS 4 AS $body$
BEGIN
    RETURN QUERY
        SELECT changed.case_id, public.user_may_in(changed_cases.user_id, changed.case_id, 'read')
          FROM (SELECT c.case_id FROM public.case_access_changes c
                 WHERE c.user_id = changed_cases.user_id AND with_participations
                UNION
                SELECT j.case_id FROM public.processing_jobs j
                 WHERE j.leased_by_id + 0 = changed_cases.user_id AND j.state = 'running') AS changed;
END
$body$;
REVOKE ALL ON FUNCTION public.changed_cases(bigint, boolean) FROM PUBLIC;

-- The actor with the state of the stored set: `is_valid` when it may be used, `has_changes` when single cases must be
-- looked up. No row without an actor.
CREATE OR REPLACE FUNCTION public.actor_case_access()
RETURNS TABLE (user_id bigint, is_valid boolean, has_changes boolean)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp ROWS 1 AS $body$
DECLARE
    part text[] := string_to_array(current_setting('sti.actor', true), '|');
BEGIN
    IF NOT public.is_transaction_token(part) THEN
        RETURN;
    END IF;
    RETURN QUERY
        SELECT u.id,
               a.cluster = part[5]::bigint AND public.is_current(a.valid_until)
               AND NOT EXISTS (SELECT FROM public.case_access_changes c WHERE c.user_id = u.id OFFSET 16),
               EXISTS (SELECT FROM public.case_access_changes c WHERE c.user_id = u.id)
               OR EXISTS (SELECT FROM public.processing_jobs j WHERE j.leased_by_id + 0 = u.id AND j.state = 'running')
          FROM public.actor_keys k, public.users u LEFT JOIN public.case_accesses a ON a.user_id = u.id
         WHERE k.id = part[4]::bigint AND u.id = part[1]::bigint AND u.is_active
           AND public.is_signed(part, k.inner_pad, k.outer_pad);
END
$body$;
REVOKE ALL ON FUNCTION public.actor_case_access() FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.actor_case_flags()
RETURNS boolean[] LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan AS $body$
DECLARE
    access record;
    flags boolean[];
    change record;
BEGIN
    SELECT * INTO access FROM public.actor_case_access();
    IF NOT FOUND THEN
        RETURN '{}';
    END IF;
    IF access.is_valid THEN
        -- The concatenation copies the value: a pointer to the stored one would be followed again for every row.
        SELECT a.flags || '{}' INTO flags FROM public.case_accesses a WHERE a.user_id = access.user_id;
    ELSE
        flags := public.flags_of(public.participant_case_ids(access.user_id));
    END IF;
    IF access.has_changes THEN
        FOR change IN SELECT * FROM public.changed_cases(access.user_id, access.is_valid) LOOP
            flags[change.case_id] := change.readable;
        END LOOP;
    END IF;
    RETURN flags;
END
$body$;
REVOKE ALL ON FUNCTION public.actor_case_flags() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.actor_case_flags() TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.actor_case_ids()
RETURNS integer[] LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan AS $body$
DECLARE
    access record;
    ids integer[];
BEGIN
    SELECT * INTO access FROM public.actor_case_access();
    IF NOT FOUND THEN
        RETURN '{}';
    END IF;
    IF access.is_valid THEN
        SELECT a.case_ids || '{}' INTO ids FROM public.case_accesses a WHERE a.user_id = access.user_id;
    ELSE
        ids := public.participant_case_ids(access.user_id);
    END IF;
    IF access.has_changes THEN
        ids := ARRAY(
            WITH changed AS MATERIALIZED (SELECT * FROM public.changed_cases(access.user_id, access.is_valid))
            SELECT i FROM unnest(ids) i WHERE i NOT IN (SELECT c.case_id FROM changed c)
            UNION ALL
            SELECT c.case_id FROM changed c WHERE c.readable);
    END IF;
    RETURN ids;
END
$body$;
REVOKE ALL ON FUNCTION public.actor_case_ids() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.actor_case_ids() TO sti_app, sti_wide, sti_admin;

-- For the policies of sti_wide: {0} when `begin_actor` gave this transaction that role, else empty. Any session of a
-- member may take the role, and its policies exclude no row before the conditions of the caller that use an index.
CREATE OR REPLACE FUNCTION public.actor_wide_from()
RETURNS integer[] LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan AS $body$
DECLARE
    token text := current_setting('sti.actor', true);
    part text[] := string_to_array(token, '|');
BEGIN
    IF public.is_transaction_token(part)
       AND EXISTS (SELECT FROM public.actor_keys k WHERE k.id = part[4]::bigint
                      AND current_setting('sti.wide', true)
                          = public.token_mac('wide|' || token, k.inner_pad, k.outer_pad)) THEN
        RETURN '{0}';
    END IF;
    RETURN '{}';
END
$body$;
REVOKE ALL ON FUNCTION public.actor_wide_from() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.actor_wide_from() TO sti_app, sti_wide, sti_admin;

-- A case that this transaction opens is visible before its owner is a participant: INSERT … RETURNING checks the policy
-- for SELECT before the trigger adds the owner. The mark in `cases.opened_mark` is a key of this object.
CREATE OR REPLACE FUNCTION public.actor_opening()
RETURNS jsonb LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $body$
DECLARE
    mark text := public.actor_opening_mark();
BEGIN
    RETURN CASE WHEN mark IS NULL THEN '{}'::jsonb ELSE jsonb_build_object(mark, 1) END;
END
$body$;
REVOKE ALL ON FUNCTION public.actor_opening() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.actor_opening() TO sti_app, sti_wide, sti_admin;

-- The actor as the key of an object, for a condition on `activity_logs.actor_id` that costs nothing to the planner.
CREATE OR REPLACE FUNCTION public.actor_key()
RETURNS jsonb LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $body$
DECLARE
    acting bigint := public.actor_id();
BEGIN
    RETURN CASE WHEN acting IS NULL THEN '{}'::jsonb ELSE jsonb_build_object(acting, 1) END;
END
$body$;
REVOKE ALL ON FUNCTION public.actor_key() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.actor_key() TO sti_app, sti_wide, sti_admin;

-- Stores a new set for a user and returns whether it is wide; null when another transaction is storing one, or when
-- this transaction cannot see the newest changes.
CREATE OR REPLACE FUNCTION public.store_case_access(user_id bigint, cluster bigint)
RETURNS boolean LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    ids integer[];
    wide boolean;
    -- Before the set is computed: a participation that ends meanwhile must end the set, in which it may be or not.
    started timestamptz := clock_timestamp();
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed'
       OR current_setting('transaction_read_only')::boolean THEN
        RETURN NULL;
    END IF;
    PERFORM FROM public.case_accesses a WHERE a.user_id = store_case_access.user_id FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    -- Each statement sees what was committed before it: a change that is deleted here is part of the set computed next.
    DELETE FROM public.case_access_changes c WHERE c.user_id = store_case_access.user_id;
    ids := public.participant_case_ids(store_case_access.user_id);
    -- The estimate of the last ANALYZE is cheap and exact enough; -1 before the first one (decision 6).
    wide := cardinality(ids) > greatest(1000, (SELECT c.reltuples FROM pg_class c
                                               WHERE c.oid = 'public.cases'::regclass) / 10);
    UPDATE public.case_accesses a
       SET case_ids = ids, flags = public.flags_of(ids), cluster = store_case_access.cluster, is_wide = wide,
           valid_until = (SELECT min(p.expires_at) FROM public.case_participants p
                           WHERE p.user_id + 0 = store_case_access.user_id AND p.expires_at > started)
     WHERE a.user_id = store_case_access.user_id;
    RETURN wide;
END
$body$;
REVOKE ALL ON FUNCTION public.store_case_access(bigint, bigint) FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.prepare_case_access()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    INSERT INTO public.case_accesses (user_id, cluster, is_wide, case_ids, flags)
    VALUES (NEW.id, 0, false, '{}', '{}') ON CONFLICT (user_id) DO NOTHING;
    RETURN NULL;
END
$body$;
REVOKE ALL ON FUNCTION public.prepare_case_access() FROM PUBLIC;

-- For each row, since replication fires row triggers only.
CREATE OR REPLACE FUNCTION public.note_case_access()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        INSERT INTO public.case_access_changes (user_id, case_id) VALUES (OLD.user_id, OLD.case_id);
    END IF;
    IF TG_OP = 'INSERT' OR TG_OP = 'UPDATE' AND (NEW.user_id, NEW.case_id) <> (OLD.user_id, OLD.case_id) THEN
        INSERT INTO public.case_access_changes (user_id, case_id) VALUES (NEW.user_id, NEW.case_id);
    END IF;
    RETURN NULL;
END
$body$;
REVOKE ALL ON FUNCTION public.note_case_access() FROM PUBLIC;

-- The users whose stored set differs from their participations: after a restore without triggers, or tampering.
CREATE OR REPLACE FUNCTION public.wrong_case_accesses()
RETURNS SETOF bigint LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    RETURN QUERY
        SELECT u.id FROM public.users u LEFT JOIN public.case_accesses a ON a.user_id = u.id
         WHERE a.user_id IS NULL
            OR public.is_current(a.valid_until)
               AND a.cluster = (SELECT s.system_identifier FROM pg_control_system() s)
               AND NOT EXISTS (SELECT FROM public.case_access_changes c WHERE c.user_id = u.id)
               AND (a.case_ids <> public.participant_case_ids(u.id) OR a.flags <> public.flags_of(a.case_ids)
                    OR coalesce(a.valid_until, '9999-01-01') > (
                        SELECT min(p.expires_at) FROM public.case_participants p
                         WHERE p.user_id + 0 = u.id AND p.expires_at > clock_timestamp()))
         ORDER BY u.id;
END
$body$;
REVOKE ALL ON FUNCTION public.wrong_case_accesses() FROM PUBLIC;

-- Makes the sets of these users invalid; they are computed again when these users act.
CREATE OR REPLACE FUNCTION public.discard_case_accesses(user_ids bigint[])
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    INSERT INTO public.case_accesses AS a (user_id, cluster, is_wide, case_ids, flags)
    SELECT u, 0, false, '{}', '{}' FROM unnest(user_ids) u
        ON CONFLICT (user_id) DO UPDATE SET cluster = 0, case_ids = '{}', flags = '{}', is_wide = false;
END
$body$;
REVOKE ALL ON FUNCTION public.discard_case_accesses(bigint[]) FROM PUBLIC;
