"""How a question becomes the words that it asks for: as texts do (search_text.py), and in other spellings of them.

Another spelling costs a lookup, another lexeme an index made anew. So a compound is asked for by its parts too, a
number with the sign that the parser took for its own, a word by the stem of its stem, a beginning by the stems that it
cut.

In scripts without spaces two characters are a lexeme, more are a phrase of them, one is the beginning of lexemes.
"""

from __future__ import annotations

from src.database.schema.objects import SESSION_ROLES, Function
from src.database.schema.search_text import IMMUTABLE, LETTER, UNSPACED

# Marks of quotation and spaces that keyboards of other languages and word processors have.
QUOTES = r"\201C\201D\201E\201F\00AB\00BB\FF02"
SPACES = r"\0085\00A0\1680\2000\2001\2002\2003\2004\2005\2006\2007\2008\2009\200A\2028\2029\202F\205F\3000"
# A word or a phrase, after its minus. The class of spaces is that of the locale, so they are named.
TERM = r'(-?)(?:"([^"]*)"?|([^\u0009-\u000d\u0020"]+))'

FUNCTIONS = (
    Function(
        # Of what stands in scripts without spaces, with one space for what is between.
        "public.search_run(run text)",
        f"""
RETURNS tsquery LANGUAGE sql {IMMUTABLE} AS $body$
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
$body$""",
        callers=SESSION_ROLES,
    ),
    Function(
        # Stems that the words of a beginning may have and that do not begin with it.
        "public.search_stems(config text, beginning text)",
        rf"""
RETURNS tsquery LANGUAGE plpgsql {IMMUTABLE} AS $body$
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
$body$""",
        callers=SESSION_ROLES,
    ),
    Function(
        "public.search_words(config text, words text, beginning boolean)",
        f"""
RETURNS tsquery LANGUAGE plpgsql {IMMUTABLE} AS $body$
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
$body$""",
        callers=SESSION_ROLES,
    ),
    Function(
        "public.search_spellings(words text)",
        rf"""
RETURNS SETOF text LANGUAGE sql {IMMUTABLE} AS $body$
    -- Without accents; compounds by their parts; the apostrophe that is a letter, as in Ukrainian, for the sign and the
    -- sign for the letter; Persian written with the letters of Arabic, and the other way round.
    SELECT DISTINCT c.spelling
      FROM unnest(ARRAY[words, public.search_fold(words)]) AS a (spelling),
           unnest(ARRAY[a.spelling, regexp_replace(a.spelling, '({LETTER})-(?={LETTER})', '\1 ', 'g')]) AS b (spelling),
           unnest(ARRAY[b.spelling, replace(b.spelling, U&'\02BC', ''''),
                        regexp_replace(b.spelling, '([^\u0001-\u007f])[''\u2019](?=[^\u0001-\u007f])',
                                       '\1' || U&'\02BC', 'g'),
                        translate(b.spelling, U&'\064A\0643', U&'\06CC\06A9'),
                        translate(b.spelling, U&'\06CC\06A9', U&'\064A\0643')]) AS c (spelling)
$body$""",
        callers=SESSION_ROLES,
    ),
    Function(
        "public.search_term(config text, words text, beginning boolean)",
        rf"""
RETURNS tsquery LANGUAGE plpgsql {IMMUTABLE} AS $body$
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
    IF plain ~ '[{UNSPACED}]' THEN
        spaced := regexp_replace(plain, '[{UNSPACED}]+', ' ', 'g');
        terms := public.search_run(btrim(regexp_replace(plain, '[^{UNSPACED}]+', ' ', 'g')));
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
$body$""",
        callers=SESSION_ROLES,
    ),
    Function(
        "public.search_query(config text, query text)",
        rf"""
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
        translate(query, U&'{QUOTES}{SPACES}', repeat('"', {len(QUOTES) // 5}) || repeat(' ', {len(SPACES) // 5})),
        '{TERM}', 'g') AS m
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
$body$""",
        callers=SESSION_ROLES,
    ),
)
