SET LOCAL check_function_bodies = off;

REVOKE INSERT (case_id, name, path, size_bytes, sha256, content_type, duration_ms, sample_rate_hz, channels, codec, is_truncated, recorded_at, language_id, status_id, processed_at, error_message, storage_type, storage_config, is_archived, archive_reason, uploaded_by_id) ON public.audio_files FROM sti_app, sti_wide, sti_admin;

REVOKE UPDATE (name, recorded_at, language_id, status_id, processed_at, error_message, is_archived, archive_reason) ON public.audio_files FROM sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.schema_revision()
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $body$ SELECT '0008'::text $body$;
REVOKE ALL ON FUNCTION public.schema_revision() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.schema_revision() TO PUBLIC;

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
    IF archived IS DISTINCT FROM starts_with(place_recording.key, 'archive/') THEN
        RAISE EXCEPTION 'a recording is archived exactly when its key lies in the archive'
            USING ERRCODE = 'invalid_parameter_value';
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

GRANT INSERT (case_id, name, path, size_bytes, sha256, content_type, duration_ms, sample_rate_hz, channels, codec, is_truncated, recorded_at, language_id, status_id, processed_at, error_message, storage_type, storage_config, uploaded_by_id) ON public.audio_files TO sti_app, sti_wide, sti_admin;

GRANT UPDATE (name, recorded_at, language_id, status_id, processed_at, error_message) ON public.audio_files TO sti_app, sti_wide, sti_admin;
