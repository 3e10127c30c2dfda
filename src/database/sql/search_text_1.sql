-- build 5 · sha256 9cb868613f89
-- Converting texts to tsvector. Queries are converted by the same rules: see search_query.sql.
--
-- The suffix _1 marks all functions that indexes and generated columns call, directly or indirectly. Stored values were
-- computed with these bodies, so the bodies of _1 never change: other rules need a new file, `search_text_2.sql`, and a
-- revision that rebuilds the indexes of notes and summaries and the column of segments with it. A dump names the
-- functions of its indexes; under the same name it must find the same rules, or restored rows would not be found. Rules
-- that can be applied to the query instead are therefore in search_query.sql.
--
-- No function reads a table, so every session may call them: storing a segment does.
--
-- No function depends on an extension or on the locale of the database: a dump restored on another server, or an
-- extension installed later, cannot make the index and the queries inconsistent.
--
--   search_vector_1   called by indexes and generated columns; accepts a text of any length
--   search_lexemes_1  the lexemes of one text, in this order: plain, pairs of characters, stems with/without accents
--   search_plain_1    the text without characters that join or hide words
--   search_fold_1     the text without accents
--   search_pairs_1    the lexemes of scripts without spaces
--
-- Accents: a word is indexed as its stem without accents and as the stem of its form without accents. The stemmer gets
-- the accents that it needs (`créées`, `créé`), and a query without accents finds words with accents. If both stems are
-- equal, they are one lexeme.
--
-- Scripts without spaces: each character of a run is indexed as a pair with the next one, the last one as a single
-- character. This depends on the characters and not on the language, so a wrong language tag loses nothing.
--
-- The character classes come first. Each is one literal: the planner inlines it, and Python reads it from this file for
-- highlighting (schema/sql_files.py). Classes for regular expressions use their escapes, `\\u`; the silent characters
-- use the escapes of SQL strings, `\u`, since translate() takes the characters themselves. Every literal with a
-- backslash is an E'' literal, which no setting reads in another way.
--
-- Elsewhere: the configuration of a text (languages.search_config), ranking and matching (search.sql).

-- Scripts without spaces: Han with its marks, kana, bopomofo, hangul; Thai without its digits, Lao, Burmese, Khmer.
CREATE OR REPLACE FUNCTION public.search_unspaced_1()
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN E'\\u3005-\\u3007\\u3041-\\u309f\\u30a1-\\u30fa\\u30fc-\\u30ff\\u3105-\\u312f\\u3131-\\u318e'
       '\\u31a0-\\u31bf\\u31f0-\\u31ff\\u3400-\\u4dbf\\u4e00-\\u9fff\\uf900-\\ufaff\\u1100-\\u11ff\\uac00-\\ud7a3'
       '\\U00020000-\\U0003ffff'
       '\\u0e01-\\u0e3a\\u0e40-\\u0e4e\\u0e81-\\u0ece\\u1000-\\u103f\\u1050-\\u109f\\u1780-\\u17d3';
REVOKE ALL ON FUNCTION public.search_unspaced_1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_unspaced_1() TO sti_app, sti_wide, sti_admin;

-- Accents of Latin, Greek and Cyrillic, points of Hebrew, vowel signs of Arabic. Signs of Indic scripts are letters,
-- except the nukta, which is often omitted.
CREATE OR REPLACE FUNCTION public.search_accents_1()
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN E'\\u0300-\\u036f\\u0591-\\u05bd\\u05bf\\u05c1\\u05c2\\u05c4\\u05c5\\u05c7\\u0610-\\u061a'
       '\\u064b-\\u065f\\u0670\\u093c\\u09bc\\u0a3c';
REVOKE ALL ON FUNCTION public.search_accents_1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_accents_1() TO sti_app, sti_wide, sti_admin;

-- Characters without a sound: soft hyphen, joiners, direction marks, tatweel.
CREATE OR REPLACE FUNCTION public.search_silent_1()
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN E'\u00AD\u200B\u200C\u200D\u200E\u200F\u202A\u202B\u202C\u202D\u202E\u2060\uFEFF\u0640';
REVOKE ALL ON FUNCTION public.search_silent_1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_silent_1() TO sti_app, sti_wide, sti_admin;

-- A letter: any character except those of ASCII and general punctuation that are not letters. The brackets are part of
-- the literal, since the class is negated.
CREATE OR REPLACE FUNCTION public.search_letter_1()
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN E'[^\\u0001-\\u0040\\u005b-\\u0060\\u007b-\\u00a9\\u2000-\\u206f\\u3000-\\u3004]';
REVOKE ALL ON FUNCTION public.search_letter_1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_letter_1() TO sti_app, sti_wide, sti_admin;

-- Persian and related languages put a zero-width non-joiner between a word and its endings.
CREATE OR REPLACE FUNCTION public.search_half_space_1()
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN E'([\\u0620-\\u06ff])\\u200c+(?=[\\u0620-\\u06ff])';
REVOKE ALL ON FUNCTION public.search_half_space_1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_half_space_1() TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.search_plain_1(body text)
RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    plain text;
BEGIN
    -- The parser would make one token of two words with a slash, `and/or`.
    IF octet_length(body) = length(body) THEN
        plain := translate(body, '/', ' ');
    ELSE
        plain := normalize(body, NFKC);
        IF strpos(plain, E'\u200C') > 0 THEN
            plain := regexp_replace(plain, public.search_half_space_1(), E'\\1 ', 'g');
        END IF;
        plain := translate(plain, '/' || public.search_silent_1(), ' ');
    END IF;
    -- The same for a full stop between two letters on each side: `left.Then`, `example.com`. Usually a space follows.
    IF plain ~ E'\\.[^ .]' THEN
        plain := regexp_replace(plain,
            '(' || public.search_letter_1() || E'{2})\\.(?=' || public.search_letter_1() || '{2})', E'\\1 ', 'g');
    END IF;
    RETURN plain;
