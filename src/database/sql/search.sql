-- build 7 · sha256 0de0b2055042
-- Search: functions that read the indexes for the actor and return ids, which the caller reads under row security.
--
-- `@@` and LIKE are not leakproof, so under row security PostgreSQL does not use their indexes. These functions run as
-- the owner, restrict the result to the cases of the actor and return only ids, ranks and a total.
--
-- They build each query with all values as literals: the planner then knows the frequency of the words and the number
-- of cases. A generic plan reads the whole index for a word of one case, or the whole case for a rare word. Every value
-- is quoted or cast; the names of tables and columns are constants of the functions.
--
-- Segments of a case are stored together, so reading few cases is not random access: with the default random_page_cost
-- the planner reads the million entries of a common word instead, 100 ms rather than 2 ms.
--
-- The restrictions of a search are one object, `filters`; a missing or null key restricts nothing:
--
--   both          cases (ids), after (the keys of the last row of the previous page), max_rows (default 50, at most
--                 1001: a page, and one row that shows that another page follows)
--   search_page   order (rank or time), versions (newest, accepted or all), flagged, recording, language, status (ids),
--                 speaker, min_confidence, from_ms, to_ms, recorded_from, recorded_to, created_from, created_to
--
-- The shared query fragments come first; they are inlined where they are used.
--
-- Elsewhere: parsing the query text (search_query.sql), checking filters with readable errors
-- (services/search/filters.py), highlighting matches (services/search/highlighting.py).

CREATE OR REPLACE FUNCTION public.search_max_rows(filters jsonb)
RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN greatest(0, least(coalesce((filters ->> 'max_rows')::integer, 50), 1001));
REVOKE ALL ON FUNCTION public.search_max_rows(jsonb) FROM PUBLIC;

-- The condition that a column is one of these cases; null, and therefore omitted from the query, for all cases.
CREATE OR REPLACE FUNCTION public.search_within(case_column text, scope integer[])
RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
RETURN case_column || ' = ANY (' || quote_literal(scope) || '::integer[])';
REVOKE ALL ON FUNCTION public.search_within(text, integer[]) FROM PUBLIC;

-- The cases to search: the requested cases, or all cases, as far as the actor may read them. Null: all cases of an
-- administrator. An actor without cases gets an empty array.
CREATE OR REPLACE FUNCTION public.search_scope(cases jsonb)
RETURNS integer[] LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    -- Ids outside the range of integer match no case.
    requested integer[] := CASE WHEN cases <> 'null' THEN
        ARRAY(SELECT e.value::bigint::integer FROM jsonb_array_elements_text(cases) e
               WHERE e.value::bigint BETWEEN -2147483648 AND 2147483647) END;
BEGIN
    IF public.actor_may('*', '*') THEN
        RETURN requested;
    END IF;
    RETURN ARRAY(SELECT c FROM unnest(public.actor_case_ids()) c WHERE requested IS NULL OR c = ANY (requested));
END
$body$;
REVOKE ALL ON FUNCTION public.search_scope(jsonb) FROM PUBLIC;

-- For each distinct tsquery of the words: the condition that a segment matches, and a branch of a CASE that returns the
-- tsquery.
CREATE OR REPLACE FUNCTION public.search_matches(query text, language_id bigint)
RETURNS TABLE (condition text, terms text) LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $body$
BEGIN
    -- Each segment is searched with its own configuration; configurations with the same tsquery share a condition.
    -- The languages in use are read from the index, one step per language: EXISTS is planned as a sequential scan.
    RETURN QUERY
        WITH RECURSIVE used (id) AS (
            SELECT min(t.language_id + 0) FROM public.transcriptions t
            UNION ALL
            SELECT (SELECT min(t.language_id + 0) FROM public.transcriptions t WHERE t.language_id + 0 > u.id)
              FROM used u WHERE u.id IS NOT NULL
        )
        SELECT format('(s.search_config = ANY (%L) AND s.search @@ %L::tsquery)',
                      array_agg(q.config ORDER BY q.config)::text, q.terms),
               format('WHEN search_config = ANY (%L) THEN %L::tsquery',
                      array_agg(q.config ORDER BY q.config)::text, q.terms)
          FROM (SELECT c.config, public.search_query(c.config, search_matches.query)::text AS terms
                  FROM (SELECT DISTINCT l.search_config FROM public.languages l LEFT JOIN used u ON u.id = l.id
                         WHERE (search_matches.language_id IS NULL OR l.id = search_matches.language_id
                                OR l.search_config = 'simple')
                           AND (l.search_config = 'simple' OR u.id IS NOT NULL)
                           -- Skip configurations that do not exist: a misspelled one must not break every search.
                           AND l.search_config = ANY (ARRAY(
                               SELECT CASE n.nspname WHEN 'pg_catalog' THEN '' ELSE n.nspname || '.' END || g.cfgname
                                 FROM pg_ts_config g JOIN pg_namespace n ON n.oid = g.cfgnamespace))
                        OFFSET 0) c (config)) q
         WHERE q.terms <> '' GROUP BY q.terms ORDER BY q.terms;
