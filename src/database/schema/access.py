"""What the actor may do: permissions of roles and participants, row policies, grants.

Shape of a policy: `case_id = ANY ((SELECT actor_case_ids('read'))::bigint[])`. The sub-select makes it an InitPlan, run
once per statement, and the comparison an index condition. Administrators come through a role of their own: `OR
is_admin()` in the members' policy costs ten times the query.
"""

from __future__ import annotations

from src.database.schema.objects import ADMIN_ROLE, APP_ROLE, SESSION_ROLES, Function, Grant, Policy

FUNCTIONS = (
    Function(
        "public.role_permits(role bigint, subject text, verb text)",
        """
RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
    WITH RECURSIVE chain (parent_id, permissions, depth) AS (
        SELECT r.parent_id, r.permissions, 1 FROM public.user_roles r WHERE r.id = role
        UNION ALL
        SELECT r.parent_id, r.permissions, c.depth + 1
          FROM public.user_roles r JOIN chain c ON r.id = c.parent_id WHERE c.depth < 32
    )
    SELECT coalesce(bool_or(jsonb_exists(permissions -> '*', '*')
                            OR jsonb_exists_any(permissions -> subject, ARRAY[verb, '*'])), false) FROM chain
$body$""",
    ),
    Function(
        "public.actor_may(subject text, verb text)",
        """
RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
    SELECT coalesce((SELECT public.role_permits(u.role_id, subject, verb)
                       FROM public.users u WHERE u.id = public.actor_id()), false)
$body$""",
        callers=SESSION_ROLES,
    ),
    Function(
        "public.participant_may(role text, permissions jsonb, verb text)",
        """
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $body$
    SELECT (CASE role WHEN 'owner' THEN true WHEN 'editor' THEN verb IN ('read', 'write') ELSE verb = 'read' END
            OR coalesce(pg_catalog.jsonb_exists(permissions -> 'allow', verb), false))
       AND NOT coalesce(pg_catalog.jsonb_exists(permissions -> 'deny', verb), false)
$body$""",
    ),
    Function(
        "public.actor_case_ids(verb text)",
        """
RETURNS bigint[] LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    who bigint := public.actor_id();
BEGIN
    IF who IS NULL THEN
        RETURN '{}';
    END IF;
    RETURN ARRAY(
        SELECT p.case_id FROM public.case_participants p
         WHERE p.user_id = who AND (p.expires_at IS NULL OR p.expires_at > now())
           AND public.participant_may(p.role, p.permissions, verb)
        UNION
        -- A lease is also the grant: as long as the work lasts, and no longer.
        SELECT j.case_id FROM public.processing_jobs j
         WHERE j.leased_by_id = who AND j.state = 'running' AND j.lease_expires_at > now()
           AND verb IN ('read', 'write'));
END
$body$""",
        callers=SESSION_ROLES,
    ),
)

KNOWN = "(SELECT public.actor_id()) IS NOT NULL"
ADMINISTRATOR = "(SELECT public.actor_may('*', '*'))"

LOOKUP_TABLES = ("activity_types", "audio_statuses", "case_priorities", "case_statuses", "languages", "sentiments")
CASE_TABLES = (
    "case_participants",
    "case_notes",
    "legal_holds",
    "audio_files",
    "storage_objects",
    "processing_jobs",
    "transcriptions",
    "transcription_segments",
    "transcription_sources",
    "analysis_results",
)
PROTECTED_TABLES = (
    "cases",
    *CASE_TABLES,
    "users",
    "user_roles",
    *LOOKUP_TABLES,
    "activity_logs",
    "activity_seals",
    "actor_keys",
)


def in_cases(verb: str, column: str = "case_id") -> str:
    return f"{column} = ANY ((SELECT public.actor_case_ids('{verb}'))::bigint[])"


def member_policies(
    table: str, *, insert: str = "write", update: str | None = "write", delete: str | None = "delete", check: str = ""
) -> tuple[Policy, ...]:
    """Return the policies of members on a table below a case: which verb each command takes; None: no such command."""
    extra = f" AND {check}" if check else ""
    policies = [
        Policy(table, "SELECT", APP_ROLE, using=in_cases("read")),
        Policy(table, "INSERT", APP_ROLE, check=in_cases(insert) + extra),
    ]
    if update:
        policies.append(Policy(table, "UPDATE", APP_ROLE, using=in_cases(update), check=in_cases(update)))
    if delete:
        policies.append(Policy(table, "DELETE", APP_ROLE, using=in_cases(delete)))
    return tuple(policies)


