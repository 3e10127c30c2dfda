SET LOCAL check_function_bodies = off;

ALTER TABLE public.audio_files ADD COLUMN deleted_at TIMESTAMP WITH TIME ZONE;
COMMENT ON COLUMN public.audio_files.deleted_at IS 'marked for deletion; a sweep removes it after a grace';
ALTER TABLE public.storage_objects ADD COLUMN verified_at TIMESTAMP WITH TIME ZONE;
COMMENT ON COLUMN public.storage_objects.verified_at IS 'when its bytes were last read and compared';
COMMENT ON COLUMN public.storage_objects.last_error IS 'of the last check, or of the last try to remove it';
-- Over no row at all: the column is new. The lock lasts as long as a look through the table.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX audio_files_deleted_at_idx ON public.audio_files (deleted_at) WHERE deleted_at IS NOT NULL;

CREATE OR REPLACE FUNCTION public.schema_revision()
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $body$ SELECT '0005'::text $body$;
REVOKE ALL ON FUNCTION public.schema_revision() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.schema_revision() TO PUBLIC;

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
    IF key !~ ('^(cases/' || case_id || '|archive/[1-9][0-9]{0,18})/[0-9a-f-]{36}[.][a-z0-9]{1,8}$') THEN
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
       -- A key in the archive names its recording, which did not have to exist when the key was announced.
       AND (o.key LIKE 'cases/%' OR o.key LIKE 'archive/' || NEW.id || '/%');
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no object of case % is waiting under %: store the bytes first', NEW.case_id, NEW.path
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'audio_files_path_fkey', TABLE = 'audio_files';
    END IF;
    RETURN NEW;
END
$body$;
REVOKE ALL ON FUNCTION public.adopt_object() FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.hold_object(key text)
RETURNS boolean LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    IF public.actor_id() IS NULL THEN
        RAISE EXCEPTION 'no actor: nothing is stored unsigned' USING ERRCODE = 'insufficient_privilege';
    END IF;
    -- The sweeper must get this lock before it takes the object. Looked at afterwards: it may have been here first.
    PERFORM pg_advisory_xact_lock(hashtextextended(hold_object.key, 0));
    RETURN EXISTS (SELECT FROM public.storage_objects o
                    WHERE o.key = hold_object.key AND o.state = 'pending'
                      AND (o.case_id = ANY (public.actor_case_ids('write')) OR public.actor_may('*', '*')));
