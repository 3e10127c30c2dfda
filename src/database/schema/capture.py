"""Capture: an entry in the memory for each row that anybody adds, changes or deletes, whatever program does it.

New rows are captured by the statement, changes and deletions by the row: the ORM inserts a thousand rows in a
statement, and updates each in one of its own. What is hashed, and how, stands in `memory`.
"""

from __future__ import annotations

from src.database.schema.identity import IS_MINTED, IS_SIGNED
from src.database.schema.objects import Function, Trigger

PINNED = (
    "SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD'"
    " SET IntervalStyle = 'postgres' SET bytea_output = 'hex' SET extra_float_digits = 1"
)

# table → (column with its case, columns left out, sensitive columns)
CAPTURED_TABLES = {
    "users": ("", "", "password_hash,email"),
    "user_roles": ("", "", ""),
    "cases": ("id", "opened_xid,active_holds", ""),
    "case_participants": ("case_id", "", ""),
    "case_notes": ("case_id", "", ""),
    "legal_holds": ("case_id", "", ""),
    "audio_files": ("case_id", "", ""),
    # The text of a version is answered for by `segments_sha256`, and goes when the version goes.
    "transcriptions": ("case_id", "content", ""),
    "analysis_results": ("case_id", "", ""),
    "processing_jobs": ("case_id", "lease_expires_at", ""),
}

# The worker that applies another server's changes fires triggers of rows only, so there each row is its own entry.
REPLICATED = "current_setting('session_replication_role') = 'replica'"

