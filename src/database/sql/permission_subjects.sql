-- build 3 · sha256 dc15cf9f29cf
-- Subjects of permissions that services register, such as `report` with the verbs `read` and `write`.
--
-- A role grants them in every case that its user may read: {"report": ["read"]}. A participant has them in one case by
-- the same key of `permissions`; owners of a case have all of them there. Denying `read` denies them too.

-- Raises for permissions with a subject or a verb that is neither of this layer nor registered. The argument says whose
-- permissions they are: those of a role or of a participant in a case.
CREATE OR REPLACE FUNCTION public.check_permissions()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    problem text;
BEGIN
    IF NOT public.permissions_form_2(NEW.permissions) THEN
        problem := 'must be an object of lists of verbs';
    ELSIF NEW.permissions = '{}'
          OR (CASE TG_ARGV[0] WHEN 'role' THEN public.role_permissions_known_1(NEW.permissions)
                              ELSE public.participation_known_1(NEW.permissions) END) THEN
        RETURN NEW;
    ELSE
        SELECT CASE WHEN k.verbs IS NULL THEN format('the subject %s is not registered', e.key)
                    ELSE format('the subject %s has no verb %s', e.key, v) END INTO problem
          FROM jsonb_each(NEW.permissions) e
          LEFT JOIN LATERAL (
               SELECT ARRAY(SELECT jsonb_array_elements_text(public.role_verbs_1() -> e.key))
                WHERE TG_ARGV[0] = 'role' AND jsonb_exists(public.role_verbs_1(), e.key)
                UNION ALL
               SELECT public.case_verbs_1() WHERE TG_ARGV[0] <> 'role' AND e.key IN ('allow', 'deny')
                UNION ALL
               SELECT s.verbs FROM public.permission_subjects s WHERE s.subject = e.key) k (verbs) ON true
          LEFT JOIN LATERAL jsonb_array_elements_text(e.value) v ON true
         WHERE k.verbs IS NULL OR v <> ALL (k.verbs) ORDER BY e.key, v LIMIT 1;
    END IF;
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION 'permissions: %', problem USING ERRCODE = 'check_violation', TABLE = TG_TABLE_NAME,
            COLUMN = 'permissions', CONSTRAINT = TG_TABLE_NAME || '_permissions_known_check';
    END IF;
    RETURN NEW;
END
$body$;
REVOKE ALL ON FUNCTION public.check_permissions() FROM PUBLIC;

-- A subject or a verb stays registered while a role or a participant has it.
CREATE OR REPLACE FUNCTION public.keep_granted_verbs()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    lost text[] := OLD.verbs;
    used text;
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.subject = OLD.subject THEN
        lost := ARRAY(SELECT v FROM unnest(OLD.verbs) v WHERE v <> ALL (NEW.verbs));
    END IF;
    SELECT u.who INTO used FROM (
        SELECT 'the role ' || r.code AS who FROM public.user_roles r
         WHERE jsonb_exists_any(r.permissions -> OLD.subject, lost)
        UNION ALL
        SELECT 'a participant of case ' || p.case_id FROM public.case_participants p
         WHERE jsonb_exists_any(p.permissions -> OLD.subject, lost)) u LIMIT 1;
    IF used IS NOT NULL THEN
        RAISE EXCEPTION 'the subject % stays registered: % has it; take it away first', OLD.subject, used
            USING ERRCODE = 'STI02', CONSTRAINT = 'permission_subjects_granted_check', TABLE = 'permission_subjects';
    END IF;
    IF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    RETURN NEW;
END
$body$;
REVOKE ALL ON FUNCTION public.keep_granted_verbs() FROM PUBLIC;

-- Whether a participant with this role and these permissions has a verb of a service's subject.
CREATE OR REPLACE FUNCTION public.participant_holds(role text, permissions jsonb, subject text, verb text)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (coalesce(role = 'owner', false) OR coalesce(jsonb_exists(permissions -> subject, verb), false))
   AND NOT public.is_denied(permissions, 'read');
REVOKE ALL ON FUNCTION public.participant_holds(text, jsonb, text, text) FROM PUBLIC;

-- Until when this image of a participant has a verb of a service's subject, as `granted_until` for verbs of cases.
CREATE OR REPLACE FUNCTION public.held_until(participant jsonb, subject text, verb text)
RETURNS timestamptz LANGUAGE sql VOLATILE
RETURN CASE WHEN public.is_current((participant ->> 'expires_at')::timestamptz)
             AND public.participant_holds(participant ->> 'role', participant -> 'permissions', subject, verb)
            THEN coalesce((participant ->> 'expires_at')::timestamptz, 'infinity') END;
REVOKE ALL ON FUNCTION public.held_until(jsonb, text, text) FROM PUBLIC;

-- Raises unless the actor, whose participation is `mine`, may change the verbs of services' subjects from one image of
-- a participant to the other: each one that changes must be held, and for at least as long.
CREATE OR REPLACE FUNCTION public.require_grantable_subjects(mine jsonb, before jsonb, after jsonb, case_id bigint)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    n record;
    had timestamptz;
    gets timestamptz;
    own timestamptz;
BEGIN
    FOR n IN SELECT DISTINCT s.key AS subject, v AS verb
               FROM (VALUES (before), (after)) i (image), jsonb_each(i.image -> 'permissions') s,
                    jsonb_array_elements_text(s.value) v
              WHERE s.key NOT IN ('allow', 'deny') LOOP
        had := public.held_until(before, n.subject, n.verb);
        gets := public.held_until(after, n.subject, n.verb);
        own := public.held_until(mine, n.subject, n.verb);
        IF had IS DISTINCT FROM gets AND (own IS NULL OR gets > coalesce(had, '-infinity') AND gets > own) THEN
            RAISE EXCEPTION 'you can only grant or remove permissions that you hold, for as long as you hold them:'
                ' % % in case %', n.verb, n.subject, case_id USING ERRCODE = 'insufficient_privilege';
        END IF;
    END LOOP;
END
$body$;
REVOKE ALL ON FUNCTION public.require_grantable_subjects(jsonb, jsonb, jsonb, bigint) FROM PUBLIC;

-- Whether the actor has a verb of a subject in a case: as a participant, or by the role in a case that the actor may
-- read, or as an administrator. `case` is the subject of the verbs of this layer. Raises for a name that is unknown.
CREATE OR REPLACE FUNCTION public.actor_may_on(case_id bigint, verb text, subject text)
RETURNS boolean LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $body$
DECLARE
    acting bigint := public.actor_id();
    role_id bigint := (SELECT u.role_id FROM public.users u WHERE u.id = acting);
BEGIN
    IF subject = 'case' THEN
        RETURN public.actor_may_in(case_id, verb);
    ELSIF NOT EXISTS (SELECT FROM public.permission_subjects s
                       WHERE s.subject = actor_may_on.subject AND verb = ANY (s.verbs)) THEN
        RAISE EXCEPTION 'no permission % of the subject % is registered', verb, subject
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN acting IS NOT NULL AND coalesce(public.actor_may_in(case_id, 'read'), false)
       AND (public.role_permits(role_id, '*', '*') OR public.role_permits(role_id, subject, verb)
            OR EXISTS (SELECT FROM public.case_participants p
                        WHERE p.case_id = actor_may_on.case_id AND p.user_id = acting
                          AND public.is_current(p.expires_at)
                          AND public.participant_holds(p.role, p.permissions, subject, verb)));
END
$body$;
REVOKE ALL ON FUNCTION public.actor_may_on(bigint, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.actor_may_on(bigint, text, text) TO sti_app, sti_wide, sti_admin;
