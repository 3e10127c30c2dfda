-- build 3 · sha256 847d1c478f53
-- The form of permissions, for the CHECK constraints of `user_roles`, `case_participants` and `permission_subjects`.
--
-- The suffix _2 fixes the bodies, as in permission_names_1.sql. The names themselves are checked by a trigger
-- (`check_permissions`, in permission_subjects.sql), since services register names of their own in a table, and a CHECK
-- that reads a table makes dumps unrestorable.

-- An object of lists of texts: subject → verbs.
CREATE OR REPLACE FUNCTION public.permissions_form_2(permissions jsonb)
RETURNS boolean LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    -- Most participants have no permissions of their own: return without a query.
    IF permissions = '{}' THEN
        RETURN true;
    ELSIF jsonb_typeof(permissions) IS DISTINCT FROM 'object' THEN
        RETURN false;
    END IF;
    RETURN (
        SELECT bool_and(CASE WHEN jsonb_typeof(e.value) = 'array'
                   THEN NOT jsonb_path_exists(e.value, 'strict $[*] ? (@.type() != "string")') ELSE false END)
          FROM jsonb_each(permissions) e);
END
$body$;
REVOKE ALL ON FUNCTION public.permissions_form_2(jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.permissions_form_2(jsonb) TO sti_app, sti_wide, sti_admin;

-- A subject of a service: its name and verbs are lowercase, and the name is none of this layer.
CREATE OR REPLACE FUNCTION public.permission_subject_form_2(subject text, verbs text[])
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $body$
    SELECT subject ~ '^[a-z][a-z0-9_]*$' AND subject NOT IN ('case', 'job', 'allow', 'deny')
       AND (SELECT coalesce(bool_and(coalesce(v ~ '^[a-z][a-z0-9_]{0,62}$', false)), true) FROM unnest(verbs) v)
$body$;
REVOKE ALL ON FUNCTION public.permission_subject_form_2(text, text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.permission_subject_form_2(text, text[]) TO sti_app, sti_wide, sti_admin;
