-- build 5 · sha256 17e6d92ffe4a
-- Values that the database maintains for every client: timestamps, row versions, codes of cases, their first owner,
-- look-ups by code.

CREATE OR REPLACE FUNCTION public.code_id(lookup text, code text)
RETURNS bigint LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    IF lookup = 'activity_types' THEN
        RETURN (SELECT t.id FROM public.activity_types t WHERE t.code = code_id.code);
    END IF;
    IF lookup = 'audio_statuses' THEN
        RETURN (SELECT t.id FROM public.audio_statuses t WHERE t.code = code_id.code);
    END IF;
    IF lookup = 'case_priorities' THEN
        RETURN (SELECT t.id FROM public.case_priorities t WHERE t.code = code_id.code);
    END IF;
    IF lookup = 'case_statuses' THEN
        RETURN (SELECT t.id FROM public.case_statuses t WHERE t.code = code_id.code);
    END IF;
    IF lookup = 'languages' THEN
        RETURN (SELECT t.id FROM public.languages t WHERE t.code = code_id.code);
    END IF;
    IF lookup = 'sentiments' THEN
        RETURN (SELECT t.id FROM public.sentiments t WHERE t.code = code_id.code);
    END IF;
    IF lookup = 'user_roles' THEN
        RETURN (SELECT t.id FROM public.user_roles t WHERE t.code = code_id.code);
    END IF;
    RAISE EXCEPTION 'unknown lookup table %: code_id has no branch for it', lookup
        USING ERRCODE = 'invalid_parameter_value';
END
$body$;
REVOKE ALL ON FUNCTION public.code_id(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.code_id(text, text) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.touch_row()
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    NEW.created_at := OLD.created_at;
    NEW.updated_at := now();
    RETURN NEW;
END
$body$;
REVOKE ALL ON FUNCTION public.touch_row() FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.touch_versioned_row()
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    NEW.created_at := OLD.created_at;
    NEW.updated_at := now();
    NEW.row_version := OLD.row_version + 1;
    RETURN NEW;
END
$body$;
REVOKE ALL ON FUNCTION public.touch_versioned_row() FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.prepare_case()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    NEW.case_code := coalesce(NEW.case_code, 'C-' || lpad(NEW.id::text, greatest(6, length(NEW.id::text)), '0'));
    NEW.opened_mark := public.opening_mark(NEW.opened_by_id, pg_current_xact_id());
    RETURN NEW;
END
$body$;
REVOKE ALL ON FUNCTION public.prepare_case() FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.own_case()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    INSERT INTO public.case_participants (case_id, user_id, role, added_by_id)
    SELECT c.id, c.opened_by_id, 'owner', c.opened_by_id FROM new_cases c;
    RETURN NULL;
END
$body$;
REVOKE ALL ON FUNCTION public.own_case() FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.refuse_change()
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    RAISE EXCEPTION '% on % is not allowed: %', TG_OP, TG_TABLE_NAME, TG_ARGV[0]
        USING ERRCODE = 'insufficient_privilege';
END
$body$;
REVOKE ALL ON FUNCTION public.refuse_change() FROM PUBLIC;
