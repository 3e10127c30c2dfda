SET LOCAL check_function_bodies = off;

ALTER TABLE public.transcription_sources ADD COLUMN audio_file_id BIGINT;
COMMENT ON COLUMN public.transcription_sources.audio_file_id IS
    'that of the transcription; null where older bytes came twice';
-- The one time that a source is written to: which recording it belongs to follows from its version. Of bytes that came
-- twice before that was refused, the first stand for the recording.
ALTER TABLE public.transcription_sources DISABLE TRIGGER guard_part;
UPDATE public.transcription_sources s SET audio_file_id = t.audio_file_id
  FROM public.transcriptions t
 WHERE t.id = s.transcription_id AND NOT EXISTS (
     SELECT FROM public.transcription_sources e JOIN public.transcriptions u ON u.id = e.transcription_id
      WHERE u.audio_file_id = t.audio_file_id AND e.sha256 = s.sha256 AND e.id < s.id);
ALTER TABLE public.transcription_sources ENABLE ALWAYS TRIGGER guard_part;
-- Nothing but imports writes this table, and before this revision nothing imported.
-- squawk-ignore disallowed-unique-constraint, constraint-missing-not-valid
ALTER TABLE public.transcription_sources ADD CONSTRAINT transcription_sources_audio_file_id_sha256_key
    UNIQUE (audio_file_id, sha256);

ALTER TABLE public.analysis_results ADD COLUMN details_schema TEXT;
COMMENT ON COLUMN public.analysis_results.details_schema IS 'the name of the schema that the details keep to';
-- Over a column of nulls: a look through the table, of which there is a row for each analysis.
-- squawk-ignore constraint-missing-not-valid
ALTER TABLE public.analysis_results ADD CONSTRAINT analysis_results_details_schema_length_check
    CHECK (char_length(details_schema) >= 1 AND char_length(details_schema) <= 200);

REVOKE INSERT (case_id, audio_file_id, transcription_id, version, summary, sentiment_id, sentiment_score, details, model_name, model_version, accepted_at, accepted_by_id, created_by_id) ON public.analysis_results FROM sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.schema_revision()
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $body$ SELECT '0007'::text $body$;
REVOKE ALL ON FUNCTION public.schema_revision() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.schema_revision() TO PUBLIC;

CREATE OR REPLACE FUNCTION public.place_source()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    -- Which recording it belongs to is not for whoever writes to say: the same bytes twice are refused by it.
    NEW.audio_file_id := (SELECT t.audio_file_id FROM public.transcriptions t
                           WHERE t.id = NEW.transcription_id AND t.case_id = NEW.case_id);
    RETURN NEW;
END
$body$;
REVOKE ALL ON FUNCTION public.place_source() FROM PUBLIC;

CREATE OR REPLACE TRIGGER place BEFORE INSERT ON public.transcription_sources
    FOR EACH ROW EXECUTE FUNCTION public.place_source();

GRANT INSERT (case_id, audio_file_id, transcription_id, version, summary, sentiment_id, sentiment_score, details, details_schema, model_name, model_version, accepted_at, accepted_by_id, created_by_id) ON public.analysis_results TO sti_app, sti_wide, sti_admin;

INSERT INTO public.activity_types (code, name, category) VALUES
    ('bulk.stored', 'Stored, changed or deleted many rows', 'work')
ON CONFLICT (code) DO NOTHING;
