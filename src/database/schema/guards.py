"""Rules that span rows: who may grant what, owners and administrators that must not run out, holds, role hierarchies.

Each of these could be broken by two transactions that do not see each other, so each takes a row lock first that the
other one needs too. Under REPEATABLE READ the lock fails instead of showing an old picture, because the rows that
decide are changed and not only locked.
"""

from __future__ import annotations

import json

from src.database.permissions import CASE_VERBS, PARTICIPATION_KEYS, ROLE_PERMISSIONS
from src.database.schema.access import CASE_TABLES
from src.database.schema.objects import MEMBER_ROLES, SESSION_ROLES, Function, Trigger


def _known_permissions() -> str:
    """Return the table of names as a jsonb literal: subject → its verbs."""
    return json.dumps({subject: list(verbs) for subject, verbs in ROLE_PERMISSIONS.items()})


def _array(names: tuple[str, ...]) -> str:
    return "{" + ",".join(names) + "}"


FUNCTIONS = (
    Function(
        "public.role_permissions_known(permissions jsonb)",
        f"""
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $body$
    -- A CASE, since AND does not promise to look at the type before it looks inside.
    SELECT CASE WHEN jsonb_typeof(permissions) = 'object' THEN (
        SELECT coalesce(bool_and(CASE WHEN jsonb_typeof(e.value) = 'array'
                   THEN coalesce(e.value <@ (k.known -> e.key), false) ELSE false END), true)
          FROM jsonb_each(permissions) e, (SELECT '{_known_permissions()}'::jsonb) AS k (known))
        ELSE false END
$body$""",
        callers=SESSION_ROLES,
    ),
    Function(
        "public.participation_known(permissions jsonb)",
        f"""
RETURNS boolean LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    -- Most have none of their own, and then there is no query to start.
    IF permissions = '{{}}' THEN
        RETURN true;
    ELSIF jsonb_typeof(permissions) IS DISTINCT FROM 'object' THEN
        RETURN false;
    END IF;
    RETURN (
        SELECT coalesce(bool_and(CASE WHEN jsonb_typeof(e.value) = 'array'
                   THEN e.key = ANY ('{_array(PARTICIPATION_KEYS)}')
                    AND e.value <@ to_jsonb('{_array(CASE_VERBS)}'::text[]) ELSE false END), true)
          FROM jsonb_each(permissions) e);
END
$body$""",
        callers=SESSION_ROLES,
    ),
    Function(
        "public.guard_hierarchy()",
        """
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
$body$""",
    ),
    Function(
        "public.guard_administrators()",
        """
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
$body$""",
    ),
    Function(
        "public.guard_owners()",
        """
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
$body$""",
    ),
    Function(
        "public.guard_grant()",
        f"""
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    verb text;
BEGIN
    -- Members only: administrators hold everything, and the owner of the database is not bound by permissions.
    IF current_user <> ALL ('{_array(MEMBER_ROLES)}'::name[]) THEN
        RETURN NEW;
    END IF;
    FOREACH verb IN ARRAY '{_array(CASE_VERBS)}'::text[] LOOP
        IF public.participant_may(NEW.role, NEW.permissions, verb)
           AND NOT NEW.case_id = ANY (public.actor_case_ids(verb)) THEN
            RAISE EXCEPTION 'nobody grants what he does not hold: % in case %', verb, NEW.case_id
                USING ERRCODE = 'insufficient_privilege';
        END IF;
    END LOOP;
    RETURN NEW;
END
$body$""",
    ),
    Function(
        "public.announce_hold()",
        """
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    -- Changing the case's row, and not only locking it, is what a deletion under REPEATABLE READ trips over.
    UPDATE public.cases c SET active_holds = 0 WHERE c.id = NEW.case_id;
    RETURN NULL;
END
$body$""",
    ),
    Function(
        "public.count_holds()",
        """
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    -- Whatever was asked for: the holds themselves say how many there are. A new case has none.
    IF TG_OP = 'INSERT' THEN
        NEW.active_holds := 0;
    ELSE
        NEW.active_holds := (SELECT count(*) FROM public.legal_holds h
                              WHERE h.case_id = NEW.id AND h.released_at IS NULL);
    END IF;
    RETURN NEW;
END
$body$""",
    ),
    Function(
        "public.guard_hold()",
        """
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
$body$""",
    ),
)

TRIGGERS = (
    Trigger(
        "guard_hierarchy", "user_roles", "BEFORE INSERT OR UPDATE OF parent_id, id", "guard_hierarchy", always=True
    ),
    Trigger(
        "guard_administrators",
        "user_roles",
        "AFTER UPDATE OF parent_id, permissions",
        "guard_administrators",
        always=True,
    ),
    Trigger(
        "guard_administrators",
        "users",
        "AFTER UPDATE",
        "guard_administrators",
        when="OLD.is_active AND (NOT NEW.is_active OR OLD.role_id <> NEW.role_id)",
        always=True,
    ),
    Trigger(
        "guard_administrators_delete",
        "users",
        "AFTER DELETE",
        "guard_administrators",
        when="OLD.is_active",
        always=True,
    ),
    Trigger(
        "guard_owners", "case_participants", "AFTER DELETE", "guard_owners", when="OLD.role = 'owner'", always=True
    ),
    Trigger(
        "guard_owners_update",
        "case_participants",
        "AFTER UPDATE",
        "guard_owners",
        when="OLD.role = 'owner' AND (NEW.role <> 'owner' OR NEW.expires_at IS NOT NULL OR NEW.case_id <> OLD.case_id)",
        always=True,
    ),
    Trigger("guard_grant", "case_participants", "BEFORE INSERT OR UPDATE", "guard_grant", always=True),
    Trigger("announce_hold", "legal_holds", "AFTER INSERT OR UPDATE", "announce_hold", always=True),
    Trigger("count_holds", "cases", "BEFORE INSERT OR UPDATE OF active_holds", "count_holds", always=True),
    *(
        Trigger(
            "guard_hold",
            table,
            "BEFORE DELETE",
            "guard_hold",
            # What nobody adopted is no part of the case, and garbage is garbage under a hold too.
            when="OLD.state <> 'pending'" if table == "storage_objects" else None,
            always=True,
        )
        for table in ("cases", *CASE_TABLES)
    ),
)
