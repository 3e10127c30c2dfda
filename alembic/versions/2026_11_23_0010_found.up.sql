SET LOCAL check_function_bodies = off;

CREATE OR REPLACE FUNCTION public.schema_revision()
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $body$ SELECT '0010'::text $body$;
REVOKE ALL ON FUNCTION public.schema_revision() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.schema_revision() TO PUBLIC;

CREATE OR REPLACE FUNCTION public.search_plain(body text)
RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    plain text;
BEGIN
    -- A slash would make one token of two words, `he/she`, and so would a point.
    IF octet_length(body) = length(body) THEN
        plain := translate(body, '/', ' ');
    ELSE
        plain := normalize(body, NFKC);
        IF strpos(plain, U&'\200C') > 0 THEN
            plain := regexp_replace(plain, '([\u0620-\u06ff])\u200c+(?=[\u0620-\u06ff])', '\1 ', 'g');
        END IF;
        plain := translate(plain, '/' || U&'\00AD\200B\200C\200D\200E\200F\202A\202B\202C\202D\202E\2060\FEFF\0640', ' ');
    END IF;
    -- Mostly a space follows.
    IF plain ~ '\.[^ .]' THEN
        plain := regexp_replace(plain, '([^\u0001-\u0040\u005b-\u0060\u007b-\u00a9\u2000-\u206f\u3000-\u3004][^\u0001-\u0040\u005b-\u0060\u007b-\u00a9\u2000-\u206f\u3000-\u3004])\.(?=[^\u0001-\u0040\u005b-\u0060\u007b-\u00a9\u2000-\u206f\u3000-\u3004][^\u0001-\u0040\u005b-\u0060\u007b-\u00a9\u2000-\u206f\u3000-\u3004])', '\1 ', 'g');
    END IF;
    RETURN plain;
