-- build 13 · sha256 9185476b5b48
-- Rules across rows: grants, the last owner of a case, the last administrator, legal holds, role hierarchies.
--
-- Two concurrent transactions that do not see each other could break each of these rules, so each function first takes
-- a row lock that the other transaction needs too. Under REPEATABLE READ the lock then fails instead of returning an
-- old snapshot, because the rows are updated and not only locked.
--
-- Shared rules: require_grantable (also called when a participant is restored), require_no_hold (also called when a
-- recording is marked as deleted and when entries are erased).

-- Until when this image of a participant grants a verb: `infinity` without an expiry, NULL when it does not grant it
-- now.
CREATE OR REPLACE FUNCTION public.granted_until(participant jsonb, verb text)
RETURNS timestamptz LANGUAGE sql VOLATILE
RETURN CASE WHEN public.is_current((participant ->> 'expires_at')::timestamptz)
             AND public.participant_may(participant ->> 'role', participant -> 'permissions', verb)
            THEN coalesce((participant ->> 'expires_at')::timestamptz, 'infinity') END;
REVOKE ALL ON FUNCTION public.granted_until(jsonb, text) FROM PUBLIC;

-- Until when this image of a participant denies a verb by name: a denial also takes it from the lease of a job.
CREATE OR REPLACE FUNCTION public.denied_until(participant jsonb, verb text)
RETURNS timestamptz LANGUAGE sql VOLATILE
RETURN CASE WHEN public.is_current((participant ->> 'expires_at')::timestamptz)
             AND jsonb_exists(participant -> 'permissions' -> 'deny', verb)
            THEN coalesce((participant ->> 'expires_at')::timestamptz, 'infinity') END;
REVOKE ALL ON FUNCTION public.denied_until(jsonb, text) FROM PUBLIC;

-- Raises unless the actor may change a participant from one image to the other; NULL is the image of a missing row.
--
-- The actor must hold, as a participant, each verb that the change grants, removes, denies or no longer denies, and
-- what is granted must end no later than the participation of the actor; so must a denial that is added or lifted,
-- since it applies to leases too and to participations of later. A lease holds nothing in this sense, since it
-- is not meant to be passed on. Only an owner who participates at least as long may make an owner, or change or remove
-- one.
CREATE OR REPLACE FUNCTION public.require_grantable(before jsonb, after jsonb)
RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    concerned bigint := coalesce(after ->> 'case_id', before ->> 'case_id')::bigint;
    mine jsonb;
    verb text;
    had timestamptz;
    gets timestamptz;
    denied_before timestamptz;
    denied_after timestamptz;
    owner_until timestamptz;
