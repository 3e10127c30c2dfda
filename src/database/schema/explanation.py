"""Why somebody may do something: the permissions in force, each with its reason, for people to read.

Made of the same functions that the policies ask (`role_permits`, `participant_may`); a test holds the answers equal.
"""

from __future__ import annotations

from src.database.permissions import CASE_VERBS, ROLE_PERMISSIONS
from src.database.schema.objects import SESSION_ROLES, Function

_IN_CASE = ", ".join(f"('case', '{verb}')" for verb in CASE_VERBS)
_OUTSIDE = ", ".join(f"('{subject}', '{verb}')" for subject, verbs in ROLE_PERMISSIONS.items() for verb in verbs)

FUNCTIONS = (
    Function(
        "public.role_reason(role bigint, subject text, verb text)",
        """
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
$body$""",
    ),
    Function(
        "public.explain_permissions(who bigint, in_case bigint)",
        f"""
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
     WHERE j.case_id = in_case AND j.leased_by_id = who AND j.state = 'running'
       AND j.lease_expires_at > clock_timestamp() ORDER BY j.lease_expires_at DESC LIMIT 1;
    expired := coalesce(part.expires_at <= clock_timestamp(), false);
    ends := ' until ' || to_char(part.expires_at, 'YYYY-MM-DD HH24:MI:SS "UTC"');
    FOR subject, verb IN
        SELECT n.subject, n.verb FROM (VALUES {_IN_CASE}) AS n (subject, verb) WHERE in_case IS NOT NULL
        UNION ALL
        SELECT n.subject, n.verb FROM (VALUES {_OUTSIDE}) AS n (subject, verb) WHERE in_case IS NULL
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
        ELSIF NOT expired AND jsonb_exists_any(part.permissions -> 'deny', ARRAY[verb, 'read']) THEN
            why := 'denied to this participant' || coalesce(ends, '');
        ELSIF NOT expired AND part.id IS NOT NULL
              AND public.participant_may(part.role, part.permissions, verb) THEN
            allowed := true;
            why := CASE WHEN public.participant_may(part.role, '{{}}', verb) THEN 'takes part as ' || part.role
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
$body$""",
        callers=SESSION_ROLES,
    ),
)
