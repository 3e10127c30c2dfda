SET LOCAL check_function_bodies = off;

DROP TRIGGER place ON public.transcription_sources;

REVOKE INSERT (case_id, audio_file_id, transcription_id, version, summary, sentiment_id, sentiment_score, details, details_schema, model_name, model_version, accepted_at, accepted_by_id, created_by_id) ON public.analysis_results FROM sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.schema_revision()
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $body$ SELECT '0006'::text $body$;
REVOKE ALL ON FUNCTION public.schema_revision() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.schema_revision() TO PUBLIC;

GRANT INSERT (case_id, audio_file_id, transcription_id, version, summary, sentiment_id, sentiment_score, details, model_name, model_version, accepted_at, accepted_by_id, created_by_id) ON public.analysis_results TO sti_app, sti_wide, sti_admin;

DROP FUNCTION public.place_source();

ALTER TABLE public.analysis_results DROP COLUMN details_schema;
ALTER TABLE public.transcription_sources DROP COLUMN audio_file_id;
