"""How a text becomes words that can be found. What is asked becomes words the same way: see search_query.py.

None of it reads a table, so every session may call it: storing a segment does.

Nothing here needs an extension or the locale of the database, so that a dump that is restored elsewhere, or an
extension that comes later, cannot make the index and the questions disagree.

Whatever changes here changes indexes: a revision that does it makes those of notes and summaries anew, and segments
wait for `reindex`. So what can be done to the question is done there.

Accents: a word is indexed as its stem without accents and as the stem of its form without accents. The stemmer sees
the accents that it needs (`créées`, `créé`), and who writes without finds with. Where both are the same there is
one lexeme.

Scripts without spaces: each character of a run is indexed together with the one after it, the last one also alone. The
characters decide and not the language, so that a wrong tag loses nothing.
"""

from __future__ import annotations

from src.database.schema.objects import SESSION_ROLES, Function

# Han with its signs, kana, bopomofo, hangul; Thai without its digits, Lao, Burmese, Khmer.
UNSPACED = (
    r"\u3005-\u3007\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3105-\u312f\u3131-\u318e\u31a0-\u31bf\u31f0-\u31ff"
    r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u1100-\u11ff\uac00-\ud7a3\U00020000-\U0003ffff"
    r"\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ece\u1000-\u103f\u1050-\u109f\u1780-\u17d3"
)
# Accents of Latin, Greek and Cyrillic, points of Hebrew, vowel signs of Arabic. Those of Indic scripts are letters, but
# for the point below, which many leave out.
ACCENTS = (
    r"\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670"
    r"\u093c\u09bc\u0a3c"
)
# Soft hyphen, joiners, marks of direction, tatweel: nothing that anybody hears.
SILENT = r"\00AD\200B\200C\200D\200E\200F\202A\202B\202C\202D\202E\2060\FEFF\0640"
# Letters, as far as ASCII and general punctuation tell.
LETTER = r"[^\u0001-\u0040\u005b-\u0060\u007b-\u00a9\u2000-\u206f\u3000-\u3004]"
# A point that would make one token of two words: `left.Then`, `example.com`.
GLUE = rf"({LETTER}{LETTER})\.(?={LETTER}{LETTER})"
# Persian and its like put a sign without width between a word and its endings.
HALF_SPACE = r"([\u0620-\u06ff])\u200c+(?=[\u0620-\u06ff])"
IMMUTABLE = "IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp"

FUNCTIONS = (
    Function(
        "public.search_plain(body text)",
        rf"""
RETURNS text LANGUAGE plpgsql {IMMUTABLE} AS $body$
DECLARE
    plain text;
BEGIN
    -- A slash would make one token of two words, `he/she`, and so would a point.
    IF octet_length(body) = length(body) THEN
        plain := translate(body, '/', ' ');
    ELSE
        plain := normalize(body, NFKC);
        IF strpos(plain, U&'\200C') > 0 THEN
            plain := regexp_replace(plain, '{HALF_SPACE}', '\1 ', 'g');
        END IF;
        plain := translate(plain, '/' || U&'{SILENT}', ' ');
    END IF;
    -- Mostly a space follows.
    IF plain ~ '\.[^ .]' THEN
        plain := regexp_replace(plain, '{GLUE}', '\1 ', 'g');
    END IF;
    RETURN plain;
END
$body$""",
        callers=SESSION_ROLES,
    ),
    Function(
        "public.search_fold(body text)",
        rf"""
RETURNS text LANGUAGE plpgsql {IMMUTABLE} AS $body$
DECLARE
    folded text;
BEGIN
    IF octet_length(body) = length(body) THEN
        RETURN body;
    END IF;
    -- Only marks that follow something, so that no lexeme loses all that it has.
    folded := translate(
        normalize(regexp_replace(normalize(body, NFD), '([^''{ACCENTS}])[{ACCENTS}]+', '\1', 'g'), NFC),
        U&'\00D8\00F8\0141\0142\0110\0111\0126\0127\0131\00D0\00F0', 'OoLlDdHhiDd');
    IF folded ~ '[ßẞæÆœŒþÞ]' THEN
        folded := replace(replace(replace(replace(folded, 'ß', 'ss'), 'æ', 'ae'), 'œ', 'oe'), 'þ', 'th');
        folded := replace(replace(replace(replace(folded, 'ẞ', 'SS'), 'Æ', 'AE'), 'Œ', 'OE'), 'Þ', 'TH');
    END IF;
    RETURN folded;
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
        rf"""
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
    IF strpos(body, U&'\200C') > 0 AND body ~ '{HALF_SPACE}' THEN
        -- Both words as one, as who leaves the sign out writes them; without a place, which would move the others.
        found := found || ' ' || (
            SELECT strip(to_tsvector(config::regconfig, public.search_fold(
                       public.search_plain(string_agg(replace(w[1], U&'\200C', ''), ' ')))))
              FROM regexp_matches(body, '[^\s]*\u200c[^\s]*', 'g') AS w)::text;
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
)