FUNCTIONS = (
    Function(
        "public.redact(image jsonb, columns text[], salt bytea)",
        """
RETURNS jsonb LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $body$
    SELECT image || coalesce((
        SELECT jsonb_object_agg(name, 'sha256:' || encode(sha256(salt || convert_to(image ->> name, 'UTF8')), 'hex'))
          FROM unnest(columns) AS name WHERE image ->> name IS NOT NULL), '{}')
$body$""",
    ),
    Function(
        "public.capture_change()",
        # One look at the token, and what `append_activity`, `actor_name` and `actor_epoch` do spelled out: each call of
        # one function by another costs as much as a quarter of the entry itself.
        f"""
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER {PINNED} AS $body$
DECLARE
    part text[] := string_to_array(current_setting('sti.actor', true), '|');
    left_out text[] := string_to_array(TG_ARGV[1], ',');
    sensitive text[] := string_to_array(TG_ARGV[2], ',');
    of_table text := TG_TABLE_NAME;
    verb text := lower(TG_OP);
    entry bigint;
    happened timestamptz;
    kind bigint;
    signer bigint;
    who text;
    cluster bigint;
    was jsonb;
    is_now jsonb;
    image jsonb;
    in_case bigint;
    number bigint;
    why text := left(nullif(current_setting('sti.reason', true), ''), 2000);
    request text := left(nullif(current_setting('sti.request', true), ''), 200);
    xid xid8 := pg_current_xact_id();
    revision text := public.schema_revision();
    grain bytea := uuid_send(gen_random_uuid());
    payload bytea;
BEGIN
    -- Attached to a table of somebody's own, this function would forge entries.
    IF TG_TABLE_SCHEMA <> 'public' OR TG_TABLE_NAME <> ALL ('{{{",".join(CAPTURED_TABLES)}}}') THEN
        RAISE EXCEPTION 'capture_change was not made for %.%', TG_TABLE_SCHEMA, TG_TABLE_NAME
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF {IS_MINTED} THEN
        SELECT u.id, u.username, part[5]::bigint INTO signer, who, cluster FROM public.actor_keys k, public.users u
         WHERE k.id = part[4]::bigint AND u.id = part[1]::bigint AND {IS_SIGNED};
    END IF;
    IF signer IS NULL THEN
        IF NOT pg_has_role(session_user, current_user, 'MEMBER') THEN
            RAISE EXCEPTION 'no actor: nothing is written unsigned' USING ERRCODE = 'insufficient_privilege';
        END IF;
        who := 'operator:' || session_user;
        cluster := (SELECT system_identifier FROM pg_control_system());
    END IF;
    IF TG_OP <> 'INSERT' THEN
        was := to_jsonb(OLD) - left_out;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        is_now := to_jsonb(NEW) - left_out;
    END IF;
    image := coalesce(is_now, was);
    IF TG_OP = 'UPDATE' THEN
        SELECT jsonb_object_agg(b.key, b.value) INTO was FROM jsonb_each(was) b
         WHERE is_now -> b.key IS DISTINCT FROM b.value;
        IF was - '{{updated_at,row_version}}'::text[] = '{{}}' THEN
            RETURN NULL;
        END IF;
    END IF;
    IF cardinality(sensitive) > 0 THEN
        was := public.redact(was, sensitive, grain);
        is_now := public.redact(is_now, sensitive, grain);
    END IF;
    kind := (SELECT t.id FROM public.activity_types t WHERE t.code = 'row.' || verb);
    IF kind IS NULL THEN
        RAISE EXCEPTION 'no activity type has the code row.%', verb USING ERRCODE = 'invalid_parameter_value';
    END IF;
    in_case := (image ->> nullif(TG_ARGV[0], ''))::bigint;
    number := (image ->> 'id')::bigint;
    payload := sha256(grain || convert_to(jsonb_build_object('new', is_now, 'old', was)::text, 'UTF8'));
    entry := nextval('public.activity_logs_id_seq');
    happened := clock_timestamp();
    INSERT INTO public.activity_logs (id, created_at, updated_at, activity_type_id, actor_id, actor, case_id, entity,
        entity_id, operation, old, new, reason, request_id, transaction_id, epoch, schema_revision, salt, payload_hash,
        leaf_hash)
    VALUES (entry, happened, happened, kind, signer, who, in_case, of_table, number, verb, was, is_now, why, request,
        xid, cluster, revision, grain, payload, sha256(decode('00', 'hex') || convert_to(jsonb_build_array(entry,
            (extract(epoch FROM happened) * 1000000)::bigint, kind, signer, who, in_case, of_table, number, verb, why,
            request, xid::text, cluster, revision)::text, 'UTF8') || payload));
    RETURN NULL;
END
$body$""",
    ),
    Function(
        "public.capture_new_rows()",
        # What `capture_change` does for a row that is new, for all rows of a statement: the token, the settings and the
        # kind are looked at once, which is half of what an entry costs.
        f"""
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER {PINNED} AS $body$
DECLARE
    part text[] := string_to_array(current_setting('sti.actor', true), '|');
    in_column text := nullif(TG_ARGV[0], '');
    left_out text[] := string_to_array(TG_ARGV[1], ',');
    sensitive text[] := string_to_array(TG_ARGV[2], ',');
    has_sensitive boolean := cardinality(sensitive) > 0;
    of_table text := TG_TABLE_NAME;
    kind bigint;
    signer bigint;
    who text;
    cluster bigint;
    why text := left(nullif(current_setting('sti.reason', true), ''), 2000);
    request text := left(nullif(current_setting('sti.request', true), ''), 200);
    xid xid8 := pg_current_xact_id();
    revision text := public.schema_revision();
BEGIN
    IF TG_TABLE_SCHEMA <> 'public' OR TG_TABLE_NAME <> ALL ('{{{",".join(CAPTURED_TABLES)}}}') THEN
        RAISE EXCEPTION 'capture_new_rows was not made for %.%', TG_TABLE_SCHEMA, TG_TABLE_NAME
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF {REPLICATED} THEN
        RETURN NULL;
    END IF;
    IF {IS_MINTED} THEN
        SELECT u.id, u.username, part[5]::bigint INTO signer, who, cluster FROM public.actor_keys k, public.users u
         WHERE k.id = part[4]::bigint AND u.id = part[1]::bigint AND {IS_SIGNED};
    END IF;
    IF signer IS NULL THEN
        IF NOT EXISTS (SELECT FROM new_rows) THEN
            RETURN NULL;
        ELSIF NOT pg_has_role(session_user, current_user, 'MEMBER') THEN
            RAISE EXCEPTION 'no actor: nothing is written unsigned' USING ERRCODE = 'insufficient_privilege';
        END IF;
        who := 'operator:' || session_user;
        cluster := (SELECT system_identifier FROM pg_control_system());
    END IF;
    kind := (SELECT t.id FROM public.activity_types t WHERE t.code = 'row.insert');
    IF kind IS NULL THEN
        RAISE EXCEPTION 'no activity type has the code row.insert' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    INSERT INTO public.activity_logs (id, created_at, updated_at, activity_type_id, actor_id, actor, case_id, entity,
        entity_id, operation, new, reason, request_id, transaction_id, epoch, schema_revision, salt, payload_hash,
        leaf_hash)
    SELECT r.entry, r.happened, r.happened, kind, signer, who, r.in_case, of_table, r.number, 'insert', r.image, why,
        request, xid, cluster, revision, r.grain, r.payload,
        sha256(decode('00', 'hex') || convert_to(jsonb_build_array(r.entry,
            (extract(epoch FROM r.happened) * 1000000)::bigint, kind, signer, who, r.in_case, of_table, r.number,
            'insert', why, request, xid::text, cluster, revision)::text, 'UTF8') || r.payload)
      FROM (
        SELECT i.*, (i.image ->> in_column)::bigint AS in_case,
            sha256(i.grain || convert_to(jsonb_build_object('new', i.image, 'old', NULL)::text, 'UTF8')) AS payload
          FROM (
            SELECT nextval('public.activity_logs_id_seq') AS entry, clock_timestamp() AS happened, g.number, g.grain,
                CASE WHEN has_sensitive THEN public.redact(g.image, sensitive, g.grain) ELSE g.image END AS image
              FROM (SELECT n.id AS number, to_jsonb(n) - left_out AS image, uuid_send(gen_random_uuid()) AS grain
                      FROM new_rows n) AS g
          ) AS i
        -- Else the planner would write the payload out wherever it is named, and hash it twice.
        OFFSET 0
      ) AS r;
    RETURN NULL;
END
$body$""",
    ),
)

