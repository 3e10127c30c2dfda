-- build 10 · sha256 108959789213
-- Restoring deleted rows from the log, and baseline entries for rows without an entry.
--
-- The fourth argument of the capture trigger of a table (capture.sql) is the verb needed to restore its rows; empty:
-- not restorable. Two tables require more: restoring a participant needs the permissions to grant it (guards.sql), and
-- restoring a recording needs its bytes.

CREATE OR REPLACE FUNCTION public.restore_deleted(entry_id bigint)
RETURNS bigint LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres' SET bytea_output = 'hex'
SET extra_float_digits = 1 AS $body$
DECLARE
    e public.activity_logs;
    arguments text[];
    image jsonb;
    present bigint;
    columns text;
    verb text;
BEGIN
    SELECT l.* INTO e FROM public.activity_logs l WHERE l.id = entry_id AND l.operation = 'delete';
    arguments := public.capture_arguments(e.entity);
    verb := nullif(arguments[4], '');
    -- One error for both cases, so that an actor without the verb does not learn whether the deletion exists.
    IF e.id IS NULL OR NOT coalesce(public.actor_may_in(e.case_id, coalesce(verb, 'write')), false) THEN
        RAISE EXCEPTION 'entry % is not a deletion, or you may not restore it', entry_id
            USING ERRCODE = 'no_data_found';
    END IF;
    IF verb IS NULL OR e.old IS NULL THEN
        RAISE EXCEPTION 'a deleted row of % cannot be restored', e.entity
            USING ERRCODE = 'STI02', CONSTRAINT = 'activity_logs_restorable_check', TABLE = e.entity;
    END IF;
    -- An older deletion would take back what happened since: a mark, an acceptance, the count of changes. The
    -- expression is that of the index.
    IF EXISTS (SELECT FROM public.activity_logs l
                WHERE (l.entity || '') = e.entity AND l.entity_id = e.entity_id AND l.operation <> 'event'
                  AND l.id > e.id) THEN
        RAISE EXCEPTION 'entry % is not the newest of row % of %; restore the newest', entry_id, e.entity_id, e.entity
            USING ERRCODE = 'STI02', CONSTRAINT = 'activity_logs_newest_check', TABLE = e.entity;
    END IF;
    EXECUTE format('SELECT id FROM public.%I WHERE id = $1', e.entity) INTO present USING e.entity_id;
    IF present IS NOT NULL THEN
        RAISE EXCEPTION 'row % of % already exists', e.entity_id, e.entity
            USING ERRCODE = 'STI02', CONSTRAINT = 'activity_logs_restored_check', TABLE = e.entity;
    END IF;
    IF e.entity = 'case_participants' AND NOT public.actor_may('*', '*') THEN
        PERFORM public.require_grantable(NULL, e.old);
    END IF;
    -- The log contains only hashes of sensitive columns: these columns are not restored.
    image := e.old - string_to_array(coalesce(arguments[3], ''), ',')
             || jsonb_build_object('updated_at', now(), 'row_version', (e.old ->> 'row_version')::bigint + 1);
    SELECT string_agg(format('%I', a.attname), ', ' ORDER BY a.attnum) INTO columns FROM pg_attribute a
     WHERE a.attrelid = format('public.%I', e.entity)::regclass AND a.attnum > 0 AND NOT a.attisdropped
       AND a.attgenerated = '' AND jsonb_exists(image, a.attname);
    IF EXISTS (SELECT FROM jsonb_object_keys(e.old) k WHERE NOT EXISTS (
           SELECT FROM pg_attribute a WHERE a.attrelid = format('public.%I', e.entity)::regclass AND a.attname = k
              AND a.attnum > 0 AND NOT a.attisdropped)) THEN
        RAISE EXCEPTION 'table % no longer has all columns of the deleted row', e.entity
            USING ERRCODE = 'STI02', CONSTRAINT = 'activity_logs_schema_check', TABLE = e.entity;
    END IF;
    IF e.entity = 'audio_files' THEN
        -- The sweeper removes objects in the state deleting: take the object out of that state.
        UPDATE public.storage_objects o SET state = 'pending', delete_after = NULL
         WHERE o.key = image ->> 'path' AND o.case_id = e.case_id AND o.state = 'deleting';
        IF NOT FOUND THEN
            RAISE EXCEPTION 'the stored object of recording % no longer exists', e.entity_id
                USING ERRCODE = 'STI02', CONSTRAINT = 'audio_files_case_id_path_fkey', TABLE = 'audio_files';
        END IF;
        -- The objects that it had before are kept again until a sweep has compared them.
        UPDATE public.storage_objects o SET state = 'superseded', delete_after = now()
         WHERE o.audio_file_id = e.entity_id AND o.case_id = e.case_id AND o.state = 'deleting';
    END IF;
    EXECUTE format('INSERT INTO public.%1$I (%2$s) OVERRIDING SYSTEM VALUE'
        ' SELECT %2$s FROM jsonb_populate_record(NULL::public.%1$I, $1)', e.entity, columns) USING image;
    RETURN e.entity_id;
