-- build 9 · sha256 8a3f4e75b07c
-- The actor of a transaction: tokens signed by a key that no session can read, verified inside the database.
--
-- Two tokens, each valid for one transaction on one backend: a token that was read in pg_stat_activity or in the log of
-- the server is useless anywhere else. The client signs one for a purpose (`session`, `login`, …); `begin_actor`
-- verifies the one for a session, looks up the user and signs the second one, which the policies verify.
--
--     client:       mac | key id | backend pid | start of the transaction (µs) | purpose | subject [| cluster]
--     transaction:  user id | backend pid | start of the transaction (µs) | key id | cluster | mac
--
-- HMAC-SHA256 with the built-in sha256() and the two padded forms of the key in `actor_keys`, since pgcrypto may be
-- missing.
--
-- The expressions come first. They are inlined where they are used (no SECURITY DEFINER, no SET), so every check of a
-- token shares one definition without a function call; a nested call would double the time of `actor_id()`.
--
-- Elsewhere: permissions of the actor (access.sql), signing in (sign_in.sql).

-- The HMAC of these fields by a key.
CREATE OR REPLACE FUNCTION public.token_mac(fields text, inner_pad bytea, outer_pad bytea)
RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
RETURN encode(sha256(outer_pad || sha256(inner_pad || convert_to(fields, 'UTF8'))), 'hex');
REVOKE ALL ON FUNCTION public.token_mac(text, bytea, bytea) FROM PUBLIC;

-- The start of this transaction in microseconds: with the process id of the backend it identifies the transaction.
CREATE OR REPLACE FUNCTION public.transaction_start()
RETURNS bigint LANGUAGE sql STABLE PARALLEL SAFE
RETURN (extract(epoch FROM now()) * 1000000)::bigint;
REVOKE ALL ON FUNCTION public.transaction_start() FROM PUBLIC;

-- Whether these fields have the form of a token of this transaction. If they do, casting them cannot fail.
CREATE OR REPLACE FUNCTION public.is_transaction_token(fields text[])
RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE
RETURN cardinality(fields) IS NOT DISTINCT FROM 6 AND fields[2] = pg_backend_pid()::text
       AND fields[3] = public.transaction_start()::text
       AND fields[1] ~ '^[0-9]{1,18}$' AND fields[4] ~ '^[0-9]{1,18}$';
REVOKE ALL ON FUNCTION public.is_transaction_token(text[]) FROM PUBLIC;

-- Whether a key signed the fields of a token of this transaction.
CREATE OR REPLACE FUNCTION public.is_signed(fields text[], inner_pad bytea, outer_pad bytea)
RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE
RETURN fields[6] = public.token_mac(array_to_string(fields[1:5], '|'), inner_pad, outer_pad);
REVOKE ALL ON FUNCTION public.is_signed(text[], bytea, bytea) FROM PUBLIC;

-- The name of the operator when the transaction has no actor: the owner of the database, in a data migration
-- (`migration:0002`) or by hand.
CREATE OR REPLACE FUNCTION public.operator_name()
RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
RETURN coalesce('migration:' || nullif(current_setting('sti.migration', true), ''), 'operator:' || session_user);
REVOKE ALL ON FUNCTION public.operator_name() FROM PUBLIC;

-- Whether the login may act as the owner of the database: in a definer function, current_user is the owner.
CREATE OR REPLACE FUNCTION public.is_owner_at_work()
RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE
RETURN pg_has_role(session_user, current_user, 'MEMBER');
REVOKE ALL ON FUNCTION public.is_owner_at_work() FROM PUBLIC;

-- The id of the key, when it signed these fields of a client for this transaction; else null.
CREATE OR REPLACE FUNCTION public.key_of_token(part text[])
RETURNS bigint LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    IF cardinality(part) IN (6, 7) AND part[2] ~ '^[0-9]{1,18}$' AND part[3] = pg_backend_pid()::text
       AND part[4] = public.transaction_start()::text THEN
        RETURN (SELECT k.id FROM public.actor_keys k
                 WHERE k.id = part[2]::bigint AND (k.retired_at IS NULL OR k.retired_at > now())
                   AND part[1] = public.token_mac(array_to_string(part[2:], '|'), k.inner_pad, k.outer_pad));
    END IF;
    RETURN NULL;
