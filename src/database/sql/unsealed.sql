-- build 4 · sha256 e51dd3419f92
-- What could not be sealed yet, and why: entries of transactions at or above the horizon, and what keeps it back.
--
-- The horizon is the oldest running transaction of the server with a transaction id: in this database or another one,
-- of a session or prepared. Times of other logins are NULL unless the owner may read all statistics.
--
-- Elsewhere: sealing (seals.sql).

CREATE OR REPLACE FUNCTION public.unsealed_entries()
RETURNS TABLE (entries bigint, oldest timestamptz, newest_xid xid8)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    own_epoch bigint := (SELECT system_identifier FROM pg_control_system());
    reached xid8 := (SELECT coalesce(max(s.high_xid), '0'::xid8) FROM public.activity_seals s
                      WHERE s.epoch = own_epoch);
BEGIN
    IF NOT public.may_seal() THEN
        RAISE EXCEPTION 'only administrators may ask what is not sealed' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN QUERY SELECT count(*), min(l.created_at), max(l.transaction_id) FROM public.activity_logs l
                  WHERE l.epoch = own_epoch AND l.transaction_id >= reached;
END
$body$;
REVOKE ALL ON FUNCTION public.unsealed_entries() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.unsealed_entries() TO sti_app, sti_wide, sti_admin;

-- The transactions that keep entries up to this transaction from being sealed, the oldest first.
CREATE OR REPLACE FUNCTION public.seal_blockers(newest_xid xid8)
RETURNS TABLE (transaction_id xid8, backend integer, login text, application text, prepared text, database text,
    since timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    IF NOT public.may_seal() THEN
        RAISE EXCEPTION 'only administrators may ask what is not sealed' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN QUERY
        SELECT x.running, a.pid, coalesce(a.usename, p.owner)::text, a.application_name, p.gid,
               coalesce(a.datname, p.database)::text, coalesce(a.xact_start, p.prepared)
          FROM pg_snapshot_xip(pg_current_snapshot()) AS x (running)
          LEFT JOIN pg_stat_activity a ON a.backend_xid = xid(x.running)
          LEFT JOIN pg_prepared_xacts p ON p.transaction = xid(x.running)
         WHERE x.running <= seal_blockers.newest_xid ORDER BY x.running;
END
$body$;
REVOKE ALL ON FUNCTION public.seal_blockers(xid8) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.seal_blockers(xid8) TO sti_app, sti_wide, sti_admin;
