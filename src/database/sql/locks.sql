-- build 4 · sha256 edfb41f13ec1
-- Locks of names that only those can take who may do what the lock is for.
--
-- The lock is a row that exists only inside its transaction: another transaction that adds the same row waits for the
-- end of this one. Sessions cannot write the table. An advisory lock would not do: its key can be computed, or read in
-- pg_locks, and every session may take it on a connection that it leaves idle.
--
-- A lock assigns a transaction id, so it is taken right before rows are written and not before bytes travel.

CREATE OR REPLACE FUNCTION public.lock_name(name text)
RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    held bigint;
BEGIN
    INSERT INTO public.name_locks (digest) VALUES (encode(sha256(convert_to(lock_name.name, 'UTF8')), 'hex'))
    RETURNING id INTO held;
    DELETE FROM public.name_locks l WHERE l.id = held;
END
$body$;
REVOKE ALL ON FUNCTION public.lock_name(text) FROM PUBLIC;

-- Waits for other writers of the same thing in a case, such as the versions of a recording. Needs `write` in the case.
CREATE OR REPLACE FUNCTION public.lock_in_case(case_id bigint, name text)
RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    IF NOT coalesce(public.actor_may_in(case_id, 'read'), false) THEN
        RAISE EXCEPTION 'case % does not exist, or you may not see it', case_id USING ERRCODE = 'no_data_found';
    END IF;
    IF NOT public.actor_may_in(case_id, 'write') THEN
        RAISE EXCEPTION 'it needs the permission write in case %', case_id USING ERRCODE = 'insufficient_privilege';
    END IF;
    PERFORM public.lock_name(concat_ws(' ', 'case', case_id, lock_in_case.name));
END
$body$;
REVOKE ALL ON FUNCTION public.lock_in_case(bigint, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.lock_in_case(bigint, text) TO sti_app, sti_wide, sti_admin;

-- Waits for other transactions of the same actor only.
CREATE OR REPLACE FUNCTION public.lock_own(name text)
RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    IF public.actor_id() IS NULL THEN
        RAISE EXCEPTION 'this session has no actor, and a lock needs one' USING ERRCODE = 'insufficient_privilege';
    END IF;
    PERFORM public.lock_name(concat_ws(' ', 'actor', public.actor_id(), lock_own.name));
END
$body$;
REVOKE ALL ON FUNCTION public.lock_own(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.lock_own(text) TO sti_app, sti_wide, sti_admin;
