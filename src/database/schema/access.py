"""What the actor may do: permissions of roles and participants, row policies.

Shape of a policy: `case_id = ANY ((SELECT actor_case_ids('read'))::bigint[])`. The sub-select makes it an InitPlan, run
once per statement, and the comparison an index condition. Administrators come through a role of their own: `OR
is_admin()` in the members' policy costs ten times the query.
"""

from __future__ import annotations

from src.database.schema.objects import ADMIN_ROLE, APP_ROLE, SESSION_ROLES, Function, Policy

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
        callers=SESSION_ROLES,
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
    "login_throttles",
)


def in_cases(verb: str, column: str = "case_id") -> str:
    return f"{column} = ANY ((SELECT public.actor_case_ids('{verb}'))::bigint[])"


def signed(*columns: str) -> str:
    """Return the condition that these columns name the actor or, where they may be empty, nobody."""
    return "".join(f" AND coalesce({column} = (SELECT public.actor_id()), true)" for column in columns)


def member_policies(
    table: str,
    *,
    insert: str = "write",
    update: str | None = "write",
    delete: str | None = "delete",
    check: str = "",
    update_check: str = "",
) -> tuple[Policy, ...]:
    """Return the policies of members on a table below a case: which verb each command takes; None: no such command."""
    policies = [
        Policy(table, "SELECT", APP_ROLE, using=in_cases("read")),
        Policy(table, "INSERT", APP_ROLE, check=in_cases(insert) + check),
    ]
    if update:
        policies.append(
            Policy(table, "UPDATE", APP_ROLE, using=in_cases(update), check=in_cases(update) + update_check)
        )
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
    # Whoever puts a name to a row puts the own one: nobody writes, accepts or releases as somebody else.
    *member_policies(
        "case_participants", insert="manage", update="manage", delete="manage", check=signed("added_by_id")
    ),
    *member_policies("case_notes", check=signed("author_id")),
    *member_policies(
        "legal_holds",
        insert="manage",
        update="manage",
        delete=None,
        check=signed("placed_by_id", "released_by_id"),
        update_check=signed("released_by_id"),
    ),
    *member_policies("audio_files", check=signed("uploaded_by_id")),
    # Objects are announced through a function; what becomes of them is the work of triggers and of maintenance.
    Policy("storage_objects", "SELECT", APP_ROLE, using=in_cases("read")),
    *member_policies("processing_jobs", update=None, check=" AND state = 'queued'" + signed("created_by_id")),
    *member_policies(
        "transcriptions", check=signed("created_by_id", "accepted_by_id"), update_check=signed("accepted_by_id")
    ),
    *member_policies("transcription_segments", update=None, delete=None),
    *member_policies("transcription_sources", update=None, delete=None),
    *member_policies(
        "analysis_results", check=signed("created_by_id", "accepted_by_id"), update_check=signed("accepted_by_id")
    ),
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
        if table not in {"activity_logs", "activity_seals", "actor_keys", "login_throttles"}
    ),
    *(Policy(table, "SELECT", ADMIN_ROLE, using=ADMINISTRATOR) for table in ("activity_logs", "activity_seals")),
)
