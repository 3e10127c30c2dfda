"""Who is acting: tokens signed by a key that no session can read, verified inside the database.

Two tokens. The client signs one for a purpose (`session`, `login`, `password`), bound to the backend's process id and
to a time; `begin_actor` checks it once, resolves the user, and mints the second, which holds for this transaction on
this backend and for nothing else. So a token that was seen in pg_stat_activity is worth nothing in another backend, and
what a transaction leaves in a setting is worth nothing in the next one.

    client:  mac | key id | backend pid | expiry (epoch seconds) | purpose | subject [| cluster, for a session]
    minted:  user id | backend pid | start of the transaction (µs) | key id | epoch | mac
"""

from __future__ import annotations

from src.database.schema.objects import ADMIN_ROLE, APP_ROLE, SESSION_ROLES, WIDE_ROLE, Function

# Whoever takes part in more cases than this, and in more than one of so many of all there are, reads as WIDE_ROLE.
WIDE_CASES = 1000
WIDE_SHARE = 10


# Over `part`, the fields of a token: that it has the form of one of this transaction, so that casts cannot fail, and
# that the key `k` signed it.
IS_MINTED = """cardinality(part) IS NOT DISTINCT FROM 6 AND part[2] = pg_backend_pid()::text
       AND part[3] = (extract(epoch FROM now()) * 1000000)::bigint::text
       AND part[1] ~ '^[0-9]{1,18}$' AND part[4] ~ '^[0-9]{1,18}$'"""
IS_SIGNED = """part[6] = encode(sha256(k.outer_pad || sha256(
                   k.inner_pad || convert_to(array_to_string(part[1:5], '|'), 'UTF8'))), 'hex')"""


def minted(answer: str, otherwise: str = "NULL", condition: str = "true") -> str:
    """Return a function's body: `answer` about the user `u` whose token the transaction bears, `otherwise` without one.

    Spelled out in each function that needs it: every policy asks, some more than once in a statement, and a function
    that calls a function costs twice as much.
    """
    return f"""
DECLARE
    part text[] := string_to_array(current_setting('sti.actor', true), '|');
BEGIN
    IF cardinality(part) IS DISTINCT FROM 6 OR part[2] <> pg_backend_pid()::text
       OR part[3] <> (extract(epoch FROM now()) * 1000000)::bigint::text
       OR part[1] !~ '^[0-9]{{1,18}}$' OR part[4] !~ '^[0-9]{{1,18}}$' THEN
        RETURN {otherwise};
    END IF;
    RETURN coalesce((
        SELECT {answer} FROM public.actor_keys k, public.users u
         WHERE k.id = part[4]::bigint AND u.id = part[1]::bigint AND {condition}
           AND {IS_SIGNED}), {otherwise});
END"""


