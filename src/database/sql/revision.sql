-- build 4 · sha256 7b8f83737e04
-- The version of the schema, as functions that return a constant: every captured change reads the revision, so the call
-- must cost nothing, and every login may call them.
--
--   schema_revision()     the newest revision of the tables; part of every entry of the log
--   schema_build()        the build of the code that last applied functions, policies, triggers and grants: older code
--                         never applies over newer, so that an old init_db does not revert a change of functions
--   schema_oldest_code()  the oldest revision whose code can serve this database, during a deployment
--
-- Elsewhere: the revision that Alembic has recorded (alembic_version). The two differ only during an upgrade, or after
-- an interrupted one; `alembic upgrade head` completes it.

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
