-- build 7 · sha256 3661b4307d08
-- Signing in: a password hash is returned only for a token with the purpose `login`.
--
-- The text of a statement is visible to other sessions of the same login, and in the log of the server. So hashes are
-- never part of one: new ones arrive by COPY into the view `credential_changes` (schema/credential_view.py), whose
-- trigger stores them. A token is valid in its transaction only, and names what may be done: its subject begins with
-- the outcome or with the digest of the hash.
--
-- After five consecutive failures each attempt must wait twice as long as the previous one, up to 15 minutes. An early
-- attempt is rejected without checking the password and does not extend the wait, so a user cannot be locked out
-- permanently. The last active administrator waits at most 30 seconds.

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
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    PERFORM public.require_confirmed();
    RETURN QUERY
        SELECT u.id, u.username, u.password_hash, u.is_active, public.login_wait(u.id) FROM public.users u
         WHERE lower(u.username) = lower(public.verify_token(token, 'login'));
END
$body$;
REVOKE ALL ON FUNCTION public.credential(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.credential(text) TO sti_app, sti_wide, sti_admin;

-- The generation of the sign-ins of a user: services store it in what they hand out, and accept no other one later. For
-- a token of a sign-in, and for the user and administrators.
CREATE OR REPLACE FUNCTION public.login_epoch(token text)
RETURNS integer LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
    SELECT u.sign_in_epoch FROM public.users u
     WHERE lower(u.username) = lower(public.verify_token(token, 'login'))
$body$;
REVOKE ALL ON FUNCTION public.login_epoch(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.login_epoch(text) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.sign_in_epoch(user_id bigint)
RETURNS integer LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
    SELECT u.sign_in_epoch FROM public.users u
     WHERE u.id = sign_in_epoch.user_id AND (u.id = public.actor_id() OR public.actor_may('*', '*'))
$body$;
REVOKE ALL ON FUNCTION public.sign_in_epoch(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.sign_in_epoch(bigint) TO sti_app, sti_wide, sti_admin;

-- On a new password and on deactivation (the condition is that of the trigger), whatever changes the row.
CREATE OR REPLACE FUNCTION public.raise_sign_in_epoch()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    NEW.sign_in_epoch := greatest(OLD.sign_in_epoch, NEW.sign_in_epoch) + 1;
    RETURN NEW;
END
$body$;
REVOKE ALL ON FUNCTION public.raise_sign_in_epoch() FROM PUBLIC;

-- The digest that a token for a hash names; of an empty text without one.
CREATE OR REPLACE FUNCTION public.credential_digest(hash text)
RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
RETURN encode(sha256(convert_to(coalesce(hash, ''), 'UTF8')), 'hex');
REVOKE ALL ON FUNCTION public.credential_digest(text) FROM PUBLIC;

-- Stores the password hash of a user: the actor's own, or that of any user when the actor is an administrator.
CREATE OR REPLACE FUNCTION public.store_credential(token text, hash text)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    subject text := public.verify_token(token, 'password');
BEGIN
    IF public.actor_id() IS NULL OR split_part(subject, ' ', 1) IS DISTINCT FROM public.credential_digest(hash) THEN
        RAISE EXCEPTION 'the password was not changed: the token does not allow this actor to change it'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    UPDATE public.users u SET password_hash = hash
     WHERE lower(u.username) = lower(substr(subject, 66))
       AND (u.id = public.actor_id() OR public.actor_may('*', '*'));
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the user does not exist, or you may not change its password' USING ERRCODE = 'no_data_found';
    END IF;
END
$body$;
REVOKE ALL ON FUNCTION public.store_credential(text, text) FROM PUBLIC;

-- Records the outcome of a sign-in, and stores the renewed hash if there is one.
CREATE OR REPLACE FUNCTION public.record_login(token text, hash text)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    subject text := public.verify_token(token, 'outcome');
    outcome text := split_part(subject, ' ', 1);
    outer_actor text := coalesce(current_setting('sti.actor', true), '');
    found_id bigint;
    known text;
BEGIN
    IF outcome IS NULL OR outcome NOT IN ('succeeded', 'failed', 'early')
       OR split_part(subject, ' ', 2) <> public.credential_digest(hash)
       OR hash IS NOT NULL AND outcome <> 'succeeded' THEN
        RAISE EXCEPTION 'the sign-in was not recorded: invalid token' USING ERRCODE = 'insufficient_privilege';
    END IF;
    SELECT u.id, u.username INTO found_id, known FROM public.users u
     WHERE lower(u.username) = lower(substr(subject, length(outcome) + 67));
    IF outcome = 'succeeded' THEN
        DELETE FROM public.login_throttles t WHERE t.user_id = found_id;
        -- The password was correct: the user is the actor of this update.
        PERFORM set_config('sti.actor', public.mint_actor(found_id, split_part(token, '|', 2)::bigint), true);
        UPDATE public.users u SET last_login = now(), password_hash = coalesce(hash, u.password_hash)
         WHERE u.id = found_id;
        PERFORM set_config('sti.actor', outer_actor, true);
    ELSIF outcome = 'failed' AND found_id IS NOT NULL THEN
        INSERT INTO public.login_throttles AS t (user_id, failures, last_failed_at)
        VALUES (found_id, 1, clock_timestamp())
            ON CONFLICT (user_id) DO UPDATE SET failures = t.failures + 1, last_failed_at = clock_timestamp();
    END IF;
    IF outcome <> 'succeeded'
       AND public.recent_entries(found_id, 'login.failed', public.most_failed_logins()) >= public.most_failed_logins()
    THEN
        PERFORM public.count_dropped(coalesce(-found_id, 0), found_id, coalesce(known, '(unknown)'), 1);
        RETURN;
    END IF;
    -- An unknown name may be a password typed in the wrong field: it is not logged.
    PERFORM public.append_activity(
        CASE outcome WHEN 'succeeded' THEN 'login.succeeded' ELSE 'login.failed' END, 'event', found_id,
        coalesce(known, '(unknown)'), NULL, 'users', found_id, NULL,
        CASE outcome WHEN 'early' THEN jsonb_build_object('early', true) END, NULL);
END
$body$;
REVOKE ALL ON FUNCTION public.record_login(text, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.receive_credential()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    IF split_part(NEW.token, '|', 5) = 'outcome' THEN
        PERFORM public.record_login(NEW.token, NEW.hash);
    ELSE
        PERFORM public.store_credential(NEW.token, NEW.hash);
    END IF;
    RETURN NULL;
END
$body$;
REVOKE ALL ON FUNCTION public.receive_credential() FROM PUBLIC;
