-- build 3 · sha256 429a13a7c60a
-- Parsing query text to a tsquery: with the rules of stored texts (search_text_1.sql), plus alternative spellings.
--
-- An alternative in the query costs one index lookup; an additional lexeme in the texts would require a reindex. So the
-- query also looks up the parts of a compound, a number with the sign that the parser attached to it, the stem of a
-- stem, and the stems of words that a prefix may belong to. Neither indexes nor generated columns call these functions,
-- so they may change with any build.
--
-- Syntax: words, "phrases", OR in capitals between alternatives, a minus before an excluded term, an asterisk after a
-- prefix. Every string is a valid query, except one with more than 100 parts.
--
-- Top down:
--
--   search_query      the query for one configuration: its terms and their combination
--   search_term       a word or phrase: its scripts, spellings and numbers
--   search_spellings  alternative spellings
--   search_words      the tsquery of one spelling: stems, the word itself, prefixes
--   search_stems      the stems that a prefix may have cut
--   search_run        scripts without spaces: two characters are a lexeme, more are a phrase of lexemes, a single one
--                     is a prefix of lexemes
--
-- Elsewhere: which configurations are searched (search.sql), the limit of the length (services/search/filters.py),
-- highlighting, which reads the constants below (services/search/highlighting.py).

-- Quotation marks of other keyboard layouts and of word processors.
CREATE OR REPLACE FUNCTION public.search_quotes()
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN E'\u201C\u201D\u201E\u201F\u00AB\u00BB\uFF02';
REVOKE ALL ON FUNCTION public.search_quotes() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_quotes() TO sti_app, sti_wide, sti_admin;

-- Spaces of the same kind.
CREATE OR REPLACE FUNCTION public.search_spaces()
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN E'\u0085\u00A0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200A\u2028\u2029\u202F'
       '\u205F\u3000';
REVOKE ALL ON FUNCTION public.search_spaces() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_spaces() TO sti_app, sti_wide, sti_admin;

-- A word or a phrase with an optional minus. Lists the spaces, since the regular expression class depends on the
-- locale.
CREATE OR REPLACE FUNCTION public.search_term_pattern()
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN E'(-?)(?:"([^"]*)"?|([^\\u0009-\\u000d\\u0020"]+))';
REVOKE ALL ON FUNCTION public.search_term_pattern() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_term_pattern() TO sti_app, sti_wide, sti_admin;

-- The query for text in scripts without spaces; a single space stands for the text between two runs.
CREATE OR REPLACE FUNCTION public.search_run(run text)
RETURNS tsquery LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $body$
    -- Every second pair of a run, and the last pair: together they cover every character. A run of one character at the
    -- end of the query is a prefix; a run that a space follows must also end in the text.
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

-- Stems of words with this prefix that do not begin with the prefix themselves.
CREATE OR REPLACE FUNCTION public.search_stems(config text, beginning text)
RETURNS tsquery LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    ending integer := ascii(right(beginning, 1));
BEGIN
    -- Appends each letter of the script: `rättighete` becomes `rättigheter`, whose stem is `rättig`.
    RETURN (SELECT string_agg('''' || l.lexeme || '''', ' | ') FROM unnest(to_tsvector(config::regconfig, (
                SELECT string_agg(beginning || chr(c), ' ')
                  FROM (VALUES (0, 591, 97, 122), (880, 1023, 945, 969), (1024, 1279, 1072, 1103),
                               (1328, 1423, 1377, 1414), (1424, 1535, 1488, 1514), (1536, 1791, 1575, 1610),
                               (2304, 2431, 2340, 2381), (2944, 3071, 2985, 3021)) AS script (low, high, first, last),
                       generate_series(script.first, script.last) AS c
                 WHERE ending BETWEEN script.low AND script.high))) AS l
             WHERE NOT starts_with(l.lexeme, lower(beginning)) AND length(l.lexeme) > 1
               AND l.lexeme !~ E'[''\\\\]')::tsquery;
