-- build 1 · sha256 ec935d263027
-- Stored objects: the bytes of a recording and the row that names them.
--
-- A row in `storage_objects` is written and committed on its own before the first byte is, so that no kill leaves bytes
-- that nothing names (`announce_object`). The recording's row adopts it (`adopt_object`, a trigger): bytes are durable
-- before their row commits, and become live together with it or not at all. Whatever deletes or moves a recording turns
-- the object to deleting (`release_object`): the row is gone before its bytes are. The sweeper takes the object's
-- advisory lock.
--
-- Sessions may not write `storage_objects`, nor the path of a recording: a path that somebody could set would name the
-- bytes of another case. The functions ask for the verb in the recording's case and do one thing each.
--
-- Not here: writing and removing bytes (src/storage, services/recordings), the grammar of keys for backends
-- (src/storage/keys.py, which makes them; here it is only held).

-- The grammar of keys, once: a recording of the case, or an object in the archive.
CREATE OR REPLACE FUNCTION public.is_key_of_case(key text, case_id bigint)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN key ~ ('^(cases/' || case_id || '|archive/[1-9][0-9]{0,18})/[0-9a-f-]{36}[.][a-z0-9]{1,8}$');
REVOKE ALL ON FUNCTION public.is_key_of_case(text, bigint) FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.is_in_archive(key text)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN starts_with(key, 'archive/');
REVOKE ALL ON FUNCTION public.is_in_archive(text) FROM PUBLIC;

-- A key in the archive names its recording, which did not have to exist when the key was announced.
CREATE OR REPLACE FUNCTION public.is_key_of_recording(key text, audio_file_id bigint)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN NOT public.is_in_archive(key) OR starts_with(key, 'archive/' || audio_file_id || '/');
REVOKE ALL ON FUNCTION public.is_key_of_recording(text, bigint) FROM PUBLIC;

-- The case of a recording, for whoever has the verb there. A case that the actor may not read does not exist for them.
CREATE OR REPLACE FUNCTION public.case_of_recording(audio_file_id bigint, verb text)
RETURNS integer LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    found integer := (SELECT a.case_id FROM public.audio_files a WHERE a.id = audio_file_id);
BEGIN
    IF found IS NULL OR NOT public.actor_may_in(found, 'read') THEN
        RAISE EXCEPTION 'no such recording' USING ERRCODE = 'no_data_found';
    END IF;
    IF NOT public.actor_may_in(found, verb) THEN
        RAISE EXCEPTION 'the actor lacks the verb % in the case of this recording', verb
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN found;
END
$body$;
REVOKE ALL ON FUNCTION public.case_of_recording(bigint, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.announce_object(case_id bigint, key text, backend text)
RETURNS bigint LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    announced bigint;
BEGIN
    -- In a transaction of its own, so it cannot ask whether the case is the actor's: it may have been opened in a
    -- transaction that has not committed. Nothing is gained by announcing: only the case's recordings can adopt it.
    IF public.actor_id() IS NULL THEN
        RAISE EXCEPTION 'no actor: nothing is stored unsigned' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF NOT coalesce(public.is_key_of_case(key, case_id), false) THEN
        RAISE EXCEPTION 'not a key of case %: %', case_id, key USING ERRCODE = 'invalid_parameter_value';
    END IF;
    INSERT INTO public.storage_objects (case_id, key, backend)
    VALUES (announce_object.case_id, announce_object.key, announce_object.backend) RETURNING id INTO announced;
    RETURN announced;
END
$body$;
REVOKE ALL ON FUNCTION public.announce_object(bigint, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.announce_object(bigint, text, text) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.adopt_object()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    -- The bytes are durable before the row commits: their object was announced in a transaction of its own, and it
    -- becomes live together with the recording, or not at all.
    UPDATE public.storage_objects o
       SET state = 'live', size_bytes = NEW.size_bytes, sha256 = NEW.sha256, delete_after = NULL
     WHERE o.key = NEW.path AND o.case_id = NEW.case_id AND o.backend = NEW.storage_type AND o.state = 'pending'
       AND public.is_key_of_recording(o.key, NEW.id);
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no object of case % is waiting under %: store the bytes first', NEW.case_id, NEW.path
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'audio_files_path_fkey', TABLE = 'audio_files';
    END IF;
    RETURN NEW;
END
$body$;
REVOKE ALL ON FUNCTION public.adopt_object() FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.release_object()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    UPDATE public.storage_objects o SET state = 'deleting', delete_after = now() WHERE o.key = OLD.path;
    RETURN NULL;
END
$body$;
REVOKE ALL ON FUNCTION public.release_object() FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.lock_object(key text)
RETURNS boolean LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    IF public.actor_id() IS NULL THEN
        RAISE EXCEPTION 'no actor: nothing is stored unsigned' USING ERRCODE = 'insufficient_privilege';
    END IF;
    -- The sweeper must get this lock before it takes the object. Looked at afterwards: it may have been here first.
    PERFORM pg_advisory_xact_lock(hashtextextended(lock_object.key, 0));
    RETURN EXISTS (SELECT FROM public.storage_objects o
                    WHERE o.key = lock_object.key AND o.state = 'pending'
                      AND (o.case_id = ANY (public.actor_case_ids('write')) OR public.actor_may('*', '*')));
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
        RAISE EXCEPTION 'a recording is archived exactly when its key lies in the archive'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- The triggers make the new object live and queue the old one, in this very statement.
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
    IF deleted THEN
        PERFORM public.require_no_hold(case_id, 'audio_files');
    END IF;
    UPDATE public.audio_files a SET deleted_at = CASE WHEN deleted THEN coalesce(a.deleted_at, now()) END
     WHERE a.id = audio_file_id RETURNING a.deleted_at INTO marked;
    IF NOT FOUND THEN
        -- A sweep removed it for good since it was looked at.
        RAISE EXCEPTION 'no such recording' USING ERRCODE = 'no_data_found';
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
    -- On the object and not on the recording: an editor of the recording loses nothing by a check.
    UPDATE public.storage_objects o SET verified_at = clock_timestamp(), last_error = left(error, 4000)
      FROM public.audio_files a
     WHERE a.id = audio_file_id AND a.path = current_path AND o.key = a.path AND o.state = 'live';
    RETURN FOUND;
END
$body$;
REVOKE ALL ON FUNCTION public.note_check(bigint, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.note_check(bigint, text, text) TO sti_app, sti_wide, sti_admin;