END
$body$;
REVOKE ALL ON FUNCTION public.search_plain(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_plain(text) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.search_fold(body text)
RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    folded text;
BEGIN
    IF octet_length(body) = length(body) THEN
        RETURN body;
    END IF;
    -- Only marks that follow something, so that no lexeme loses all that it has.
    folded := translate(
        normalize(regexp_replace(normalize(body, NFD), '([^''\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670\u093c\u09bc\u0a3c])[\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670\u093c\u09bc\u0a3c]+', '\1', 'g'), NFC),
        U&'\00D8\00F8\0141\0142\0110\0111\0126\0127\0131\00D0\00F0', 'OoLlDdHhiDd');
    IF folded ~ '[ßẞæÆœŒþÞ]' THEN
        folded := replace(replace(replace(replace(folded, 'ß', 'ss'), 'æ', 'ae'), 'œ', 'oe'), 'þ', 'th');
        folded := replace(replace(replace(replace(folded, 'ẞ', 'SS'), 'Æ', 'AE'), 'Œ', 'OE'), 'Þ', 'TH');
    END IF;
    RETURN folded;
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
    IF strpos(body, U&'\200C') > 0 AND body ~ '([\u0620-\u06ff])\u200c+(?=[\u0620-\u06ff])' THEN
        -- Both words as one, as who leaves the sign out writes them; without a place, which would move the others.
        found := found || ' ' || (
            SELECT strip(to_tsvector(config::regconfig, public.search_fold(
                       public.search_plain(string_agg(replace(w[1], U&'\200C', ''), ' ')))))
              FROM regexp_matches(body, '[^\s]*\u200c[^\s]*', 'g') AS w)::text;
    END IF;
    -- The text form of a vector takes the same lexeme twice, which none of its operators does without moving it.
    RETURN (public.search_fold(to_tsvector(config::regconfig, spaced)::text) || ' ' || found)::tsvector;
END
$body$;
REVOKE ALL ON FUNCTION public.search_lexemes(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_lexemes(text, text) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.search_run(run text)
RETURNS tsquery LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $body$
    -- Every second pair of a run, and the last one: together they cover every character. One alone at the end may go on
    -- in the text; where a space follows the last character ends a run there too.
    SELECT string_agg(CASE WHEN q.place = q.first THEN '' ELSE '<' || q.place - q.before || '>' END || q.lexeme, ''
                      ORDER BY q.place)::tsquery
      FROM (SELECT p.place, lag(p.place) OVER w AS before, min(p.place) OVER () AS first,
                   '''' || p.sign || CASE p.next WHEN ' ' THEN '''' ELSE coalesce(p.next || '''', ''':*') END AS lexeme
              FROM (SELECT u.sign, u.place, lead(u.sign) OVER w AS next, lead(u.sign, 2) OVER w AS last,
                           u.place - coalesce(max(u.place) FILTER (WHERE u.sign = ' ') OVER w, 0) AS part
                      FROM unnest(string_to_array(run, NULL)) WITH ORDINALITY AS u (sign, place)
                    WINDOW w AS (ORDER BY u.place)) p
             WHERE p.sign <> ' ' AND CASE WHEN p.next = ' ' THEN true WHEN p.next IS NULL THEN p.part = 1
                                          ELSE p.part % 2 = 1 OR coalesce(p.last, ' ') = ' ' END
            WINDOW w AS (ORDER BY p.place)) q
$body$;
REVOKE ALL ON FUNCTION public.search_run(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_run(text) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.search_stems(config text, beginning text)
RETURNS tsquery LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    ending integer := ascii(right(beginning, 1));
BEGIN
    -- `rättighete` is, with one letter of its script more, `rättigheter`, whose stem is `rättig`.
    RETURN (SELECT string_agg('''' || l.lexeme || '''', ' | ') FROM unnest(to_tsvector(config::regconfig, (
                SELECT string_agg(beginning || chr(c), ' ')
                  FROM (VALUES (0, 591, 97, 122), (880, 1023, 945, 969), (1024, 1279, 1072, 1103),
                               (1328, 1423, 1377, 1414), (1424, 1535, 1488, 1514), (1536, 1791, 1575, 1610),
                               (2304, 2431, 2340, 2381), (2944, 3071, 2985, 3021)) AS script (low, high, first, last),
                       generate_series(script.first, script.last) AS c
                 WHERE ending BETWEEN script.low AND script.high))) AS l
             WHERE NOT starts_with(l.lexeme, lower(beginning)) AND length(l.lexeme) > 1
               AND l.lexeme !~ '[''\\]')::tsquery;
END
$body$;
REVOKE ALL ON FUNCTION public.search_stems(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_stems(text, text) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.search_words(config text, words text, beginning boolean)
RETURNS tsquery LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    asked tsquery := phraseto_tsquery(config::regconfig, words);
    spelled tsquery;
    again tsquery;
BEGIN
    IF NOT coalesce(beginning, false) AND (numnode(asked) <> 1 OR config = 'simple') THEN
        RETURN asked;
    END IF;
    spelled := phraseto_tsquery('simple', words);
    IF beginning THEN
        -- The beginning of a word is not always that of its stem: `happi` stands for `happily`, `the` for nothing.
        IF numnode(spelled) = 1 AND config <> 'simple' AND length(words) > 3 THEN
            again := public.search_stems(config, rtrim(words, '*'));
        END IF;
        IF numnode(spelled) > 0 THEN
            spelled := (spelled::text || ':*')::tsquery;
        END IF;
        IF numnode(asked) > 0 THEN
            asked := (asked::text || ':*')::tsquery;
        END IF;
        asked := CASE WHEN asked = spelled THEN asked ELSE asked || spelled END;
        RETURN coalesce(asked || again, asked);
    END IF;
    -- Stemmers leave `mujer` of `mujeres` and take an ending more from the word itself: a step further both meet.
    again := phraseto_tsquery(config::regconfig, trim(asked::text, ''''));
    IF numnode(again) = 1 AND again <> asked THEN
        spelled := spelled || again;
    END IF;
    RETURN CASE WHEN asked = spelled THEN asked ELSE asked || spelled END;
END
$body$;
REVOKE ALL ON FUNCTION public.search_words(text, text, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_words(text, text, boolean) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.search_spellings(words text)
RETURNS SETOF text LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $body$
    -- Without accents; compounds by their parts; the apostrophe that is a letter, as in Ukrainian, for the sign and the
    -- sign for the letter; Persian written with the letters of Arabic, and the other way round.
    SELECT DISTINCT c.spelling
      FROM unnest(ARRAY[words, public.search_fold(words)]) AS a (spelling),
           unnest(ARRAY[a.spelling, regexp_replace(a.spelling, '([^\u0001-\u0040\u005b-\u0060\u007b-\u00a9\u2000-\u206f\u3000-\u3004])-(?=[^\u0001-\u0040\u005b-\u0060\u007b-\u00a9\u2000-\u206f\u3000-\u3004])', '\1 ', 'g')]) AS b (spelling),
           unnest(ARRAY[b.spelling, replace(b.spelling, U&'\02BC', ''''),
                        regexp_replace(b.spelling, '([^\u0001-\u007f])[''\u2019](?=[^\u0001-\u007f])',
                                       '\1' || U&'\02BC', 'g'),
                        translate(b.spelling, U&'\064A\0643', U&'\06CC\06A9'),
                        translate(b.spelling, U&'\06CC\06A9', U&'\064A\0643')]) AS c (spelling)
$body$;
REVOKE ALL ON FUNCTION public.search_spellings(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_spellings(text) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.search_term(config text, words text, beginning boolean)
RETURNS tsquery LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    plain text := public.search_plain(words);
    spaced text := plain;
    asked tsquery;
    written text;
    terms tsquery;
    spellings text[];
BEGIN
    IF plain ~ '^[A-Za-z* ]+$' THEN
        RETURN public.search_words(config, plain, beginning);
    END IF;
    IF plain ~ '[\u3005-\u3007\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3105-\u312f\u3131-\u318e\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u1100-\u11ff\uac00-\ud7a3\U00020000-\U0003ffff\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ece\u1000-\u103f\u1050-\u109f\u1780-\u17d3]' THEN
        spaced := regexp_replace(plain, '[\u3005-\u3007\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3105-\u312f\u3131-\u318e\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u1100-\u11ff\uac00-\ud7a3\U00020000-\U0003ffff\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ece\u1000-\u103f\u1050-\u109f\u1780-\u17d3]+', ' ', 'g');
        terms := public.search_run(btrim(regexp_replace(plain, '[^\u3005-\u3007\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3105-\u312f\u3131-\u318e\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u1100-\u11ff\uac00-\ud7a3\U00020000-\U0003ffff\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ece\u1000-\u103f\u1050-\u109f\u1780-\u17d3]+', ' ', 'g')));
    END IF;
    asked := public.search_words(config, spaced, beginning);
    -- A stop word that is none without its accents must not become one that has to be there.
    IF numnode(asked) > 0 THEN
        written := asked::text;
        IF spaced ~ '[^\u0001-\u007f]|-' THEN
            spellings := ARRAY[spaced, public.search_fold(spaced)];
            IF spaced ~ '[-''\u2019\u02bc\u064a\u0643\u06cc\u06a9]' THEN
                spellings := ARRAY(SELECT public.search_spellings(spaced));
            END IF;
            IF strpos(words, U&'\200C') > 0 THEN
                spellings := spellings || public.search_plain(replace(words, U&'\200C', ''));
            END IF;
            SELECT coalesce(string_agg(DISTINCT each, ' | '), '') INTO written
              FROM (SELECT DISTINCT spelling FROM unnest(spellings) AS spelling) s,
                   unnest(string_to_array(public.search_fold(
                       public.search_words(config, s.spelling, beginning)::text), ' | ')) AS each
             WHERE each <> '';
        END IF;
        IF written ~ '[0-9\u03c2\u03c3]' AND written !~ '''''|\\' THEN
            -- The parser takes a hyphen before digits for a sign, `COVID-19`, and a capital does not know that it ends
            -- a word.
            written := regexp_replace(regexp_replace(written,
                '''[+-]?([0-9]+(?:\.[0-9]+)?)''(:\*)?', '(''\1''\2 | ''-\1''\2 | ''+\1''\2)', 'g'),
                '''([^'']*)[\u03c2\u03c3]''(:\*)?', '(''\1ς''\2 | ''\1σ''\2)', 'g');
        END IF;
        asked := written::tsquery;
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
    folded text;
BEGIN
    -- Quotation marks and spaces of other keyboards are these.
    FOR part IN SELECT m FROM regexp_matches(
        translate(query, U&'\201C\201D\201E\201F\00AB\00BB\FF02\0085\00A0\1680\2000\2001\2002\2003\2004\2005\2006\2007\2008\2009\200A\2028\2029\202F\205F\3000', repeat('"', 7) || repeat(' ', 19)),
        '(-?)(?:"([^"]*)"?|([^\u0009-\u000d\u0020"]+))', 'g') AS m
    LOOP
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
    whole := coalesce(whole || wanted, whole, wanted, '');
    IF numnode(whole) = 0 AND octet_length(query) > length(query) THEN
        -- Nothing but words that count for nothing: one may count without its accents, `été`, `Würde`.
        folded := public.search_fold(query);
        IF folded <> query THEN
            RETURN public.search_query(config, folded);
        END IF;
    END IF;
    RETURN whole;
END
$body$;
REVOKE ALL ON FUNCTION public.search_query(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_query(text, text) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.search_page(query text, filters jsonb)
RETURNS TABLE (segment_id bigint, rank real, total bigint, terms tsquery) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off SET random_page_cost = 1.1 SET enable_bitmapscan = on ROWS 50 AS $body$
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
    -- A word has as many entries as it is common anywhere, and the planner takes those of a phrase for few. Read by
    -- their cases, somebody's few segments take as long for any words, which tells nothing of others' cases either.
    IF cardinality(scope) <= 200
       AND (SELECT c.reltuples > 3000000 FROM pg_class c
             WHERE c.oid = 'public.transcription_segments'::regclass)
       AND (SELECT count(*) <= 4000 FROM (SELECT FROM public.transcription_segments s
                                                     WHERE s.case_id = ANY (scope) LIMIT 4000 + 1) few) THEN
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
RETURNS TABLE (segment_id bigint, rank real) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off SET random_page_cost = 1.1 SET enable_bitmapscan = on AS $body$
BEGIN
    RETURN QUERY
        SELECT p.segment_id, p.rank FROM public.search_page(query, jsonb_build_object('most', least(most, 1000))
            || CASE WHEN only_case IS NULL THEN '{}' ELSE jsonb_build_object('cases', ARRAY[only_case]) END) p;
END
$body$;
REVOKE ALL ON FUNCTION public.search_segments(text, bigint, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_segments(text, bigint, integer) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.search_rows(kind text, wanted text, filters jsonb)
RETURNS TABLE (row_id bigint, rank real, total bigint) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off SET random_page_cost = 1.1 SET enable_bitmapscan = on ROWS 50 AS $body$
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

ALTER TABLE public.cases ALTER COLUMN case_code SET STATISTICS 0, ALTER COLUMN title SET STATISTICS 0, ALTER COLUMN description SET STATISTICS 0;
ALTER TABLE public.case_notes ALTER COLUMN body SET STATISTICS 0;
ALTER TABLE public.legal_holds ALTER COLUMN reason SET STATISTICS 0, ALTER COLUMN release_reason SET STATISTICS 0;
ALTER TABLE public.audio_files ALTER COLUMN name SET STATISTICS 0, ALTER COLUMN error_message SET STATISTICS 0, ALTER COLUMN archive_reason SET STATISTICS 0;
ALTER TABLE public.processing_jobs ALTER COLUMN error_message SET STATISTICS 0;
ALTER TABLE public.transcriptions ALTER COLUMN content SET STATISTICS 0;
ALTER TABLE public.transcription_segments ALTER COLUMN speaker SET STATISTICS 0, ALTER COLUMN text SET STATISTICS 0;
ALTER TABLE public.transcription_sources ALTER COLUMN name SET STATISTICS 0;
ALTER TABLE public.analysis_results ALTER COLUMN summary SET STATISTICS 0;
ALTER INDEX public.cases_title_lower_idx ALTER COLUMN 1 SET STATISTICS 0;
ALTER INDEX public.audio_files_name_lower_idx ALTER COLUMN 1 SET STATISTICS 0;
ALTER INDEX public.case_notes_search_idx ALTER COLUMN 1 SET STATISTICS 0;
ALTER INDEX public.analysis_results_search_idx ALTER COLUMN 1 SET STATISTICS 0;

DO $body$
BEGIN
    -- What was sampled before. Older servers keep it until a superuser deletes it from pg_statistic.
    IF current_setting('server_version_num')::integer >= 180000 THEN
        PERFORM pg_clear_attribute_stats('public', s.relation, s.attribute, false)
           FROM (VALUES ('cases', 'case_code'),
                      ('cases', 'title'),
                      ('cases', 'description'),
                      ('case_notes', 'body'),
                      ('legal_holds', 'reason'),
                      ('legal_holds', 'release_reason'),
                      ('audio_files', 'name'),
                      ('audio_files', 'error_message'),
                      ('audio_files', 'archive_reason'),
                      ('processing_jobs', 'error_message'),
                      ('transcriptions', 'content'),
                      ('transcription_segments', 'speaker'),
                      ('transcription_segments', 'text'),
                      ('transcription_sources', 'name'),
                      ('analysis_results', 'summary')) AS s (relation, attribute);
    END IF;
END $body$;

-- What the indexes were made with is another function now. Notes and summaries are what people and models wrote, thousands
-- where segments are millions, and a revision stays one transaction. Segments are brought up to date by:
-- python -m src.database.scripts.search reindex
-- squawk-ignore require-concurrent-reindex
REINDEX INDEX public.case_notes_search_idx;
-- squawk-ignore require-concurrent-reindex
REINDEX INDEX public.analysis_results_search_idx;
