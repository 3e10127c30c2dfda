"""What keeps a version of a transcription whole, and brings a deleted row back.

Segments are not in the log: their transcription answers for them with a digest, set by a trigger when the transaction
that made the version commits. From then on nothing is added to, changed in or taken from a version; it only goes as a
whole.

    segments_sha256 = sha256(sha256(content) ‖ text of [sha256 of each source, …] ‖ for each segment
                             sha256(text of [position, start, end, speaker, text, words, confidence, flags]))
"""

from __future__ import annotations

from src.database.permissions import CASE_VERBS
from src.database.schema.capture import CAPTURED_TABLES, PINNED
from src.database.schema.objects import SESSION_ROLES, Function, Trigger

PARTS_OF_A_VERSION = ("transcription_segments", "transcription_sources")
FIXED_COLUMNS = ("content", "case_id", "audio_file_id", "language_id", "version")
# Tables whose deleted rows can be had back. A deleted transcription is gone with its segments, on purpose.
RESTORABLE_TABLES = tuple(table for table in CAPTURED_TABLES if table not in {"transcriptions", "processing_jobs"})

FUNCTIONS = (
    Function(
        "public.transcription_digest(transcription bigint)",
        f"""
RETURNS text LANGUAGE sql STABLE {PINNED} AS $body$
    SELECT encode(sha256(sha256(convert_to(t.content, 'UTF8'))
        || convert_to(coalesce((SELECT jsonb_agg(x.sha256 ORDER BY x.id) FROM public.transcription_sources x
                   WHERE x.case_id = t.case_id AND x.transcription_id = t.id), '[]')::text, 'UTF8')
        || coalesce((SELECT string_agg(sha256(convert_to(jsonb_build_array(s.position, s.start_ms, s.end_ms, s.speaker,
                            s.text, s.words, s.confidence, s.flags)::text, 'UTF8')), '' ORDER BY s.position)
                       FROM public.transcription_segments s
                      WHERE s.case_id = t.case_id AND s.transcription_id = t.id), '')), 'hex')
      FROM public.transcriptions t WHERE t.id = transcription
$body$""",
        callers=SESSION_ROLES,
    ),
    Function(
        "public.finish_version()",
        """
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    UPDATE public.transcriptions t SET segments_sha256 = public.transcription_digest(t.id)
     WHERE t.id = NEW.id AND t.segments_sha256 IS NULL;
    RETURN NULL;
END
$body$""",
    ),
    Function(
        "public.guard_new_parts()",
        """
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    finished bigint;
BEGIN
    -- Once for the whole statement: a version that is finished takes no more parts.
    SELECT t.id INTO finished FROM public.transcriptions t
     WHERE t.segments_sha256 IS NOT NULL AND t.id IN (SELECT DISTINCT p.transcription_id FROM new_parts p) LIMIT 1;
    IF finished IS NOT NULL THEN
        RAISE EXCEPTION 'transcription % is finished: add a new version instead', finished
            USING ERRCODE = 'STI02', CONSTRAINT = 'transcriptions_finished_check', TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NULL;
END
$body$""",
    ),
    Function(
        "public.guard_part()",
        """
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    -- A version goes as a whole: its own row is gone by the time the foreign key takes its parts.
    IF TG_OP = 'DELETE' AND NOT EXISTS (SELECT FROM public.transcriptions t WHERE t.id = OLD.transcription_id) THEN
        RETURN OLD;
    END IF;
    IF TG_OP = 'UPDATE' AND TG_TABLE_NAME = 'transcription_segments' THEN
        -- Indexing anew says the same again: whatever was said, and the digest is over that, stays as it was. Sessions
        -- may not even try.
        IF (OLD.id, OLD.created_at, OLD.updated_at, OLD.case_id, OLD.transcription_id, OLD.position, OLD.start_ms,
            OLD.end_ms, OLD.speaker, OLD.text, OLD.words::text, OLD.confidence, OLD.flags)
           IS NOT DISTINCT FROM
           (NEW.id, NEW.created_at, NEW.updated_at, NEW.case_id, NEW.transcription_id, NEW.position, NEW.start_ms,
            NEW.end_ms, NEW.speaker, NEW.text, NEW.words::text, NEW.confidence, NEW.flags) THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION '% of % is refused: a version is never edited, add a new one or delete it whole',
        TG_OP, TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END
$body$""",
    ),
    Function(
        "public.place_source()",
        """
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    -- Which recording it belongs to is not for whoever writes to say: the same bytes twice are refused by it.
    NEW.audio_file_id := (SELECT t.audio_file_id FROM public.transcriptions t
                           WHERE t.id = NEW.transcription_id AND t.case_id = NEW.case_id);
    RETURN NEW;
END
$body$""",
    ),
    Function(
        "public.restore_deleted(entry bigint)",
        f"""
RETURNS bigint LANGUAGE plpgsql VOLATILE SECURITY DEFINER {PINNED} AS $body$
DECLARE
    e public.activity_logs;
    image jsonb;
    present bigint;
    columns text;
    needed text;
    verb text;
BEGIN
    SELECT l.* INTO e FROM public.activity_logs l WHERE l.id = entry AND l.operation = 'delete';
    -- As hidden as what is not there: whoever may not write in the case learns nothing of it.
    needed := CASE WHEN e.entity IN ('case_participants', 'legal_holds') THEN 'manage' ELSE 'write' END;
    IF e.id IS NULL OR NOT (public.actor_may('*', '*')
                            OR coalesce(e.case_id = ANY (public.actor_case_ids(needed)), false)) THEN
        RAISE EXCEPTION 'no such deletion' USING ERRCODE = 'no_data_found';
    END IF;
    IF e.entity <> ALL ('{{{",".join(RESTORABLE_TABLES)}}}') OR e.old IS NULL THEN
        RAISE EXCEPTION 'a deleted row of % cannot be had back', e.entity
            USING ERRCODE = 'STI02', CONSTRAINT = 'activity_logs_restorable_check', TABLE = e.entity;
    END IF;
    EXECUTE format('SELECT id FROM public.%I WHERE id = $1', e.entity) INTO present USING e.entity_id;
    IF present IS NOT NULL THEN
        RAISE EXCEPTION 'the row is there already' USING ERRCODE = 'STI02', CONSTRAINT = 'activity_logs_restored_check',
            TABLE = e.entity;
    END IF;
    IF e.entity = 'case_participants' AND NOT public.actor_may('*', '*') THEN
        FOREACH verb IN ARRAY '{{{",".join(CASE_VERBS)}}}'::text[] LOOP
            IF public.participant_may(e.old ->> 'role', e.old -> 'permissions', verb)
               AND NOT e.case_id = ANY (public.actor_case_ids(verb)) THEN
                RAISE EXCEPTION 'nobody grants what he does not hold: % in case %', verb, e.case_id
                    USING ERRCODE = 'insufficient_privilege';
            END IF;
        END LOOP;
    END IF;
    -- Hashes stand for what is sensitive: those columns come back empty.
    image := (SELECT coalesce(jsonb_object_agg(i.key, i.value), '{{}}') FROM jsonb_each(e.old) i
               WHERE jsonb_typeof(i.value) <> 'string' OR i.value #>> '{{}}' !~ '^sha256:[0-9a-f]{{64}}$')
             || jsonb_build_object('updated_at', now(), 'row_version', (e.old ->> 'row_version')::bigint + 1);
    SELECT string_agg(format('%I', a.attname), ', ' ORDER BY a.attnum) INTO columns FROM pg_attribute a
     WHERE a.attrelid = format('public.%I', e.entity)::regclass AND a.attnum > 0 AND NOT a.attisdropped
       AND a.attgenerated = '' AND jsonb_exists(image, a.attname);
    IF EXISTS (SELECT FROM jsonb_object_keys(e.old) k WHERE NOT EXISTS (
           SELECT FROM pg_attribute a WHERE a.attrelid = format('public.%I', e.entity)::regclass AND a.attname = k
              AND a.attnum > 0 AND NOT a.attisdropped)) THEN
        RAISE EXCEPTION 'the table % has no longer the columns that the row had', e.entity
            USING ERRCODE = 'STI02', CONSTRAINT = 'activity_logs_schema_check', TABLE = e.entity;
    END IF;
    IF e.entity = 'audio_files' THEN
        -- Its bytes wait for the sweeper, who takes only what is deleting: not any more.
        UPDATE public.storage_objects o SET state = 'pending', delete_after = NULL
         WHERE o.key = image ->> 'path' AND o.case_id = e.case_id AND o.state = 'deleting';
        IF NOT FOUND THEN
            RAISE EXCEPTION 'the bytes of this recording are gone'
                USING ERRCODE = 'STI02', CONSTRAINT = 'audio_files_path_fkey', TABLE = 'audio_files';
        END IF;
    END IF;
    EXECUTE format('INSERT INTO public.%1$I (%2$s) OVERRIDING SYSTEM VALUE'
        ' SELECT %2$s FROM jsonb_populate_record(NULL::public.%1$I, $1)', e.entity, columns) USING image;
    RETURN e.entity_id;
END
$body$""",
        callers=SESSION_ROLES,
    ),
    Function(
        "public.write_baseline(entity text, most integer)",
        rf"""
RETURNS integer LANGUAGE plpgsql VOLATILE {PINNED} AS $body$
DECLARE
    arguments text;
    case_column text;
    left_out text[];
    sensitive text[];
    row_found record;
    grain bytea;
    written integer := 0;
BEGIN
    -- What capture leaves out and hides stands in its trigger, so that the two cannot differ.
    SELECT encode(t.tgargs, 'escape') INTO arguments FROM pg_trigger t
     WHERE t.tgrelid = format('public.%I', entity)::regclass AND t.tgname = 'capture';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'changes of % are not captured', entity USING ERRCODE = 'invalid_parameter_value';
    END IF;
    case_column := nullif(split_part(arguments, '\000', 1), '');
    left_out := string_to_array(split_part(arguments, '\000', 2), ',');
    sensitive := string_to_array(split_part(arguments, '\000', 3), ',');
    FOR row_found IN EXECUTE format('SELECT t.id, to_jsonb(t) - $1 AS image FROM public.%I t WHERE NOT EXISTS ('
        'SELECT FROM public.activity_logs l WHERE l.entity = $2 AND l.entity_id = t.id AND l.operation <> ''event'')'
        ' ORDER BY t.id LIMIT $3', entity) USING left_out, entity, most LOOP
        grain := uuid_send(gen_random_uuid());
        PERFORM public.append_activity('row.baseline', 'baseline', public.signed_actor(), public.actor_name(),
            (row_found.image ->> case_column)::bigint, entity, row_found.id, NULL,
            public.redact(row_found.image, coalesce(sensitive, '{{}}'), grain), grain);
        written := written + 1;
    END LOOP;
    RETURN written;
END
$body$""",
    ),
)

