-- build 9 · sha256 a9e246c2f43a
-- Stored objects: the rows that name the bytes of recordings, and their states.
--
-- A row in `storage_objects` is committed in a separate transaction before the first byte is written, so that a crash
-- never leaves unnamed bytes (`announce_object`). Inserting the recording makes the object live (`adopt_object`, a
-- trigger): the bytes are durable before the row commits, and the object becomes live with it or not at all. Deleting
-- a recording sets its objects to deleting (`release_object`): the row is deleted before its bytes. The sweeper takes
-- the advisory lock of the object.
--
-- The bytes of a recording never change, but a session may name any announced object as its new place, and the database
-- cannot look into the storage. So a move sets the old object only to superseded: it is kept until the sweep, as the
-- owner of the database, has read both objects and found the bytes of the recording in both.
--
-- Sessions may not write `storage_objects`, nor the path of a recording: a chosen path could name the bytes of another
-- case. Each function checks the verb in the case of the recording and performs one operation.
--
-- Elsewhere: writing and removing bytes (src/storage, services/recordings), generating keys (src/storage/keys.py; the
-- functions here only check them).

-- The grammar of keys: a recording of the case, or an object in the archive. The same as in src/storage/keys.py: a key
-- that no storage accepts could never be swept.
CREATE OR REPLACE FUNCTION public.is_key_of_case(key text, case_id bigint)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN case_id > 0 AND key ~ ('^(cases/' || case_id || '|archive/[1-9][0-9]{0,18})/'
                '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}[.](3g2|3gp|aac|ac3|aif|aifc|aiff|amr|asf|au|awb|bin|caf|flac'
                '|m4a|m4b|mka|mkv|mov|mp2|mp3|mp4|oga|ogg|opus|snd|spx|w64|wav|webm|wma|wv)$')
            THEN split_part(key, '/', 2)::numeric <= 9223372036854775807 ELSE false END;
REVOKE ALL ON FUNCTION public.is_key_of_case(text, bigint) FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.is_in_archive(key text)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN starts_with(key, 'archive/');
REVOKE ALL ON FUNCTION public.is_in_archive(text) FROM PUBLIC;

-- A key in the archive contains the id of its recording, which need not exist when the key is announced.
CREATE OR REPLACE FUNCTION public.is_key_of_recording(key text, audio_file_id bigint)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN NOT public.is_in_archive(key) OR starts_with(key, 'archive/' || audio_file_id || '/');
REVOKE ALL ON FUNCTION public.is_key_of_recording(text, bigint) FROM PUBLIC;

-- The case of a recording. Raises no_data_found when the actor may not read the case, insufficient_privilege when the
-- actor lacks the verb.
CREATE OR REPLACE FUNCTION public.case_of_recording(audio_file_id bigint, verb text)
RETURNS integer LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    owning_case integer := (SELECT a.case_id FROM public.audio_files a WHERE a.id = audio_file_id);
BEGIN
    IF owning_case IS NULL OR NOT public.actor_may_in(owning_case, 'read') THEN
        RAISE EXCEPTION 'recording % does not exist, or you may not see it', audio_file_id
            USING ERRCODE = 'no_data_found';
    END IF;
    IF NOT public.actor_may_in(owning_case, verb) THEN
        RAISE EXCEPTION 'it needs the permission % in the case of this recording', verb
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN owning_case;
END
$body$;
REVOKE ALL ON FUNCTION public.case_of_recording(bigint, text) FROM PUBLIC;

-- `storage` and `owner` are what the marker of the storage says (storages.sql).
CREATE OR REPLACE FUNCTION public.announce_object(
    case_id bigint, key text, backend text, storage uuid DEFAULT NULL, owner uuid DEFAULT NULL)
RETURNS bigint LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    acting bigint := public.actor_id();
    announced bigint;
    storage_row bigint;
