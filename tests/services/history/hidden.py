"""Tamperings that hide what was forged from those who read it: functions, policies, indexes, rights, erasures.

Most look at the search path, by which somebody who knows the verification recognises it.
"""

from __future__ import annotations

from tests.services.history.hidden_forms import FORGED_NOTE, NOTE, SEEN, TYPES, VIEWS
from tests.services.history.tampering_kinds import Tampering

ADDED_NOTE = (
    "INSERT INTO case_notes (case_id, author_id, body) SELECT case_id, author_id, 'forged' FROM case_notes LIMIT 1; "
)
STASH = f"CREATE TABLE stash AS SELECT id, body FROM case_notes WHERE id = {NOTE}; "
REPAIR = "UPDATE public.case_notes n SET body = s.body FROM public.stash s WHERE s.id = n.id; "


def _policy(table: str, condition: str) -> str:
    policy = f"CREATE POLICY zz ON {table} FOR SELECT TO CURRENT_USER USING ({condition})"
    return f"{policy}; ALTER TABLE {table} FORCE ROW LEVEL SECURITY"


def _of_function(signature: str, returns: str) -> str:
    """Return SQL that forges a note, and replaces a function by one that repairs it for the time of a transaction."""
    value = "true" if returns == "boolean" else "NULL"
    result = "" if returns == "void" else "RETURN;" if returns.startswith("SETOF") else f"RETURN {value};"
    return (
        f"{STASH}{FORGED_NOTE}CREATE OR REPLACE FUNCTION {signature} RETURNS {returns} LANGUAGE plpgsql AS"
        f" $$BEGIN {REPAIR}{result} END$$"
    )