END
$body$;
REVOKE ALL ON FUNCTION public.search_plain_1(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_plain_1(text) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.search_fold_1(body text)
RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    folded text;
BEGIN
    IF octet_length(body) = length(body) THEN
        RETURN body;
    END IF;
    -- Removes only marks that follow another character, so that no lexeme becomes empty.
    folded := regexp_replace(normalize(body, NFD),
        '([^''' || public.search_accents_1() || '])[' || public.search_accents_1() || ']+', E'\\1', 'g');
    folded := translate(normalize(folded, NFC),
        E'\u00D8\u00F8\u0141\u0142\u0110\u0111\u0126\u0127\u0131\u00D0\u00F0', 'OoLlDdHhiDd');
    IF folded ~ '[ßẞæÆœŒþÞ]' THEN
        folded := replace(replace(replace(replace(folded, 'ß', 'ss'), 'æ', 'ae'), 'œ', 'oe'), 'þ', 'th');
        folded := replace(replace(replace(replace(folded, 'ẞ', 'SS'), 'Æ', 'AE'), 'Œ', 'OE'), 'Þ', 'TH');
    END IF;
    RETURN folded;
END
$body$;
REVOKE ALL ON FUNCTION public.search_fold_1(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_fold_1(text) TO sti_app, sti_wide, sti_admin;

-- The lexemes and positions of each pair, in the text form of tsvector.
CREATE OR REPLACE FUNCTION public.search_pairs_1(body text)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $body$
    SELECT coalesce(string_agg('''' || p.sign || CASE p.follower WHEN ' ' THEN '' ELSE coalesce(p.follower, '') END
                               || ''':' || least(p.place, 16383), ' '), '')
      FROM (SELECT u.sign, lead(u.sign) OVER (ORDER BY u.place) AS follower, u.place
              FROM unnest(string_to_array(
                       regexp_replace(body, '[^' || public.search_unspaced_1() || ']+', ' ', 'g'), NULL))
                   WITH ORDINALITY AS u (sign, place)) p
     WHERE p.sign <> ' '
$body$;
REVOKE ALL ON FUNCTION public.search_pairs_1(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_pairs_1(text) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.search_lexemes_1(config text, body text)
RETURNS tsvector LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    plain text := public.search_plain_1(body);
    spaced text := plain;
    folded text;
    found text := '';
BEGIN
    IF octet_length(plain) = length(plain) THEN
        RETURN to_tsvector(config::regconfig, plain);
    END IF;
    IF plain ~ ('[' || public.search_unspaced_1() || ']') THEN
        spaced := regexp_replace(plain, '[' || public.search_unspaced_1() || ']+', ' ', 'g');
        found := public.search_pairs_1(plain);
    END IF;
    folded := public.search_fold_1(spaced);
    IF folded <> spaced THEN
        found := found || ' ' || to_tsvector(config::regconfig, folded)::text;
    END IF;
    IF strpos(body, E'\u200C') > 0 AND body ~ public.search_half_space_1() THEN
        -- Both parts as one word, for texts and queries without the zero-width non-joiner; without positions, which
        -- would shift those of other words.
        found := found || ' ' || (
            SELECT strip(to_tsvector(config::regconfig, public.search_fold_1(
                       public.search_plain_1(string_agg(replace(w[1], E'\u200C', ''), ' ')))))
              FROM regexp_matches(body, E'[^\\s]*\\u200c[^\\s]*', 'g') AS w)::text;
    END IF;
    -- The text form of tsvector accepts a lexeme twice; every operator of tsvector would shift the positions.
    RETURN (public.search_fold_1(to_tsvector(config::regconfig, spaced)::text) || ' ' || found)::tsvector;
END
$body$;
REVOKE ALL ON FUNCTION public.search_lexemes_1(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_lexemes_1(text, text) TO sti_app, sti_wide, sti_admin;

-- Not in parallel plans: before PostgreSQL 17 the EXCEPTION block fails in them.
CREATE OR REPLACE FUNCTION public.search_vector_1(config text, body text)
RETURNS tsvector LANGUAGE plpgsql IMMUTABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    max_length integer := 400000;
BEGIN
    IF octet_length(body) <= 20000 THEN
        RETURN public.search_lexemes_1(config, body);
    END IF;
    -- A tsvector holds at most 1 MB: of a longer text only the beginning is indexed, so that storing a row never fails.
    LOOP
        BEGIN
            RETURN public.search_lexemes_1(config, left(body, max_length));
        EXCEPTION WHEN program_limit_exceeded THEN
            max_length := max_length / 2;
        END;
    END LOOP;
END
$body$;
REVOKE ALL ON FUNCTION public.search_vector_1(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_vector_1(text, text) TO sti_app, sti_wide, sti_admin;