END
$body$;
REVOKE ALL ON FUNCTION public.search_matches(text, bigint) FROM PUBLIC;

-- A page of matching segments. `total` counts all pages; `terms` is the tsquery of the configuration of the segment.
CREATE OR REPLACE FUNCTION public.search_page(query text, filters jsonb)
RETURNS TABLE (segment_id bigint, rank real, total bigint, terms tsquery)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET jit = off SET random_page_cost = 1.1 SET enable_bitmapscan = on ROWS 50
-- The query contains times and numbers as literals, and a limit would omit matches.
SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET extra_float_digits = 1 SET gin_fuzzy_search_limit = 0 AS $body$
DECLARE
    -- Conditions on the version of a transcription: no version `v` supersedes it.
    newest CONSTANT text := $sql$NOT EXISTS (
        SELECT FROM public.transcriptions v
         WHERE v.case_id = t.case_id AND v.audio_file_id = t.audio_file_id AND v.language_id = t.language_id
           AND v.version > t.version)$sql$;
    accepted CONSTANT text := $sql$t.accepted_at IS NOT NULL AND NOT EXISTS (
        SELECT FROM public.transcriptions v
         WHERE v.case_id = t.case_id AND v.audio_file_id = t.audio_file_id AND v.language_id = t.language_id
           AND (v.accepted_at, v.version) > (t.accepted_at, t.version))$sql$;
    -- Excludes segments that a recogniser produced from silence or by repetition.
    unflagged CONSTANT text := $sql$NOT s.flags && '{no_speech,repetition}'$sql$;
    f jsonb := coalesce(filters, '{}');
    scope integer[] := public.search_scope(f -> 'cases');
    max_rows integer := public.search_max_rows(f);
    by_time boolean := f ->> 'order' = 'time';
    matches text;
    ranked text;
    columns text;
    conditions text;
    next_page text := '';
    ordering text;
