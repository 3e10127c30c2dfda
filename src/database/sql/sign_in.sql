-- build 1 · sha256 d867258a2d86
-- Signing in: the hash of a password leaves the database for a token made for that purpose, and for nothing else.
--
-- After five failures in a row each further attempt has to wait, twice as long as the one before, up to a quarter of an
-- hour; an attempt that comes too early is refused without being looked at, and does not make the wait longer, so
-- nobody can lock somebody out for good. The last active administrator never waits for more than half a minute.

CREATE OR REPLACE FUNCTION public.login_wait(user_id bigint)
RETURNS double precision LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
    SELECT coalesce((
        SELECT greatest(0, least(
                   power(2, least(t.failures, 60) - 5),
                   CASE WHEN public.role_permits(u.role_id, '*', '*') AND NOT EXISTS (
                            SELECT FROM public.users other WHERE other.id <> u.id AND other.is_active
                               AND public.role_permits(other.role_id, '*', '*'))
                        THEN 30 ELSE 900 END)
                 - extract(epoch FROM clock_timestamp() - t.last_failed_at))
          FROM public.login_throttles t JOIN public.users u ON u.id = t.user_id
         WHERE t.user_id = login_wait.user_id AND t.failures >= 5), 0)
$body$;
REVOKE ALL ON FUNCTION public.login_wait(bigint) FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.credential(token text)
RETURNS TABLE (user_id bigint, username text, password_hash text, is_active boolean, wait_seconds double precision)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
    SELECT u.id, u.username, u.password_hash, u.is_active, public.login_wait(u.id) FROM public.users u
     WHERE lower(u.username) = lower(public.verify_token(token, 'login'))
$body$;
REVOKE ALL ON FUNCTION public.credential(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.credential(text) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.store_credential(token text, hash text)
RETURNS bigint LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    -- The subject names the user and the hash, so that the token is good for nothing else.
    subject text := public.verify_token(token, 'password');
    changed bigint;
BEGIN
    IF public.actor_id() IS NULL OR subject IS NULL
       OR split_part(subject, ' ', 1) <> encode(sha256(convert_to(hash, 'UTF8')), 'hex') THEN
        RAISE EXCEPTION 'the password was not changed: no proof that this actor may change it'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    UPDATE public.users u SET password_hash = hash
     WHERE lower(u.username) = lower(substr(subject, 66))
       AND (u.id = public.actor_id() OR public.actor_may('*', '*')) RETURNING u.id INTO changed;
    IF changed IS NULL THEN
        RAISE EXCEPTION 'no such user' USING ERRCODE = 'no_data_found';
    END IF;
    RETURN changed;
END
$body$;
REVOKE ALL ON FUNCTION public.store_credential(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.store_credential(text, text) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.record_login(token text, outcome text, fresh_hash text)
RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    subject text := public.verify_token(token, 'login');
    outer_actor text := coalesce(current_setting('sti.actor', true), '');
    found_id bigint;
    known text;
BEGIN
    IF subject IS NULL OR outcome NOT IN ('succeeded', 'failed', 'early') THEN
        RAISE EXCEPTION 'the sign-in was not recorded: no valid token' USING ERRCODE = 'insufficient_privilege';
    END IF;
    SELECT u.id, u.username INTO found_id, known FROM public.users u WHERE lower(u.username) = lower(subject);
    IF outcome = 'succeeded' THEN
        DELETE FROM public.login_throttles t WHERE t.user_id = found_id;
        -- The password was right, so for this moment the transaction acts as its owner.
        PERFORM set_config('sti.actor', public.mint_actor(found_id, split_part(token, '|', 2)::bigint), true);
        UPDATE public.users u SET last_login = now(), password_hash = coalesce(fresh_hash, u.password_hash)
         WHERE u.id = found_id;
        PERFORM set_config('sti.actor', outer_actor, true);
    ELSIF outcome = 'failed' AND found_id IS NOT NULL THEN
        INSERT INTO public.login_throttles AS t (user_id, failures, last_failed_at)
        VALUES (found_id, 1, clock_timestamp())
            ON CONFLICT (user_id) DO UPDATE SET failures = t.failures + 1, last_failed_at = clock_timestamp();
    END IF;
    -- A name that nobody has may be a password in the wrong field: it is not written down.
    PERFORM public.append_activity(
        CASE outcome WHEN 'succeeded' THEN 'login.succeeded' ELSE 'login.failed' END, 'event', found_id,
        coalesce(known, '(unknown)'), NULL, 'users', found_id, NULL,
        CASE outcome WHEN 'early' THEN jsonb_build_object('early', true) END, NULL);
END
$body$;
REVOKE ALL ON FUNCTION public.record_login(text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.record_login(text, text, text) TO sti_app, sti_wide, sti_admin;