POLICIES = (
    # A case is visible to the transaction that opened it before its owner stands in the participants: INSERT …
    # RETURNING checks the SELECT policy first and fires the AFTER trigger that adds the owner last.
    Policy(
        "cases",
        "SELECT",
        APP_ROLE,
        using=in_cases("read", "id")
        + " OR (opened_by_id = (SELECT public.actor_id()) AND opened_xid = pg_current_xact_id_if_assigned())",
    ),
    Policy(
        "cases",
        "INSERT",
        APP_ROLE,
        check="opened_by_id = (SELECT public.actor_id()) AND (SELECT public.actor_may('case', 'open'))",
    ),
    Policy("cases", "UPDATE", APP_ROLE, using=in_cases("write", "id"), check=in_cases("write", "id")),
    Policy("cases", "DELETE", APP_ROLE, using=in_cases("delete", "id")),
    *member_policies("case_participants", insert="manage", update="manage", delete="manage"),
    *member_policies("case_notes", check="author_id = (SELECT public.actor_id())"),
    *member_policies("legal_holds", insert="manage", update="manage", delete=None),
    *member_policies("audio_files", check="uploaded_by_id = (SELECT public.actor_id())"),
    # Objects are announced through a function; what becomes of them is the work of triggers and of maintenance.
    Policy("storage_objects", "SELECT", APP_ROLE, using=in_cases("read")),
    *member_policies("processing_jobs", update=None, check="state = 'queued'"),
    *member_policies("transcriptions", check="created_by_id = (SELECT public.actor_id())"),
    *member_policies("transcription_segments", update=None, delete=None),
    *member_policies("transcription_sources", update=None, delete=None),
    *member_policies("analysis_results", check="created_by_id = (SELECT public.actor_id())"),
    # The directory of colleagues: whoever acts may know who there is. Password hashes are not granted to anybody.
    Policy("users", "SELECT", APP_ROLE, using=KNOWN),
    Policy(
        "users", "UPDATE", APP_ROLE, using="id = (SELECT public.actor_id())", check="id = (SELECT public.actor_id())"
    ),
    Policy("user_roles", "SELECT", APP_ROLE, using=KNOWN),
    *(Policy(table, "SELECT", APP_ROLE, using=KNOWN) for table in LOOKUP_TABLES),
    Policy("activity_logs", "SELECT", APP_ROLE, using=in_cases("read") + " OR actor_id = (SELECT public.actor_id())"),
    *(
        Policy(table, "ALL", ADMIN_ROLE, using=ADMINISTRATOR, check=ADMINISTRATOR)
        for table in PROTECTED_TABLES
        if table not in {"activity_logs", "activity_seals", "actor_keys"}
    ),
    *(Policy(table, "SELECT", ADMIN_ROLE, using=ADMINISTRATOR) for table in ("activity_logs", "activity_seals")),
)

USER_COLUMNS = (
    "id",
    "username",
    "email",
    "full_name",
    "is_active",
    "last_login",
    "role_id",
    "created_at",
    "updated_at",
    "row_version",
)

GRANTS = (
    Grant("cases", "SELECT, INSERT, DELETE", SESSION_ROLES),
    Grant(
        "cases", "UPDATE", SESSION_ROLES, ("case_code", "title", "description", "status_id", "priority_id", "closed_at")
    ),
    Grant("case_participants", "SELECT, INSERT, DELETE", SESSION_ROLES),
    Grant("case_participants", "UPDATE", SESSION_ROLES, ("role", "permissions", "expires_at")),
    Grant("case_notes", "SELECT, INSERT, DELETE", SESSION_ROLES),
    Grant("case_notes", "UPDATE", SESSION_ROLES, ("body",)),
    Grant("legal_holds", "SELECT, INSERT", SESSION_ROLES),
    Grant("legal_holds", "UPDATE", SESSION_ROLES, ("released_at", "released_by_id", "release_reason")),
    Grant("audio_files", "SELECT, INSERT, DELETE", SESSION_ROLES),
    Grant(
        "audio_files",
        "UPDATE",
        SESSION_ROLES,
        (
            "name",
            "recorded_at",
            "language_id",
            "status_id",
            "processed_at",
            "error_message",
            "is_archived",
            "archive_reason",
        ),
    ),
    Grant("storage_objects", "SELECT", SESSION_ROLES),
    Grant("processing_jobs", "SELECT, INSERT, DELETE", SESSION_ROLES),
    Grant("transcriptions", "SELECT, INSERT, DELETE", SESSION_ROLES),
    Grant("transcriptions", "UPDATE", SESSION_ROLES, ("accepted_at", "accepted_by_id")),
    Grant("transcription_segments", "SELECT, INSERT", SESSION_ROLES),
    Grant("transcription_sources", "SELECT, INSERT", SESSION_ROLES),
    Grant("analysis_results", "SELECT, INSERT, DELETE", SESSION_ROLES),
    Grant("analysis_results", "UPDATE", SESSION_ROLES, ("accepted_at", "accepted_by_id")),
    Grant("users", "SELECT", SESSION_ROLES, USER_COLUMNS),
    Grant("users", "UPDATE", (APP_ROLE,), ("email", "full_name")),
    Grant("users", "INSERT, DELETE", (ADMIN_ROLE,)),
    Grant("users", "UPDATE", (ADMIN_ROLE,), ("username", "email", "full_name", "is_active", "role_id")),
    Grant("user_roles", "SELECT", (APP_ROLE,)),
    Grant("user_roles", "SELECT, INSERT, UPDATE, DELETE", (ADMIN_ROLE,)),
    *(Grant(table, "SELECT", (APP_ROLE,)) for table in LOOKUP_TABLES),
    *(Grant(table, "SELECT, INSERT, UPDATE, DELETE", (ADMIN_ROLE,)) for table in LOOKUP_TABLES),
    Grant("activity_logs", "SELECT", SESSION_ROLES),
    Grant("activity_seals", "SELECT", (ADMIN_ROLE,)),
)
