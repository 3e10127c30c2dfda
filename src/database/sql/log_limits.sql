-- build 11 · sha256 015886581bc1
-- What is counted instead of written when one actor writes too many entries to the log.
--
-- Refusing events would lose what happened already. Beyond the limit the entries of the actor are counted for ten
-- minutes, and the log has an entry with the actor's name at the first, second, fourth, eighth, … of them: the last one
-- states at least half of the number. Reads that the program signed have a limit of their own. A row change is never
-- left out, so beyond its limit the change is refused.

-- From 0 to 1, and unlike random() not determined by setseed().
CREATE OR REPLACE FUNCTION public.unseeded_random()
RETURNS double precision LANGUAGE sql VOLATILE PARALLEL SAFE
RETURN ('x' || encode(substr(uuid_send(gen_random_uuid()), 1, 6), 'hex'))::bit(48)::bigint / 281474976710656.0::float8;
REVOKE ALL ON FUNCTION public.unseeded_random() FROM PUBLIC;

-- Entries of an actor within the last hour: events, or those of one type. Reads at most twice as many as `most`.
CREATE OR REPLACE FUNCTION public.recent_entries(acting bigint, type_code text, most integer)
RETURNS bigint LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    since timestamptz := clock_timestamp() - interval '1 hour';
    type_id bigint := (SELECT t.id FROM public.activity_types t WHERE t.code = type_code);
BEGIN
    IF acting IS NULL THEN
        RETURN (SELECT count(*) FILTER (WHERE n.activity_type_id = type_id) FROM (
            SELECT l.activity_type_id FROM public.activity_logs l WHERE l.actor_id + 0 IS NULL AND l.created_at > since
             ORDER BY l.created_at DESC LIMIT 2 * most) n);
    END IF;
    RETURN (SELECT count(*) FILTER (WHERE n.operation = 'event' AND (type_code IS NULL OR n.activity_type_id = type_id))
              FROM (SELECT l.operation, l.activity_type_id FROM public.activity_logs l
                     WHERE l.actor_id + 0 = acting AND l.created_at > since
                     ORDER BY l.created_at DESC LIMIT 2 * most) n);
END
$body$;
REVOKE ALL ON FUNCTION public.recent_entries(bigint, text, integer) FROM PUBLIC;

-- What counts the reads of a user in log_overflows.
CREATE OR REPLACE FUNCTION public.read_counter(acting bigint)
RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN acting + 4611686018427387904;
REVOKE ALL ON FUNCTION public.read_counter(bigint) FROM PUBLIC;

-- Counts entries of an actor that are not written; returns the id of the entry that states it. `counter` is the id of
-- the actor, with a minus for failed sign-ins, or `read_counter`: these must not keep the entries of the user from the
-- log.
CREATE OR REPLACE FUNCTION public.count_dropped(counter bigint, acting bigint, acting_name text, count bigint)
RETURNS bigint LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    moment timestamptz := clock_timestamp();
    o public.log_overflows;
