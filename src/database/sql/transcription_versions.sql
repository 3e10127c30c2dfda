-- build 3 · sha256 e41d4f3d7eb9
-- Integrity of the versions of a transcription.
--
-- Segments are not logged: the transcription stores a digest of them, set by a trigger when the transaction that
-- created the version commits. From then on parts of a version cannot be added, changed or deleted; a version is
-- deleted as a whole.
--
--     segments_sha256 = sha256(sha256(content) ‖ text of [[sha256, dialect, name] of each source, …] ‖ for each segment
--                              sha256(text of [position, start, end, speaker, text, words, confidence, flags]))
--
-- Elsewhere: the selection of a version (services/transcripts), indexing of texts (search_text_1.sql).

CREATE OR REPLACE FUNCTION public.transcription_digest(transcription_id bigint)
RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres' SET bytea_output = 'hex'
SET extra_float_digits = 1 AS $body$
    SELECT encode(sha256(sha256(convert_to(t.content, 'UTF8'))
        || convert_to(coalesce((SELECT jsonb_agg(jsonb_build_array(x.sha256, x.dialect, x.name) ORDER BY x.id)
                   FROM public.transcription_sources x
                   WHERE x.case_id = t.case_id AND x.transcription_id = t.id), '[]')::text, 'UTF8')
        || coalesce((SELECT string_agg(sha256(convert_to(jsonb_build_array(s.position, s.start_ms, s.end_ms, s.speaker,
                            s.text, s.words, s.confidence, s.flags)::text, 'UTF8')), '' ORDER BY s.position)
                       FROM public.transcription_segments s
                      WHERE s.case_id = t.case_id AND s.transcription_id = t.id), '')), 'hex')
      FROM public.transcriptions t WHERE t.id = transcription_digest.transcription_id
$body$;
REVOKE ALL ON FUNCTION public.transcription_digest(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.transcription_digest(bigint) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.finish_version()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    UPDATE public.transcriptions t SET segments_sha256 = public.transcription_digest(t.id)
     WHERE t.id = NEW.id AND t.segments_sha256 IS NULL;
    RETURN NULL;
END
$body$;
REVOKE ALL ON FUNCTION public.finish_version() FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.guard_new_parts()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    finished bigint;
BEGIN
    -- Once per statement: parts cannot be added to a finished version.
    SELECT t.id INTO finished FROM public.transcriptions t
     WHERE t.segments_sha256 IS NOT NULL AND t.id IN (SELECT DISTINCT p.transcription_id FROM new_parts p) LIMIT 1;
    IF finished IS NOT NULL THEN
        RAISE EXCEPTION 'transcription % is finished; add a new version instead', finished
            USING ERRCODE = 'STI02', CONSTRAINT = 'transcriptions_finished_check', TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NULL;
END
$body$;
REVOKE ALL ON FUNCTION public.guard_new_parts() FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.guard_part()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    -- Deleting a version deletes its own row first, before the foreign key cascades to its parts.
    IF TG_OP = 'DELETE' AND NOT EXISTS (SELECT FROM public.transcriptions t WHERE t.id = OLD.transcription_id) THEN
        RETURN OLD;
    END IF;
    IF TG_OP = 'UPDATE' AND TG_TABLE_NAME = 'transcription_segments' THEN
        -- Reindexing updates rows without a change of the columns that the digest covers. Sessions have no privilege to
        -- update segments.
        IF (OLD.id, OLD.created_at, OLD.updated_at, OLD.case_id, OLD.transcription_id, OLD.position, OLD.start_ms,
            OLD.end_ms, OLD.speaker, OLD.text, OLD.words::text, OLD.confidence, OLD.flags)
           IS NOT DISTINCT FROM
           (NEW.id, NEW.created_at, NEW.updated_at, NEW.case_id, NEW.transcription_id, NEW.position, NEW.start_ms,
            NEW.end_ms, NEW.speaker, NEW.text, NEW.words::text, NEW.confidence, NEW.flags) THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION '% on % is not allowed: a version is never edited; add a new one or delete the whole version',
        TG_OP, TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END
$body$;
REVOKE ALL ON FUNCTION public.guard_part() FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.place_source()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    -- The recording is copied from the transcription and not taken from the client: a unique constraint uses it to
    -- reject the same bytes twice.
    NEW.audio_file_id := (SELECT t.audio_file_id FROM public.transcriptions t
                           WHERE t.id = NEW.transcription_id AND t.case_id = NEW.case_id);
    RETURN NEW;
END
$body$;
REVOKE ALL ON FUNCTION public.place_source() FROM PUBLIC;
