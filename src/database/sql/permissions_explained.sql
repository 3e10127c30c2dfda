-- build 3 · sha256 f28bad3101e8
-- The effective permissions of a user, each with its reason as text.
--
-- Uses the functions that the policies use (`role_permits`, `participant_may`); a test keeps the results equal.

CREATE OR REPLACE FUNCTION public.role_reason(role_id bigint, subject text, verb text)
RETURNS text LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
    WITH RECURSIVE chain (id, code, parent_id, depth) AS (
        SELECT r.id, r.code, r.parent_id, 1 FROM public.user_roles r WHERE r.id = role_reason.role_id
        UNION ALL
        SELECT r.id, r.code, r.parent_id, c.depth + 1
          FROM public.user_roles r JOIN chain c ON r.id = c.parent_id WHERE c.depth < 32
    )
    -- The most distant ancestor that grants the permission is its source.
    SELECT CASE WHEN c.depth = 1 THEN 'granted by the role ' || c.code
                ELSE 'granted by the role ' || (SELECT code FROM chain WHERE depth = 1) || ', inherited from '
                     || c.code END
      FROM chain c WHERE public.role_permits(c.id, subject, verb) ORDER BY c.depth DESC LIMIT 1
$body$;
REVOKE ALL ON FUNCTION public.role_reason(bigint, text, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.explain_permissions(user_id bigint, case_id bigint)
RETURNS TABLE (subject text, verb text, allowed boolean, why text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' AS $body$
DECLARE
    person public.users;
    part public.case_participants;
    lease public.processing_jobs;
    ends text;
    expired boolean;
    in_general boolean := case_id IS NULL;
    may_do_all boolean;
    may_read boolean := false;
BEGIN
    IF public.actor_id() IS NULL OR NOT (case_id IS NULL OR public.actor_may_in(case_id, 'read')) THEN
        RETURN;
    END IF;
    SELECT u.* INTO person FROM public.users u WHERE u.id = user_id;
    IF NOT FOUND OR NOT in_general AND NOT EXISTS (SELECT FROM public.cases c
                                                    WHERE c.id = explain_permissions.case_id) THEN
        RETURN;
    END IF;
    SELECT p.* INTO part FROM public.case_participants p
     WHERE p.case_id = explain_permissions.case_id AND p.user_id = explain_permissions.user_id;
    SELECT j.* INTO lease FROM public.processing_jobs j
     WHERE j.case_id = explain_permissions.case_id AND j.leased_by_id = explain_permissions.user_id
       AND j.state = 'running' AND j.lease_expires_at > clock_timestamp() ORDER BY j.lease_expires_at DESC LIMIT 1;
    may_do_all := public.role_permits(person.role_id, '*', '*');
    expired := NOT public.is_current(part.expires_at);
    ends := ' until ' || to_char(part.expires_at, 'YYYY-MM-DD HH24:MI:SS "UTC"');
    FOR subject, verb IN
        SELECT 'case', v FROM unnest(public.case_verbs_1()) v WHERE NOT in_general
        UNION ALL
        SELECT s.key, v FROM jsonb_each(public.role_verbs_1()) s, jsonb_array_elements_text(s.value) v WHERE in_general
        UNION ALL
        SELECT r.subject, v FROM public.permission_subjects r, unnest(r.verbs) v
    LOOP
        -- A subject of a service: by the role in each case that the user may read, or in this one.
        IF NOT in_general AND subject <> 'case' AND NOT may_do_all AND person.is_active THEN
            allowed := may_read AND (public.role_permits(person.role_id, subject, verb)
                OR part.id IS NOT NULL AND NOT expired
                   AND public.participant_holds(part.role, part.permissions, subject, verb));
            why := CASE
                WHEN NOT may_read THEN 'the user may not read the case'
                WHEN public.role_permits(person.role_id, subject, verb)
                    THEN public.role_reason(person.role_id, subject, verb)
                WHEN allowed AND part.role = 'owner' THEN 'participant with the role owner' || coalesce(ends, '')
                WHEN allowed THEN 'allowed to this participant' || coalesce(ends, '')
                ELSE 'granted neither by the role of the user nor to this participant' END;
            RETURN NEXT;
            CONTINUE;
        END IF;
        allowed := public.role_permits(person.role_id, CASE WHEN in_general THEN subject ELSE '*' END,
                                       CASE WHEN in_general THEN verb ELSE '*' END);
        IF NOT person.is_active THEN
            allowed := false;
            why := 'the user is not active';
        ELSIF allowed THEN
            why := public.role_reason(person.role_id, CASE WHEN in_general THEN subject ELSE '*' END,
                                      CASE WHEN in_general THEN verb ELSE '*' END);
        ELSIF in_general THEN
            why := 'not granted by the role or its parents';
        ELSIF NOT expired AND public.is_denied(part.permissions, verb) THEN
            why := 'denied to this participant' || coalesce(ends, '');
        ELSIF NOT expired AND part.id IS NOT NULL
              AND public.participant_may(part.role, part.permissions, verb) THEN
            allowed := true;
            why := CASE WHEN public.participant_may(part.role, '{}', verb)
                        THEN 'participant with the role ' || part.role
                        ELSE 'allowed to this participant' END || coalesce(ends, '');
        ELSIF lease.id IS NOT NULL AND verb IN ('read', 'write') THEN
            allowed := true;
            why := 'holds the lease of job ' || lease.id || ' until '
                   || to_char(lease.lease_expires_at, 'YYYY-MM-DD HH24:MI:SS "UTC"');
        ELSIF expired THEN
            why := 'was a participant with the role ' || part.role || ends;
        ELSE
            why := coalesce('participant with the role ' || part.role || ', which does not include it',
                            'not a participant');
        END IF;
        may_read := may_read OR subject = 'case' AND verb = 'read' AND allowed;
        RETURN NEXT;
    END LOOP;
END
$body$;
REVOKE ALL ON FUNCTION public.explain_permissions(bigint, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.explain_permissions(bigint, bigint) TO sti_app, sti_wide, sti_admin;