END
$body$;
REVOKE ALL ON FUNCTION public.hold_object(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.hold_object(text) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.place_recording(audio_id bigint, held_path text, key text, backend text, archived boolean, why text)
RETURNS boolean LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    everything boolean := public.actor_may('*', '*');
    place bigint;
BEGIN
    SELECT a.case_id INTO place FROM public.audio_files a WHERE a.id = audio_id;
    IF place IS NULL OR NOT (everything OR place = ANY (public.actor_case_ids('read'))) THEN
        RAISE EXCEPTION 'no such recording' USING ERRCODE = 'no_data_found';
    END IF;
    IF NOT (everything OR place = ANY (public.actor_case_ids('write'))) THEN
        RAISE EXCEPTION 'the actor lacks the verb write in the case of this recording'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    -- The triggers make the new object live and queue the old one, in this very statement.
    UPDATE public.audio_files a
       SET path = place_recording.key, storage_type = place_recording.backend, is_archived = archived,
           archive_reason = why
     WHERE a.id = place_recording.audio_id AND a.path = held_path AND a.deleted_at IS NULL;
    RETURN FOUND;
END
$body$;
REVOKE ALL ON FUNCTION public.place_recording(bigint, text, text, text, boolean, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.place_recording(bigint, text, text, text, boolean, text) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.mark_deleted(audio_id bigint, gone boolean)
RETURNS timestamptz LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    everything boolean := public.actor_may('*', '*');
    place bigint;
    marked timestamptz;
BEGIN
    SELECT a.case_id INTO place FROM public.audio_files a WHERE a.id = audio_id;
    IF place IS NULL OR NOT (everything OR place = ANY (public.actor_case_ids('read'))) THEN
        RAISE EXCEPTION 'no such recording' USING ERRCODE = 'no_data_found';
    END IF;
    IF NOT (everything OR place = ANY (public.actor_case_ids('delete'))) THEN
        RAISE EXCEPTION 'the actor lacks the verb delete in the case of this recording'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    -- Whoever places a hold needs this row too: one of the two waits, and then sees what the other did.
    IF gone AND (SELECT c.active_holds FROM public.cases c WHERE c.id = place FOR SHARE) > 0 THEN
        RAISE EXCEPTION 'a legal hold forbids deleting from audio_files in this case'
            USING ERRCODE = 'STI02', CONSTRAINT = 'legal_holds_deletion_check', TABLE = 'audio_files';
    END IF;
    UPDATE public.audio_files a SET deleted_at = CASE WHEN gone THEN coalesce(a.deleted_at, now()) END
     WHERE a.id = mark_deleted.audio_id RETURNING a.deleted_at INTO marked;
    IF NOT FOUND THEN
        -- A sweep removed it for good since it was looked at.
        RAISE EXCEPTION 'no such recording' USING ERRCODE = 'no_data_found';
    END IF;
    RETURN marked;
END
$body$;
REVOKE ALL ON FUNCTION public.mark_deleted(bigint, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.mark_deleted(bigint, boolean) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.note_check(audio_id bigint, held_path text, fault text)
RETURNS boolean LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    everything boolean := public.actor_may('*', '*');
    place bigint;
BEGIN
    SELECT a.case_id INTO place FROM public.audio_files a WHERE a.id = audio_id;
    IF place IS NULL OR NOT (everything OR place = ANY (public.actor_case_ids('read'))) THEN
        RAISE EXCEPTION 'no such recording' USING ERRCODE = 'no_data_found';
    END IF;
    IF NOT (everything OR place = ANY (public.actor_case_ids('write'))) THEN
        RAISE EXCEPTION 'the actor lacks the verb write in the case of this recording'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    -- On the object and not on the recording: an editor of the recording loses nothing by a check.
    UPDATE public.storage_objects o SET verified_at = clock_timestamp(), last_error = left(fault, 4000)
      FROM public.audio_files a
     WHERE a.id = note_check.audio_id AND a.path = held_path AND o.key = a.path AND o.state = 'live';
    RETURN FOUND;
END
$body$;
REVOKE ALL ON FUNCTION public.note_check(bigint, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.note_check(bigint, text, text) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.record_activity(type_code text, case_id bigint, entity text, entity_id bigint, detail jsonb)
RETURNS bigint LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    IF public.actor_id() IS NULL THEN
        RAISE EXCEPTION 'no actor: nothing is recorded unsigned' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF type_code ~ '^(row|login)[.]|^history[.](erased|archived)$' THEN
        RAISE EXCEPTION '% is written by the database itself', type_code USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF jsonb_typeof(detail) <> 'object' THEN
        RAISE EXCEPTION 'the detail of an entry is an object with names' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF case_id <> ALL (public.actor_case_ids('write')) AND NOT public.actor_may('*', '*') THEN
        RAISE EXCEPTION 'no such case' USING ERRCODE = 'no_data_found';
    END IF;
    RETURN public.append_activity(type_code, 'event', public.actor_id(), public.actor_name(), case_id, entity,
        entity_id, NULL, detail, NULL);
END
$body$;
REVOKE ALL ON FUNCTION public.record_activity(text, bigint, text, bigint, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.record_activity(text, bigint, text, bigint, jsonb) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.record_reads(entries jsonb)
RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    who bigint := public.actor_id();
    known text := public.actor_name();
    everything boolean := public.actor_may('*', '*');
    readable bigint[] := public.actor_case_ids('read');
    e record;
BEGIN
    IF who IS NULL THEN
        RAISE EXCEPTION 'no actor: nothing is recorded unsigned' USING ERRCODE = 'insufficient_privilege';
    END IF;
    FOR e IN SELECT * FROM jsonb_to_recordset(entries)
                 AS x (type text, case_id bigint, entity text, entity_id bigint, detail jsonb) LOOP
        IF e.type NOT IN ('audio.opened', 'transcript.read', 'search.made', 'export.made', 'access.refused')
           -- What failed rolls back, and its entry must not.
           AND NOT (e.type LIKE 'audio.%' AND coalesce(e.detail ->> 'outcome' = 'failed', false)) THEN
            RAISE EXCEPTION '% is no kind of reading', e.type USING ERRCODE = 'invalid_parameter_value';
        END IF;
        IF jsonb_typeof(e.detail) <> 'object' THEN
            RAISE EXCEPTION 'the detail of an entry is an object with names' USING ERRCODE = 'invalid_parameter_value';
        END IF;
        -- A case that was opened in a transaction that rolled back is nobody's: the reading stands without it.
        PERFORM public.append_activity(e.type, 'event', who, known,
            CASE WHEN everything OR e.case_id = ANY (readable) THEN e.case_id END, e.entity, e.entity_id, NULL,
            e.detail, NULL);
    END LOOP;
END
$body$;
REVOKE ALL ON FUNCTION public.record_reads(jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.record_reads(jsonb) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.search_segments(query text, only_case bigint, most integer)
RETURNS TABLE (segment_id bigint, rank real)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    everything boolean := public.actor_may('*', '*');
    allowed bigint[] := public.actor_case_ids('read');
    config text;
    terms tsquery;
BEGIN
    FOR config IN SELECT DISTINCT l.search_config FROM public.languages l LOOP
        terms := public.search_query(config, query);
        CONTINUE WHEN numnode(terms) = 0;
        RETURN QUERY
            SELECT s.id, ts_rank(s.search, terms) FROM public.transcription_segments s
              JOIN public.transcriptions t ON t.id = s.transcription_id
             WHERE s.search @@ terms AND s.search_config = config
               AND (only_case IS NULL OR s.case_id = only_case)
               AND (everything OR s.case_id = ANY (allowed))
               AND EXISTS (SELECT FROM public.audio_files a WHERE a.id = t.audio_file_id AND a.deleted_at IS NULL)
               AND NOT EXISTS (SELECT FROM public.transcriptions newer
                                WHERE newer.audio_file_id = t.audio_file_id AND newer.language_id = t.language_id
                                  AND newer.version > t.version)
             ORDER BY 2 DESC, 1 LIMIT least(most, 1000);
    END LOOP;
END
$body$;
REVOKE ALL ON FUNCTION public.search_segments(text, bigint, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_segments(text, bigint, integer) TO sti_app, sti_wide, sti_admin;

INSERT INTO public.activity_types (code, name, category) VALUES
    ('audio.moved', 'Moved a recording', 'file'), ('audio.healed', 'Gave a recording its bytes back', 'file'),
    ('audio.purged', 'Removed a deleted recording for good', 'file'), ('storage.swept', 'Swept the storage', 'file')
ON CONFLICT (code) DO NOTHING;
