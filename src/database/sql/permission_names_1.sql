-- build 3 · sha256 485f785e6464
-- The names of permissions, for the CHECK constraints of `user_roles` and `case_participants`.
--
-- The suffix _1 fixes the bodies: a stricter body under the same name would make old dumps unrestorable, and stored
-- rows would violate a rule that was never checked for them. New names need a new file, `permission_names_2.sql`, and a
-- revision that replaces the constraints. src/database/schema/permissions.py repeats the names for readable errors; a
-- test keeps the two equal.

-- The permissions that a role may have: subject → verbs.
CREATE OR REPLACE FUNCTION public.role_verbs_1()
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN '{"case": ["open"], "job": ["claim"], "*": ["*"]}'::jsonb;
REVOKE ALL ON FUNCTION public.role_verbs_1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.role_verbs_1() TO sti_app, sti_wide, sti_admin;

-- The verbs of participants in a case.
CREATE OR REPLACE FUNCTION public.case_verbs_1()
RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN '{read,write,delete,manage}'::text[];
REVOKE ALL ON FUNCTION public.case_verbs_1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.case_verbs_1() TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.role_permissions_known_1(permissions jsonb)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $body$
    -- A CASE expression, since AND does not guarantee that the type is checked first.
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
    -- Most participants have no permissions of their own: return without a query.
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
