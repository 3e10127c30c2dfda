SET LOCAL check_function_bodies = off;

DROP INDEX public.case_notes_search_idx;
DROP INDEX public.analysis_results_search_idx;

CREATE OR REPLACE FUNCTION public.schema_revision()
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $body$ SELECT '0005'::text $body$;
REVOKE ALL ON FUNCTION public.schema_revision() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.schema_revision() TO PUBLIC;

CREATE OR REPLACE FUNCTION public.guard_part()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    -- A version goes as a whole: its own row is gone by the time the foreign key takes its parts.
    IF TG_OP = 'DELETE' AND NOT EXISTS (SELECT FROM public.transcriptions t WHERE t.id = OLD.transcription_id) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION '% of % is refused: a version is never edited, add a new one or delete it whole',
        TG_OP, TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END
$body$;
REVOKE ALL ON FUNCTION public.guard_part() FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.search_vector(config text, body text)
RETURNS tsvector LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    -- A vector holds 1 MB; a text that long is cut for the index only, so that it can never make a row fail.
    RETURN to_tsvector(config::regconfig, left(body, 200000));
END
$body$;
REVOKE ALL ON FUNCTION public.search_vector(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_vector(text, text) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.search_query(config text, query text)
RETURNS tsquery LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    RETURN websearch_to_tsquery(config::regconfig, query);
END
$body$;
REVOKE ALL ON FUNCTION public.search_query(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_query(text, text) TO sti_app, sti_wide, sti_admin;

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

DROP FUNCTION public.search_plain(text);

DROP FUNCTION public.search_fold(text);

DROP FUNCTION public.search_pairs(text);

DROP FUNCTION public.search_lexemes(text, text);

DROP FUNCTION public.search_run(text);

DROP FUNCTION public.search_words(text, text, boolean);

DROP FUNCTION public.search_term(text, text, boolean);

DROP FUNCTION public.search_scope(jsonb);

DROP FUNCTION public.search_matches(text, bigint);

DROP FUNCTION public.search_page(text, jsonb);

DROP FUNCTION public.search_rows(text, text, jsonb);
