-- build 2 · sha256 1ab7ae585942
-- The three group roles, shared by all databases of the server: created when missing, kept while a database uses them.
--
-- sti_app serves members, sti_wide members of very many cases (the same privileges, with policies planned for many
-- cases), sti_admin administrators. None of them can log in; `begin_actor` (actor.sql) selects the role of a
-- transaction.

DO $body$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY '{sti_app,sti_wide,sti_admin}'::text[] LOOP
        -- Checked first: without CREATEROLE, CREATE ROLE fails even for an existing role.
        IF to_regrole(role) IS NULL THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', role);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL; -- created concurrently for another database of this server
            END;
        END IF;
    END LOOP;
END $body$;