FUNCTIONS = (
    Function(
        "public.verify_token(token text, purpose text)",
        """
RETURNS text LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    part text[] := string_to_array(token, '|');
    pads record;
BEGIN
    IF cardinality(part) IS DISTINCT FROM 6 OR octet_length(token) > 2000 OR part[2] !~ '^[0-9]{1,18}$' THEN
        RETURN NULL;
    END IF;
    SELECT k.inner_pad, k.outer_pad INTO pads FROM public.actor_keys k
     WHERE k.id = part[2]::bigint AND (k.retired_at IS NULL OR k.retired_at > now());
    IF NOT FOUND OR part[1] <> encode(sha256(pads.outer_pad || sha256(
        pads.inner_pad || convert_to(array_to_string(part[2:6], '|'), 'UTF8'))), 'hex') THEN
        RETURN NULL;
    END IF;
    -- Authentic from here on, so the casts below cannot fail on somebody's invention.
    IF part[3]::bigint <> pg_backend_pid() OR part[4]::bigint < extract(epoch FROM now())
       OR part[5] <> verify_token.purpose THEN
        RETURN NULL;
    END IF;
    RETURN part[6];
END
$body$""",
    ),
    Function(
        "public.mint_actor(who bigint, key_id bigint)",
        """
RETURNS text LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    body text := concat_ws('|', who, pg_backend_pid(), (extract(epoch FROM now()) * 1000000)::bigint, key_id,
                           (SELECT system_identifier FROM pg_control_system()));
BEGIN
    RETURN (SELECT body || '|' || encode(sha256(k.outer_pad || sha256(k.inner_pad || convert_to(body, 'UTF8'))), 'hex')
              FROM public.actor_keys k WHERE k.id = key_id);
END
$body$""",
    ),
    Function(
        "public.begin_actor(token text, reason text, request text)",
        f"""
RETURNS TABLE (actor bigint, database_role text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan AS $body$
-- All in one: each transaction waits for this, and a function that calls a function costs as much again.
DECLARE
    part text[] := string_to_array(token, '|');
    pads record;
    u record;
    body text;
    minted text := '';
BEGIN
    database_role := '{APP_ROLE}';
    IF cardinality(part) IN (6, 7) AND octet_length(token) <= 2000 AND part[2] ~ '^[0-9]{{1,18}}$' THEN
        SELECT k.inner_pad, k.outer_pad INTO pads FROM public.actor_keys k
         WHERE k.id = part[2]::bigint AND (k.retired_at IS NULL OR k.retired_at > now());
        IF FOUND AND part[1] = encode(sha256(pads.outer_pad || sha256(
                pads.inner_pad || convert_to(array_to_string(part[2:], '|'), 'UTF8'))), 'hex') THEN
            -- Authentic from here on, so the casts below cannot fail on somebody's invention.
            IF part[3]::bigint = pg_backend_pid() AND part[4]::bigint >= extract(epoch FROM now())
               AND part[5] = 'session' THEN
                SELECT x.id, x.role_id, r.parent_id,
                       coalesce(jsonb_exists(r.permissions -> '*', '*'), false) AS everything
                  INTO u FROM public.users x JOIN public.user_roles r ON r.id = x.role_id
                 WHERE lower(x.username) = lower(part[6]) AND x.is_active;
                actor := u.id;
            END IF;
        END IF;
    END IF;
    IF actor IS NOT NULL THEN
        body := concat_ws('|', actor, pg_backend_pid(), (extract(epoch FROM now()) * 1000000)::bigint, part[2],
            -- Reading the server's own number takes as long as all the rest, so whoever signs may tell it.
            coalesce(part[7], (SELECT system_identifier FROM pg_control_system())::text));
        minted := body || '|' || encode(sha256(pads.outer_pad || sha256(
            pads.inner_pad || convert_to(body, 'UTF8'))), 'hex');
        IF u.everything OR u.parent_id IS NOT NULL AND public.role_permits(u.role_id, '*', '*') THEN
            database_role := '{ADMIN_ROLE}';
        ELSIF EXISTS (SELECT FROM public.case_participants p WHERE p.user_id = actor OFFSET {WIDE_CASES}) THEN
            -- As many as ANALYZE last saw: it need not be exact, only cheap. -1 before the first time.
            IF EXISTS (SELECT FROM public.case_participants p WHERE p.user_id = actor OFFSET greatest(0, (
                   SELECT c.reltuples FROM pg_class c WHERE c.oid = 'public.cases'::regclass))::bigint / {WIDE_SHARE})
               AND pg_has_role(session_user, '{WIDE_ROLE}', 'MEMBER') THEN
                database_role := '{WIDE_ROLE}';
            END IF;
        END IF;
    END IF;
    PERFORM set_config('sti.reason', coalesce(reason, ''), true),
            set_config('sti.request', coalesce(request, ''), true),
            set_config('sti.actor', minted, true);
    RETURN NEXT;
END
$body$""",
        # The login itself has no right but this one, until it has switched to the role that is returned.
        callers=("PUBLIC",),
    ),
    Function(
        "public.signed_actor()",
        f"""
RETURNS bigint LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan AS $body$
-- Whose signature this transaction bears, active or not: what somebody did before he was switched off, switching
-- himself off included, stands under his name.{minted("u.id")}
$body$""",
    ),
    Function(
        "public.actor_id()",
        f"""
RETURNS bigint LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan AS $body${minted("u.id", condition="u.is_active")}
$body$""",
        callers=SESSION_ROLES,
    ),
    Function(
        "public.actor_epoch()",
        """
RETURNS bigint LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
    -- The token carries it since pg_control_system() reads a file; without a token there is nothing to trust but that.
    SELECT CASE WHEN public.signed_actor() IS NULL THEN (SELECT system_identifier FROM pg_control_system())
                ELSE split_part(current_setting('sti.actor', true), '|', 5)::bigint END
$body$""",
    ),
)
