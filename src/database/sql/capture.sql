-- build 6 · sha256 a50ab9acfbe2
-- Capture: triggers that write an entry to the log for each inserted, updated or deleted row, by any client.
--
-- Inserts are captured per statement, updates and deletes per row: the ORM inserts a thousand rows in one statement and
-- updates each row in a statement of its own. The logical replication worker fires row-level triggers only, so
-- replicated rows are captured one by one. The hashes are defined in activity_log.sql.
--
-- The arguments of a trigger come from the declaration of its table (schema/derivation.py): the column that names the
-- case, omitted columns, columns that are stored as a salted hash, the verb needed to restore a deleted row (empty: not
-- restorable). Functions that read entries get the same arguments from `capture_arguments`, so the two cannot differ.
--
-- Both functions verify the token and write the entry without calling other functions such as `append_activity`: each
-- nested call costs a quarter of the time of an entry.

CREATE OR REPLACE FUNCTION public.capture_arguments(entity text)
RETURNS text[] LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $body$
    SELECT string_to_array(encode(t.tgargs, 'escape'), E'\\000') FROM pg_trigger t
     WHERE t.tgrelid = to_regclass('public.' || quote_ident(entity)) AND t.tgname = 'capture_change'
$body$;
REVOKE ALL ON FUNCTION public.capture_arguments(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.capture_arguments(text) TO sti_admin;

-- The tables with a capture trigger, including those of services.
CREATE OR REPLACE FUNCTION public.captured_tables()
RETURNS SETOF text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $body$
    SELECT c.relname::text FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
     WHERE c.relnamespace = 'public'::regnamespace AND t.tgname = 'capture_change' ORDER BY c.relname
$body$;
REVOKE ALL ON FUNCTION public.captured_tables() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.captured_tables() TO sti_admin;

-- On a table of another owner, capture could be used to forge entries: it accepts only tables of this schema on which
-- the owner of the function may create triggers.
CREATE OR REPLACE FUNCTION public.may_be_captured(schema_name text, table_id oid)
RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE
RETURN schema_name = 'public' AND has_table_privilege(table_id, 'TRIGGER');
REVOKE ALL ON FUNCTION public.may_be_captured(text, oid) FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.redact(image jsonb, columns text[], salt bytea)
RETURNS jsonb LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $body$
    SELECT image || coalesce((
        SELECT jsonb_object_agg(name, 'sha256:' || encode(sha256(salt || convert_to(image ->> name, 'UTF8')), 'hex'))
          FROM unnest(columns) AS name WHERE image ->> name IS NOT NULL), '{}')
$body$;
REVOKE ALL ON FUNCTION public.redact(jsonb, text[], bytea) FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.capture_change()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres' SET bytea_output = 'hex'
SET extra_float_digits = 1 AS $body$
DECLARE
    part text[] := string_to_array(current_setting('sti.actor', true), '|');
    case_column text := nullif(TG_ARGV[0], '');
    left_out text[] := string_to_array(TG_ARGV[1], ',');
    sensitive text[] := string_to_array(TG_ARGV[2], ',');
    entity text := TG_TABLE_NAME;
    operation text := lower(TG_OP);
    entry_id bigint;
    created_at timestamptz;
    type_id bigint;
    actor_id bigint;
    actor_name text;
    cluster bigint;
    old_image jsonb;
    new_image jsonb;
    image jsonb;
    case_id bigint;
    entity_id bigint;
    reason text := left(nullif(current_setting('sti.reason', true), ''), 2000);
    request_id text := left(nullif(current_setting('sti.request', true), ''), 200);
    xid xid8 := pg_current_xact_id();
    revision text := public.schema_revision();
    salt bytea := uuid_send(gen_random_uuid());
    payload bytea;
BEGIN
    IF NOT public.may_be_captured(TG_TABLE_SCHEMA, TG_RELID) THEN
        RAISE EXCEPTION 'capture_change cannot be used on %.%', TG_TABLE_SCHEMA, TG_TABLE_NAME
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF public.is_transaction_token(part) THEN
        SELECT u.id, u.username, part[5]::bigint INTO actor_id, actor_name, cluster
          FROM public.actor_keys k, public.users u
         WHERE k.id = part[4]::bigint AND u.id = part[1]::bigint AND public.is_signed(part, k.inner_pad, k.outer_pad);
    END IF;
    IF actor_id IS NULL THEN
        IF NOT public.is_owner_at_work() THEN
            RAISE EXCEPTION 'this session has no actor, and a change needs one'
                USING ERRCODE = 'insufficient_privilege';
        END IF;
        actor_name := public.operator_name();
        cluster := (SELECT system_identifier FROM pg_control_system());
    END IF;
    IF TG_OP <> 'INSERT' THEN
        old_image := to_jsonb(OLD) - left_out;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        new_image := to_jsonb(NEW) - left_out;
    END IF;
    image := coalesce(new_image, old_image);
    IF TG_OP = 'UPDATE' THEN
        SELECT jsonb_object_agg(b.key, b.value) INTO old_image FROM jsonb_each(old_image) b
         -- Compared as text too: 1.0 and 1.00 are equal as jsonb, and hashed differently.
         WHERE new_image -> b.key IS DISTINCT FROM b.value OR (new_image -> b.key)::text <> b.value::text;
        IF old_image IS NULL OR old_image - '{updated_at,row_version}'::text[] = '{}' THEN
            RETURN NULL;
        END IF;
    END IF;
    IF cardinality(sensitive) > 0 THEN
        old_image := public.redact(old_image, sensitive, salt);
        new_image := public.redact(new_image, sensitive, salt);
    END IF;
    type_id := (SELECT t.id FROM public.activity_types t WHERE t.code = 'row.' || operation);
    IF type_id IS NULL THEN
        RAISE EXCEPTION 'no activity type has the code row.%', operation USING ERRCODE = 'invalid_parameter_value';
    END IF;
    case_id := (image ->> case_column)::bigint;
    entity_id := (image ->> 'id')::bigint;
    -- The salt is random, and unlike random() no session determines it.
    IF actor_id IS NOT NULL AND (get_byte(salt, 0) << 16) + (get_byte(salt, 1) << 8) + get_byte(salt, 2)
                                < 16777216000 / public.most_changes() THEN
        PERFORM public.require_changes_left(actor_id);
    END IF;
    payload := public.payload_hash(salt, new_image, old_image);
    entry_id := nextval('public.activity_logs_id_seq');
    created_at := clock_timestamp();
    INSERT INTO public.activity_logs (id, created_at, updated_at, activity_type_id, actor_id, actor, case_id, entity,
        entity_id, operation, old, new, reason, request_id, transaction_id, epoch, schema_revision, salt, payload_hash,
        leaf_hash)
    VALUES (entry_id, created_at, created_at, type_id, actor_id, actor_name, case_id, entity, entity_id, operation,
        old_image, new_image, reason, request_id, xid, cluster, revision, salt, payload,
        public.leaf_hash(entry_id, created_at, type_id, actor_id, actor_name, case_id, entity, entity_id, operation,
            reason, request_id, xid, cluster, revision, payload));
    RETURN NULL;
END
$body$;
REVOKE ALL ON FUNCTION public.capture_change() FROM PUBLIC;

-- `capture_change` for all inserted rows of a statement: the token, the settings and the activity type are read once,
-- which takes half of the time of an entry.
CREATE OR REPLACE FUNCTION public.capture_new_rows()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres' SET bytea_output = 'hex'
SET extra_float_digits = 1 AS $body$
DECLARE
    part text[] := string_to_array(current_setting('sti.actor', true), '|');
    case_column text := nullif(TG_ARGV[0], '');
    left_out text[] := string_to_array(TG_ARGV[1], ',');
    sensitive text[] := string_to_array(TG_ARGV[2], ',');
    has_sensitive boolean := cardinality(sensitive) > 0;
    entity text := TG_TABLE_NAME;
    type_id bigint;
    actor_id bigint;
    actor_name text;
    cluster bigint;
    reason text := left(nullif(current_setting('sti.reason', true), ''), 2000);
    request_id text := left(nullif(current_setting('sti.request', true), ''), 200);
    xid xid8 := pg_current_xact_id();
    revision text := public.schema_revision();
    written bigint;
BEGIN
    IF NOT public.may_be_captured(TG_TABLE_SCHEMA, TG_RELID) THEN
        RAISE EXCEPTION 'capture_new_rows cannot be used on %.%', TG_TABLE_SCHEMA, TG_TABLE_NAME
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF current_setting('session_replication_role') = 'replica' THEN
        RETURN NULL;
    END IF;
    IF public.is_transaction_token(part) THEN
        SELECT u.id, u.username, part[5]::bigint INTO actor_id, actor_name, cluster
          FROM public.actor_keys k, public.users u
         WHERE k.id = part[4]::bigint AND u.id = part[1]::bigint AND public.is_signed(part, k.inner_pad, k.outer_pad);
    END IF;
    IF actor_id IS NULL THEN
        IF NOT EXISTS (SELECT FROM new_rows) THEN
            RETURN NULL;
        ELSIF NOT public.is_owner_at_work() THEN
            RAISE EXCEPTION 'this session has no actor, and a change needs one'
                USING ERRCODE = 'insufficient_privilege';
        END IF;
        actor_name := public.operator_name();
        cluster := (SELECT system_identifier FROM pg_control_system());
    END IF;
    type_id := (SELECT t.id FROM public.activity_types t WHERE t.code = 'row.insert');
    IF type_id IS NULL THEN
        RAISE EXCEPTION 'no activity type has the code row.insert' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    INSERT INTO public.activity_logs (id, created_at, updated_at, activity_type_id, actor_id, actor, case_id, entity,
        entity_id, operation, new, reason, request_id, transaction_id, epoch, schema_revision, salt, payload_hash,
        leaf_hash)
    SELECT r.entry_id, r.moment, r.moment, type_id, actor_id, actor_name, r.row_case, entity, r.row_id, 'insert',
        r.image, reason, request_id, xid, cluster, revision, r.salt, r.payload,
        public.leaf_hash(r.entry_id, r.moment, type_id, actor_id, actor_name, r.row_case, entity, r.row_id, 'insert',
            reason, request_id, xid, cluster, revision, r.payload)
      FROM (
        SELECT i.*, (i.image ->> case_column)::bigint AS row_case, public.payload_hash(i.salt, i.image, NULL) AS payload
          FROM (
            SELECT nextval('public.activity_logs_id_seq') AS entry_id, clock_timestamp() AS moment, g.row_id, g.salt,
                CASE WHEN has_sensitive THEN public.redact(g.image, sensitive, g.salt) ELSE g.image END AS image
              FROM (SELECT n.id AS row_id, to_jsonb(n) - left_out AS image, uuid_send(gen_random_uuid()) AS salt
                      FROM new_rows n) AS g
          ) AS i
        -- Without OFFSET 0 the planner would inline the payload expression in both places and hash it twice.
        OFFSET 0
      ) AS r;
    GET DIAGNOSTICS written = ROW_COUNT;
    IF actor_id IS NOT NULL AND public.unseeded_random() * public.most_changes() < 1000.0 * written THEN
        PERFORM public.require_changes_left(actor_id);
    END IF;
    RETURN NULL;
END
$body$;
REVOKE ALL ON FUNCTION public.capture_new_rows() FROM PUBLIC;
