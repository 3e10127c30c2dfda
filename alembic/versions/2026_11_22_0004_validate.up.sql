-- In a transaction of its own: the scan then holds no lock that readers or writers wait for.
ALTER TABLE public.transcriptions VALIDATE CONSTRAINT transcriptions_segments_sha256_form_check;

CREATE OR REPLACE FUNCTION public.schema_revision()
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $body$ SELECT '0004'::text $body$;
