"""Finding: functions that read the indexes for the actor and return ids, which the caller reads under row security.

`@@` and LIKE are not leakproof, so under row security PostgreSQL does not use their indexes. These functions run as the
owner, apply the actor's cases themselves and tell nothing but ids, a rank and how many there are.

They write their query anew each time, with every value as a literal: the planner then knows how common the words are
and how many cases there are. A generic plan reads the whole index for a word of one case, or the case for a rare word.
"""

from __future__ import annotations

from src.database.schema.objects import SESSION_ROLES, Function

# Segments of a case lie together, so that reading few cases costs nothing like random pages: with the planner's default
# it reads a common word's million entries instead, 100 ms where 2 do.
FINDS = (
    "STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off SET random_page_cost = 1.1"
    " SET enable_bitmapscan = on"
)
# Among so many segments, so few are sooner read one by one than found in an index of what everybody said.
MANY_SEGMENTS, FEW_SEGMENTS, FEW_CASES = 3_000_000, 4_000, 200
# A version whose words are found: `v` is another one that takes its place.
NEWEST = """NOT EXISTS (SELECT FROM public.transcriptions v WHERE v.audio_file_id = t.audio_file_id
    AND v.language_id = t.language_id AND v.version > t.version)"""
ACCEPTED = """t.accepted_at IS NOT NULL AND NOT EXISTS (SELECT FROM public.transcriptions v
    WHERE v.audio_file_id = t.audio_file_id AND v.language_id = t.language_id
      AND (v.accepted_at, v.version) > (t.accepted_at, t.version))"""
LEFT_OUT = "'{no_speech,repetition}'"

