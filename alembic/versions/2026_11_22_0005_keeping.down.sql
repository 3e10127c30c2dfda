SET LOCAL check_function_bodies = off;

CREATE OR REPLACE FUNCTION public.schema_revision()
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $body$ SELECT '0004'::text $body$;
REVOKE ALL ON FUNCTION public.schema_revision() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.schema_revision() TO PUBLIC;

CREATE OR REPLACE FUNCTION public.announce_object(case_id bigint, key text, backend text)
RETURNS bigint LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    announced bigint;
BEGIN
    -- In a transaction of its own, so it cannot ask whether the case is the actor's: it may have been opened in a
    -- transaction that has not committed. Nothing is gained by announcing: only the case's recordings can adopt it.
    IF public.actor_id() IS NULL THEN
        RAISE EXCEPTION 'no actor: nothing is stored unsigned' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF key !~ ('^cases/' || case_id || '/[0-9a-f-]{36}[.][a-z0-9]{1,8}$') THEN
        RAISE EXCEPTION 'not a key of case %: %', case_id, key USING ERRCODE = 'invalid_parameter_value';
    END IF;
    INSERT INTO public.storage_objects (case_id, key, backend)
    VALUES (announce_object.case_id, announce_object.key, announce_object.backend) RETURNING id INTO announced;
    RETURN announced;
END
$body$;
REVOKE ALL ON FUNCTION public.announce_object(bigint, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.announce_object(bigint, text, text) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.adopt_object()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    -- The bytes are durable before the row commits: their object was announced in a transaction of its own, and it
    -- becomes live together with the recording, or not at all.
    UPDATE public.storage_objects o
       SET state = 'live', size_bytes = NEW.size_bytes, sha256 = NEW.sha256, delete_after = NULL
     WHERE o.key = NEW.path AND o.case_id = NEW.case_id AND o.backend = NEW.storage_type AND o.state = 'pending';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no object of case % is waiting under %: store the bytes first', NEW.case_id, NEW.path
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'audio_files_path_fkey', TABLE = 'audio_files';
    END IF;
    RETURN NEW;
END
$body$;
REVOKE ALL ON FUNCTION public.adopt_object() FROM PUBLIC;

DROP FUNCTION public.hold_object(text);

DROP FUNCTION public.place_recording(bigint, text, text, text, boolean, text);

DROP FUNCTION public.mark_deleted(bigint, boolean);

DROP FUNCTION public.note_check(bigint, text, text);

DROP INDEX public.audio_files_deleted_at_idx;
ALTER TABLE public.audio_files DROP COLUMN deleted_at;
ALTER TABLE public.storage_objects DROP COLUMN verified_at;
COMMENT ON COLUMN public.storage_objects.last_error IS NULL;
