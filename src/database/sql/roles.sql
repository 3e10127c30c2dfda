-- build 1 · sha256 84bd964c122c
-- The three group roles, which belong to the whole server: made when missing, kept while another database uses them.
--
-- sti_app serves members, sti_wide members of very many cases (the same rights, by policies planned for many cases),
-- sti_admin administrators. None of them can log in; a transaction takes one by `begin_actor` (actor.sql).

DO $body$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY '{sti_app,sti_wide,sti_admin}'::text[] LOOP
        -- Asked first: without the right to create roles not even an existing one could be "created".
        IF to_regrole(role) IS NULL THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', role);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL; -- another database of this server made it, perhaps this very moment
            END;
        END IF;
    END LOOP;
END $body$;
