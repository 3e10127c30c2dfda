"""The memory: what an entry is, semantic entries, and the monthly partitions they go to.

    payload_hash = sha256(salt ‖ text of {"new": …, "old": …})
    leaf_hash    = sha256(0x00 ‖ text of [id, µs, type, actor id, actor, case, entity, entity id, operation, reason,
                          request, transaction, epoch, revision] ‖ payload_hash)

Both texts are PostgreSQL's own text form of jsonb, which orders keys and keeps numbers as they were written; the
settings that change how values turn into text are pinned on the functions. No lock is taken, no earlier entry read.
"""

from __future__ import annotations

from src.database.schema.capture import CAPTURED_TABLES, PINNED
from src.database.schema.objects import SESSION_ROLES, Function, Trigger

APPEND_ARGUMENTS = (
    "type_code text, operation text, actor_id bigint, actor text, case_id bigint, entity text, entity_id bigint, "
    "old jsonb, new jsonb, salt bytea"
)

FUNCTIONS = (
    Function(
        f"public.append_activity({APPEND_ARGUMENTS})",
        f"""
RETURNS bigint LANGUAGE plpgsql VOLATILE SECURITY DEFINER {PINNED} AS $body$
DECLARE
    entry bigint := nextval('public.activity_logs_id_seq');
    happened timestamptz := clock_timestamp();
    kind bigint := (SELECT t.id FROM public.activity_types t WHERE t.code = type_code);
    why text := left(nullif(current_setting('sti.reason', true), ''), 2000);
    request text := left(nullif(current_setting('sti.request', true), ''), 200);
    xid xid8 := pg_current_xact_id();
    cluster bigint := public.actor_epoch();
    revision text := public.schema_revision();
    grain bytea := coalesce(salt, uuid_send(gen_random_uuid()));
    payload bytea := sha256(grain || convert_to(jsonb_build_object('new', new, 'old', old)::text, 'UTF8'));
BEGIN
    IF kind IS NULL THEN
        RAISE EXCEPTION 'no activity type has the code %', type_code USING ERRCODE = 'invalid_parameter_value';
    END IF;
    INSERT INTO public.activity_logs (id, created_at, updated_at, activity_type_id, actor_id, actor, case_id, entity,
        entity_id, operation, old, new, reason, request_id, transaction_id, epoch, schema_revision, salt, payload_hash,
        leaf_hash)
    VALUES (entry, happened, happened, kind, append_activity.actor_id, append_activity.actor, append_activity.case_id,
        append_activity.entity, append_activity.entity_id, append_activity.operation, append_activity.old,
        append_activity.new, why, request, xid, cluster, revision, grain, payload,
        sha256(decode('00', 'hex') || convert_to(jsonb_build_array(entry,
            (extract(epoch FROM happened) * 1000000)::bigint, kind, append_activity.actor_id, append_activity.actor,
            append_activity.case_id, append_activity.entity, append_activity.entity_id, append_activity.operation,
            why, request, xid::text, cluster, revision)::text, 'UTF8') || payload));
    RETURN entry;
END
$body$""",
    ),
    Function(
        "public.actor_name()",
        """
RETURNS text LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    known text := (SELECT u.username FROM public.users u WHERE u.id = public.signed_actor());
BEGIN
    IF known IS NULL AND pg_has_role(session_user, current_user, 'MEMBER') THEN
        -- The owner at work: a migration, maintenance, the first administrator.
        RETURN 'operator:' || session_user;
    END IF;
    RETURN known;
END
$body$""",
        callers=SESSION_ROLES,
    ),
    Function(
        "public.record_activity(type_code text, case_id bigint, entity text, entity_id bigint, detail jsonb)",
        """
RETURNS bigint LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    IF public.actor_id() IS NULL THEN
        RAISE EXCEPTION 'no actor: nothing is recorded unsigned' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF type_code ~ '^(row|login)[.]|^history[.](erased|archived)$' THEN
        RAISE EXCEPTION '% is written by the database itself', type_code USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF jsonb_typeof(detail) <> 'object' THEN
        RAISE EXCEPTION 'the detail of an entry is an object with names' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF case_id <> ALL (public.actor_case_ids('write')) AND NOT public.actor_may('*', '*') THEN
        RAISE EXCEPTION 'no such case' USING ERRCODE = 'no_data_found';
    END IF;
    RETURN public.append_activity(type_code, 'event', public.actor_id(), public.actor_name(), case_id, entity,
        entity_id, NULL, detail, NULL);
END
$body$""",
        callers=SESSION_ROLES,
    ),
    Function(
        "public.record_reads(entries jsonb)",
        """
RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    who bigint := public.actor_id();
    known text := public.actor_name();
    everything boolean := public.actor_may('*', '*');
    readable bigint[] := public.actor_case_ids('read');
    e record;
BEGIN
    IF who IS NULL THEN
        RAISE EXCEPTION 'no actor: nothing is recorded unsigned' USING ERRCODE = 'insufficient_privilege';
    END IF;
    FOR e IN SELECT * FROM jsonb_to_recordset(entries)
                 AS x (type text, case_id bigint, entity text, entity_id bigint, detail jsonb) LOOP
        IF e.type NOT IN ('audio.opened', 'transcript.read', 'search.made', 'export.made', 'access.refused')
           -- What failed rolls back, and its entry must not.
           AND NOT (e.type LIKE 'audio.%' AND coalesce(e.detail ->> 'outcome' = 'failed', false)) THEN
            RAISE EXCEPTION '% is no kind of reading', e.type USING ERRCODE = 'invalid_parameter_value';
        END IF;
        IF jsonb_typeof(e.detail) <> 'object' THEN
            RAISE EXCEPTION 'the detail of an entry is an object with names' USING ERRCODE = 'invalid_parameter_value';
        END IF;
        -- A case that was opened in a transaction that rolled back is nobody's: the reading stands without it.
        PERFORM public.append_activity(e.type, 'event', who, known,
            CASE WHEN everything OR e.case_id = ANY (readable) THEN e.case_id END, e.entity, e.entity_id, NULL,
            e.detail, NULL);
    END LOOP;
END
$body$""",
        callers=SESSION_ROLES,
    ),
    Function(
        "public.ensure_activity_partitions(months_ahead integer)",
        """
RETURNS integer LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' AS $body$
DECLARE
    first_day date;
    made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('activity_logs partitions', 0));
    FOR month IN 0..months_ahead LOOP
        first_day := (date_trunc('month', now()) + make_interval(months => month))::date;
        IF to_regclass('public.activity_logs_' || to_char(first_day, 'YYYY_MM')) IS NULL THEN
            EXECUTE format('CREATE TABLE public.%I PARTITION OF public.activity_logs FOR VALUES FROM (%L) TO (%L)',
                'activity_logs_' || to_char(first_day, 'YYYY_MM'), first_day || ' 00:00:00+00',
                (first_day + interval '1 month')::date || ' 00:00:00+00');
            made := made + 1;
        END IF;
    END LOOP;
    RETURN made;
END
$body$""",
    ),
)