TRIGGERS = (
    *(
        Trigger(
            "capture",
            table,
            "AFTER INSERT",
            "capture_new_rows",
            arguments,
            each="STATEMENT",
            always=True,
            transition="REFERENCING NEW TABLE AS new_rows",
        )
        for table, arguments in CAPTURED_TABLES.items()
    ),
    *(
        Trigger(
            "capture_replicated",
            table,
            "AFTER INSERT",
            "capture_change",
            arguments,
            when=f"pg_catalog.{REPLICATED}",
            always=True,
        )
        for table, arguments in CAPTURED_TABLES.items()
    ),
    *(
        Trigger("capture_change", table, "AFTER UPDATE OR DELETE", "capture_change", arguments, always=True)
        for table, arguments in CAPTURED_TABLES.items()
        if table != "processing_jobs"
    ),
    # A heartbeat is no event; what a job became is.
    Trigger(
        "capture_change",
        "processing_jobs",
        "AFTER DELETE",
        "capture_change",
        CAPTURED_TABLES["processing_jobs"],
        always=True,
    ),
    Trigger(
        "capture_outcome",
        "processing_jobs",
        "AFTER UPDATE",
        "capture_change",
        CAPTURED_TABLES["processing_jobs"],
        when="OLD.state IS DISTINCT FROM NEW.state OR OLD.lease IS DISTINCT FROM NEW.lease",
        always=True,
    ),
)
