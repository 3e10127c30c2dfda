-- build 14 · sha256 67206e2234f0
-- The activity log: the hashes of an entry, entries of events, and the monthly partitions.
--
--     payload_hash = sha256(salt ‖ text of {"new": …, "old": …})
--     leaf_hash    = sha256(0x00 ‖ text of [id, µs, type, actor id, actor, case, entity, entity id, operation, reason,
--                           request, transaction, epoch, revision] ‖ payload_hash)
--
-- Both texts are PostgreSQL's text output of jsonb, which orders keys and preserves the digits of numbers; the settings
-- that affect text output are pinned on the functions. An entry takes no lock and reads no earlier entry.
--
-- Elsewhere: entries of row changes (capture.sql), seals over entries (seals.sql). Two verifiers implement the hashes
-- independently, so that a replaced function is detected: examples/verify_export.py and
-- src/services/history/entry_checks.py.

CREATE OR REPLACE FUNCTION public.payload_hash(salt bytea, new_image jsonb, old_image jsonb)
RETURNS bytea LANGUAGE sql STABLE PARALLEL SAFE
RETURN sha256(salt || convert_to(jsonb_build_object('new', new_image, 'old', old_image)::text, 'UTF8'));
REVOKE ALL ON FUNCTION public.payload_hash(bytea, jsonb, jsonb) FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.leaf_hash(
    entry_id bigint, created_at timestamptz, type_id bigint, actor_id bigint, actor_name text, case_id bigint,
    entity text, entity_id bigint, operation text, reason text, request_id text, xid xid8, cluster bigint,
    revision text, payload bytea)
RETURNS bytea LANGUAGE sql STABLE PARALLEL SAFE
RETURN sha256(decode('00', 'hex') || convert_to(jsonb_build_array(entry_id,
    (extract(epoch FROM created_at) * 1000000)::bigint, type_id, actor_id, actor_name, case_id, entity, entity_id,
    operation, reason, request_id, xid::text, cluster, revision)::text, 'UTF8') || payload);
REVOKE ALL ON FUNCTION public.leaf_hash(bigint, timestamptz, bigint, bigint, text, bigint, text, bigint, text, text,
    text, xid8, bigint, text, bytea) FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.append_activity(
    type_code text, operation text, actor_id bigint, actor text, case_id bigint, entity text, entity_id bigint,
    old jsonb, new jsonb, salt bytea)
RETURNS bigint LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres' SET bytea_output = 'hex'
SET extra_float_digits = 1 AS $body$
DECLARE
    entry bigint := nextval('public.activity_logs_id_seq');
    moment timestamptz := clock_timestamp();
    type_id bigint := (SELECT t.id FROM public.activity_types t WHERE t.code = type_code);
    reason text := left(nullif(current_setting('sti.reason', true), ''), 2000);
    request_id text := left(nullif(current_setting('sti.request', true), ''), 200);
    xid xid8 := pg_current_xact_id();
    cluster bigint := public.actor_epoch();
    revision text := public.schema_revision();
    own_salt bytea := coalesce(salt, uuid_send(gen_random_uuid()));
    payload bytea := public.payload_hash(own_salt, new, old);
BEGIN
    IF type_id IS NULL THEN
        RAISE EXCEPTION 'no activity type has the code %', type_code USING ERRCODE = 'invalid_parameter_value';
    END IF;
    INSERT INTO public.activity_logs (id, created_at, updated_at, activity_type_id, actor_id, actor, case_id, entity,
        entity_id, operation, old, new, reason, request_id, transaction_id, epoch, schema_revision, salt, payload_hash,
        leaf_hash)
    VALUES (entry, moment, moment, type_id, append_activity.actor_id, append_activity.actor, append_activity.case_id,
        append_activity.entity, append_activity.entity_id, append_activity.operation, append_activity.old,
        append_activity.new, reason, request_id, xid, cluster, revision, own_salt, payload,
        public.leaf_hash(entry, moment, type_id, append_activity.actor_id, append_activity.actor,
            append_activity.case_id, append_activity.entity, append_activity.entity_id, append_activity.operation,
            reason, request_id, xid, cluster, revision, payload));
    RETURN entry;
END
$body$;
REVOKE ALL ON FUNCTION public.append_activity(text, text, bigint, text, bigint, text, bigint, jsonb, jsonb, bytea)
    FROM PUBLIC;

