"""What sessions do with stored objects beyond announcing them: hold, place, mark for deletion, note a check.

Sessions may not write `storage_objects`, nor the path of a recording: a path that somebody could set would name the
bytes of another case. These functions ask for the verb in the recording's case and do the one thing.
"""

from __future__ import annotations

from src.database.schema.objects import SESSION_ROLES, Function

REQUIRE = """
    SELECT a.case_id INTO place FROM public.audio_files a WHERE a.id = audio_id;
    IF place IS NULL OR NOT (everything OR place = ANY (public.actor_case_ids('read'))) THEN
        RAISE EXCEPTION 'no such recording' USING ERRCODE = 'no_data_found';
    END IF;
    IF NOT (everything OR place = ANY (public.actor_case_ids('%s'))) THEN
        RAISE EXCEPTION 'the actor lacks the verb %s in the case of this recording'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
""".strip()

FUNCTIONS = (
    Function(
        "public.hold_object(key text)",
        """
RETURNS boolean LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    IF public.actor_id() IS NULL THEN
        RAISE EXCEPTION 'no actor: nothing is stored unsigned' USING ERRCODE = 'insufficient_privilege';
    END IF;
    -- The sweeper must get this lock before it takes the object. Looked at afterwards: it may have been here first.
    PERFORM pg_advisory_xact_lock(hashtextextended(hold_object.key, 0));
    RETURN EXISTS (SELECT FROM public.storage_objects o
                    WHERE o.key = hold_object.key AND o.state = 'pending'
                      AND (o.case_id = ANY (public.actor_case_ids('write')) OR public.actor_may('*', '*')));
END
$body$""",
        callers=SESSION_ROLES,
    ),
    Function(
        "public.place_recording(audio_id bigint, held_path text, key text, backend text, archived boolean, why text)",
        f"""
RETURNS boolean LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    everything boolean := public.actor_may('*', '*');
    place bigint;
BEGIN
    {REQUIRE % ("write", "write")}
    IF archived IS DISTINCT FROM starts_with(place_recording.key, 'archive/') THEN
        RAISE EXCEPTION 'a recording is archived exactly when its key lies in the archive'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- The triggers make the new object live and queue the old one, in this very statement.
    UPDATE public.audio_files a
       SET path = place_recording.key, storage_type = place_recording.backend, is_archived = archived,
           archive_reason = why
     WHERE a.id = place_recording.audio_id AND a.path = held_path AND a.deleted_at IS NULL;
    RETURN FOUND;
END
$body$""",
        callers=SESSION_ROLES,
    ),
    Function(
        "public.mark_deleted(audio_id bigint, gone boolean)",
        f"""
RETURNS timestamptz LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    everything boolean := public.actor_may('*', '*');
    place bigint;
    marked timestamptz;
BEGIN
    {REQUIRE % ("delete", "delete")}
    -- Whoever places a hold needs this row too: one of the two waits, and then sees what the other did.
    IF gone AND (SELECT c.active_holds FROM public.cases c WHERE c.id = place FOR SHARE) > 0 THEN
        RAISE EXCEPTION 'a legal hold forbids deleting from audio_files in this case'
            USING ERRCODE = 'STI02', CONSTRAINT = 'legal_holds_deletion_check', TABLE = 'audio_files';
    END IF;
    UPDATE public.audio_files a SET deleted_at = CASE WHEN gone THEN coalesce(a.deleted_at, now()) END
     WHERE a.id = mark_deleted.audio_id RETURNING a.deleted_at INTO marked;
    IF NOT FOUND THEN
        -- A sweep removed it for good since it was looked at.
        RAISE EXCEPTION 'no such recording' USING ERRCODE = 'no_data_found';
    END IF;
    RETURN marked;
END
$body$""",
        callers=SESSION_ROLES,
    ),
    Function(
        "public.note_check(audio_id bigint, held_path text, fault text)",
        f"""
RETURNS boolean LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    everything boolean := public.actor_may('*', '*');
    place bigint;
BEGIN
    {REQUIRE % ("write", "write")}
    -- On the object and not on the recording: an editor of the recording loses nothing by a check.
    UPDATE public.storage_objects o SET verified_at = clock_timestamp(), last_error = left(fault, 4000)
      FROM public.audio_files a
     WHERE a.id = note_check.audio_id AND a.path = held_path AND o.key = a.path AND o.state = 'live';
    RETURN FOUND;
END
$body$""",
        callers=SESSION_ROLES,
    ),
)
