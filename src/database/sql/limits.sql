-- build 6 · sha256 ac80818c9b8d
-- Limits for one actor: what a member may hold, announce or write to the log before the database refuses more.
--
-- Each limit is far above what a service needs; beyond it an actor only takes space and time from the others. Raising
-- one is a change of its constant here.

-- Running leases: each keeps a job from all other workers until it expires.
CREATE OR REPLACE FUNCTION public.most_leases()
RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 500;
REVOKE ALL ON FUNCTION public.most_leases() FROM PUBLIC;

-- How long one claim of a job may be extended by heartbeats.
CREATE OR REPLACE FUNCTION public.longest_claim()
RETURNS interval LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN interval '7 days';
REVOKE ALL ON FUNCTION public.longest_claim() FROM PUBLIC;

-- Seconds for which a failed job may wait before the next attempt.
CREATE OR REPLACE FUNCTION public.longest_delay()
RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 604800;
REVOKE ALL ON FUNCTION public.longest_delay() FROM PUBLIC;

-- Claims of one job that cost no attempt, because what it needs was out of reach: about a week, a minute apart.
CREATE OR REPLACE FUNCTION public.most_returns()
RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 10000;
REVOKE ALL ON FUNCTION public.most_returns() FROM PUBLIC;

-- Objects that are announced and not yet part of a recording.
CREATE OR REPLACE FUNCTION public.most_pending_objects()
RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 5000;
REVOKE ALL ON FUNCTION public.most_pending_objects() FROM PUBLIC;

-- Entries of events that one actor writes within an hour.
CREATE OR REPLACE FUNCTION public.most_events()
RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 200000;
REVOKE ALL ON FUNCTION public.most_events() FROM PUBLIC;

-- Rows that one actor changes within an hour, each with an entry. Not fewer, since an update of one row can be repeated
-- without end; and not so few that a service that stores 100 transcriptions of 10,000 segments an hour reaches it.
CREATE OR REPLACE FUNCTION public.most_changes()
RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 5000000;
REVOKE ALL ON FUNCTION public.most_changes() FROM PUBLIC;

-- Entries of reads of one actor within an hour, as far as the program signed them.
CREATE OR REPLACE FUNCTION public.most_logged_reads()
RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 1000000;
REVOKE ALL ON FUNCTION public.most_logged_reads() FROM PUBLIC;

-- Entries in one call of record_reads: what one session has read.
CREATE OR REPLACE FUNCTION public.most_reads()
RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 10000;
REVOKE ALL ON FUNCTION public.most_reads() FROM PUBLIC;

-- Bytes of the detail of one event.
CREATE OR REPLACE FUNCTION public.most_detail()
RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 65536;
REVOKE ALL ON FUNCTION public.most_detail() FROM PUBLIC;

-- Entries of failed sign-ins within an hour: of one user, and of all unknown names together.
CREATE OR REPLACE FUNCTION public.most_failed_logins()
RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 1000;
REVOKE ALL ON FUNCTION public.most_failed_logins() FROM PUBLIC;

-- Raises for a duration that is missing or out of range; the message names the parameter.
CREATE OR REPLACE FUNCTION public.require_seconds(parameter text, given integer, least_allowed integer, most integer)
RETURNS void LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    IF given IS NULL OR given < least_allowed OR given > most THEN
        RAISE EXCEPTION '%: %; give a number of seconds from % to %', parameter, coalesce(given::text, 'NULL'),
            least_allowed, most USING ERRCODE = 'invalid_parameter_value';
    END IF;
END
$body$;
REVOKE ALL ON FUNCTION public.require_seconds(text, integer, integer, integer) FROM PUBLIC;