-- Raises for a detail that sessions may not record: the log is read by many, and each must be able to read all of it.
-- The limits of the CHECK on activity_logs are wider, for entries of maintenance.
CREATE OR REPLACE FUNCTION public.require_detail(detail jsonb, entity text)
RETURNS void LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    IF jsonb_typeof(detail) <> 'object' THEN
        RAISE EXCEPTION 'detail: must be a JSON object' USING ERRCODE = 'invalid_parameter_value';
    ELSIF NOT public.readable_json_1(detail, 65536) THEN
        RAISE EXCEPTION 'detail: larger than 64 KiB, nested deeper than 32 levels, or with a number of 1e308 or more or'
            ' of more than 400 decimal places; record a summary' USING ERRCODE = 'invalid_parameter_value';
    ELSIF char_length(entity) > 63 THEN
        RAISE EXCEPTION 'entity: longer than 63 characters; give the name of a table'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
END
$body$;
REVOKE ALL ON FUNCTION public.require_detail(jsonb, text) FROM PUBLIC;

-- Whether an entry of this case may name this row: false for one of another case. A row that does not exist may be
-- named, since an entry outlives its row, and so may one that the actor does not see, which must look the same. So no
-- reader may take the case of a row from an event.
CREATE OR REPLACE FUNCTION public.may_be_named(entity text, entity_id bigint, case_id bigint)
RETURNS boolean LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    case_column text := nullif((public.capture_arguments(entity))[1], '');
    owning_case bigint;
BEGIN
    IF entity_id IS NULL OR case_column IS NULL THEN
        RETURN true;
    END IF;
    EXECUTE format('SELECT t.%I FROM public.%I t WHERE t.id = $1', case_column, entity)
       INTO owning_case USING entity_id;
    RETURN owning_case IS NULL OR owning_case IS NOT DISTINCT FROM case_id
        OR NOT public.actor_may_in(owning_case, 'read');
END
$body$;
REVOKE ALL ON FUNCTION public.may_be_named(text, bigint, bigint) FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.record_activity(
    type_code text, case_id bigint, entity text, entity_id bigint, detail jsonb)
RETURNS bigint LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    excess bigint;
BEGIN
    IF public.actor_id() IS NULL THEN
        RAISE EXCEPTION 'this session has no actor, and an entry needs one' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF type_code ~ '^(row|login)[.]|^history[.](erased|archived)$' THEN
        RAISE EXCEPTION 'entries of type % are written by the database only', type_code
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM public.require_detail(detail, entity);
    IF case_id IS NOT NULL AND NOT public.actor_may_in(case_id, 'write') THEN
        RAISE EXCEPTION 'case % does not exist, or you may not write in it', case_id USING ERRCODE = 'no_data_found';
    END IF;
    IF NOT public.may_be_named(entity, entity_id, case_id) THEN
        RAISE EXCEPTION 'entity: row % of % does not belong to the case of this entry', entity_id, entity
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    excess := public.excess_event(public.actor_id(), public.actor_name());
    IF excess IS NOT NULL THEN
        RETURN excess;
    END IF;
    RETURN public.append_activity(type_code, 'event', public.actor_id(), public.actor_name(), case_id, entity,
        entity_id, NULL, detail, NULL);