TRIGGERS = (
    Trigger(
        "finish_version",
        "transcriptions",
        "AFTER INSERT",
        "finish_version",
        always=True,
        deferred=True,
    ),
    *(
        Trigger(
            "guard_new_parts",
            table,
            "AFTER INSERT",
            "guard_new_parts",
            each="STATEMENT",
            always=True,
            transition="REFERENCING NEW TABLE AS new_parts",
        )
        for table in PARTS_OF_A_VERSION
    ),
    Trigger("place", "transcription_sources", "BEFORE INSERT", "place_source"),
    *(
        Trigger("guard_part", table, "BEFORE UPDATE OR DELETE", "guard_part", always=True)
        for table in PARTS_OF_A_VERSION
    ),
    Trigger(
        "guard_text",
        "transcriptions",
        f"BEFORE UPDATE OF {', '.join(FIXED_COLUMNS)}",
        "refuse_change",
        ("a version is never edited, add a new one",),
        when=" OR ".join(f"OLD.{column} IS DISTINCT FROM NEW.{column}" for column in FIXED_COLUMNS),
        always=True,
    ),
    Trigger(
        "guard_digest",
        "transcriptions",
        "BEFORE UPDATE OF segments_sha256",
        "refuse_change",
        ("a version is finished once",),
        when="OLD.segments_sha256 IS NOT NULL AND OLD.segments_sha256 IS DISTINCT FROM NEW.segments_sha256",
        always=True,
    ),
)
