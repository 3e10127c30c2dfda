-- build 2 · sha256 e390269ce1c0
-- The names that permissions may have, as CHECK constraints of `user_roles` and `case_participants` ask for them.
--
-- Fixed by their number: a stricter body under an old name would make old dumps unrestorable, and rows that are stored
-- would break a rule that nobody checked them against. Another name is another file, `permission_names_2.sql`, and a
-- revision that replaces the constraints. src/database/schema/permissions.py says the same for friendly errors; a test
-- holds the two equal.

-- What a role may hold: subject → its verbs.
CREATE OR REPLACE FUNCTION public.role_verbs_1()
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN '{"case": ["open"], "job": ["claim"], "*": ["*"]}'::jsonb;
REVOKE ALL ON FUNCTION public.role_verbs_1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.role_verbs_1() TO sti_app, sti_wide, sti_admin;

-- What somebody may do in a case.
CREATE OR REPLACE FUNCTION public.case_verbs_1()
RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN '{read,write,delete,manage}'::text[];
REVOKE ALL ON FUNCTION public.case_verbs_1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.case_verbs_1() TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.role_permissions_known_1(permissions jsonb)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $body$
    -- A CASE, since AND does not promise to look at the type before it looks inside.
    SELECT CASE WHEN jsonb_typeof(permissions) = 'object' THEN (
        SELECT coalesce(bool_and(CASE WHEN jsonb_typeof(e.value) = 'array'
                   THEN coalesce(e.value <@ (public.role_verbs_1() -> e.key), false) ELSE false END), true)
          FROM jsonb_each(permissions) e)
        ELSE false END
$body$;
REVOKE ALL ON FUNCTION public.role_permissions_known_1(jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.role_permissions_known_1(jsonb) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.participation_known_1(permissions jsonb)
RETURNS boolean LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    -- Most have none of their own, and then there is no query to start.
    IF permissions = '{}' THEN
        RETURN true;
    ELSIF jsonb_typeof(permissions) IS DISTINCT FROM 'object' THEN
        RETURN false;
    END IF;
    RETURN (
        SELECT coalesce(bool_and(CASE WHEN jsonb_typeof(e.value) = 'array'
                   THEN e.key IN ('allow', 'deny') AND e.value <@ to_jsonb(public.case_verbs_1())
                   ELSE false END), true)
          FROM jsonb_each(permissions) e);
END
$body$;
REVOKE ALL ON FUNCTION public.participation_known_1(jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.participation_known_1(jsonb) TO sti_app, sti_wide, sti_admin;