END
$body$;
REVOKE ALL ON FUNCTION public.record_activity(text, bigint, text, bigint, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.record_activity(text, bigint, text, bigint, jsonb) TO sti_app, sti_wide, sti_admin;

-- Reads are written when the session has ended, and the rights at the time of reading count: a worker has completed its
-- job by then, an administrator may be inactive. So the database signs at once that the actor may read the
-- case, and the program signs later whose session it was. NULL: the actor may not read this case.
--
--     receipt: read | user id | case id | time (µs) | key id | mac
--
-- No token begins with a word, so a receipt is valid for nothing else.
CREATE OR REPLACE FUNCTION public.read_receipt(case_id bigint)
RETURNS text LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    acting bigint := public.actor_id();
    key_id text := split_part(current_setting('sti.actor', true), '|', 4);
    body text := concat_ws('|', 'read', acting, case_id, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
                           key_id);
BEGIN
    IF acting IS NULL OR NOT coalesce(public.actor_may_in(case_id, 'read'), false) THEN
        RETURN NULL;
    END IF;
    RETURN (SELECT body || '|' || public.token_mac(body, k.inner_pad, k.outer_pad)
              FROM public.actor_keys k WHERE k.id = key_id::bigint);
END
$body$;
REVOKE ALL ON FUNCTION public.read_receipt(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.read_receipt(bigint) TO sti_app, sti_wide, sti_admin;

-- For several cases: case → receipt, without those that the actor may not read.
CREATE OR REPLACE FUNCTION public.read_receipts(case_ids bigint[])
RETURNS jsonb LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
    SELECT coalesce(jsonb_object_agg(r.case_id, r.receipt) FILTER (WHERE r.receipt IS NOT NULL), '{}')
      FROM (SELECT c AS case_id, public.read_receipt(c) AS receipt
              FROM unnest(case_ids[1:public.most_reads()]) c WHERE c IS NOT NULL) r
$body$;
REVOKE ALL ON FUNCTION public.read_receipts(bigint[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.read_receipts(bigint[]) TO sti_app, sti_wide, sti_admin;

-- Whether a receipt says that this user could read this case within the last day, the longest session. The case of a
-- transaction that rolled back never existed; one that was deleted since is in the log.
CREATE OR REPLACE FUNCTION public.is_receipt(receipt text, user_id bigint, case_id bigint)
RETURNS boolean LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    part text[] := string_to_array(receipt, '|');
BEGIN
    IF cardinality(part) IS DISTINCT FROM 6 OR octet_length(receipt) > 500 OR part[5] !~ '^[0-9]{1,18}$'
       OR NOT EXISTS (SELECT FROM public.actor_keys k WHERE k.id = part[5]::bigint
           AND part[6] = public.token_mac(array_to_string(part[1:5], '|'), k.inner_pad, k.outer_pad)) THEN
        RETURN false;
    END IF;
    -- The signature is valid, so the casts below cannot fail on a forged receipt.
    RETURN part[1] = 'read' AND part[2] = user_id::text AND part[3] = case_id::text
       AND part[4]::bigint > extract(epoch FROM clock_timestamp() - interval '1 day') * 1000000
       AND (EXISTS (SELECT FROM public.cases c WHERE c.id = is_receipt.case_id)
            OR EXISTS (SELECT FROM public.activity_logs l
                        WHERE l.entity || '' = 'cases' AND l.entity_id = is_receipt.case_id
                          AND l.operation <> 'event'));
END
$body$;
REVOKE ALL ON FUNCTION public.is_receipt(text, bigint, bigint) FROM PUBLIC;

-- Writes the entries of reads by a user. An entry names its case if it is one of `readable`, or has a receipt for it.
--
-- What raw SQL records counts as events of the actor. Reads that the program signed have their own, larger limit, so
-- that no flood of events hides a read; beyond it, and beyond the limit of one call, one entry states the number of
-- reads of each type in each case.
CREATE OR REPLACE FUNCTION public.write_reads(
    entries jsonb, acting bigint, everything boolean, readable integer[], signed boolean)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    acting_name text := (SELECT u.username FROM public.users u WHERE u.id = acting);
    combined boolean;
    summary text[];
    counts jsonb := '{}';
    given integer := 0;
    named_case bigint;
    e record;
BEGIN
    IF acting_name IS NULL THEN
        RAISE EXCEPTION 'this session has no actor, and an entry needs one' USING ERRCODE = 'insufficient_privilege';
    END IF;
    combined := signed AND public.excess_reads(acting, acting_name, jsonb_array_length(entries));
    FOR e IN SELECT * FROM jsonb_to_recordset(entries)
                 AS x (type text, case_id bigint, entity text, entity_id bigint, detail jsonb, receipt text) LOOP
        given := given + 1;
        IF e.type NOT IN ('audio.opened', 'transcript.read', 'note.read', 'analysis.read', 'history.read',
                          'search.made', 'export.made', 'access.refused')
           -- A failed operation rolls back, but its entry must stay.
           AND NOT (e.type LIKE 'audio.%' AND coalesce(e.detail ->> 'outcome' = 'failed', false)) THEN
            RAISE EXCEPTION 'record_reads does not write entries of type %', e.type
                USING ERRCODE = 'invalid_parameter_value';
        END IF;
        -- A detail that is too long is replaced by its length: the read happened and is recorded.
        IF octet_length(e.detail::text) > public.most_detail() THEN
            e.detail := jsonb_build_object('dropped_bytes', octet_length(e.detail::text));
        END IF;
        PERFORM public.require_detail(e.detail, e.entity);
        named_case := CASE WHEN everything OR e.case_id = ANY (readable)
                                OR public.is_receipt(e.receipt, acting, e.case_id) THEN e.case_id END;
        IF combined OR given > public.most_reads() THEN
            summary := ARRAY[e.type, named_case::text, e.detail ->> 'outcome'];
            counts := counts || jsonb_build_object(summary::text,
                                                   coalesce((counts ->> summary::text)::bigint, 0) + 1);
        ELSIF signed OR public.excess_event(acting, acting_name) IS NULL THEN
            PERFORM public.append_activity(e.type, 'event', acting, acting_name, named_case, left(e.entity, 63),
                e.entity_id, NULL, e.detail, NULL);
        END IF;
    END LOOP;
    FOR e IN SELECT c.key::text[] AS named, c.value FROM jsonb_each(counts) c LOOP
        IF signed OR public.excess_event(acting, acting_name) IS NULL THEN
            PERFORM public.append_activity(e.named[1], 'event', acting, acting_name, e.named[2]::bigint, NULL, NULL,
                NULL, jsonb_strip_nulls(jsonb_build_object('entries', e.value, 'outcome', e.named[3],
                    'refused', CASE e.named[1] WHEN 'access.refused' THEN format('%s operations', e.value) END)), NULL);
        END IF;
    END LOOP;
END
$body$;
REVOKE ALL ON FUNCTION public.write_reads(jsonb, bigint, boolean, integer[], boolean) FROM PUBLIC;

-- By the rights of the actor at this moment, and by receipts.
CREATE OR REPLACE FUNCTION public.record_reads(entries jsonb)
RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    PERFORM public.write_reads(entries, public.actor_id(), public.actor_may('*', '*'), public.actor_case_ids(), false);
END
$body$;
REVOKE ALL ON FUNCTION public.record_reads(jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.record_reads(jsonb) TO sti_app, sti_wide, sti_admin;

-- For a session that has ended: `proof` is a token of the program for the id of its user, who may be inactive by now.
CREATE OR REPLACE FUNCTION public.record_session_reads(entries jsonb, proof text)
RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    acting bigint := public.verify_token(proof, 'reads')::bigint;
BEGIN
    IF acting = public.actor_id() THEN
        PERFORM public.write_reads(entries, acting, public.actor_may('*', '*'), public.actor_case_ids(), true);
    ELSE
        PERFORM public.write_reads(entries, acting, false, '{}', true);
    END IF;
END
$body$;
REVOKE ALL ON FUNCTION public.record_session_reads(jsonb, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.record_session_reads(jsonb, text) TO sti_app, sti_wide, sti_admin;

-- The case of the entries about a row, as far as the actor may read it: the index for sessions begins with the case.
CREATE OR REPLACE FUNCTION public.case_of_entries(entity text, entity_id bigint)
RETURNS integer LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    found_case integer;
BEGIN
    SELECT l.case_id INTO found_case FROM public.activity_logs l
     WHERE l.entity || '' = case_of_entries.entity AND l.entity_id = case_of_entries.entity_id
       -- Only entries of triggers: an event names what a session says.
       AND l.operation <> 'event' AND l.case_id IS NOT NULL ORDER BY l.created_at DESC, l.id DESC LIMIT 1;
    RETURN CASE WHEN public.actor_may_in(found_case, 'read') THEN found_case END;
END
$body$;
REVOKE ALL ON FUNCTION public.case_of_entries(text, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.case_of_entries(text, bigint) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.ensure_activity_partitions(months_ahead integer)
RETURNS integer LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' AS $body$
DECLARE
    first_day date;
    created integer := 0;
BEGIN
    PERFORM public.lock_name('activity_logs partitions');
    FOR month IN 0..months_ahead LOOP
        first_day := (date_trunc('month', now()) + make_interval(months => month))::date;
        IF to_regclass('public.activity_logs_' || to_char(first_day, 'YYYY_MM')) IS NULL THEN
            EXECUTE format('CREATE TABLE public.%I PARTITION OF public.activity_logs FOR VALUES FROM (%L) TO (%L)',
                'activity_logs_' || to_char(first_day, 'YYYY_MM'), first_day || ' 00:00:00+00',
                (first_day + interval '1 month')::date || ' 00:00:00+00');
            created := created + 1;
        END IF;
    END LOOP;
    RETURN created;
END
$body$;
REVOKE ALL ON FUNCTION public.ensure_activity_partitions(integer) FROM PUBLIC;