BEGIN
    INSERT INTO public.log_overflows (counter, ends_at, dropped, entry_id)
    VALUES (counter, moment, 0, 0) ON CONFLICT ON CONSTRAINT log_overflows_counter_key DO NOTHING;
    -- Another transaction of the actor counts at this moment: this one does not wait for it.
    SELECT * INTO o FROM public.log_overflows l WHERE l.counter = count_dropped.counter FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN (SELECT l.entry_id FROM public.log_overflows l WHERE l.counter = count_dropped.counter);
    END IF;
    IF o.ends_at <= moment THEN
        o.ends_at := moment + interval '10 minutes';
        o.dropped := 0;
    END IF;
    o.dropped := o.dropped + count;
    -- A power of two lies in the range that was added.
    IF floor(log(2, o.dropped)) > floor(log(2, greatest(o.dropped - count, 0.5))) THEN
        o.entry_id := public.append_activity('access.refused', 'event', acting, acting_name, NULL, NULL, NULL, NULL,
            jsonb_build_object('refused', format(CASE WHEN counter = public.read_counter(acting)
                THEN 'too many reads of %s: one entry states those of a session in a case until %s'
                ELSE 'too many entries of %s: they are counted and not written until %s' END, acting_name,
                to_char(o.ends_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"')),
                'dropped', o.dropped), NULL);
    END IF;
    UPDATE public.log_overflows l SET ends_at = o.ends_at, dropped = o.dropped, entry_id = o.entry_id WHERE l.id = o.id;
    RETURN o.entry_id;
END
$body$;
REVOKE ALL ON FUNCTION public.count_dropped(bigint, bigint, text, bigint) FROM PUBLIC;

-- Whether all actors together wrote fewer entries than that since the first one of this actor within an hour: then
-- nobody has to count.
CREATE OR REPLACE FUNCTION public.wrote_less(acting bigint, most integer)
RETURNS boolean LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    first_id bigint;
BEGIN
    SELECT l.id INTO first_id FROM public.activity_logs l
     WHERE l.actor_id + 0 = acting AND l.created_at > clock_timestamp() - interval '1 hour'
     ORDER BY l.created_at, l.id LIMIT 1;
    RETURN first_id IS NULL OR (SELECT s.last_value FROM public.activity_logs_id_seq s) - first_id < most - 1;
END
$body$;
REVOKE ALL ON FUNCTION public.wrote_less(bigint, integer) FROM PUBLIC;

-- NULL when the actor may write an event; otherwise the event was counted, and this is the entry that states it.
CREATE OR REPLACE FUNCTION public.excess_event(acting bigint, acting_name text)
RETURNS bigint LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    most integer := public.most_events();
BEGIN
    IF EXISTS (SELECT FROM public.log_overflows o WHERE o.counter = acting AND o.ends_at > clock_timestamp()) THEN
        RETURN public.count_dropped(acting, acting, acting_name, 1);
    END IF;
    IF public.wrote_less(acting, most) THEN
        RETURN NULL;
    END IF;
    -- Counting reads up to twice the limit: it is done so rarely that an event costs two thousand entries on average.
    IF public.unseeded_random() * most < 1000 AND public.recent_entries(acting, NULL, most) >= most THEN
        RETURN public.count_dropped(acting, acting, acting_name, 1);
    END IF;
    RETURN NULL;
END
$body$;
REVOKE ALL ON FUNCTION public.excess_event(bigint, text) FROM PUBLIC;

-- Whether the reads of a session are beyond the limit of its actor; then they were counted.
CREATE OR REPLACE FUNCTION public.excess_reads(acting bigint, acting_name text, given integer)
RETURNS boolean LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    most integer := public.most_logged_reads();
    own_counter bigint := public.read_counter(acting);
BEGIN
    IF NOT EXISTS (SELECT FROM public.log_overflows o WHERE o.counter = own_counter AND o.ends_at > clock_timestamp())
       AND (public.wrote_less(acting, most) OR public.unseeded_random() * most > 1000.0 * given
            OR (SELECT count(*) FROM (
                    SELECT FROM public.activity_logs l JOIN public.activity_types t ON t.id = l.activity_type_id
                     WHERE l.actor_id + 0 = acting AND l.created_at > clock_timestamp() - interval '1 hour'
                       AND l.operation = 'event'
                       AND t.code IN ('audio.opened', 'transcript.read', 'search.made', 'export.made', 'access.refused')
                     LIMIT most) n) < most) THEN
        RETURN false;
    END IF;
    PERFORM public.count_dropped(own_counter, acting, acting_name, given);
    RETURN true;
END
$body$;
REVOKE ALL ON FUNCTION public.excess_reads(bigint, text, integer) FROM PUBLIC;

-- Raises when the actor has changed too many rows within the last hour. `capture_change` calls it for one change in so
-- many that counting costs a thousand entries per change on average.
CREATE OR REPLACE FUNCTION public.require_changes_left(acting bigint)
RETURNS void LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    most integer := public.most_changes();
BEGIN
    IF NOT public.wrote_less(acting, most)
       AND (SELECT count(*) FROM (
                SELECT FROM public.activity_logs l
                 WHERE l.actor_id + 0 = acting AND l.created_at > clock_timestamp() - interval '1 hour'
                   AND l.operation <> 'event' LIMIT most) n) >= most THEN
        RAISE EXCEPTION 'this user has changed % rows within an hour, the limit; continue later, or as the owner of the'
            ' database', most USING ERRCODE = 'insufficient_privilege';
    END IF;
END
$body$;
REVOKE ALL ON FUNCTION public.require_changes_left(bigint) FROM PUBLIC;