FUNCTIONS = (
    Function(
        "public.search_scope(chosen jsonb)",
        """
RETURNS bigint[] LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    asked bigint[] := CASE WHEN chosen IS NOT NULL AND chosen <> 'null'
                           THEN ARRAY(SELECT e.value::bigint FROM jsonb_array_elements_text(chosen) e) END;
BEGIN
    -- Null: everything. Whoever sees nothing gets an empty array.
    IF public.actor_may('*', '*') THEN
        RETURN asked;
    END IF;
    RETURN ARRAY(SELECT c FROM unnest(public.actor_case_ids('read')) c WHERE asked IS NULL OR c = ANY (asked));
END
$body$""",
    ),
    Function(
        "public.search_matches(query text, only_language bigint)",
        """
RETURNS TABLE (condition text, terms text) LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $body$
BEGIN
    -- Each segment by its own configuration; those that make the same of the words are asked together.
    -- Which languages there are is read from the index, one step for each: EXISTS is planned as a reading of the table.
    RETURN QUERY
        WITH RECURSIVE used (id) AS (
            SELECT min(t.language_id) FROM public.transcriptions t
            UNION ALL
            SELECT (SELECT min(t.language_id) FROM public.transcriptions t WHERE t.language_id > u.id)
              FROM used u WHERE u.id IS NOT NULL
        )
        SELECT format('(s.search_config = ANY (%L) AND s.search @@ %L::tsquery)', array_agg(q.config)::text, q.terms),
               format('WHEN search_config = ANY (%L) THEN %L::tsquery', array_agg(q.config)::text, q.terms)
          FROM (SELECT c.config, public.search_query(c.config, query)::text AS terms
                  FROM (SELECT DISTINCT l.search_config FROM public.languages l LEFT JOIN used u ON u.id = l.id
                         WHERE (only_language IS NULL OR l.id = only_language OR l.search_config = 'simple')
                           AND (l.search_config = 'simple' OR u.id IS NOT NULL)
                           -- One that an operator misspelled must not stop every search.
                           AND l.search_config = ANY (ARRAY(
                               SELECT CASE n.nspname WHEN 'pg_catalog' THEN '' ELSE n.nspname || '.' END || g.cfgname
                                 FROM pg_ts_config g JOIN pg_namespace n ON n.oid = g.cfgnamespace))
                        OFFSET 0) c (config)) q
         WHERE q.terms <> '' GROUP BY q.terms ORDER BY q.terms;
END
$body$""",
    ),
    Function(
        "public.search_page(query text, filters jsonb)",
        f"""
RETURNS TABLE (segment_id bigint, rank real, total bigint, terms tsquery) LANGUAGE plpgsql {FINDS} ROWS 50 AS $body$
DECLARE
    f jsonb := coalesce(filters, '{{}}');
    scope bigint[] := public.search_scope(f -> 'cases');
    most integer := greatest(0, least(coalesce((f ->> 'most')::integer, 50), 1001));
    timely boolean := f ->> 'order' = 'time';
    matches text;
    ranked text;
    beyond text;
BEGIN
    SELECT string_agg(m.condition, ' OR '), 'CASE ' || string_agg(m.terms, ' ') || ' END'
      INTO matches, ranked FROM public.search_matches(query, (f ->> 'language')::bigint) m;
    IF matches IS NULL OR scope = '{{}}' THEN
        RETURN;
    END IF;
    IF f ? 'after' AND timely THEN
        beyond := 'WHERE (m.moment, m.recording, m.start, m.id) > ('
            || quote_literal((f #>> '{{after,0}}')::timestamptz)
            || ', ' || (f #>> '{{after,1}}')::bigint || ', ' || (f #>> '{{after,2}}')::bigint
            || ', ' || (f #>> '{{after,3}}')::bigint || ')';
    ELSIF f ? 'after' THEN
        beyond := 'WHERE (-m.rank, m.id) > (' || quote_literal(-(f #>> '{{after,0}}')::real) || '::real, '
            || (f #>> '{{after,1}}')::bigint || ')';
    END IF;
    -- A word has as many entries as it is common anywhere, and the planner takes those of a phrase for few. Read by
    -- their cases, somebody's few segments take as long for any words, which tells nothing of others' cases either.
    IF cardinality(scope) <= {FEW_CASES}
       AND (SELECT c.reltuples > {MANY_SEGMENTS} FROM pg_class c
             WHERE c.oid = 'public.transcription_segments'::regclass)
       AND (SELECT count(*) <= {FEW_SEGMENTS} FROM (SELECT FROM public.transcription_segments s
                                                     WHERE s.case_id = ANY (scope) LIMIT {FEW_SEGMENTS} + 1) few) THEN
        -- Ends with this function, as its own setting does.
        PERFORM set_config('enable_bitmapscan', 'off', true);
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
            CASE f ->> 'versions' WHEN 'all' THEN NULL WHEN 'accepted' THEN $sql${ACCEPTED}$sql$
                                  ELSE $sql${NEWEST}$sql$ END,
            CASE WHEN (f ->> 'flagged')::boolean THEN NULL ELSE $sql$NOT s.flags && {LEFT_OUT}$sql$ END,
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
$body$""",
        callers=SESSION_ROLES,
    ),
    Function(
        # What asked before `search_page` came: a program of the version before is served by it during an upgrade.
        "public.search_segments(query text, only_case bigint, most integer)",
        f"""
RETURNS TABLE (segment_id bigint, rank real) LANGUAGE plpgsql {FINDS} AS $body$
BEGIN
    RETURN QUERY
        SELECT p.segment_id, p.rank FROM public.search_page(query, jsonb_build_object('most', least(most, 1000))
            || CASE WHEN only_case IS NULL THEN '{{}}' ELSE jsonb_build_object('cases', ARRAY[only_case]) END) p;
END
$body$""",
        callers=SESSION_ROLES,
    ),
    Function(
        "public.search_rows(kind text, wanted text, filters jsonb)",
        rf"""
RETURNS TABLE (row_id bigint, rank real, total bigint) LANGUAGE plpgsql {FINDS} ROWS 50 AS $body$
DECLARE
    f jsonb := coalesce(filters, '{{}}');
    scope bigint[] := public.search_scope(f -> 'cases');
    most integer := greatest(0, least(coalesce((f ->> 'most')::integer, 50), 1001));
    -- Of the two signs that people know one stands for any characters, the other for one of them.
    pattern text := translate(replace(replace(replace(lower(wanted), '\', '\\'), '%', '\%'), '_', '\_'), '*?', '%_');
    words text := CASE kind WHEN 'case_notes' THEN 'x.body' WHEN 'analysis_results' THEN 'x.summary' END;
    terms text;
    condition text;
BEGIN
    IF public.actor_id() IS NULL OR scope = '{{}}' AND kind <> 'users' OR length(wanted) > 1000 THEN
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
$body$""",
        callers=SESSION_ROLES,
    ),
)
