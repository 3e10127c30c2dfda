-- build 7 · sha256 3e54b220f827
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

-- Neither the time nor the row version changes without an entry in the log: not in an update that changes nothing, nor
-- in one that changes only columns that are not captured, which the optional argument lists.
CREATE OR REPLACE FUNCTION public.touch_row()
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    NEW.created_at := OLD.created_at;
    NEW.updated_at := OLD.updated_at;
    IF NEW *<> OLD AND (TG_NARGS = 0 OR (to_jsonb(NEW) - string_to_array(TG_ARGV[0], ','))::text
                                     <> (to_jsonb(OLD) - string_to_array(TG_ARGV[0], ','))::text) THEN
        NEW.updated_at := now();
    END IF;
    RETURN NEW;
END
$body$;
REVOKE ALL ON FUNCTION public.touch_row() FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.touch_versioned_row()
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    NEW.created_at := OLD.created_at;
    NEW.updated_at := OLD.updated_at;
    NEW.row_version := OLD.row_version;
    IF NEW *<> OLD AND (TG_NARGS = 0 OR (to_jsonb(NEW) - string_to_array(TG_ARGV[0], ','))::text
                                     <> (to_jsonb(OLD) - string_to_array(TG_ARGV[0], ','))::text) THEN
        NEW.updated_at := now();
        NEW.row_version := OLD.row_version + 1;
    END IF;
    RETURN NEW;
END
$body$;
REVOKE ALL ON FUNCTION public.touch_versioned_row() FROM PUBLIC;

-- A moment that a session sets is the time of the server: a chosen one could precede or outlast all others. The
-- argument names the column. Functions of this layer, which act as the owner, keep the moment that they set.
CREATE OR REPLACE FUNCTION public.stamp_moment()
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    IF current_user IN ('sti_app', 'sti_wide', 'sti_admin') THEN
        NEW := jsonb_populate_record(NEW, jsonb_build_object(TG_ARGV[0], clock_timestamp()));
    END IF;
    RETURN NEW;
END
$body$;
REVOKE ALL ON FUNCTION public.stamp_moment() FROM PUBLIC;

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