BEGIN
    -- Runs in a separate transaction, so it cannot check access to the case: the case may have been created in a
    -- transaction that is still open. Announcing gives no access: only recordings of the case can adopt the object.
    IF acting IS NULL THEN
        RAISE EXCEPTION 'this session has no actor, and a stored object needs one'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF (SELECT count(*) FROM public.storage_objects o
         WHERE o.announced_by_id = acting AND o.state = 'pending') >= public.most_pending_objects() THEN
        RAISE EXCEPTION 'this user has announced % objects that belong to no recording, the limit; ingest them first, '
            'or wait for a sweep', public.most_pending_objects() USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF NOT coalesce(public.is_key_of_case(key, case_id), false) THEN
        RAISE EXCEPTION 'key %: not a key of case %', key, case_id USING ERRCODE = 'invalid_parameter_value';
    END IF;
    storage_row := public.claimed_storage(backend, storage, owner);
    INSERT INTO public.storage_objects (case_id, key, backend, storage_id, announced_by_id)
    VALUES (announce_object.case_id, announce_object.key, announce_object.backend, storage_row, acting)
    RETURNING id INTO announced;
    RETURN announced;
END
$body$;
REVOKE ALL ON FUNCTION public.announce_object(bigint, text, text, uuid, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.announce_object(bigint, text, text, uuid, uuid) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.adopt_object()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    place bigint;
BEGIN
    PERFORM public.require_confirmed();
    -- The bytes are durable before the row commits: their object was announced in a separate transaction, and becomes
    -- live together with the recording or not at all.
    UPDATE public.storage_objects o
       SET state = 'live', size_bytes = NEW.size_bytes, sha256 = NEW.sha256, delete_after = NULL, audio_file_id = NULL
     WHERE o.key = NEW.path AND o.case_id = NEW.case_id AND o.backend = NEW.storage_type
       -- A recording may return to an object that it had before.
       AND (o.state = 'pending' OR TG_OP = 'UPDATE' AND o.state = 'superseded' AND o.audio_file_id = NEW.id)
       AND public.is_key_of_recording(o.key, NEW.id) AND public.is_in_archive(o.key) = NEW.is_archived
    RETURNING o.storage_id INTO place;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'path %: case % has no pending object with this key; store the bytes first',
            NEW.path, NEW.case_id
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'audio_files_case_id_path_fkey',
                  TABLE = 'audio_files';
    END IF;
    -- The word of the session does not count: this is where the bytes are read from.
    NEW.storage_config := (NEW.storage_config - 'storage')
        || coalesce((SELECT jsonb_build_object('storage', s.storage) FROM public.storages s WHERE s.id = place), '{}');
    RETURN NEW;
END
$body$;
REVOKE ALL ON FUNCTION public.adopt_object() FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.release_object()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    PERFORM public.require_confirmed();
    UPDATE public.storage_objects o
       SET state = CASE TG_OP WHEN 'DELETE' THEN 'deleting' ELSE 'superseded' END, delete_after = now(),
           audio_file_id = OLD.id
     WHERE o.key = OLD.path;
    IF TG_OP = 'DELETE' THEN
        -- Deleting needs its own verb, so it includes the objects that the recording had before.
        UPDATE public.storage_objects o SET state = 'deleting', delete_after = now()
         WHERE o.audio_file_id = OLD.id AND o.state = 'superseded';
    END IF;
    RETURN NULL;
END
$body$;
REVOKE ALL ON FUNCTION public.release_object() FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.lock_object(key text)
RETURNS boolean LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    IF public.actor_id() IS NULL THEN
        RAISE EXCEPTION 'this session has no actor, and a stored object needs one'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    -- The sweeper takes this lock before it removes an object. Check the state afterwards: it may have been first. An
    -- advisory lock, since a lock on the row would assign a transaction id while bytes travel, and so stop sealing. It
    -- never waits, since any session may hold it: a key is in use by one transaction, and is not guessed in advance.
    RETURN pg_try_advisory_xact_lock(hashtextextended(lock_object.key, 0))
       AND EXISTS (SELECT FROM public.storage_objects o
                    WHERE o.key = lock_object.key AND o.state = 'pending'
                      AND public.actor_may_in(o.case_id, 'write'));
END
$body$;
REVOKE ALL ON FUNCTION public.lock_object(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.lock_object(text) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.place_recording(
    audio_file_id bigint, current_path text, key text, backend text, archived boolean, reason text)
RETURNS boolean LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    PERFORM public.case_of_recording(audio_file_id, 'write');
    IF archived IS DISTINCT FROM public.is_in_archive(place_recording.key) THEN
        RAISE EXCEPTION 'archived: must be true for keys below archive/ and false for all others'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- The triggers of this statement make the new object live and set the old one to superseded.
    UPDATE public.audio_files a
       SET path = place_recording.key, storage_type = place_recording.backend, is_archived = archived,
           archive_reason = reason
     WHERE a.id = audio_file_id AND a.path = current_path AND a.deleted_at IS NULL;
    RETURN FOUND;
END
$body$;
REVOKE ALL ON FUNCTION public.place_recording(bigint, text, text, text, boolean, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.place_recording(bigint, text, text, text, boolean, text)
    TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.mark_deleted(audio_file_id bigint, deleted boolean)
RETURNS timestamptz LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    case_id integer := public.case_of_recording(audio_file_id, 'delete');
    marked timestamptz;
BEGIN
    PERFORM public.require_confirmed();
    IF deleted THEN
        PERFORM public.require_no_hold(case_id, 'audio_files');
    END IF;
    UPDATE public.audio_files a SET deleted_at = CASE WHEN deleted THEN coalesce(a.deleted_at, now()) END
     WHERE a.id = audio_file_id RETURNING a.deleted_at INTO marked;
    IF NOT FOUND THEN
        -- A sweep has removed the recording since it was looked up.
        RAISE EXCEPTION 'recording % does not exist, or you may not see it', audio_file_id
            USING ERRCODE = 'no_data_found';
    END IF;
    RETURN marked;
END
$body$;
REVOKE ALL ON FUNCTION public.mark_deleted(bigint, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.mark_deleted(bigint, boolean) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.note_check(audio_file_id bigint, current_path text, error text)
RETURNS boolean LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    PERFORM public.case_of_recording(audio_file_id, 'write');
    -- Updates the object and not the recording, so that a check does not invalidate a concurrent edit of the recording.
    -- Not `checked_at`: a session can claim a check that it did not make, and maintenance must not skip one for that.
    UPDATE public.storage_objects o SET verified_at = clock_timestamp(), last_error = left(error, 4000)
      FROM public.audio_files a
     WHERE a.id = note_check.audio_file_id AND a.path = current_path AND o.key = a.path AND o.state = 'live';
    RETURN FOUND;
END
$body$;
REVOKE ALL ON FUNCTION public.note_check(bigint, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.note_check(bigint, text, text) TO sti_app, sti_wide, sti_admin;

-- What the objects of a case occupy, without announced ones, which belong to no recording yet. Sessions cannot read the
-- table itself.
CREATE OR REPLACE FUNCTION public.storage_usage(case_id integer)
RETURNS TABLE (backend text, state text, objects bigint, size_bytes bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    IF public.actor_may_in(case_id, 'read') THEN
        RETURN QUERY
            SELECT o.backend, o.state, count(*), coalesce(sum(o.size_bytes), 0)::bigint
              FROM public.storage_objects o
             WHERE o.case_id = storage_usage.case_id AND o.state <> 'pending'
             GROUP BY o.backend, o.state ORDER BY o.backend, o.state;
    END IF;
END
$body$;
REVOKE ALL ON FUNCTION public.storage_usage(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.storage_usage(integer) TO sti_app, sti_wide, sti_admin;
