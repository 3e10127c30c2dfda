SET LOCAL check_function_bodies = off;

CREATE OR REPLACE FUNCTION public.schema_revision()
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $body$ SELECT '0004'::text $body$;
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
    IF key !~ ('^cases/' || case_id || '/[0-9a-f-]{36}[.][a-z0-9]{1,8}$') THEN
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
     WHERE o.key = NEW.path AND o.case_id = NEW.case_id AND o.backend = NEW.storage_type AND o.state = 'pending';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no object of case % is waiting under %: store the bytes first', NEW.case_id, NEW.path
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'audio_files_path_fkey', TABLE = 'audio_files';
    END IF;
    RETURN NEW;
END
$body$;
REVOKE ALL ON FUNCTION public.adopt_object() FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.record_activity(type_code text, case_id bigint, entity text, entity_id bigint, detail jsonb)
RETURNS bigint LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    IF public.actor_id() IS NULL THEN
        RAISE EXCEPTION 'no actor: nothing is recorded unsigned' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF type_code ~ '^(row|login)[.]|^history[.](erased|archived)$' THEN
        RAISE EXCEPTION '% is written by the database itself', type_code USING ERRCODE = 'invalid_parameter_value';
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
        IF e.type NOT IN ('audio.opened', 'transcript.read', 'search.made', 'export.made', 'access.refused') THEN
            RAISE EXCEPTION '% is no kind of reading', e.type USING ERRCODE = 'invalid_parameter_value';
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
               AND NOT EXISTS (SELECT FROM public.transcriptions newer
                                WHERE newer.audio_file_id = t.audio_file_id AND newer.language_id = t.language_id
                                  AND newer.version > t.version)
             ORDER BY 2 DESC, 1 LIMIT least(most, 1000);
    END LOOP;
END
$body$;
REVOKE ALL ON FUNCTION public.search_segments(text, bigint, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_segments(text, bigint, integer) TO sti_app, sti_wide, sti_admin;

DROP FUNCTION public.hold_object(text);

DROP FUNCTION public.place_recording(bigint, text, text, text, boolean, text);

DROP FUNCTION public.mark_deleted(bigint, boolean);

DROP FUNCTION public.note_check(bigint, text, text);

DROP INDEX public.audio_files_deleted_at_idx;
ALTER TABLE public.audio_files DROP COLUMN deleted_at;
ALTER TABLE public.storage_objects DROP COLUMN verified_at;
COMMENT ON COLUMN public.storage_objects.last_error IS NULL;
