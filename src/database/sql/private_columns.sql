-- build 2 · sha256 28f5346588f1
-- Addresses and last sign-ins of users: the user's own and the administrators'.
--
-- Members have no privilege on these columns, so no condition on them is evaluated for a member; the functions return
-- null for other users. The model reads the columns by them (src/database/schema/private_columns.py).

CREATE OR REPLACE FUNCTION public.may_see_user(user_id bigint)
RETURNS boolean LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $body$
    SELECT coalesce(user_id = public.actor_id(), false) OR public.actor_may('*', '*') OR public.is_owner_at_work()
$body$;
REVOKE ALL ON FUNCTION public.may_see_user(bigint) FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.user_email(user_id bigint)
RETURNS text LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
    SELECT u.email FROM public.users u WHERE u.id = user_id AND public.may_see_user(user_id)
$body$;
REVOKE ALL ON FUNCTION public.user_email(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.user_email(bigint) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.user_last_login(user_id bigint)
RETURNS timestamptz LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
    SELECT u.last_login FROM public.users u WHERE u.id = user_id AND public.may_see_user(user_id)
$body$;
REVOKE ALL ON FUNCTION public.user_last_login(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.user_last_login(bigint) TO sti_app, sti_wide, sti_admin;

-- Raises when another user has this address, ignoring case: for administrators and the owner only.
CREATE OR REPLACE FUNCTION public.require_free_address(address text, user_id bigint)
RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    PERFORM public.lock_name('addresses of users');
    IF EXISTS (SELECT FROM public.users u WHERE lower(u.email) = lower(address) AND u.id <> user_id) THEN
        RAISE EXCEPTION 'another user has this address' USING ERRCODE = 'unique_violation', TABLE = 'users',
            COLUMN = 'email', CONSTRAINT = 'users_email_lower_key';
    END IF;
END
$body$;
REVOKE ALL ON FUNCTION public.require_free_address(text, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.require_free_address(text, bigint) TO sti_admin;

-- A member who changes the own address does not learn whether another user has it: the address is stored.
CREATE OR REPLACE FUNCTION public.guard_address()
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    IF NEW.email IS NOT NULL AND current_user NOT IN ('sti_app', 'sti_wide') THEN
        PERFORM public.require_free_address(NEW.email, NEW.id);
    END IF;
    RETURN NEW;
END
$body$;
REVOKE ALL ON FUNCTION public.guard_address() FROM PUBLIC;
