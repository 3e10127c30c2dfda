SET LOCAL check_function_bodies = off;

CREATE OR REPLACE FUNCTION public.schema_revision()
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $body$ SELECT '0006'::text $body$;
REVOKE ALL ON FUNCTION public.schema_revision() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.schema_revision() TO PUBLIC;

CREATE OR REPLACE FUNCTION public.guard_part()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    -- A version goes as a whole: its own row is gone by the time the foreign key takes its parts.
    IF TG_OP = 'DELETE' AND NOT EXISTS (SELECT FROM public.transcriptions t WHERE t.id = OLD.transcription_id) THEN
        RETURN OLD;
    END IF;
    IF TG_OP = 'UPDATE' AND TG_TABLE_NAME = 'transcription_segments' THEN
        -- Indexing anew says the same again: whatever was said, and the digest is over that, stays as it was. Sessions
        -- may not even try.
        IF (OLD.id, OLD.created_at, OLD.updated_at, OLD.case_id, OLD.transcription_id, OLD.position, OLD.start_ms,
            OLD.end_ms, OLD.speaker, OLD.text, OLD.words::text, OLD.confidence, OLD.flags)
           IS NOT DISTINCT FROM
           (NEW.id, NEW.created_at, NEW.updated_at, NEW.case_id, NEW.transcription_id, NEW.position, NEW.start_ms,
            NEW.end_ms, NEW.speaker, NEW.text, NEW.words::text, NEW.confidence, NEW.flags) THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION '% of % is refused: a version is never edited, add a new one or delete it whole',
        TG_OP, TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END
$body$;
REVOKE ALL ON FUNCTION public.guard_part() FROM PUBLIC;

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

CREATE OR REPLACE FUNCTION public.search_pairs(body text)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $body$
    SELECT coalesce(string_agg('''' || p.sign || CASE p.follower WHEN ' ' THEN '' ELSE coalesce(p.follower, '') END
                               || ''':' || least(p.place, 16383), ' '), '')
      FROM (SELECT u.sign, lead(u.sign) OVER (ORDER BY u.place) AS follower, u.place
              FROM unnest(string_to_array(regexp_replace(body, '[^\u3005-\u3007\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3105-\u312f\u3131-\u318e\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u1100-\u11ff\uac00-\ud7a3\U00020000-\U0003ffff\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ece\u1000-\u103f\u1050-\u109f\u1780-\u17d3]+', ' ', 'g'), NULL))
                   WITH ORDINALITY AS u (sign, place)) p
     WHERE p.sign <> ' '
$body$;
REVOKE ALL ON FUNCTION public.search_pairs(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_pairs(text) TO sti_app, sti_wide, sti_admin;

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

CREATE OR REPLACE FUNCTION public.search_vector(config text, body text)
RETURNS tsvector LANGUAGE plpgsql IMMUTABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    most integer := 400000;
BEGIN
    IF octet_length(body) <= 20000 THEN
        RETURN public.search_lexemes(config, body);
    END IF;
    -- A vector holds 1 MB: of a text with more the beginning is indexed, so that it can never make a row fail.
    LOOP
        BEGIN
            RETURN public.search_lexemes(config, left(body, most));
        EXCEPTION WHEN program_limit_exceeded THEN
            most := most / 2;
        END;
    END LOOP;
END
$body$;
REVOKE ALL ON FUNCTION public.search_vector(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_vector(text, text) TO sti_app, sti_wide, sti_admin;

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

CREATE OR REPLACE FUNCTION public.search_scope(chosen jsonb)
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
$body$;
REVOKE ALL ON FUNCTION public.search_scope(jsonb) FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.search_matches(query text, only_language bigint)
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
$body$;
REVOKE ALL ON FUNCTION public.search_matches(text, bigint) FROM PUBLIC;

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

-- Notes and summaries are what people and models wrote, thousands where segments are millions: the lock on writers lasts
-- as long as reading them, and a revision stays one transaction. `languages` may use other configurations since init_db;
-- what segments were indexed with before is brought up to date by: python -m src.database.scripts.search reindex
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX case_notes_search_idx ON public.case_notes USING gin (public.search_vector('simple', body));
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX analysis_results_search_idx ON public.analysis_results
    USING gin (public.search_vector('simple', summary));
