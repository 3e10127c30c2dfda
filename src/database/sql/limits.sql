-- build 3 · sha256 f5d0c4fd7254
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

-- Objects that are announced and not yet part of a recording.
CREATE OR REPLACE FUNCTION public.most_pending_objects()
RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 5000;
REVOKE ALL ON FUNCTION public.most_pending_objects() FROM PUBLIC;

-- Entries of events that one actor writes within an hour. The entries of row changes are not counted: they are as many
-- as the rows that the actor may change.
CREATE OR REPLACE FUNCTION public.most_events()
RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 200000;
REVOKE ALL ON FUNCTION public.most_events() FROM PUBLIC;

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