END
$body$;
REVOKE ALL ON FUNCTION public.key_of_token(text[]) FROM PUBLIC;

-- The subject of a token for this purpose; null when it is not valid for this transaction.
CREATE OR REPLACE FUNCTION public.verify_token(token text, purpose text)
RETURNS text LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    part text[] := string_to_array(token, '|');
BEGIN
    IF octet_length(token) <= 2000 AND part[5] = verify_token.purpose AND public.key_of_token(part) IS NOT NULL THEN
        RETURN part[6];
    END IF;
    RETURN NULL;
END
$body$;
REVOKE ALL ON FUNCTION public.verify_token(text, text) FROM PUBLIC;

-- Whether a key of this database signed the token for this transaction: why a session has no actor.
CREATE OR REPLACE FUNCTION public.is_valid_token(token text)
RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
    SELECT octet_length(token) <= 2000 AND public.key_of_token(string_to_array(token, '|')) IS NOT NULL
$body$;
REVOKE ALL ON FUNCTION public.is_valid_token(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.is_valid_token(text) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.mint_actor(user_id bigint, key_id bigint)
RETURNS text LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    body text := concat_ws('|', user_id, pg_backend_pid(), public.transaction_start(), key_id,
                           (SELECT system_identifier FROM pg_control_system()));
BEGIN
    RETURN (SELECT body || '|' || public.token_mac(body, k.inner_pad, k.outer_pad)
              FROM public.actor_keys k WHERE k.id = key_id);
END
$body$;
REVOKE ALL ON FUNCTION public.mint_actor(bigint, bigint) FROM PUBLIC;

-- Sets the actor of the transaction and returns the role that its session uses. `is_member` is false when the login
-- may not take that role, which is the case for an administrator on the login of members: then there is no actor.
CREATE OR REPLACE FUNCTION public.begin_actor(token text, reason text, request_id text)
RETURNS TABLE (actor bigint, database_role text, is_member boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan AS $body$
-- Verifies the token itself: every transaction waits for this function.
DECLARE
    part text[] := string_to_array(token, '|');
    pads record;
    u record;
    cluster_id bigint;
    wide boolean;
    body text;
    transaction_token text := '';
    wide_token text := '';
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        -- With the rights of an old snapshot, an actor would act on after they were withdrawn.
        RAISE EXCEPTION 'transactions of an actor are READ COMMITTED, not %; rights must be as they are now',
            upper(current_setting('transaction_isolation')) USING ERRCODE = 'invalid_transaction_state';
    END IF;
    database_role := CASE WHEN pg_has_role(session_user, 'sti_app', 'MEMBER') THEN 'sti_app' ELSE 'sti_admin' END;
    is_member := true;
    IF cardinality(part) IN (6, 7) AND octet_length(token) <= 2000 AND part[2] ~ '^[0-9]{1,18}$'
       AND part[3] = pg_backend_pid()::text AND part[4] = public.transaction_start()::text
       AND part[5] = 'session' THEN
        SELECT k.inner_pad, k.outer_pad INTO pads FROM public.actor_keys k
         WHERE k.id = part[2]::bigint AND (k.retired_at IS NULL OR k.retired_at > now());
        IF FOUND AND part[1] = public.token_mac(array_to_string(part[2:], '|'), pads.inner_pad, pads.outer_pad) THEN
            -- pg_control_system() takes as long as the rest of the function, so the client may pass the identifier.
            cluster_id := coalesce(part[7]::bigint, (SELECT system_identifier FROM pg_control_system()));
            SELECT x.id, x.role_id, r.parent_id,
                   coalesce(jsonb_exists(r.permissions -> '*', '*'), false) AS everything,
                   a.is_wide,
                   a.cluster = cluster_id AND public.is_current(a.valid_until)
                   AND NOT EXISTS (SELECT FROM public.case_access_changes c WHERE c.user_id = x.id OFFSET 16)
                       AS is_valid
              INTO u FROM public.users x JOIN public.user_roles r ON r.id = x.role_id
              LEFT JOIN public.case_accesses a ON a.user_id = x.id
             WHERE lower(x.username) = lower(part[6]) AND x.is_active;
            actor := u.id;
        END IF;
    END IF;
    IF actor IS NOT NULL THEN
        IF u.everything OR u.parent_id IS NOT NULL AND public.role_permits(u.role_id, '*', '*') THEN
            database_role := 'sti_admin';
        ELSE
            wide := CASE WHEN u.is_valid THEN u.is_wide ELSE public.store_case_access(actor, cluster_id) END;
            database_role := CASE WHEN wide THEN 'sti_wide' ELSE 'sti_app' END;
        END IF;
        is_member := pg_has_role(session_user, database_role, 'MEMBER');
        body := concat_ws('|', actor, part[3], part[4], part[2], cluster_id);
        IF is_member THEN
            transaction_token := body || '|' || public.token_mac(body, pads.inner_pad, pads.outer_pad);
            IF database_role = 'sti_wide' THEN
                wide_token := public.token_mac('wide|' || transaction_token, pads.inner_pad, pads.outer_pad);
            END IF;
        END IF;
    END IF;
    PERFORM set_config('sti.reason', coalesce(reason, ''), true),
            set_config('sti.request', coalesce(request_id, ''), true),
            set_config('sti.actor', transaction_token, true),
            set_config('sti.wide', wide_token, true);
    RETURN NEXT;
END
$body$;
REVOKE ALL ON FUNCTION public.begin_actor(text, text, text) FROM PUBLIC;
-- The login has no other privilege until it switches to the returned role.
GRANT EXECUTE ON FUNCTION public.begin_actor(text, text, text) TO PUBLIC;

-- The id of the actor of this transaction, active or not: changes that users made before they were deactivated, their
-- own deactivation included, are logged under their name.
CREATE OR REPLACE FUNCTION public.signed_actor()
RETURNS bigint LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan AS $body$
DECLARE
    part text[] := string_to_array(current_setting('sti.actor', true), '|');
BEGIN
    IF NOT public.is_transaction_token(part) THEN
        RETURN NULL;
    END IF;
    RETURN (SELECT u.id FROM public.actor_keys k, public.users u
             WHERE k.id = part[4]::bigint AND u.id = part[1]::bigint
               AND public.is_signed(part, k.inner_pad, k.outer_pad));
END
$body$;
REVOKE ALL ON FUNCTION public.signed_actor() FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.actor_id()
RETURNS bigint LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan AS $body$
DECLARE
    part text[] := string_to_array(current_setting('sti.actor', true), '|');
BEGIN
    IF NOT public.is_transaction_token(part) THEN
        RETURN NULL;
    END IF;
    RETURN (SELECT u.id FROM public.actor_keys k, public.users u
             WHERE k.id = part[4]::bigint AND u.id = part[1]::bigint AND u.is_active
               AND public.is_signed(part, k.inner_pad, k.outer_pad));
END
$body$;
REVOKE ALL ON FUNCTION public.actor_id() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.actor_id() TO sti_app, sti_wide, sti_admin;

-- Identifies the transaction in which a user opened a case; null without a transaction id.
CREATE OR REPLACE FUNCTION public.opening_mark(user_id bigint, xid xid8)
RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
RETURN user_id || '|' || xid::text || '|' || split_part(coalesce(current_setting('sti.actor', true), ''), '|', 5);
REVOKE ALL ON FUNCTION public.opening_mark(bigint, xid8) FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.actor_opening_mark()
RETURNS text LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
    RETURN public.opening_mark(public.actor_id(), pg_current_xact_id_if_assigned());
END
$body$;
REVOKE ALL ON FUNCTION public.actor_opening_mark() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.actor_opening_mark() TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.actor_epoch()
RETURNS bigint LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
    -- From the token, since pg_control_system() reads a file; without a valid token only that function is trusted.
    SELECT CASE WHEN public.signed_actor() IS NULL THEN (SELECT system_identifier FROM pg_control_system())
                ELSE split_part(current_setting('sti.actor', true), '|', 5)::bigint END
$body$;
REVOKE ALL ON FUNCTION public.actor_epoch() FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.actor_name()
RETURNS text LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    known text := (SELECT u.username FROM public.users u WHERE u.id = public.signed_actor());
BEGIN
    IF known IS NULL AND public.is_owner_at_work() THEN
        RETURN public.operator_name();
    END IF;
    RETURN known;
END
$body$;
REVOKE ALL ON FUNCTION public.actor_name() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.actor_name() TO sti_app, sti_wide, sti_admin;