END
$body$;
REVOKE ALL ON FUNCTION public.restore_deleted(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.restore_deleted(bigint) TO sti_app, sti_wide, sti_admin;

-- Writes an entry with the whole row, as of now. `arguments` are those of the capture trigger of its table.
CREATE OR REPLACE FUNCTION public.append_baseline(arguments text[], entity text, row_id bigint, image jsonb)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    salt bytea := uuid_send(gen_random_uuid());
BEGIN
    PERFORM public.append_activity('row.baseline', 'baseline', public.signed_actor(), public.actor_name(),
        (image ->> nullif(arguments[1], ''))::bigint, entity, row_id, NULL,
        public.redact(image, coalesce(string_to_array(arguments[3], ','), '{}'), salt), salt);
END
$body$;
REVOKE ALL ON FUNCTION public.append_baseline(text[], text, bigint, jsonb) FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.write_baseline(entity text, max_rows integer)
RETURNS integer LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres' SET bytea_output = 'hex'
SET extra_float_digits = 1 AS $body$
DECLARE
    arguments text[] := public.capture_arguments(entity);
    row_found record;
    written integer := 0;
BEGIN
    IF arguments IS NULL THEN
        RAISE EXCEPTION 'table % has no capture trigger', entity USING ERRCODE = 'invalid_parameter_value';
    END IF;
    FOR row_found IN EXECUTE format('SELECT t.id::bigint AS id, to_jsonb(t) - $1 AS image FROM public.%I t'
        ' WHERE NOT EXISTS (SELECT FROM public.activity_logs l'
        ' WHERE l.entity = $2 AND l.entity_id = t.id AND l.operation <> ''event'''
        ' AND (l.new IS NOT NULL OR l.operation = ''delete''))'
        ' ORDER BY t.id LIMIT $3', entity) USING string_to_array(arguments[2], ','), entity, max_rows LOOP
        PERFORM public.append_baseline(arguments, entity, row_found.id, row_found.image);
        written := written + 1;
    END LOOP;
    RETURN written;
END
$body$;
REVOKE ALL ON FUNCTION public.write_baseline(text, integer) FROM PUBLIC;

-- Writes the present image of those of these rows whose last entry was erased: without it, nothing could be compared
-- with them, and they could be changed unnoticed. The lock makes the image newer than all entries of its row.
CREATE OR REPLACE FUNCTION public.renew_baselines(entity text, ids bigint[])
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres' SET bytea_output = 'hex'
SET extra_float_digits = 1 AS $body$
DECLARE
    arguments text[] := public.capture_arguments(entity);
    row_found record;
BEGIN
    -- A service has dropped the table, or its protection.
    IF arguments IS NULL THEN
        RETURN;
    END IF;
    FOR row_found IN EXECUTE format('SELECT t.id::bigint AS id, to_jsonb(t) - $1 AS image FROM public.%I t'
        ' WHERE t.id = ANY ($2) ORDER BY t.id FOR SHARE', entity) USING string_to_array(arguments[2], ','), ids LOOP
        -- The expression is that of the index.
        IF (SELECT l.new IS NULL AND l.operation <> 'delete' FROM public.activity_logs l
             WHERE (l.entity || '') = renew_baselines.entity AND l.entity_id = row_found.id AND l.operation <> 'event'
             ORDER BY l.id DESC LIMIT 1) THEN
            PERFORM public.append_baseline(arguments, entity, row_found.id, row_found.image);
        END IF;
    END LOOP;
END
$body$;
REVOKE ALL ON FUNCTION public.renew_baselines(text, bigint[]) FROM PUBLIC;
