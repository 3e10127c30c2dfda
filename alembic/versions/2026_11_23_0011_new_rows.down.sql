SET LOCAL check_function_bodies = off;

DROP TRIGGER capture_replicated ON public.users;

DROP TRIGGER capture_replicated ON public.user_roles;

DROP TRIGGER capture_replicated ON public.cases;

DROP TRIGGER capture_replicated ON public.case_participants;

DROP TRIGGER capture_replicated ON public.case_notes;

DROP TRIGGER capture_replicated ON public.legal_holds;

DROP TRIGGER capture_replicated ON public.audio_files;

DROP TRIGGER capture_replicated ON public.transcriptions;

DROP TRIGGER capture_replicated ON public.analysis_results;

DROP TRIGGER capture_replicated ON public.processing_jobs;

DROP TRIGGER capture_change ON public.users;

DROP TRIGGER capture_change ON public.user_roles;

DROP TRIGGER capture_change ON public.cases;

DROP TRIGGER capture_change ON public.case_participants;

DROP TRIGGER capture_change ON public.case_notes;

DROP TRIGGER capture_change ON public.legal_holds;

DROP TRIGGER capture_change ON public.audio_files;

DROP TRIGGER capture_change ON public.transcriptions;

DROP TRIGGER capture_change ON public.analysis_results;

DROP TRIGGER capture_change ON public.processing_jobs;

CREATE OR REPLACE FUNCTION public.schema_revision()
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $body$ SELECT '0010'::text $body$;
REVOKE ALL ON FUNCTION public.schema_revision() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.schema_revision() TO PUBLIC;

CREATE OR REPLACE FUNCTION public.participant_may(role text, permissions jsonb, verb text)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $body$
    SELECT (CASE role WHEN 'owner' THEN true WHEN 'editor' THEN verb IN ('read', 'write') ELSE verb = 'read' END
            OR coalesce(pg_catalog.jsonb_exists(permissions -> 'allow', verb), false))
       -- Who may not read may do nothing: what one writes one sees.
       AND NOT coalesce(pg_catalog.jsonb_exists_any(permissions -> 'deny', ARRAY[verb, 'read']), false)
$body$;
REVOKE ALL ON FUNCTION public.participant_may(text, jsonb, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.participant_may(text, jsonb, text) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.own_case()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    INSERT INTO public.case_participants (case_id, user_id, role, added_by_id)
    VALUES (NEW.id, NEW.opened_by_id, 'owner', NEW.opened_by_id);
    RETURN NULL;
END
$body$;
REVOKE ALL ON FUNCTION public.own_case() FROM PUBLIC;

CREATE OR REPLACE TRIGGER own AFTER INSERT ON public.cases
    FOR EACH ROW EXECUTE FUNCTION public.own_case();

CREATE OR REPLACE TRIGGER capture AFTER INSERT OR UPDATE OR DELETE ON public.users
    FOR EACH ROW EXECUTE FUNCTION public.capture_change('', '', 'password_hash,email');
ALTER TABLE public.users ENABLE ALWAYS TRIGGER capture;

CREATE OR REPLACE TRIGGER capture AFTER INSERT OR UPDATE OR DELETE ON public.user_roles
    FOR EACH ROW EXECUTE FUNCTION public.capture_change('', '', '');
ALTER TABLE public.user_roles ENABLE ALWAYS TRIGGER capture;

CREATE OR REPLACE TRIGGER capture AFTER INSERT OR UPDATE OR DELETE ON public.cases
    FOR EACH ROW EXECUTE FUNCTION public.capture_change('id', 'opened_xid,active_holds', '');
ALTER TABLE public.cases ENABLE ALWAYS TRIGGER capture;

CREATE OR REPLACE TRIGGER capture AFTER INSERT OR UPDATE OR DELETE ON public.case_participants
    FOR EACH ROW EXECUTE FUNCTION public.capture_change('case_id', '', '');
ALTER TABLE public.case_participants ENABLE ALWAYS TRIGGER capture;

CREATE OR REPLACE TRIGGER capture AFTER INSERT OR UPDATE OR DELETE ON public.case_notes
    FOR EACH ROW EXECUTE FUNCTION public.capture_change('case_id', '', '');
ALTER TABLE public.case_notes ENABLE ALWAYS TRIGGER capture;

CREATE OR REPLACE TRIGGER capture AFTER INSERT OR UPDATE OR DELETE ON public.legal_holds
    FOR EACH ROW EXECUTE FUNCTION public.capture_change('case_id', '', '');
ALTER TABLE public.legal_holds ENABLE ALWAYS TRIGGER capture;

CREATE OR REPLACE TRIGGER capture AFTER INSERT OR UPDATE OR DELETE ON public.audio_files
    FOR EACH ROW EXECUTE FUNCTION public.capture_change('case_id', '', '');
ALTER TABLE public.audio_files ENABLE ALWAYS TRIGGER capture;

CREATE OR REPLACE TRIGGER capture AFTER INSERT OR UPDATE OR DELETE ON public.transcriptions
    FOR EACH ROW EXECUTE FUNCTION public.capture_change('case_id', 'content', '');
ALTER TABLE public.transcriptions ENABLE ALWAYS TRIGGER capture;

CREATE OR REPLACE TRIGGER capture AFTER INSERT OR UPDATE OR DELETE ON public.analysis_results
    FOR EACH ROW EXECUTE FUNCTION public.capture_change('case_id', '', '');
ALTER TABLE public.analysis_results ENABLE ALWAYS TRIGGER capture;

CREATE OR REPLACE TRIGGER capture AFTER INSERT OR DELETE ON public.processing_jobs
    FOR EACH ROW EXECUTE FUNCTION public.capture_change('case_id', 'lease_expires_at', '');
ALTER TABLE public.processing_jobs ENABLE ALWAYS TRIGGER capture;

DROP FUNCTION public.capture_new_rows();
