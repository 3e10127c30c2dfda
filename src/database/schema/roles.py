"""The group roles, cluster-wide: made when missing, kept while another database uses them."""

from __future__ import annotations

from src.database.schema.objects import SESSION_ROLES

CREATE = "\n".join(
    f"""DO $body$ BEGIN
    -- Asked first: without the right to create roles not even an existing one could be "created".
    IF to_regrole('{role}') IS NULL THEN
        CREATE ROLE {role} NOLOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL; -- another database of this server made it, perhaps this very moment
END $body$;"""
    for role in SESSION_ROLES
)

DROP = "\n".join(
    f"""DO $body$ BEGIN
    REVOKE ALL ON SCHEMA public FROM {role};
EXCEPTION WHEN undefined_object THEN
    NULL; -- removed before
END $body$;
DO $body$ BEGIN
    DROP ROLE {role};
EXCEPTION WHEN dependent_objects_still_exist OR insufficient_privilege OR undefined_object THEN
    NULL; -- another database of this server uses it
END $body$;"""
    for role in SESSION_ROLES
)
