ALTER TABLE public.transcriptions DROP CONSTRAINT transcriptions_segments_sha256_form_check;
ALTER TABLE public.transcriptions ADD CONSTRAINT transcriptions_segments_sha256_form_check
    CHECK (segments_sha256 ~ '^[0-9a-f]{64}$') NOT VALID;

CREATE OR REPLACE FUNCTION public.schema_revision()
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $body$ SELECT '0003'::text $body$;