END
$body$;
REVOKE ALL ON FUNCTION public.search_stems(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_stems(text, text) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.search_words(config text, words text, beginning boolean)
RETURNS tsquery LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    stemmed tsquery := phraseto_tsquery(config::regconfig, words);
    verbatim tsquery;
    restemmed tsquery;
BEGIN
    IF NOT coalesce(beginning, false) AND (numnode(stemmed) <> 1 OR config = 'simple') THEN
        RETURN stemmed;
    END IF;
    verbatim := phraseto_tsquery('simple', words);
    IF beginning THEN
        -- A prefix of a word need not be a prefix of its stem, and a stop word has no stem: also search for it
        -- verbatim.
        IF numnode(verbatim) = 1 AND config <> 'simple' AND length(words) > 3 THEN
            restemmed := public.search_stems(config, rtrim(words, '*'));
        END IF;
        IF numnode(verbatim) > 0 THEN
            verbatim := (verbatim::text || ':*')::tsquery;
        END IF;
        IF numnode(stemmed) > 0 THEN
            stemmed := (stemmed::text || ':*')::tsquery;
        END IF;
        stemmed := CASE WHEN stemmed = verbatim THEN stemmed ELSE stemmed || verbatim END;
        RETURN coalesce(stemmed || restemmed, stemmed);
    END IF;
    -- Stemmers reduce `mujeres` to `mujer` but `mujer` further: stemming the stem again makes both equal.
    restemmed := phraseto_tsquery(config::regconfig, trim(stemmed::text, ''''));
    IF numnode(restemmed) = 1 AND restemmed <> stemmed THEN
        verbatim := verbatim || restemmed;
    END IF;
    RETURN CASE WHEN stemmed = verbatim THEN stemmed ELSE stemmed || verbatim END;
END
$body$;
REVOKE ALL ON FUNCTION public.search_words(text, text, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_words(text, text, boolean) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.search_spellings(words text)
RETURNS SETOF text LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $body$
    -- Without accents; the parts of compounds; the apostrophe as a letter, as in Ukrainian, and as punctuation; Persian
    -- written with Arabic letters and the reverse.
    SELECT DISTINCT c.spelling
      FROM unnest(ARRAY[words, public.search_fold_1(words)]) AS a (spelling),
           unnest(ARRAY[a.spelling,
                        regexp_replace(a.spelling,
                                       '(' || public.search_letter_1() || ')-(?=' || public.search_letter_1() || ')',
                                       E'\\1 ', 'g')]) AS b (spelling),
           unnest(ARRAY[b.spelling, replace(b.spelling, E'\u02BC', ''''),
                        regexp_replace(b.spelling, E'([^\\u0001-\\u007f])[''\\u2019](?=[^\\u0001-\\u007f])',
                                       E'\\1' || E'\u02BC', 'g'),
                        translate(b.spelling, E'\u064A\u0643', E'\u06CC\u06A9'),
                        translate(b.spelling, E'\u06CC\u06A9', E'\u064A\u0643')]) AS c (spelling)
$body$;
REVOKE ALL ON FUNCTION public.search_spellings(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_spellings(text) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.search_term(config text, words text, beginning boolean)
RETURNS tsquery LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    plain text := public.search_plain_1(words);
    spaced text := plain;
    spelled tsquery;
    written text;
    unspaced tsquery;
    spellings text[];
BEGIN
    IF plain ~ '^[A-Za-z* ]+$' THEN
        RETURN public.search_words(config, plain, beginning);
    END IF;
    IF plain ~ ('[' || public.search_unspaced_1() || ']') THEN
        spaced := regexp_replace(plain, '[' || public.search_unspaced_1() || ']+', ' ', 'g');
        unspaced := public.search_run(btrim(
            regexp_replace(plain, '[^' || public.search_unspaced_1() || ']+', ' ', 'g')));
    END IF;
    spelled := public.search_words(config, spaced, beginning);
    -- A stop word with accents must not become a required word without them.
    IF numnode(spelled) > 0 THEN
        written := spelled::text;
        IF spaced ~ E'[^\\u0001-\\u007f]|-' THEN
            spellings := ARRAY[spaced, public.search_fold_1(spaced)];
            IF spaced ~ E'[-''\\u2019\\u02bc\\u064a\\u0643\\u06cc\\u06a9]' THEN
                spellings := ARRAY(SELECT public.search_spellings(spaced));
            END IF;
            IF strpos(words, E'\u200C') > 0 THEN
                spellings := spellings || public.search_plain_1(replace(words, E'\u200C', ''));
            END IF;
            SELECT coalesce(string_agg(DISTINCT each, ' | '), '') INTO written
              FROM (SELECT DISTINCT spelling FROM unnest(spellings) AS spelling) s,
                   unnest(string_to_array(public.search_fold_1(
                       public.search_words(config, s.spelling, beginning)::text), ' | ')) AS each
             WHERE each <> '';
        END IF;
        IF written ~ E'[0-9\\u03c2\\u03c3]' AND written !~ E'''''|\\\\' THEN
            -- The parser reads a hyphen before digits as a sign, `COVID-19`. The lower case of a capital sigma is never
            -- the form at the end of a word.
            written := regexp_replace(regexp_replace(written,
                E'''[+-]?([0-9]+(?:\\.[0-9]+)?)''(:\\*)?', E'(''\\1''\\2 | ''-\\1''\\2 | ''+\\1''\\2)', 'g'),
                E'''([^'']*)[\\u03c2\\u03c3]''(:\\*)?', E'(''\\1ς''\\2 | ''\\1σ''\\2)', 'g');
        END IF;
        spelled := written::tsquery;
    END IF;
    RETURN CASE WHEN numnode(spelled) = 0 THEN coalesce(unspaced, spelled)
                ELSE coalesce(unspaced && spelled, spelled) END;
END
$body$;
REVOKE ALL ON FUNCTION public.search_term(text, text, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_term(text, text, boolean) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.search_query(config text, query text)
RETURNS tsquery LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
-- Suppresses the NOTICE about queries of stop words only.
SET client_min_messages = error AS $body$
DECLARE
    part text[];
    term tsquery;
    -- The required and the excluded terms of the current alternative, and all alternatives so far.
    required tsquery;
    excluded tsquery;
    combined tsquery;
    part_count integer := 0;
    folded text;
BEGIN
    -- Normalises quotation marks and spaces.
    FOR part IN SELECT m FROM regexp_matches(
        translate(query, public.search_quotes() || public.search_spaces(),
                  repeat('"', length(public.search_quotes())) || repeat(' ', length(public.search_spaces()))),
        public.search_term_pattern(), 'g') AS m
    LOOP
        part_count := part_count + 1;
        IF part_count > 100 THEN
            RAISE EXCEPTION 'query: more than 100 words and phrases; shorten it'
                USING ERRCODE = 'invalid_parameter_value';
        END IF;
        IF part[1] = '' AND part[3] = 'OR' THEN
            required := coalesce(required && excluded, required);
            combined := coalesce(combined || required, combined, required);
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
    -- A query of excluded terms only matches nothing.
    required := coalesce(required && excluded, required);
    combined := coalesce(combined || required, combined, required, '');
    IF numnode(combined) = 0 AND octet_length(query) > length(query) THEN
        -- Only stop words: without accents some of them are not stop words, `été`, `Würde`.
        folded := public.search_fold_1(query);
        IF folded <> query THEN
            RETURN public.search_query(config, folded);
        END IF;
    END IF;
    RETURN combined;
END
$body$;
REVOKE ALL ON FUNCTION public.search_query(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_query(text, text) TO sti_app, sti_wide, sti_admin;