FUNCTIONS = tuple(
    Tampering(f"hidden, {name} repairs a row", _of_function(f"{name}({arguments})", returns), ("row",), words="body")
    for name, arguments, returns in (
        ("keep_archives", "", "void"),
        ("actor_may", "subject text, verb text", "boolean"),
        ("actor_name", "", "text"),
        ("signed_actor", "", "bigint"),
        ("captured_tables", "", "SETOF text"),
        ("is_owner_at_work", "", "boolean"),
        ("schema_revision", "", "text"),
        ("capture_arguments", "entity text", "text[]"),
        ("storage_register", "", "jsonb"),
    )
)
POLICIES = (
    *(
        Tampering(f"hidden, a policy forced on {table}", f"{forge}{_policy(table, condition)}", ("table",), words=table)
        for table, forge, condition in (
            ("case_notes", ADDED_NOTE, f"body <> 'forged' OR NOT {SEEN}"),
            (
                "case_participants",
                (
                    "INSERT INTO case_participants (case_id, user_id, role) SELECT c.id, u.id, 'owner' FROM cases c,"
                    " users u WHERE u.username = 'carol' LIMIT 1; "
                ),
                "role <> 'owner'",
            ),
            (
                "transcription_segments",
                (
                    "INSERT INTO transcription_segments (case_id, transcription_id, position, text) SELECT case_id, id,"
                    " 99, 'forged' FROM transcriptions LIMIT 1; "
                ),
                "text <> 'forged'",
            ),
            ("activity_logs", "", "id <> 9999999"),
            ("activity_seals", "", "true"),
            ("activity_archives", "", "false"),
            ("activity_types", "", "code !~ 'erased'"),
            ("transcription_sources", "", "true"),
            ("storage_objects", "", "true"),
            ("storages", "", "true"),
        )
    ),
    Tampering("hidden, row security off", "ALTER TABLE cases DISABLE ROW LEVEL SECURITY", ("table",), words="cases"),
)
KEYS = "ALTER TABLE case_notes DROP CONSTRAINT case_notes_pkey CASCADE; "
OF_INDEX = "CREATE FUNCTION lie(id bigint) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT id < 1'; "
# The server computes the condition of an index when it first reads its definition.
NO_LIE = (
    "CREATE OR REPLACE FUNCTION lie(id bigint) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';"
    " ALTER INDEX {index} RENAME TO zzz; "
)
ROWS = (
    Tampering(
        "hidden, a row twice",
        f"{KEYS}INSERT INTO case_notes OVERRIDING SYSTEM VALUE SELECT * FROM case_notes WHERE id = {{id}}",
        ("row",),
        "case_notes",
        words="case_notes {id} exists 2 times",
    ),
    Tampering("hidden, no primary key", KEYS, ("table",), words="case_notes has lost its primary key"),
    Tampering(
        "hidden, a segment twice",
        "ALTER TABLE transcription_segments DROP CONSTRAINT transcription_segments_pkey; INSERT INTO"
        " transcription_segments (id, case_id, transcription_id, position, text) OVERRIDING SYSTEM VALUE SELECT id,"
        " case_id, transcription_id, 99, 'forged' FROM transcription_segments LIMIT 1",
        ("segments",),
        words="exists 2 times",
    ),
    Tampering(
        "hidden, a row without an id",
        f"{KEYS}ALTER TABLE case_notes ALTER id DROP IDENTITY, ALTER id DROP NOT NULL;"
        " UPDATE case_notes SET id = NULL WHERE id = {id}",
        ("row",),
        "case_notes",
        words="case_notes {id} is missing",
    ),
    Tampering(
        "hidden, an index without the rows",
        f"{ADDED_NOTE}{OF_INDEX}DO $do$ BEGIN EXECUTE (SELECT format('CREATE UNIQUE INDEX zz ON case_notes (id)"
        " INCLUDE (%s) WHERE lie(id)', string_agg(attname, ',')) FROM pg_attribute WHERE attrelid ="
        " 'case_notes'::regclass AND attnum > 1 AND NOT attisdropped); END $do$; "
        f"{NO_LIE.format(index='zz')}SET LOCAL enable_seqscan = off",
        ("row",),
        words="has no log entry",
    ),
    Tampering(
        "hidden, an index of the log without the entries",
        "INSERT INTO activity_logs OVERRIDING SYSTEM VALUE SELECT (jsonb_populate_record(l, jsonb_build_object('id',"
        f" 9999999))).* FROM activity_logs l LIMIT 1; {OF_INDEX}CREATE INDEX zz ON activity_logs"
        f" ((transaction_id::text::bigint)) WHERE lie(id); {NO_LIE.format(index='zz')}"
        "SET LOCAL enable_seqscan = off",
        ("changed", "inserted"),
        words="entry 9999999 ",
    ),
    Tampering(
        "hidden, a partition without the entries",
        "CREATE FUNCTION lie(entity text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true'; ALTER TABLE"
        " activity_logs ADD CONSTRAINT zz CHECK (lie(entity)); CREATE OR REPLACE FUNCTION lie(entity text)"
        " RETURNS boolean LANGUAGE sql IMMUTABLE AS $$SELECT entity = 'x'$$; DELETE FROM case_notes;"
        " SET LOCAL constraint_exclusion = on",
        ("row",),
        words="is missing, and no entry records its deletion",
    ),
    Tampering(
        "hidden, an own privilege revoked",
        "UPDATE cases SET title = 'forged' WHERE id = {id}; DO $do$ BEGIN REVOKE SELECT ON cases FROM CURRENT_USER;"
        " EXECUTE (SELECT format('GRANT SELECT (%s) ON cases TO CURRENT_USER', string_agg(quote_ident(attname), ','))"
        " FROM pg_attribute WHERE attrelid = 'cases'::regclass AND attnum > 0 AND NOT attisdropped"
        " AND attname <> 'title'); END $do$",
        ("table",),
        "cases",
        words="cases.title is not readable",
    ),
    Tampering(
        "hidden, every own privilege revoked",
        "REVOKE ALL ON case_notes FROM CURRENT_USER",
        ("table",),
        words="case_notes.body is not readable",
    ),
)
ERASED = "SELECT erase_payloads((SELECT min(id) FROM cases WHERE active_holds = 0), NULL, 5000); "
ERASURES = (
    Tampering(
        "hidden, a row changed after an erasure of its case",
        f"{ERASED}UPDATE cases SET title = 'forged' WHERE id = (SELECT min(id) FROM cases WHERE active_holds = 0)",
        ("row",),
        words="in title",
    ),
    Tampering(
        "hidden, a note changed after an erasure of its case",
        f"{ERASED}UPDATE case_notes SET body = 'forged' WHERE case_id = (SELECT min(id) FROM cases"
        " WHERE active_holds = 0)",
        ("row",),
        words="in body",
    ),
    Tampering(
        "hidden, a user changed after an erasure",
        "SELECT erase_payloads(NULL, {id}, 5000); UPDATE users SET password_hash = 'bcrypt$forged' WHERE id = {id}",
        ("row",),
        "users",
        words="in password_hash",
    ),
    Tampering(
        "hidden, a forged erasure of the last image",
        "SELECT append_activity('history.erased', 'event', NULL, 'operator:x', NULL, NULL, NULL, NULL,"
        " jsonb_build_object('entries', jsonb_build_array((SELECT max(id) FROM activity_logs WHERE entity ="
        " 'case_notes' AND entity_id = {id}))), NULL); UPDATE activity_logs SET old = NULL, new = NULL, salt = NULL"
        " WHERE id = (SELECT max(id) FROM activity_logs WHERE entity = 'case_notes' AND entity_id = {id});"
        " UPDATE case_notes SET body = 'forged' WHERE id = {id}",
        ("row",),
        "case_notes",
        words="case_notes {id} cannot be compared",
    ),
    Tampering(
        "hidden, a baseline without the column",
        "SELECT append_activity('row.baseline', 'baseline', NULL, 'operator:x', NULL, 'case_notes', {id}, NULL,"
        " '{}', NULL); UPDATE case_notes SET body = 'forged' WHERE id = {id}",
        ("row",),
        "case_notes",
        words="case_notes {id} cannot be compared in ",
    ),
    Tampering(
        "hidden, a baseline that is an array",
        "SELECT append_activity('row.baseline', 'baseline', NULL, 'operator:x', NULL, 'case_notes', {id}, NULL,"
        " '[\"body\"]', NULL); UPDATE case_notes SET body = 'forged' WHERE id = {id}",
        ("row",),
        "case_notes",
        words="case_notes {id} ",
    ),
)
HIDDEN: tuple[Tampering, ...] = (*FUNCTIONS, *POLICIES, *VIEWS, *TYPES, *ROWS, *ERASURES)
