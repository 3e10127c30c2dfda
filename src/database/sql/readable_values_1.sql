-- build 3 · sha256 bc69d0f68121
-- Values that every client can read: the CHECK constraints on all timestamps, dates and JSON documents.
--
-- PostgreSQL stores years from 4713 BC to 294276, numbers of 131072 digits and documents that are nested thousands of
-- levels deep. Drivers do not read them, and one such row would stop everybody who reads it together with others.
-- src/database/base.py adds the constraints to the columns of this layer, schema/service_tables.py to those of
-- services.
--
-- The suffix _1 fixes the bodies: a stricter body under the same name would make old dumps unrestorable, and stored
-- rows would violate a rule that was never checked for them. Other limits need a new file and a revision.

-- From 1000 to 8999: four digits in every text form, before the first recording of speech, and far enough from the
-- limits of Python (years 1 and 9999) for every time zone and for arithmetic. Excludes infinity too.
CREATE OR REPLACE FUNCTION public.readable_time_1(moment timestamptz)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN moment >= '1000-01-01 00:00:00+00'::timestamptz AND moment < '9000-01-01 00:00:00+00'::timestamptz;
REVOKE ALL ON FUNCTION public.readable_time_1(timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.readable_time_1(timestamptz) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.readable_date_1(day date)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN day >= '1000-01-01'::date AND day < '9000-01-01'::date;
REVOKE ALL ON FUNCTION public.readable_date_1(date) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.readable_date_1(date) TO sti_app, sti_wide, sti_admin;

-- A JSON document of at most `most` bytes as text, at most 32 levels deep, with numbers below 1e308 (double precision,
-- so never infinite) and at most 400 digits after the point (the smallest double precision number has 340).
--
-- A number that is too long is a run of more than 308 digits, which contains the positions n and n + 8, 16, 24 for a
-- multiple n of 256: so only a document with digits there is read a second time. Checking all numbers instead would
-- take three times as long, which matters for the words of segments.
CREATE OR REPLACE FUNCTION public.readable_json_1(document jsonb, most integer)
RETURNS boolean LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    content bytea := convert_to(document::text, 'UTF8');
    size integer := octet_length(content);
BEGIN
    -- The level is checked first: the paths below visit every level, this one none below the limit.
    IF size > most OR jsonb_path_exists(document, 'strict $.**{33}') THEN
        RETURN false;
    END IF;
    FOR block IN 1 .. (size - 25) / 256 LOOP
        IF get_byte(content, block * 256) BETWEEN 48 AND 57 AND get_byte(content, block * 256 + 8) BETWEEN 48 AND 57
           AND get_byte(content, block * 256 + 16) BETWEEN 48 AND 57
           AND get_byte(content, block * 256 + 24) BETWEEN 48 AND 57 THEN
            RETURN NOT jsonb_path_exists(document, 'strict $.** ? (@ >= 1e308 || @ <= -1e308 || @ % 1e-400 != 0)');
        END IF;
    END LOOP;
    RETURN true;
END
$body$;
REVOKE ALL ON FUNCTION public.readable_json_1(jsonb, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.readable_json_1(jsonb, integer) TO sti_app, sti_wide, sti_admin;
