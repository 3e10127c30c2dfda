"""What keeps rows right whoever writes them: timestamps, versions, codes, owners, and the bytes behind a recording."""

from __future__ import annotations

from src.database.schema.access import CASE_TABLES, LOOKUP_TABLES
from src.database.schema.objects import SESSION_ROLES, Function, Trigger


def _branches() -> str:
    return "\n".join(
        f"    IF lookup = '{table}' THEN\n"
        f"        RETURN (SELECT t.id FROM public.{table} t WHERE t.code = code_id.code);\n"
        "    END IF;"
        for table in (*LOOKUP_TABLES, "user_roles")
    )


FUNCTIONS = (
    Function(
        "public.code_id(lookup text, code text)",
        # A branch for each table: a statement that is put together is planned anew for every row.
        f"""
RETURNS bigint LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
{_branches()}
    RAISE EXCEPTION 'no lookup table is named %', lookup USING ERRCODE = 'undefined_table';
END
$body$""",
        callers=SESSION_ROLES,
    ),
    Function(
        "public.touch_row()",
        """
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    NEW.created_at := OLD.created_at;
    NEW.updated_at := now();
    RETURN NEW;
END
$body$""",
    ),
    Function(
        "public.touch_versioned_row()",
        """
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    NEW.created_at := OLD.created_at;
    NEW.updated_at := now();
    NEW.row_version := OLD.row_version + 1;
    RETURN NEW;
END
$body$""",
    ),
    Function(
        "public.prepare_case()",
        """
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    NEW.case_code := coalesce(NEW.case_code, 'C-' || lpad(NEW.id::text, greatest(6, length(NEW.id::text)), '0'));
    NEW.opened_xid := pg_current_xact_id();
    RETURN NEW;
END
$body$""",
    ),
    Function(
        "public.own_case()",
        """
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    INSERT INTO public.case_participants (case_id, user_id, role, added_by_id)
    SELECT c.id, c.opened_by_id, 'owner', c.opened_by_id FROM new_cases c;
    RETURN NULL;
END
$body$""",
    ),
    Function(
        "public.announce_object(case_id bigint, key text, backend text)",
        """
RETURNS bigint LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    announced bigint;
BEGIN
    -- In a transaction of its own, so it cannot ask whether the case is the actor's: it may have been opened in a
    -- transaction that has not committed. Nothing is gained by announcing: only the case's recordings can adopt it.
    IF public.actor_id() IS NULL THEN
        RAISE EXCEPTION 'no actor: nothing is stored unsigned' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF key !~ ('^(cases/' || case_id || '|archive/[1-9][0-9]{0,18})/[0-9a-f-]{36}[.][a-z0-9]{1,8}$') THEN
        RAISE EXCEPTION 'not a key of case %: %', case_id, key USING ERRCODE = 'invalid_parameter_value';
    END IF;
    INSERT INTO public.storage_objects (case_id, key, backend)
    VALUES (announce_object.case_id, announce_object.key, announce_object.backend) RETURNING id INTO announced;
    RETURN announced;
END
$body$""",
        callers=SESSION_ROLES,
    ),
    Function(
        "public.adopt_object()",
        """
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    -- The bytes are durable before the row commits: their object was announced in a transaction of its own, and it
    -- becomes live together with the recording, or not at all.
    UPDATE public.storage_objects o
       SET state = 'live', size_bytes = NEW.size_bytes, sha256 = NEW.sha256, delete_after = NULL
     WHERE o.key = NEW.path AND o.case_id = NEW.case_id AND o.backend = NEW.storage_type AND o.state = 'pending'
       -- A key in the archive names its recording, which did not have to exist when the key was announced.
       AND (o.key LIKE 'cases/%' OR o.key LIKE 'archive/' || NEW.id || '/%');
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no object of case % is waiting under %: store the bytes first', NEW.case_id, NEW.path
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'audio_files_path_fkey', TABLE = 'audio_files';
    END IF;
    RETURN NEW;
END
$body$""",
    ),
    Function(
        "public.release_object()",
        """
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    UPDATE public.storage_objects o SET state = 'deleting', delete_after = now() WHERE o.key = OLD.path;
    RETURN NULL;
END
$body$""",
    ),
    Function(
        "public.refuse_change()",
        """
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    RAISE EXCEPTION '% of % is refused: %', TG_OP, TG_TABLE_NAME, TG_ARGV[0] USING ERRCODE = 'insufficient_privilege';
END
$body$""",
    ),
)

VERSIONED_TABLES = (
    "users",
    "user_roles",
    "cases",
    "case_participants",
    "case_notes",
    "legal_holds",
    "audio_files",
    "processing_jobs",
    "transcriptions",
    "analysis_results",
)
TOUCHED_TABLES = tuple(
    table
    for table in (*CASE_TABLES, *LOOKUP_TABLES, "actor_keys", "activity_seals", "activity_archives", "login_throttles")
    if table not in {*VERSIONED_TABLES, "transcription_segments"}
)

TRIGGERS = (
    *(
        Trigger("touch", table, "BEFORE UPDATE", "touch_versioned_row")
        for table in VERSIONED_TABLES
        if table != "cases"
    ),
    # A hold that is placed meanwhile is no change that an editor of the case could lose.
    Trigger(
        "touch",
        "cases",
        "BEFORE UPDATE",
        "touch_versioned_row",
        when="OLD.active_holds IS NOT DISTINCT FROM NEW.active_holds",
    ),
    *(Trigger("touch", table, "BEFORE UPDATE", "touch_row") for table in TOUCHED_TABLES),
    Trigger("prepare", "cases", "BEFORE INSERT", "prepare_case"),
    # All owners at once: the log then takes their entries at once too.
    Trigger(
        "own", "cases", "AFTER INSERT", "own_case", each="STATEMENT", transition="REFERENCING NEW TABLE AS new_cases"
    ),
    Trigger("adopt", "audio_files", "BEFORE INSERT", "adopt_object"),
    Trigger("adopt_moved", "audio_files", "BEFORE UPDATE OF path", "adopt_object", when="OLD.path <> NEW.path"),
    Trigger("release", "audio_files", "AFTER DELETE", "release_object", always=True),
    Trigger("release_moved", "audio_files", "AFTER UPDATE OF path", "release_object", when="OLD.path <> NEW.path"),
)
