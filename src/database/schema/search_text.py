"""How a text becomes words that can be found, and a question the words that it asks for: the same way for both.

None of it reads a table, so every session may call it: storing a segment does.

Nothing here needs an extension or the locale of the database, so that a dump that is restored elsewhere, or an
extension that comes later, cannot make the index and the questions disagree.

Accents: a word is indexed as its stem without accents and as the stem of its form without accents. The stemmer sees
the accents that it needs (`créées`, `créé`), and who writes without finds with. Where both are the same there is
one lexeme.

Scripts without spaces: each character of a run is indexed together with the one after it, the last one also alone. Two
characters are a lexeme, more are a phrase of them, one is the beginning of lexemes. The characters decide and not the
language, so that a wrong tag loses nothing.
"""

from __future__ import annotations

from src.database.schema.objects import SESSION_ROLES, Function

# Han with its signs, kana, bopomofo, hangul; Thai without its digits, Lao, Burmese, Khmer.
UNSPACED = (
    r"\u3005-\u3007\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3105-\u312f\u3131-\u318e\u31a0-\u31bf\u31f0-\u31ff"
    r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u1100-\u11ff\uac00-\ud7a3\U00020000-\U0003ffff"
    r"\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ece\u1000-\u103f\u1050-\u109f\u1780-\u17d3"
)
# Accents of Latin, Greek and Cyrillic, points of Hebrew, vowel signs of Arabic. Those of Indic scripts are letters.
ACCENTS = r"\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670"
# Soft hyphen, joiners, marks of direction, tatweel: nothing that anybody hears.
SILENT = r"\00AD\200B\200C\200D\200E\200F\202A\202B\202C\202D\202E\2060\FEFF\0640"

IMMUTABLE = "IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp"

FUNCTIONS = (
    Function(
        "public.search_plain(body text)",
        f"""
RETURNS text LANGUAGE plpgsql {IMMUTABLE} AS $body$
BEGIN
    -- A slash would make one token of two words, `he/she`.
    IF octet_length(body) = length(body) THEN
        RETURN translate(body, '/', ' ');
    END IF;
    RETURN translate(normalize(body, NFKC), '/' || U&'{SILENT}', ' ');
END
$body$""",
        callers=SESSION_ROLES,
    ),
    Function(
        "public.search_fold(body text)",
        rf"""
RETURNS text LANGUAGE plpgsql {IMMUTABLE} AS $body$
BEGIN
    IF octet_length(body) = length(body) THEN
        RETURN body;
    END IF;
    -- Only marks that follow something, so that no lexeme loses all that it has.
    RETURN replace(replace(replace(translate(
        normalize(regexp_replace(normalize(body, NFD), '([^''{ACCENTS}])[{ACCENTS}]+', '\1', 'g'), NFC),
        U&'\00D8\00F8\0141\0142\0110\0111\0126\0127\0131', 'OoLlDdHhi'), 'ß', 'ss'), 'æ', 'ae'), 'œ', 'oe');
END
$body$""",
        callers=SESSION_ROLES,
    ),
    Function(
        "public.search_pairs(body text)",
        f"""
RETURNS text LANGUAGE sql {IMMUTABLE} AS $body$
    SELECT coalesce(string_agg('''' || p.sign || CASE p.follower WHEN ' ' THEN '' ELSE coalesce(p.follower, '') END
                               || ''':' || least(p.place, 16383), ' '), '')
      FROM (SELECT u.sign, lead(u.sign) OVER (ORDER BY u.place) AS follower, u.place
              FROM unnest(string_to_array(regexp_replace(body, '[^{UNSPACED}]+', ' ', 'g'), NULL))
                   WITH ORDINALITY AS u (sign, place)) p
     WHERE p.sign <> ' '
$body$""",
        callers=SESSION_ROLES,
    ),
    Function(
        "public.search_lexemes(config text, body text)",
        f"""
RETURNS tsvector LANGUAGE plpgsql {IMMUTABLE} AS $body$
DECLARE
    plain text := public.search_plain(body);
    spaced text := plain;
    folded text;
    found text := '';
BEGIN
    IF octet_length(plain) = length(plain) THEN
        RETURN to_tsvector(config::regconfig, plain);
    END IF;
    IF plain ~ '[{UNSPACED}]' THEN
        spaced := regexp_replace(plain, '[{UNSPACED}]+', ' ', 'g');
        found := public.search_pairs(plain);
    END IF;
    folded := public.search_fold(spaced);
    IF folded <> spaced THEN
        found := found || ' ' || to_tsvector(config::regconfig, folded)::text;
    END IF;
    -- The text form of a vector takes the same lexeme twice, which none of its operators does without moving it.
    RETURN (public.search_fold(to_tsvector(config::regconfig, spaced)::text) || ' ' || found)::tsvector;
END
$body$""",
        callers=SESSION_ROLES,
    ),
    Function(
        "public.search_vector(config text, body text)",
        """
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
$body$""",
        callers=SESSION_ROLES,
    ),
    Function(
        "public.search_run(run text)",
        f"""
RETURNS tsquery LANGUAGE sql {IMMUTABLE} AS $body$
    -- Every second pair, and the last one: together they cover every character.
    SELECT CASE WHEN length(run) = 1 THEN '''' || run || ''':*' ELSE (
        SELECT string_agg(CASE WHEN p.place = 1 THEN '' WHEN p.place % 2 = 1 THEN '<2>' ELSE '<->' END
                          || '''' || substr(run, p.place, 2) || '''', '' ORDER BY p.place)
          FROM generate_series(1, length(run) - 1) AS p (place)
         WHERE p.place % 2 = 1 OR p.place = length(run) - 1) END::tsquery
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
$body$""",
        callers=SESSION_ROLES,
    ),
    Function(
        "public.search_term(config text, words text, beginning boolean)",
        f"""
RETURNS tsquery LANGUAGE plpgsql {IMMUTABLE} AS $body$
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
    IF plain ~ '[{UNSPACED}]' THEN
        spaced := regexp_replace(plain, '[{UNSPACED}]+', ' ', 'g');
        FOR run IN SELECT m[1] FROM regexp_matches(plain, '[{UNSPACED}]+', 'g') AS m LOOP
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
$body$""",
        callers=SESSION_ROLES,
    ),
    Function(
        "public.search_query(config text, query text)",
        r"""
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
$body$""",
        callers=SESSION_ROLES,
    ),
)