TRIGGERS = (
    # A row that took another number would be gone for the log, and another one there.
    *(
        Trigger(
            "keep_id",
            table,
            "BEFORE UPDATE OF id",
            "refuse_change",
            ("a number is for good",),
            when="OLD.id IS DISTINCT FROM NEW.id",
            always=True,
        )
        for table in CAPTURED_TABLES
    ),
    *(
        Trigger(
            "refuse_truncate",
            table,
            "BEFORE TRUNCATE",
            "refuse_change",
            ("it would leave no trace, delete rows instead",),
            each="STATEMENT",
            always=True,
        )
        for table in (
            *CAPTURED_TABLES,
            "transcription_segments",
            "transcription_sources",
            "storage_objects",
            "activity_logs",
            "activity_archives",
        )
    ),
)

# The categories that the triggers themselves write; init_db seeds the others.
ROW_TYPES = """
INSERT INTO public.activity_types (code, name, category) VALUES
    ('row.insert', 'Row added', 'change'), ('row.update', 'Row changed', 'change'),
    ('row.delete', 'Row deleted', 'change'), ('row.baseline', 'Row found when capture began', 'change'),
    ('history.erased', 'Erased what entries said', 'history'), ('history.archived', 'Archived a month', 'history')
ON CONFLICT (code) DO NOTHING;
""".strip()

PARTITIONS = """
CREATE TABLE IF NOT EXISTS public.activity_logs_default PARTITION OF public.activity_logs DEFAULT;
SELECT public.ensure_activity_partitions(3);
""".strip()
