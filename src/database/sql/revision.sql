-- build 3 · sha256 22b2ea4628d0
-- What the database says about the code that made it, as functions that return a constant: each captured change asks
-- for the revision, so asking must cost nothing, and everybody who connects may ask.
--
--   schema_revision()     the newest revision of the tables; part of every entry of the log
--   schema_build()        the build of the code that applied functions, policies, triggers and grants last: older code
--                         never applies over newer, so that a function-only fix is not reverted by an old init_db
--   schema_oldest_code()  the oldest revision whose code can serve this database, while a deployment is under way
--
-- Not here: which revision Alembic believes in (alembic_version). The two differ only while an upgrade runs, or after
-- one that was interrupted; `alembic upgrade head` completes it.

CREATE OR REPLACE FUNCTION public.record_schema(revision text, build integer, oldest_code text)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    constant record;
BEGIN
    FOR constant IN
        SELECT * FROM (VALUES ('schema_revision', 'text', quote_literal(revision)),
                              ('schema_build', 'integer', build::text),
                              ('schema_oldest_code', 'text', quote_literal(oldest_code))) AS c (name, type, value)
    LOOP
        EXECUTE format('CREATE OR REPLACE FUNCTION public.%I() RETURNS %s LANGUAGE sql IMMUTABLE PARALLEL SAFE'
            ' RETURN %s::%2$s', constant.name, constant.type, constant.value);
        EXECUTE format('GRANT EXECUTE ON FUNCTION public.%I() TO PUBLIC', constant.name);
    END LOOP;
END
$body$;
REVOKE ALL ON FUNCTION public.record_schema(text, integer, text) FROM PUBLIC;