BEGIN
    SELECT string_agg(m.condition, ' OR '), 'CASE ' || string_agg(m.terms, ' ') || ' END'
      INTO matches, ranked FROM public.search_matches(query, (f ->> 'language')::bigint) m;
    IF matches IS NULL OR scope = '{}' THEN
        RETURN;
    END IF;

    IF by_time THEN
        columns := '0::real AS rank, coalesce(a.recorded_at, a.created_at) AS moment, a.id AS recording,'
                   ' coalesce(s.start_ms, -1) AS start';
        ordering := 'm.moment, m.recording, m.start, m.id';
    ELSE
        columns := 'ts_rank(s.search, ' || ranked || ') AS rank';
        ordering := '-m.rank, m.id';
    END IF;
    IF f ? 'after' AND by_time THEN
        next_page := 'WHERE (m.moment, m.recording, m.start, m.id) > ('
            || quote_literal((f #>> '{after,0}')::timestamptz)
            || ', ' || (f #>> '{after,1}')::bigint || ', ' || (f #>> '{after,2}')::bigint
            || ', ' || (f #>> '{after,3}')::bigint || ')';
    ELSIF f ? 'after' THEN
        next_page := 'WHERE (-m.rank, m.id) > (' || quote_literal(-(f #>> '{after,0}')::real) || '::real, '
            || (f #>> '{after,1}')::bigint || ')';
    END IF;

    -- A missing filter makes its condition null, and concat_ws skips nulls.
    conditions := concat_ws(' AND ',
        '(' || matches || ')', 'a.deleted_at IS NULL', public.search_within('s.case_id', scope),
        CASE f ->> 'versions' WHEN 'all' THEN NULL WHEN 'accepted' THEN accepted ELSE newest END,
        CASE WHEN (f ->> 'flagged')::boolean THEN NULL ELSE unflagged END,
        'a.id = ' || (f ->> 'recording')::bigint, 't.language_id = ' || (f ->> 'language')::bigint,
        'a.status_id = ' || (f ->> 'status')::bigint, 's.speaker = ' || quote_literal(f ->> 'speaker'),
        's.confidence >= ' || quote_literal((f ->> 'min_confidence')::double precision) || '::double precision',
        'coalesce(s.end_ms, s.start_ms) >= ' || (f ->> 'from_ms')::bigint,
        's.start_ms < ' || (f ->> 'to_ms')::bigint,
        'a.recorded_at >= ' || quote_literal((f ->> 'recorded_from')::timestamptz),
        'a.recorded_at < ' || quote_literal((f ->> 'recorded_to')::timestamptz),
        'a.created_at >= ' || quote_literal((f ->> 'created_from')::timestamptz),
        'a.created_at < ' || quote_literal((f ->> 'created_to')::timestamptz));

    -- The size of an index entry depends on the frequency of its word in all cases, and the planner underestimates
    -- phrases. Reading the few segments of an actor by case takes the same time for any words, which also reveals
    -- nothing about other cases. So with more than 3 million segments, a search in at most 200 cases with at most 4000
    -- segments reads these segments one by one instead of the index of all cases.
    IF cardinality(scope) <= 200
       AND (SELECT c.reltuples > 3000000 FROM pg_class c
             WHERE c.oid = 'public.transcription_segments'::regclass)
       AND (SELECT count(*) <= 4000 FROM (SELECT FROM public.transcription_segments s
                                           WHERE s.case_id = ANY (scope) LIMIT 4000 + 1) few) THEN
        -- Reset at the end of this function, which has a SET clause for it.
        PERFORM set_config('enable_bitmapscan', 'off', true);
    END IF;

    RETURN QUERY EXECUTE
        'SELECT p.id, p.rank, p.total, ' || ranked
        || ' FROM (SELECT *'
             ' FROM (SELECT s.id, s.search_config, count(*) OVER () AS total, ' || columns
                || ' FROM public.transcription_segments s'
                   ' JOIN public.transcriptions t ON t.id = s.transcription_id'
                   ' JOIN public.audio_files a ON a.id = t.audio_file_id'
                   ' WHERE ' || conditions || ') m '
             || next_page || ' ORDER BY ' || ordering || ' LIMIT ' || max_rows || ') p';
END
$body$;
REVOKE ALL ON FUNCTION public.search_page(text, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_page(text, jsonb) TO sti_app, sti_wide, sti_admin;

-- The query of `search_rows` for these cases, as text: a test shows the plan of exactly this query.
CREATE OR REPLACE FUNCTION public.search_rows_query(entity text, query text, filters jsonb, scope integer[])
RETURNS text LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    -- Wildcards of users: * matches any characters, ? a single one.
    pattern text := translate(
        replace(replace(replace(lower(query), E'\\', E'\\\\'), '%', E'\\%'), '_', E'\\_'), '*?', '%_');
    words text := CASE entity WHEN 'case_notes' THEN 'x.body' WHEN 'analysis_results' THEN 'x.summary' END;
    terms text;
    condition text;
BEGIN
    IF query !~ '[*?]' THEN
        pattern := '%' || pattern || '%';
    END IF;
    IF words IS NOT NULL THEN
        terms := quote_literal(public.search_query('simple', query)) || '::tsquery';
        words := 'public.search_vector_1(''simple'', ' || words || ')';
    END IF;
    condition := CASE entity
        WHEN 'cases' THEN format('(lower(x.case_code) LIKE %1$L OR lower(x.title) LIKE %1$L)', pattern)
        WHEN 'audio_files' THEN format('lower(x.name) LIKE %L AND x.deleted_at IS NULL', pattern)
        WHEN 'users' THEN format('(lower(x.username) LIKE %1$L OR lower(x.full_name) LIKE %1$L)', pattern)
        WHEN 'case_notes' THEN words || ' @@ ' || terms
        WHEN 'analysis_results' THEN words || ' @@ ' || terms || ' AND EXISTS (SELECT FROM public.audio_files a'
                                     ' WHERE a.id = x.audio_file_id AND a.deleted_at IS NULL)' END;
    IF condition IS NULL THEN
        RAISE EXCEPTION 'entity %: not searchable', entity USING ERRCODE = 'invalid_parameter_value';
    END IF;
    condition := concat_ws(' AND ', condition,
        CASE entity WHEN 'users' THEN NULL WHEN 'cases' THEN public.search_within('x.id', scope)
                    ELSE public.search_within('x.case_id', scope) END);
    RETURN
        'SELECT m.* FROM (SELECT x.id::bigint, ' || coalesce('ts_rank(' || words || ', ' || terms || ')', '0::real')
        -- One of the five names above.
        || ', count(*) OVER () FROM public.' || entity || ' x WHERE ' || condition
        || ') m (id, rank, total) WHERE ' || coalesce('m.id < ' || (filters ->> 'after')::bigint, 'true')
        || ' ORDER BY m.rank DESC, m.id DESC LIMIT ' || public.search_max_rows(filters);
END
$body$;
REVOKE ALL ON FUNCTION public.search_rows_query(text, text, jsonb, integer[]) FROM PUBLIC;

-- Rows of other tables: cases, recordings and users by a part of their names, notes and summaries by their words.
CREATE OR REPLACE FUNCTION public.search_rows(entity text, query text, filters jsonb)
RETURNS TABLE (row_id bigint, rank real, total bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET jit = off SET random_page_cost = 1.1 SET enable_bitmapscan = on SET gin_fuzzy_search_limit = 0 ROWS 50 AS $body$
DECLARE
    scope integer[] := public.search_scope(coalesce(filters, '{}') -> 'cases');
BEGIN
    IF public.actor_id() IS NULL OR scope = '{}' AND entity <> 'users' OR length(query) > 1000 THEN
        RETURN;
    END IF;
    RETURN QUERY EXECUTE public.search_rows_query(entity, query, coalesce(filters, '{}'), scope);
END
$body$;
REVOKE ALL ON FUNCTION public.search_rows(text, text, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_rows(text, text, jsonb) TO sti_app, sti_wide, sti_admin;
