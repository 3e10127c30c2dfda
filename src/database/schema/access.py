"""What the actor may do: permissions of roles and participants, row policies.

Shape of a policy: `case_id = ANY ((SELECT actor_case_ids('read'))::bigint[])`. The sub-select makes it an InitPlan, run
once per statement, and the comparison an index condition. Administrators come through a role of their own: `OR
is_admin()` in the members' policy costs ten times the query.

So do members of very many cases. An array is planned as if it had ten elements: for the newest fifty rows half a table
was read and sorted. Their policies say `case_id IN (SELECT unnest((SELECT actor_case_ids('read'))))`, a hash table that
the planner expects to let half of all rows through. Which role a member gets decides what a query costs, never what it
shows. The inner SELECT keeps the planner from calling the function too.
"""

from __future__ import annotations

from src.database.schema.identity import minted
from src.database.schema.objects import ADMIN_ROLE, MEMBER_ROLES, SESSION_ROLES, WIDE_ROLE, Function, Policy

FUNCTIONS = (
    Function(
        "public.role_permits(role bigint, subject text, verb text)",
        """
RETURNS boolean LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan AS $body$
DECLARE
    link bigint := role;
    given jsonb;
BEGIN
    -- Step by step: most roles have no parent, and a recursive query costs three times as much for one of these.
    FOR depth IN 1..32 LOOP
        SELECT r.parent_id, r.permissions INTO link, given FROM public.user_roles r WHERE r.id = link;
        EXIT WHEN NOT FOUND;
        IF jsonb_exists(given -> '*', '*') OR jsonb_exists_any(given -> subject, ARRAY[verb, '*']) THEN
            RETURN true;
        END IF;
    END LOOP;
    RETURN false;
END
$body$""",
    ),
    Function(
        "public.actor_may(subject text, verb text)",
        f"""
RETURNS boolean LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan AS $body$\
{minted("public.role_permits(u.role_id, subject, verb)", "false", "u.is_active")}
$body$""",
        callers=SESSION_ROLES,
    ),
    Function(
        "public.participant_may(role text, permissions jsonb, verb text)",
        """
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $body$
    SELECT (CASE role WHEN 'owner' THEN true WHEN 'editor' THEN verb IN ('read', 'write') ELSE verb = 'read' END
            OR coalesce(pg_catalog.jsonb_exists(permissions -> 'allow', verb), false))
       -- Who may not read may do nothing: what one writes one sees.
       -- Most are denied nothing, and then no array is made for each of somebody's thousands of cases.
       AND (permissions -> 'deny' IS NULL
            OR NOT pg_catalog.jsonb_exists_any(permissions -> 'deny', ARRAY[verb, 'read']))
$body$""",
        callers=SESSION_ROLES,
    ),
    Function(
        "public.actor_case_ids(verb text)",
        """
RETURNS bigint[] LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
-- Planning anew for each actor takes four times as long as the query.
SET plan_cache_mode = force_generic_plan AS $body$
DECLARE
    who bigint := public.actor_id();
BEGIN
    IF who IS NULL THEN
        RETURN '{}';
    END IF;
    RETURN ARRAY(
        SELECT p.case_id FROM public.case_participants p
         -- By the clock, so that a right ends inside an open transaction too.
         WHERE p.user_id = who AND (p.expires_at IS NULL OR p.expires_at > clock_timestamp())
           AND public.participant_may(p.role, p.permissions, verb)
        UNION ALL
        -- A lease is also the grant: as long as the work lasts, and no longer.
        SELECT j.case_id FROM public.processing_jobs j
         WHERE j.leased_by_id = who AND j.state = 'running' AND j.lease_expires_at > clock_timestamp()
           AND verb IN ('read', 'write')
           -- Denied wins, over the lease too.
           AND NOT EXISTS (SELECT FROM public.case_participants d WHERE d.case_id = j.case_id AND d.user_id = who
                              AND (d.expires_at IS NULL OR d.expires_at > clock_timestamp())
                              AND jsonb_exists_any(d.permissions -> 'deny', ARRAY[verb, 'read'])));
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
MEMORY_TABLES = ("activity_logs", "activity_seals", "activity_archives")
PROTECTED_TABLES = (
    "cases",
    *CASE_TABLES,
    "users",
    "user_roles",
    *LOOKUP_TABLES,
    *MEMORY_TABLES,
    "actor_keys",
    "login_throttles",
)


def in_cases(role: str, table: str, verb: str) -> str:
    """Return the condition that the actor may do this in the row's case, in the shape that suits the role."""
    column = "id" if table == "cases" else "case_id"
    if role == WIDE_ROLE:
        return f"{column} IN (SELECT unnest((SELECT public.actor_case_ids('{verb}'))))"
    return f"{column} = ANY ((SELECT public.actor_case_ids('{verb}'))::bigint[])"


def signed(*columns: str) -> str:
    """Return the condition that these columns name the actor or, where they may be empty, nobody."""
    return "".join(f" AND coalesce({column} = (SELECT public.actor_id()), true)" for column in columns)


def table_policies(
    role: str,
    table: str,
    *,
    insert: str = "write",
    update: str | None = "write",
    delete: str | None = "delete",
    check: str = "",
    update_check: str = "",
) -> tuple[Policy, ...]:
    """Return a role's policies on a table below a case: which verb each command takes; None: no such command."""
    policies = [
        Policy(table, "SELECT", role, using=in_cases(role, table, "read")),
        Policy(table, "INSERT", role, check=in_cases(role, table, insert) + check),
    ]
    if update:
        updatable = in_cases(role, table, update)
        policies.append(Policy(table, "UPDATE", role, using=updatable, check=updatable + update_check))
    if delete:
        policies.append(Policy(table, "DELETE", role, using=in_cases(role, table, delete)))
    return tuple(policies)


def member_policies(role: str) -> tuple[Policy, ...]:
    """Return all policies of a role of members; the two roles differ in how a policy is put, never in what it says."""
    own = "id = (SELECT public.actor_id())"
    writable = in_cases(role, "cases", "write")
    return (
        # A case is visible to the transaction that opened it before its owner stands in the participants: INSERT …
        # RETURNING checks the SELECT policy first and fires the AFTER trigger that adds the owner last.
        Policy(
            "cases",
            "SELECT",
            role,
            using=in_cases(role, "cases", "read")
            + " OR (opened_by_id = (SELECT public.actor_id()) AND opened_xid = pg_current_xact_id_if_assigned())",
        ),
        Policy(
            "cases",
            "INSERT",
            role,
            check="opened_by_id = (SELECT public.actor_id()) AND (SELECT public.actor_may('case', 'open'))",
        ),
        Policy("cases", "UPDATE", role, using=writable, check=writable),
        Policy("cases", "DELETE", role, using=in_cases(role, "cases", "delete")),
        # Whoever puts a name to a row puts the own one: nobody writes, accepts or releases as somebody else.
        *table_policies(
            role, "case_participants", insert="manage", update="manage", delete="manage", check=signed("added_by_id")
        ),
        *table_policies(role, "case_notes", check=signed("author_id")),
        *table_policies(
            role,
            "legal_holds",
            insert="manage",
            update="manage",
            delete=None,
            check=signed("placed_by_id", "released_by_id"),
            update_check=signed("released_by_id"),
        ),
        *table_policies(role, "audio_files", check=signed("uploaded_by_id")),
        # Objects are announced through a function; what becomes of them is the work of triggers and of maintenance.
        # What waits belongs to nobody yet: anybody may have announced it.
        Policy(
            "storage_objects",
            "SELECT",
            role,
            using=in_cases(role, "storage_objects", "read") + " AND state <> 'pending'",
        ),
        *table_policies(role, "processing_jobs", update=None, check=" AND state = 'queued'" + signed("created_by_id")),
        *(
            policy
            for table in ("transcriptions", "analysis_results")
            for policy in table_policies(
                role, table, check=signed("created_by_id", "accepted_by_id"), update_check=signed("accepted_by_id")
            )
        ),
        *table_policies(role, "transcription_segments", update=None, delete=None),
        *table_policies(role, "transcription_sources", update=None, delete=None),
        # The directory of colleagues: whoever acts may know who there is. Password hashes are not granted to anybody.
        Policy("users", "SELECT", role, using=KNOWN),
        Policy("users", "UPDATE", role, using=own, check=own),
        Policy("user_roles", "SELECT", role, using=KNOWN),
        *(Policy(table, "SELECT", role, using=KNOWN) for table in LOOKUP_TABLES),
        Policy(
            "activity_logs",
            "SELECT",
            role,
            using=in_cases(role, "activity_logs", "read")
            + " OR (case_id IS NULL AND actor_id = (SELECT public.actor_id()))",
        ),
    )


POLICIES = (
    *(policy for role in MEMBER_ROLES for policy in member_policies(role)),
    *(
        Policy(table, "ALL", ADMIN_ROLE, using=ADMINISTRATOR, check=ADMINISTRATOR)
        for table in PROTECTED_TABLES
        if table not in {*MEMORY_TABLES, "actor_keys", "login_throttles"}
    ),
    *(Policy(table, "SELECT", ADMIN_ROLE, using=ADMINISTRATOR) for table in MEMORY_TABLES),
)
