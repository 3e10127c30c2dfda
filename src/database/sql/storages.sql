-- build 4 · sha256 d48de780a3d9
-- Who this database is, and where its recordings lie.
--
-- `database_identities` names the cluster and the database in which the identity was confirmed. A database that was
-- restored from a dump or copied with CREATE DATABASE … TEMPLATE is another one: it is in quarantine until an operator
-- confirms it. A promoted replica keeps both. A physical copy keeps both too: commands of the owner recognise it by the
-- number in the markers of its storages, and store why in `quarantine`.
--
-- In quarantine sessions read and change rows; they store, move and delete no bytes, claim no jobs, and nobody signs
-- in: two databases would do the same work, and remove the objects of each other.
--
-- Elsewhere: markers (src/storage/marker.py), confirming (src/maintenance/confirming.py).

-- Why this database is in quarantine, in a sentence; null when it is not, or has no identity yet.
CREATE OR REPLACE FUNCTION public.quarantine_reason()
RETURNS text LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
    SELECT CASE
        WHEN i.system_identifier <> c.system_identifier OR i.database_oid <> d.oid::bigint THEN
            format('this database is a restored or copied one: it was confirmed as database %s of cluster %s and is '
                   'database %s of cluster %s', i.database_oid, i.system_identifier, d.oid, c.system_identifier)
        ELSE i.quarantine END
           || '; to decide which of the two owns the storages, run: python -m src.database.scripts.storage confirm'
      FROM public.database_identities i, pg_control_system() c, pg_database d
     WHERE d.datname = current_database()
$body$;
REVOKE ALL ON FUNCTION public.quarantine_reason() FROM PUBLIC;

-- Raises while the database is in quarantine.
CREATE OR REPLACE FUNCTION public.require_confirmed()
RETURNS void LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    reason text := public.quarantine_reason();
BEGIN
    IF reason IS NOT NULL THEN
        RAISE EXCEPTION '%', reason USING ERRCODE = 'STI03';
    END IF;
END
$body$;
REVOKE ALL ON FUNCTION public.require_confirmed() FROM PUBLIC;

-- What a session needs to find the bytes of recordings: the identity of the database, and its storages. Null without an
-- actor.
CREATE OR REPLACE FUNCTION public.storage_register()
RETURNS jsonb LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    IF public.actor_id() IS NULL AND NOT public.is_owner_at_work() THEN
        RETURN NULL;
    END IF;
    RETURN jsonb_build_object(
        'identity', (SELECT i.identity FROM public.database_identities i),
        'quarantine', public.quarantine_reason(),
        'storages', coalesce((
            SELECT jsonb_agg(jsonb_build_object('id', s.id, 'name', s.name, 'storage', s.storage,
                       'location', s.location, 'is_marked', s.is_marked, 'is_owned', s.is_owned,
                       'is_claimed', s.claimed_at IS NOT NULL, 'sequence', s.sequence) ORDER BY s.id)
              FROM public.storages s), '[]'));
END
$body$;
REVOKE ALL ON FUNCTION public.storage_register() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.storage_register() TO sti_app, sti_wide, sti_admin;

-- The row of the storage into which a session announces an object; null while the database has no identity. Raises for
-- a storage that is not claimed for this database, which the identity of its marker shows.
CREATE OR REPLACE FUNCTION public.claimed_storage(backend text, storage uuid, owner uuid)
RETURNS bigint LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    identity uuid := (SELECT i.identity FROM public.database_identities i);
    claimed bigint;
BEGIN
    PERFORM public.require_confirmed();
    IF identity IS NULL THEN
        RETURN NULL;
    END IF;
    SELECT s.id INTO claimed FROM public.storages s
     WHERE s.storage = claimed_storage.storage AND s.name = backend AND s.claimed_at IS NOT NULL AND s.is_owned
       AND (owner = identity OR NOT s.is_marked);
    IF claimed IS NULL THEN
        RAISE EXCEPTION 'the storage % (%) with the owner % is not claimed for this database, whose id is %; run '
            'init_db with the settings of this storage', coalesce(storage::text, 'without a marker'), backend,
            coalesce(owner::text, 'nobody'), identity USING ERRCODE = 'STI04';
    END IF;
    RETURN claimed;
END
$body$;
REVOKE ALL ON FUNCTION public.claimed_storage(text, uuid, uuid) FROM PUBLIC;

-- Whether sessions may store into the storage with this id, or into a backend without markers: for checks of readiness,
-- which have no actor. Null while the database has no identity; raises in quarantine.
CREATE OR REPLACE FUNCTION public.knows_storage(backend text, storage uuid)
RETURNS boolean LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    PERFORM public.require_confirmed();
    IF NOT EXISTS (SELECT FROM public.database_identities) THEN
        RETURN NULL;
    END IF;
    RETURN EXISTS (
        SELECT FROM public.storages s
         WHERE s.name = backend AND s.claimed_at IS NOT NULL AND s.is_owned
           AND (s.storage = knows_storage.storage OR knows_storage.storage IS NULL AND NOT s.is_marked));
END
$body$;
REVOKE ALL ON FUNCTION public.knows_storage(text, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.knows_storage(text, uuid) TO sti_app, sti_wide, sti_admin;
