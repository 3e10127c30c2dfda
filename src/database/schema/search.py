"""Finding words: one immutable function makes the vectors, one definer function reads the index.

`@@` is not leakproof, so under row security PostgreSQL does not use the GIN index. `search_segments` therefore applies
the actor's cases itself and returns ids, which the caller's query reads again under row security.
"""

from __future__ import annotations

from src.database.schema.objects import SESSION_ROLES, Function

FUNCTIONS = (
    Function(
        "public.search_vector(config text, body text)",
        """
RETURNS tsvector LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    -- A vector holds 1 MB; a text that long is cut for the index only, so that it can never make a row fail.
    RETURN to_tsvector(config::regconfig, left(body, 200000));
END
$body$""",
        callers=SESSION_ROLES,
    ),
    Function(
        "public.search_query(config text, query text)",
        """
RETURNS tsquery LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    RETURN websearch_to_tsquery(config::regconfig, query);
END
$body$""",
        callers=SESSION_ROLES,
    ),
    Function(
        "public.search_segments(query text, only_case bigint, most integer)",
        """
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
$body$""",
        callers=SESSION_ROLES,
    ),
)
