-- build 4 · sha256 9734a08f8ca6
-- Logical replication: the triggers of a replica that receives the log too do nothing for what it receives.
--
-- Triggers are ENABLE ALWAYS, so that nobody hides a change by session_replication_role = replica. A worker of a
-- subscription works in that role too: there each row comes with what the triggers of the publisher made of it, their
-- entries of the log included. A subscription without the log is a writer like any other, and its changes are logged.
-- Only the administrator of the server creates subscriptions.

CREATE OR REPLACE FUNCTION public.receives_log()
RETURNS boolean LANGUAGE sql STABLE PARALLEL RESTRICTED
RETURN EXISTS (
    SELECT FROM pg_stat_subscription s JOIN pg_subscription_rel r ON r.srsubid = s.subid
     WHERE s.pid = pg_backend_pid()
       AND (r.srrelid = to_regclass('public.activity_logs') OR r.srrelid IN (
               SELECT i.inhrelid FROM pg_inherits i WHERE i.inhparent = to_regclass('public.activity_logs'))));
REVOKE ALL ON FUNCTION public.receives_log() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.receives_log() TO sti_app, sti_wide, sti_admin;

-- The condition of every trigger that is ENABLE ALWAYS. Inlined, and the setting is read first: it costs nothing.
CREATE OR REPLACE FUNCTION public.triggers_act()
RETURNS boolean LANGUAGE sql STABLE PARALLEL RESTRICTED
RETURN current_setting('session_replication_role') <> 'replica' OR NOT public.receives_log();
REVOKE ALL ON FUNCTION public.triggers_act() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.triggers_act() TO sti_app, sti_wide, sti_admin;
