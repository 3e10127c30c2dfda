-- build 1 · sha256 7f7edc0c223e
-- How a text becomes words that can be found. What is asked becomes words the same way: see search_query.sql.
--
-- The number is in the name of all that indexes and generated columns call, and of all that these call in turn. What is
-- stored was made by these bodies, so under this number they never change: another rule is another file,
-- `search_text_2.sql`, and a revision that makes the indexes of notes and summaries and the column of segments call it,
-- and makes them again. A dump names the functions that its indexes were made with; under that name it must find the
-- same rules, or what is restored could not be found. So what can be done to the question is done there.
--
-- None of it reads a table, so every session may call it: storing a segment does.
--
-- Nothing here needs an extension or the locale of the database, so that a dump that is restored elsewhere, or an
-- extension that comes later, cannot make the index and the questions disagree.
--
--   search_vector_1   what indexes and generated columns call; a text of any length
--   search_lexemes_1  the lexemes of one text, in this order: plain, pairs of signs, stems with and without accents
--   search_plain_1    the text without what joins or hides words
--   search_fold_1     the text without accents
--   search_pairs_1    the lexemes of scripts without spaces
--
-- Accents: a word is indexed as its stem without accents and as the stem of its form without accents. The stemmer sees
-- the accents that it needs (`créées`, `créé`), and who writes without finds with. Where both are the same there is one
-- lexeme.
--
-- Scripts without spaces: each character of a run is indexed together with the one after it, the last one also alone.
-- The characters decide and not the language, so that a wrong tag loses nothing.
--
-- The classes of characters come first. Each is one literal: the planner puts it in the place of its call, and Python
-- reads it from this file to mark what was found (schema/sql_files.py). What regular expressions are made of is written
-- in their escapes; the silent signs in those of SQL, since translate() takes the characters themselves.
--
-- Not here: which configuration a text has (languages.search_config), ranking, and what is found (search.sql).

-- Scripts without spaces: Han with its signs, kana, bopomofo, hangul; Thai without its digits, Lao, Burmese, Khmer.
CREATE OR REPLACE FUNCTION public.search_unspaced_1()
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN '\u3005-\u3007\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3105-\u312f\u3131-\u318e\u31a0-\u31bf\u31f0-\u31ff'
       '\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u1100-\u11ff\uac00-\ud7a3\U00020000-\U0003ffff'
       '\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ece\u1000-\u103f\u1050-\u109f\u1780-\u17d3';
REVOKE ALL ON FUNCTION public.search_unspaced_1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_unspaced_1() TO sti_app, sti_wide, sti_admin;

-- Accents of Latin, Greek and Cyrillic, points of Hebrew, vowel signs of Arabic. Those of Indic scripts are letters,
-- but for the point below, which many leave out.
CREATE OR REPLACE FUNCTION public.search_accents_1()
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN '\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670'
       '\u093c\u09bc\u0a3c';
REVOKE ALL ON FUNCTION public.search_accents_1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_accents_1() TO sti_app, sti_wide, sti_admin;

-- Soft hyphen, joiners, marks of direction, tatweel: nothing that anybody hears.
CREATE OR REPLACE FUNCTION public.search_silent_1()
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN U&'\00AD\200B\200C\200D\200E\200F\202A\202B\202C\202D\202E\2060\FEFF\0640';
REVOKE ALL ON FUNCTION public.search_silent_1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_silent_1() TO sti_app, sti_wide, sti_admin;

-- A letter, as far as ASCII and general punctuation tell. The brackets are part of it, since it says what is none.
CREATE OR REPLACE FUNCTION public.search_letter_1()
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN '[^\u0001-\u0040\u005b-\u0060\u007b-\u00a9\u2000-\u206f\u3000-\u3004]';
REVOKE ALL ON FUNCTION public.search_letter_1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_letter_1() TO sti_app, sti_wide, sti_admin;

-- Persian and its like put a sign without width between a word and its endings.
CREATE OR REPLACE FUNCTION public.search_half_space_1()
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN '([\u0620-\u06ff])\u200c+(?=[\u0620-\u06ff])';
REVOKE ALL ON FUNCTION public.search_half_space_1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_half_space_1() TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.search_plain_1(body text)
RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    plain text;
BEGIN
    -- A slash would make one token of two words, `he/she`.
    IF octet_length(body) = length(body) THEN
        plain := translate(body, '/', ' ');
    ELSE
        plain := normalize(body, NFKC);
        IF strpos(plain, U&'\200C') > 0 THEN
            plain := regexp_replace(plain, public.search_half_space_1(), '\1 ', 'g');
        END IF;
        plain := translate(plain, '/' || public.search_silent_1(), ' ');
    END IF;
    -- So would a point between letters, two on each side: `left.Then`, `example.com`. Mostly a space follows.
    IF plain ~ '\.[^ .]' THEN
        plain := regexp_replace(plain,
            '(' || public.search_letter_1() || '{2})\.(?=' || public.search_letter_1() || '{2})', '\1 ', 'g');
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
    -- Only marks that follow something, so that no lexeme loses all that it has.
    folded := regexp_replace(normalize(body, NFD),
        '([^''' || public.search_accents_1() || '])[' || public.search_accents_1() || ']+', '\1', 'g');
    folded := translate(normalize(folded, NFC),
        U&'\00D8\00F8\0141\0142\0110\0111\0126\0127\0131\00D0\00F0', 'OoLlDdHhiDd');
    IF folded ~ '[ßẞæÆœŒþÞ]' THEN
        folded := replace(replace(replace(replace(folded, 'ß', 'ss'), 'æ', 'ae'), 'œ', 'oe'), 'þ', 'th');
        folded := replace(replace(replace(replace(folded, 'ẞ', 'SS'), 'Æ', 'AE'), 'Œ', 'OE'), 'Þ', 'TH');
    END IF;
    RETURN folded;
END
$body$;
REVOKE ALL ON FUNCTION public.search_fold_1(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_fold_1(text) TO sti_app, sti_wide, sti_admin;

-- A vector as text, with the place of each sign.
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
    IF strpos(body, U&'\200C') > 0 AND body ~ public.search_half_space_1() THEN
        -- Both words as one, as who leaves the sign out writes them; without a place, which would move the others.
        found := found || ' ' || (
            SELECT strip(to_tsvector(config::regconfig, public.search_fold_1(
                       public.search_plain_1(string_agg(replace(w[1], U&'\200C', ''), ' ')))))
              FROM regexp_matches(body, '[^\s]*\u200c[^\s]*', 'g') AS w)::text;
    END IF;
    -- The text form of a vector takes the same lexeme twice, which none of its operators does without moving it.
    RETURN (public.search_fold_1(to_tsvector(config::regconfig, spaced)::text) || ' ' || found)::tsvector;
END
$body$;
REVOKE ALL ON FUNCTION public.search_lexemes_1(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_lexemes_1(text, text) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.search_vector_1(config text, body text)
RETURNS tsvector LANGUAGE plpgsql IMMUTABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    max_length integer := 400000;
BEGIN
    IF octet_length(body) <= 20000 THEN
        RETURN public.search_lexemes_1(config, body);
    END IF;
    -- A vector holds 1 MB: of a text with more the beginning is indexed, so that it can never make a row fail.
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