BEGIN
    -- Locked: if the actor's participation was changed concurrently, an old snapshot must not still grant anything.
    SELECT jsonb_build_object('role', p.role, 'permissions', p.permissions, 'expires_at', p.expires_at) INTO mine
      FROM public.case_participants p WHERE p.case_id = concerned AND p.user_id = public.actor_id() FOR SHARE;
    FOREACH verb IN ARRAY public.case_verbs_1() LOOP
        had := public.granted_until(before, verb);
        gets := public.granted_until(after, verb);
        denied_before := public.denied_until(before, verb);
        denied_after := public.denied_until(after, verb);
        CONTINUE WHEN had IS NOT DISTINCT FROM gets AND denied_before IS NOT DISTINCT FROM denied_after;
        IF public.granted_until(mine, verb) IS NULL THEN
            RAISE EXCEPTION 'you can only grant, remove or deny permissions that you hold: % in case %', verb, concerned
                USING ERRCODE = 'insufficient_privilege';
        END IF;
        IF gets > coalesce(had, '-infinity') AND gets > public.granted_until(mine, verb)
           OR denied_before IS DISTINCT FROM denied_after
              AND greatest(denied_before, denied_after) > public.granted_until(mine, verb) THEN
            RAISE EXCEPTION 'you can only grant or deny permissions, or lift a denial, for as long as you hold them: '
                '% in case % until %', verb, concerned,
                to_char(public.granted_until(mine, verb) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"')
                USING ERRCODE = 'insufficient_privilege';
        END IF;
    END LOOP;
    PERFORM public.require_grantable_subjects(mine, before, after, concerned);
    -- An owner whose participation is over is an owner no longer. `greatest` ignores NULL.
    owner_until := greatest(
        CASE WHEN before ->> 'role' = 'owner' AND public.is_current((before ->> 'expires_at')::timestamptz)
             THEN coalesce((before ->> 'expires_at')::timestamptz, 'infinity') END,
        CASE WHEN after ->> 'role' = 'owner' AND public.is_current((after ->> 'expires_at')::timestamptz)
             THEN coalesce((after ->> 'expires_at')::timestamptz, 'infinity') END);
    IF owner_until IS NOT NULL
       AND NOT coalesce(mine ->> 'role' = 'owner' AND public.granted_until(mine, 'manage') >= owner_until, false) THEN
        RAISE EXCEPTION 'only an owner who participates at least as long can add, change or remove an owner of case %',
            concerned USING ERRCODE = 'insufficient_privilege';
    END IF;
END
$body$;
REVOKE ALL ON FUNCTION public.require_grantable(jsonb, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.require_grantable(jsonb, jsonb) TO sti_app, sti_wide, sti_admin;

-- Raises while a legal hold is active in the case. Locks the row of the case: placing a hold updates it, so one of two
-- concurrent transactions waits and then sees the change of the other.
CREATE OR REPLACE FUNCTION public.require_no_hold(case_id bigint, entity text)
RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    IF (SELECT c.active_holds FROM public.cases c WHERE c.id = require_no_hold.case_id FOR SHARE) > 0 THEN
        RAISE EXCEPTION 'a legal hold forbids deleting from % in this case; release it first', entity
            USING ERRCODE = 'STI02', CONSTRAINT = 'legal_holds_deletion_check', TABLE = entity;
    END IF;
END
$body$;
REVOKE ALL ON FUNCTION public.require_no_hold(bigint, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.guard_hierarchy()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    IF NEW.parent_id IS NULL THEN
        RETURN NEW;
    END IF;
    -- Concurrent transactions could each add an edge of the same cycle: lock all roles, since they are few.
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
        RAISE EXCEPTION 'role %: this parent would create a cycle or more than 16 levels; choose another one', NEW.code
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
        -- The role had, or inherited, all permissions, and an active user has it or a role below it.
        concerned := (coalesce(jsonb_exists(OLD.permissions -> '*', '*'), false)
                      OR public.role_permits(OLD.parent_id, '*', '*'))
            AND EXISTS (
                WITH RECURSIVE descendants (id) AS (
                    SELECT OLD.id UNION SELECT r.id FROM public.user_roles r JOIN descendants d ON r.parent_id = d.id
                )
                SELECT FROM public.users u JOIN descendants d ON d.id = u.role_id WHERE u.is_active);
    END IF;
    IF NOT concerned THEN
        RETURN NULL;
    END IF;
    -- Locking all administrators serialises two who remove each other: the second one sees the change of the first.
    PERFORM public.lock_name('administrators');
    PERFORM FROM public.users u WHERE u.is_active AND public.role_permits(u.role_id, '*', '*') ORDER BY u.id FOR UPDATE;
    IF NOT EXISTS (SELECT FROM public.users u WHERE u.is_active AND public.role_permits(u.role_id, '*', '*')) THEN
        RAISE EXCEPTION 'the last active administrator cannot be removed; add another one first'
            USING ERRCODE = 'STI02', CONSTRAINT = 'users_last_administrator_check', TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NULL;
END
$body$;
REVOKE ALL ON FUNCTION public.guard_administrators() FROM PUBLIC;

-- An owner counts who can still manage the case: an active user, without an expiry, and not denied to manage or read.
-- An administrator may deactivate the last one: locking a person out must not wait for a successor. The case then has
-- no owner that counts until an administrator adds one.
CREATE OR REPLACE FUNCTION public.guard_owners()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    one_stays boolean;
BEGIN
    -- Deleting the case deletes its owners by cascade, and is guarded elsewhere.
    PERFORM FROM public.cases c WHERE c.id = OLD.case_id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    PERFORM FROM public.case_participants p WHERE p.case_id = OLD.case_id AND p.role = 'owner' ORDER BY p.id FOR UPDATE;
    -- Locking the users waits for a concurrent deactivation. Leaving the block with an error releases these locks:
    -- otherwise a member could keep others from signing in, and from being deactivated, by a transaction that stays
    -- open. A deactivation that begins later comes after this change.
    BEGIN
        PERFORM FROM public.case_participants p JOIN public.users u ON u.id = p.user_id
          WHERE p.case_id = OLD.case_id AND p.role = 'owner' AND p.expires_at IS NULL AND u.is_active
            AND public.participant_may(p.role, p.permissions, 'manage') FOR SHARE OF u;
        one_stays := FOUND;
        RAISE EXCEPTION 'release' USING ERRCODE = 'STI00';
    EXCEPTION WHEN SQLSTATE 'STI00' THEN
        NULL;
    END;
    IF NOT one_stays THEN
        RAISE EXCEPTION 'a case needs at least one owner who is active, without an expiry date, and may manage it;'
            ' add another one first'
            USING ERRCODE = 'STI02', CONSTRAINT = 'case_participants_last_owner_check',
                  TABLE = 'case_participants';
    END IF;
    RETURN NULL;
END
$body$;
REVOKE ALL ON FUNCTION public.guard_owners() FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.guard_grant()
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    -- Members only: administrators hold all permissions, and the owner of the database is not subject to them. Deleting
    -- a case deletes its participants as the owner of the table.
    IF current_user IN ('sti_app', 'sti_wide') THEN
        PERFORM public.require_grantable(CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END,
                                         CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END);
    END IF;
    IF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    RETURN NEW;
END
$body$;
REVOKE ALL ON FUNCTION public.guard_grant() FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.announce_hold()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    -- Updating the row of the case, and not only locking it, makes a deletion under REPEATABLE READ fail.
    UPDATE public.cases c SET active_holds = 0 WHERE c.id = NEW.case_id;
    RETURN NULL;
END
$body$;
REVOKE ALL ON FUNCTION public.announce_hold() FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.count_holds()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    -- Ignores the given value and counts the holds. A new case has none.
    IF TG_OP = 'INSERT' THEN
        NEW.active_holds := 0;
    ELSE
        NEW.active_holds := (SELECT count(*) FROM public.legal_holds h
                              WHERE h.case_id = NEW.id AND h.released_at IS NULL);
    END IF;
    RETURN NEW;
END
$body$;
REVOKE ALL ON FUNCTION public.count_holds() FROM PUBLIC;

-- The optional argument is the column that names the case.
CREATE OR REPLACE FUNCTION public.guard_hold()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    IF TG_TABLE_NAME = 'cases' THEN
        PERFORM public.require_no_hold(OLD.id, TG_TABLE_NAME);
    ELSIF TG_NARGS > 0 THEN
        PERFORM public.require_no_hold((to_jsonb(OLD) ->> TG_ARGV[0])::bigint, TG_TABLE_NAME);
    ELSE
        PERFORM public.require_no_hold(OLD.case_id, TG_TABLE_NAME);
    END IF;
    RETURN OLD;
END
$body$;
REVOKE ALL ON FUNCTION public.guard_hold() FROM PUBLIC;
