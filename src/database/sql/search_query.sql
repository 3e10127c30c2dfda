-- build 1 · sha256 5182d3edce7d
-- How a question becomes the words that it asks for: as texts do (search_text_1.sql), and in other spellings of them.
--
-- Another spelling costs a lookup, another lexeme an index made anew. So a compound is asked for by its parts too, a
-- number with the sign that the parser took for its own, a word by the stem of its stem, a beginning by the stems that
-- it cut. Nothing that is stored calls these functions, so they may change with any build.
--
-- The form of a question: words, "phrases", OR in capitals between alternatives, a minus before what must not be there,
-- a star after the beginning of a word. Every string is a question; none raises but one of more than 100 parts.
--
-- From the whole to the parts:
--
--   search_query      the question of one configuration: its parts, and how they are combined
--   search_term       a word or phrase: its scripts, its spellings, its numbers
--   search_spellings  how else people write it
--   search_words      what one spelling asks for: stems, the word as it stands, beginnings
--   search_stems      the stems that a beginning may have cut
--   search_run        what stands in scripts without spaces: two characters are a lexeme, more are a phrase of them,
--                     one is the beginning of lexemes
--
-- Not here: which configurations are asked (search.sql), how long a question may be (services/search/filters.py), and
-- the marking of what was found, which reads the constants below (services/search/marks.py).

-- Marks of quotation that keyboards of other languages and word processors have.
CREATE OR REPLACE FUNCTION public.search_quotes()
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN U&'\201C\201D\201E\201F\00AB\00BB\FF02';
REVOKE ALL ON FUNCTION public.search_quotes() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_quotes() TO sti_app, sti_wide, sti_admin;

-- And spaces.
CREATE OR REPLACE FUNCTION public.search_spaces()
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN U&'\0085\00A0\1680\2000\2001\2002\2003\2004\2005\2006\2007\2008\2009\200A\2028\2029\202F\205F\3000';
REVOKE ALL ON FUNCTION public.search_spaces() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_spaces() TO sti_app, sti_wide, sti_admin;

-- A word or a phrase, after its minus. The class of spaces is that of the locale, so they are named.
CREATE OR REPLACE FUNCTION public.search_term_pattern()
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN '(-?)(?:"([^"]*)"?|([^\u0009-\u000d\u0020"]+))';
REVOKE ALL ON FUNCTION public.search_term_pattern() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_term_pattern() TO sti_app, sti_wide, sti_admin;

-- Of what stands in scripts without spaces, with one space for what is between.
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

-- Stems that the words of a beginning may have and that do not begin with it.
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
      FROM unnest(ARRAY[words, public.search_fold_1(words)]) AS a (spelling),
           unnest(ARRAY[a.spelling,
                        regexp_replace(a.spelling,
                                       '(' || public.search_letter_1() || ')-(?=' || public.search_letter_1() || ')',
                                       '\1 ', 'g')]) AS b (spelling),
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
    plain text := public.search_plain_1(words);
    spaced text := plain;
    asked tsquery;
    written text;
    terms tsquery;
    spellings text[];
BEGIN
    IF plain ~ '^[A-Za-z* ]+$' THEN
        RETURN public.search_words(config, plain, beginning);
    END IF;
    IF plain ~ ('[' || public.search_unspaced_1() || ']') THEN
        spaced := regexp_replace(plain, '[' || public.search_unspaced_1() || ']+', ' ', 'g');
        terms := public.search_run(btrim(
            regexp_replace(plain, '[^' || public.search_unspaced_1() || ']+', ' ', 'g')));
    END IF;
    asked := public.search_words(config, spaced, beginning);
    -- A stop word that is none without its accents must not become one that has to be there.
    IF numnode(asked) > 0 THEN
        written := asked::text;
        IF spaced ~ '[^\u0001-\u007f]|-' THEN
            spellings := ARRAY[spaced, public.search_fold_1(spaced)];
            IF spaced ~ '[-''\u2019\u02bc\u064a\u0643\u06cc\u06a9]' THEN
                spellings := ARRAY(SELECT public.search_spellings(spaced));
            END IF;
            IF strpos(words, U&'\200C') > 0 THEN
                spellings := spellings || public.search_plain_1(replace(words, U&'\200C', ''));
            END IF;
            SELECT coalesce(string_agg(DISTINCT each, ' | '), '') INTO written
              FROM (SELECT DISTINCT spelling FROM unnest(spellings) AS spelling) s,
                   unnest(string_to_array(public.search_fold_1(
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
-- That a question holds only stop words is no news to anybody.
SET client_min_messages = error AS $body$
DECLARE
    part text[];
    term tsquery;
    -- What one alternative asks for and what it leaves out, and all alternatives so far.
    required tsquery;
    excluded tsquery;
    whole tsquery;
    number integer := 0;
    folded text;
BEGIN
    -- Quotation marks and spaces of other keyboards are these.
    FOR part IN SELECT m FROM regexp_matches(
        translate(query, public.search_quotes() || public.search_spaces(),
                  repeat('"', length(public.search_quotes())) || repeat(' ', length(public.search_spaces()))),
        public.search_term_pattern(), 'g') AS m
    LOOP
        number := number + 1;
        IF number > 100 THEN
            RAISE EXCEPTION 'a query has at most 100 words and phrases' USING ERRCODE = 'invalid_parameter_value';
        END IF;
        IF part[1] = '' AND part[3] = 'OR' THEN
            required := coalesce(required && excluded, required);
            whole := coalesce(whole || required, whole, required);
            required := NULL;
            excluded := NULL;
            CONTINUE;
        END IF;
        term := public.search_term(config, coalesce(part[2], part[3]), part[3] ~ '[^*][*]$');
        IF numnode(term) = 0 THEN
            CONTINUE;
        ELSIF part[1] = '-' THEN
            excluded := coalesce(excluded && !!term, !!term);
        ELSE
            required := coalesce(required && term, term);
        END IF;
    END LOOP;
    -- What only leaves out asks for nothing.
    required := coalesce(required && excluded, required);
    whole := coalesce(whole || required, whole, required, '');
    IF numnode(whole) = 0 AND octet_length(query) > length(query) THEN
        -- Nothing but words that count for nothing: one may count without its accents, `été`, `Würde`.
        folded := public.search_fold_1(query);
        IF folded <> query THEN
            RETURN public.search_query(config, folded);
        END IF;
    END IF;
    RETURN whole;
END
$body$;
REVOKE ALL ON FUNCTION public.search_query(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_query(text, text) TO sti_app, sti_wide, sti_admin;
