-- build 4 · sha256 06faa94d17e5
-- Statuses: the moves between those of cases, and the times and texts that follow a status, for every client.

-- `closed_at` follows the status: a status that closes sets it, any other clears it. A session that sets or clears it
-- alone moves the case to the first status that agrees. Moves between statuses are those of `case_status_moves`. The
-- trigger fires before those that replace a moment of a session with the server's time.
CREATE OR REPLACE FUNCTION public.follow_case_status()
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    closes boolean := (SELECT s.is_closed FROM public.case_statuses s WHERE s.id = NEW.status_id);
BEGIN
    IF closes IS NULL THEN
        RETURN NEW; -- rejected by the foreign key
    ELSIF closes <> (NEW.closed_at IS NOT NULL) AND current_user IN ('sti_app', 'sti_wide', 'sti_admin') THEN
        IF TG_OP = 'INSERT' AND NOT closes THEN
            NEW.status_id := (SELECT min(s.id) FROM public.case_statuses s WHERE s.is_closed);
            closes := true;
        ELSIF TG_OP = 'UPDATE' AND NEW.status_id = OLD.status_id THEN
            closes := NOT closes;
            NEW.status_id := (SELECT min(s.id) FROM public.case_status_moves m
                                JOIN public.case_statuses s ON s.id = m.to_status_id
                               WHERE m.is_active AND m.from_status_id = OLD.status_id AND s.is_closed = closes);
            IF NEW.status_id IS NULL THEN
                RAISE EXCEPTION 'closed_at follows the status of a case, and case % may not move to one that agrees',
                    OLD.id USING ERRCODE = 'STI02', CONSTRAINT = 'cases_status_move_check', TABLE = 'cases';
            END IF;
        END IF;
    END IF;
    IF TG_OP = 'UPDATE' AND NEW.status_id <> OLD.status_id THEN
        IF NOT EXISTS (SELECT FROM public.case_status_moves m WHERE m.is_active
                        AND m.from_status_id = OLD.status_id AND m.to_status_id = NEW.status_id) THEN
            RAISE EXCEPTION 'case % cannot move from the status % to %; allowed: %', OLD.id,
                (SELECT s.code FROM public.case_statuses s WHERE s.id = OLD.status_id),
                (SELECT s.code FROM public.case_statuses s WHERE s.id = NEW.status_id),
                coalesce((SELECT string_agg(s.code, ', ' ORDER BY s.id) FROM public.case_status_moves m
                            JOIN public.case_statuses s ON s.id = m.to_status_id
                           WHERE m.is_active AND m.from_status_id = OLD.status_id),
                         'none (case_status_moves)')
                USING ERRCODE = 'STI02', CONSTRAINT = 'cases_status_move_check', TABLE = 'cases';
        END IF;
        NEW.closed_at := CASE WHEN closes THEN coalesce(NEW.closed_at, clock_timestamp()) END;
    ELSIF TG_OP = 'INSERT' AND closes THEN
        NEW.closed_at := coalesce(NEW.closed_at, clock_timestamp());
    END IF;
    RETURN NEW;
END
$body$;
REVOKE ALL ON FUNCTION public.follow_case_status() FROM PUBLIC;

-- `processed_at` is set while a recording is processed, `error_message` is cleared when it has failed no longer. A
-- session that sets `processed_at` alone says that the recording is processed; it cannot clear it alone.
CREATE OR REPLACE FUNCTION public.follow_audio_status()
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    outcome text := (SELECT s.outcome FROM public.audio_statuses s WHERE s.id = NEW.status_id);
    processed boolean := coalesce(outcome = 'processed', false);
BEGIN
    IF NOT processed AND NEW.processed_at IS NOT NULL AND (TG_OP = 'INSERT' OR NEW.status_id = OLD.status_id)
       AND current_user IN ('sti_app', 'sti_wide', 'sti_admin') THEN
        NEW.status_id := (SELECT min(s.id) FROM public.audio_statuses s WHERE s.outcome = 'processed');
        outcome := 'processed';
        processed := true;
    END IF;
    IF TG_OP = 'UPDATE' AND NEW.status_id <> OLD.status_id THEN
        NEW.processed_at := CASE WHEN processed THEN coalesce(NEW.processed_at, clock_timestamp()) END;
        IF NEW.error_message = OLD.error_message AND outcome IS DISTINCT FROM 'failed'
           AND (SELECT s.outcome FROM public.audio_statuses s WHERE s.id = OLD.status_id) = 'failed' THEN
            NEW.error_message := NULL;
        END IF;
    ELSIF TG_OP = 'INSERT' AND processed THEN
        NEW.processed_at := coalesce(NEW.processed_at, clock_timestamp());
    ELSIF processed <> (NEW.processed_at IS NOT NULL) AND current_user IN ('sti_app', 'sti_wide', 'sti_admin') THEN
        RAISE EXCEPTION 'processed_at follows the status of a recording; change the status'
            USING ERRCODE = 'STI02', CONSTRAINT = 'audio_files_processed_by_status_check', TABLE = 'audio_files';
    END IF;
    RETURN NEW;
END
$body$;
REVOKE ALL ON FUNCTION public.follow_audio_status() FROM PUBLIC;

-- Every user who writes in a case may mark it or a recording as sensitive; removing the mark, or changing its reason,
-- needs `manage`.
CREATE OR REPLACE FUNCTION public.guard_sensitive()
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    concerned bigint;
BEGIN
    IF TG_TABLE_NAME = 'cases' THEN
        concerned := OLD.id;
    ELSE
        concerned := OLD.case_id;
    END IF;
    IF current_user IN ('sti_app', 'sti_wide') AND NOT public.actor_may_in(concerned, 'manage') THEN
        RAISE EXCEPTION 'removing or changing the mark sensitive needs the permission to manage case %', concerned
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END
$body$;
REVOKE ALL ON FUNCTION public.guard_sensitive() FROM PUBLIC;

-- Whether the actor may export from a case or, if given, from a recording of it: `read`, and where the case or the
-- recording is sensitive also `manage`. NULL: the actor may not read the case.
CREATE OR REPLACE FUNCTION public.actor_may_export(case_id bigint, audio_id bigint)
RETURNS boolean LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    IF NOT coalesce(public.actor_may_in(case_id, 'read'), false) THEN
        RETURN NULL;
    END IF;
    RETURN public.actor_may_in(case_id, 'manage')
        OR NOT EXISTS (SELECT FROM public.cases c WHERE c.id = actor_may_export.case_id AND c.is_sensitive)
       AND NOT EXISTS (SELECT FROM public.audio_files a WHERE a.case_id = actor_may_export.case_id
                          AND a.is_sensitive AND (audio_id IS NULL OR a.id = audio_id));
END
$body$;
REVOKE ALL ON FUNCTION public.actor_may_export(bigint, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.actor_may_export(bigint, bigint) TO sti_app, sti_wide, sti_admin;
