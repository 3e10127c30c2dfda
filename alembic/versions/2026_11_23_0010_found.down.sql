SET LOCAL check_function_bodies = off;

CREATE OR REPLACE FUNCTION public.schema_revision()
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $body$ SELECT '0009'::text $body$;
REVOKE ALL ON FUNCTION public.schema_revision() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.schema_revision() TO PUBLIC;

CREATE OR REPLACE FUNCTION public.search_plain(body text)
RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    -- A slash would make one token of two words, `he/she`.
    IF octet_length(body) = length(body) THEN
        RETURN translate(body, '/', ' ');
    END IF;
    RETURN translate(normalize(body, NFKC), '/' || U&'\00AD\200B\200C\200D\200E\200F\202A\202B\202C\202D\202E\2060\FEFF\0640', ' ');
END
$body$;
REVOKE ALL ON FUNCTION public.search_plain(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_plain(text) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.search_fold(body text)
RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    IF octet_length(body) = length(body) THEN
        RETURN body;
    END IF;
    -- Only marks that follow something, so that no lexeme loses all that it has.
    RETURN replace(replace(replace(translate(
        normalize(regexp_replace(normalize(body, NFD), '([^''\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670])[\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670]+', '\1', 'g'), NFC),
        U&'\00D8\00F8\0141\0142\0110\0111\0126\0127\0131', 'OoLlDdHhi'), 'ß', 'ss'), 'æ', 'ae'), 'œ', 'oe');
END
$body$;
REVOKE ALL ON FUNCTION public.search_fold(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_fold(text) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.search_lexemes(config text, body text)
RETURNS tsvector LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    plain text := public.search_plain(body);
    spaced text := plain;
    folded text;
    found text := '';
BEGIN
    IF octet_length(plain) = length(plain) THEN
        RETURN to_tsvector(config::regconfig, plain);
    END IF;
    IF plain ~ '[\u3005-\u3007\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3105-\u312f\u3131-\u318e\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u1100-\u11ff\uac00-\ud7a3\U00020000-\U0003ffff\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ece\u1000-\u103f\u1050-\u109f\u1780-\u17d3]' THEN
        spaced := regexp_replace(plain, '[\u3005-\u3007\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3105-\u312f\u3131-\u318e\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u1100-\u11ff\uac00-\ud7a3\U00020000-\U0003ffff\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ece\u1000-\u103f\u1050-\u109f\u1780-\u17d3]+', ' ', 'g');
        found := public.search_pairs(plain);
    END IF;
    folded := public.search_fold(spaced);
    IF folded <> spaced THEN
        found := found || ' ' || to_tsvector(config::regconfig, folded)::text;
    END IF;
    -- The text form of a vector takes the same lexeme twice, which none of its operators does without moving it.
    RETURN (public.search_fold(to_tsvector(config::regconfig, spaced)::text) || ' ' || found)::tsvector;
END
$body$;
REVOKE ALL ON FUNCTION public.search_lexemes(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_lexemes(text, text) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.search_run(run text)
RETURNS tsquery LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $body$
    -- Every second pair, and the last one: together they cover every character.
    SELECT CASE WHEN length(run) = 1 THEN '''' || run || ''':*' ELSE (
        SELECT string_agg(CASE WHEN p.place = 1 THEN '' WHEN p.place % 2 = 1 THEN '<2>' ELSE '<->' END
                          || '''' || substr(run, p.place, 2) || '''', '' ORDER BY p.place)
          FROM generate_series(1, length(run) - 1) AS p (place)
         WHERE p.place % 2 = 1 OR p.place = length(run) - 1) END::tsquery
$body$;
REVOKE ALL ON FUNCTION public.search_run(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_run(text) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.search_words(config text, words text, beginning boolean)
RETURNS tsquery LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    asked tsquery := phraseto_tsquery(config::regconfig, words);
    spelled tsquery;
BEGIN
    IF beginning THEN
        -- The beginning of a word is not always that of its stem: `happi` stands for `happily`, `the` for nothing.
        spelled := phraseto_tsquery('simple', words);
        IF numnode(spelled) > 0 THEN
            spelled := (spelled::text || ':*')::tsquery;
        END IF;
        IF numnode(asked) > 0 THEN
            asked := (asked::text || ':*')::tsquery;
        END IF;
        asked := CASE WHEN asked = spelled THEN asked ELSE asked || spelled END;
    END IF;
    RETURN asked;
END
$body$;
REVOKE ALL ON FUNCTION public.search_words(text, text, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_words(text, text, boolean) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.search_term(config text, words text, beginning boolean)
RETURNS tsquery LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    plain text := public.search_plain(words);
    spaced text := plain;
    folded text;
    run text;
    asked tsquery;
    unaccented tsquery;
    terms tsquery;
BEGIN
    IF octet_length(plain) = length(plain) THEN
        RETURN public.search_words(config, plain, beginning);
    END IF;
    IF plain ~ '[\u3005-\u3007\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3105-\u312f\u3131-\u318e\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u1100-\u11ff\uac00-\ud7a3\U00020000-\U0003ffff\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ece\u1000-\u103f\u1050-\u109f\u1780-\u17d3]' THEN
        spaced := regexp_replace(plain, '[\u3005-\u3007\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3105-\u312f\u3131-\u318e\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u1100-\u11ff\uac00-\ud7a3\U00020000-\U0003ffff\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ece\u1000-\u103f\u1050-\u109f\u1780-\u17d3]+', ' ', 'g');
        FOR run IN SELECT m[1] FROM regexp_matches(plain, '[\u3005-\u3007\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3105-\u312f\u3131-\u318e\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u1100-\u11ff\uac00-\ud7a3\U00020000-\U0003ffff\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ece\u1000-\u103f\u1050-\u109f\u1780-\u17d3]+', 'g') AS m LOOP
            terms := coalesce(terms && public.search_run(run), public.search_run(run));
        END LOOP;
    END IF;
    folded := public.search_fold(spaced);
    asked := public.search_fold(public.search_words(config, spaced, beginning)::text)::tsquery;
    -- A stop word that is none without its accents must not become one that has to be there.
    IF folded <> spaced AND numnode(asked) > 0 THEN
        unaccented := public.search_words(config, folded, beginning);
        asked := CASE WHEN unaccented = asked THEN asked ELSE asked || unaccented END;
    END IF;
    RETURN CASE WHEN numnode(asked) = 0 THEN coalesce(terms, asked) ELSE coalesce(terms && asked, asked) END;
END
$body$;
REVOKE ALL ON FUNCTION public.search_term(text, text, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_term(text, text, boolean) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.search_query(config text, query text)
RETURNS tsquery LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
SET client_min_messages = error AS $body$
DECLARE
    part text[];
    term tsquery;
    wanted tsquery;
    unwanted tsquery;
    whole tsquery;
    number integer := 0;
BEGIN
    FOR part IN SELECT m FROM regexp_matches(query, '(-?)(?:"([^"]*)"?|([^\s"]+))', 'g') AS m LOOP
        number := number + 1;
        IF number > 100 THEN
            RAISE EXCEPTION 'a query has at most 100 words and phrases' USING ERRCODE = 'invalid_parameter_value';
        END IF;
        IF part[1] = '' AND part[3] = 'OR' THEN
            wanted := coalesce(wanted && unwanted, wanted);
            whole := coalesce(whole || wanted, whole, wanted);
            wanted := NULL;
            unwanted := NULL;
            CONTINUE;
        END IF;
        term := public.search_term(config, coalesce(part[2], part[3]), part[3] ~ '[^*][*]$');
        IF numnode(term) = 0 THEN
            CONTINUE;
        ELSIF part[1] = '-' THEN
            unwanted := coalesce(unwanted && !!term, !!term);
        ELSE
            wanted := coalesce(wanted && term, term);
        END IF;
    END LOOP;
    -- What only leaves out asks for nothing.
    wanted := coalesce(wanted && unwanted, wanted);
    RETURN coalesce(whole || wanted, whole, wanted, '');
END
$body$;
REVOKE ALL ON FUNCTION public.search_query(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_query(text, text) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.search_page(query text, filters jsonb)
RETURNS TABLE (segment_id bigint, rank real, total bigint, terms tsquery) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off ROWS 50 AS $body$
DECLARE
    f jsonb := coalesce(filters, '{}');
    scope bigint[] := public.search_scope(f -> 'cases');
    most integer := greatest(0, least(coalesce((f ->> 'most')::integer, 50), 1001));
    timely boolean := f ->> 'order' = 'time';
    matches text;
    ranked text;
    beyond text;
BEGIN
    SELECT string_agg(m.condition, ' OR '), 'CASE ' || string_agg(m.terms, ' ') || ' END'
      INTO matches, ranked FROM public.search_matches(query, (f ->> 'language')::bigint) m;
    IF matches IS NULL OR scope = '{}' THEN
        RETURN;
    END IF;
    IF f ? 'after' AND timely THEN
        beyond := 'WHERE (m.moment, m.recording, m.start, m.id) > ('
            || quote_literal((f #>> '{after,0}')::timestamptz)
            || ', ' || (f #>> '{after,1}')::bigint || ', ' || (f #>> '{after,2}')::bigint
            || ', ' || (f #>> '{after,3}')::bigint || ')';
    ELSIF f ? 'after' THEN
        beyond := 'WHERE (-m.rank, m.id) > (' || quote_literal(-(f #>> '{after,0}')::real) || '::real, '
            || (f #>> '{after,1}')::bigint || ')';
    END IF;
    -- What is not asked for is null, and the null of a string is left out when they are joined.
    RETURN QUERY EXECUTE
        'SELECT p.id, p.rank, p.total, ' || ranked || ' FROM (SELECT * FROM (SELECT s.id, s.search_config,'
           ' count(*) OVER () AS total, '
        || CASE WHEN timely THEN '0::real AS rank, coalesce(a.recorded_at, a.created_at) AS moment, a.id AS recording,'
                                 ' coalesce(s.start_ms, -1) AS start'
                ELSE 'ts_rank(s.search, ' || ranked || ') AS rank' END
        || ' FROM public.transcription_segments s JOIN public.transcriptions t ON t.id = s.transcription_id'
           ' JOIN public.audio_files a ON a.id = t.audio_file_id WHERE ' || concat_ws(' AND ',
            '(' || matches || ')', 'a.deleted_at IS NULL',
            's.case_id = ANY (' || quote_literal(scope) || '::bigint[])',
            CASE f ->> 'versions' WHEN 'all' THEN NULL WHEN 'accepted' THEN $sql$t.accepted_at IS NOT NULL AND NOT EXISTS (SELECT FROM public.transcriptions v
    WHERE v.audio_file_id = t.audio_file_id AND v.language_id = t.language_id
      AND (v.accepted_at, v.version) > (t.accepted_at, t.version))$sql$
                                  ELSE $sql$NOT EXISTS (SELECT FROM public.transcriptions v WHERE v.audio_file_id = t.audio_file_id
    AND v.language_id = t.language_id AND v.version > t.version)$sql$ END,
            CASE WHEN (f ->> 'flagged')::boolean THEN NULL ELSE $sql$NOT s.flags && '{no_speech,repetition}'$sql$ END,
            'a.id = ' || (f ->> 'recording')::bigint, 't.language_id = ' || (f ->> 'language')::bigint,
            'a.status_id = ' || (f ->> 'status')::bigint, 's.speaker = ' || quote_literal(f ->> 'speaker'),
            's.confidence >= ' || quote_literal((f ->> 'min_confidence')::double precision) || '::double precision',
            'coalesce(s.end_ms, s.start_ms) >= ' || (f ->> 'from_ms')::bigint,
            's.start_ms < ' || (f ->> 'to_ms')::bigint,
            'a.recorded_at >= ' || quote_literal((f ->> 'recorded_from')::timestamptz),
            'a.recorded_at < ' || quote_literal((f ->> 'recorded_to')::timestamptz),
            'a.created_at >= ' || quote_literal((f ->> 'created_from')::timestamptz),
            'a.created_at < ' || quote_literal((f ->> 'created_to')::timestamptz))
        || ') m ' || coalesce(beyond, '') || ' ORDER BY '
        || CASE WHEN timely THEN 'm.moment, m.recording, m.start, m.id' ELSE '-m.rank, m.id' END
        || ' LIMIT ' || most || ') p';
END
$body$;
REVOKE ALL ON FUNCTION public.search_page(text, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_page(text, jsonb) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.search_segments(query text, only_case bigint, most integer)
RETURNS TABLE (segment_id bigint, rank real) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $body$
BEGIN
    RETURN QUERY
        SELECT p.segment_id, p.rank FROM public.search_page(query, jsonb_build_object('most', least(most, 1000))
            || CASE WHEN only_case IS NULL THEN '{}' ELSE jsonb_build_object('cases', ARRAY[only_case]) END) p;
END
$body$;
REVOKE ALL ON FUNCTION public.search_segments(text, bigint, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_segments(text, bigint, integer) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.search_rows(kind text, wanted text, filters jsonb)
RETURNS TABLE (row_id bigint, rank real, total bigint) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off ROWS 50 AS $body$
DECLARE
    f jsonb := coalesce(filters, '{}');
    scope bigint[] := public.search_scope(f -> 'cases');
    most integer := greatest(0, least(coalesce((f ->> 'most')::integer, 50), 1001));
    -- Of the two signs that people know one stands for any characters, the other for one of them.
    pattern text := translate(replace(replace(replace(lower(wanted), '\', '\\'), '%', '\%'), '_', '\_'), '*?', '%_');
    words text := CASE kind WHEN 'case_notes' THEN 'x.body' WHEN 'analysis_results' THEN 'x.summary' END;
    terms text;
    condition text;
BEGIN
    IF public.actor_id() IS NULL OR scope = '{}' AND kind <> 'users' OR length(wanted) > 1000 THEN
        RETURN;
    END IF;
    IF wanted !~ '[*?]' THEN
        pattern := '%' || pattern || '%';
    END IF;
    IF words IS NOT NULL THEN
        terms := quote_literal(public.search_query('simple', wanted)) || '::tsquery';
        words := 'public.search_vector(''simple'', ' || words || ')';
    END IF;
    condition := CASE kind
        WHEN 'cases' THEN format('(lower(x.case_code) LIKE %1$L OR lower(x.title) LIKE %1$L)', pattern)
        WHEN 'audio_files' THEN format('lower(x.name) LIKE %L AND x.deleted_at IS NULL', pattern)
        WHEN 'users' THEN format('(lower(x.username) LIKE %1$L OR lower(x.full_name) LIKE %1$L)', pattern)
        WHEN 'case_notes' THEN words || ' @@ ' || terms
        WHEN 'analysis_results' THEN words || ' @@ ' || terms || ' AND EXISTS (SELECT FROM public.audio_files a'
                                     ' WHERE a.id = x.audio_file_id AND a.deleted_at IS NULL)' END;
    IF condition IS NULL THEN
        RAISE EXCEPTION 'no such kind is searched: %', kind USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN QUERY EXECUTE 'SELECT m.* FROM (' || concat_ws(' AND ',
        'SELECT x.id, ' || coalesce('ts_rank(' || words || ', ' || terms || ')', '0::real')
            || ', count(*) OVER () FROM public.' || quote_ident(kind) || ' x WHERE ' || condition,
        CASE WHEN kind <> 'users' THEN CASE kind WHEN 'cases' THEN 'x.id' ELSE 'x.case_id' END
                                       || ' = ANY (' || quote_literal(scope) || '::bigint[])' END)
        || ') m (id, rank, total) WHERE ' || coalesce('m.id < ' || (f ->> 'after')::bigint, 'true')
        || ' ORDER BY m.rank DESC, m.id DESC LIMIT ' || most;
END
$body$;
REVOKE ALL ON FUNCTION public.search_rows(text, text, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_rows(text, text, jsonb) TO sti_app, sti_wide, sti_admin;

DROP FUNCTION public.search_stems(text, text);

DROP FUNCTION public.search_spellings(text);

ALTER TABLE public.cases ALTER COLUMN case_code SET STATISTICS -1, ALTER COLUMN title SET STATISTICS -1, ALTER COLUMN description SET STATISTICS -1;
ALTER TABLE public.case_notes ALTER COLUMN body SET STATISTICS -1;
ALTER TABLE public.legal_holds ALTER COLUMN reason SET STATISTICS -1, ALTER COLUMN release_reason SET STATISTICS -1;
ALTER TABLE public.audio_files ALTER COLUMN name SET STATISTICS -1, ALTER COLUMN error_message SET STATISTICS -1, ALTER COLUMN archive_reason SET STATISTICS -1;
ALTER TABLE public.processing_jobs ALTER COLUMN error_message SET STATISTICS -1;
ALTER TABLE public.transcriptions ALTER COLUMN content SET STATISTICS -1;
ALTER TABLE public.transcription_segments ALTER COLUMN speaker SET STATISTICS -1, ALTER COLUMN text SET STATISTICS -1;
ALTER TABLE public.transcription_sources ALTER COLUMN name SET STATISTICS -1;
ALTER TABLE public.analysis_results ALTER COLUMN summary SET STATISTICS -1;
ALTER INDEX public.cases_title_lower_idx ALTER COLUMN 1 SET STATISTICS -1;
ALTER INDEX public.audio_files_name_lower_idx ALTER COLUMN 1 SET STATISTICS -1;
ALTER INDEX public.case_notes_search_idx ALTER COLUMN 1 SET STATISTICS -1;
ALTER INDEX public.analysis_results_search_idx ALTER COLUMN 1 SET STATISTICS -1;

-- What the indexes were made with is another function now. Notes and summaries are what people and models wrote, thousands
-- where segments are millions, and a revision stays one transaction. Segments are brought up to date by:
-- python -m src.database.scripts.search reindex
-- squawk-ignore require-concurrent-reindex
REINDEX INDEX public.case_notes_search_idx;
-- squawk-ignore require-concurrent-reindex
REINDEX INDEX public.analysis_results_search_idx;
