"""Tamperings that hide what was forged from those who read it: functions, policies, views, types, rights, erasures.

Most look at the search path, by which somebody who knows the verification can tell it from other readers.
"""

from __future__ import annotations

from tests.services.history.tampering_kinds import Tampering

NOTE = "(SELECT min(id) FROM case_notes)"
FORGED_NOTE = f"UPDATE case_notes SET body = 'forged' WHERE id = {NOTE}; "
ADDED_NOTE = (
    "INSERT INTO case_notes (case_id, author_id, body) SELECT case_id, author_id, 'forged' FROM case_notes LIMIT 1; "
)
STASH = f"CREATE TABLE stash AS SELECT id, body FROM case_notes WHERE id = {NOTE}; "
REPAIR = "UPDATE public.case_notes n SET body = s.body FROM public.stash s WHERE s.id = n.id; "
SEEN = "current_setting('search_path') = 'pg_catalog, pg_temp'"
# What an owner drops before the type of a column can change.
LOOSE = """
    DO $do$ DECLARE r record; BEGIN
        FOR r IN SELECT conname FROM pg_constraint WHERE conrelid = '{table}'::regclass AND contype IN ('c', 'x') LOOP
            EXECUTE format('ALTER TABLE {table} DROP CONSTRAINT %I', r.conname);
        END LOOP;
        FOR r IN SELECT indexrelid::regclass::text AS name FROM pg_index
                  WHERE indrelid = '{table}'::regclass AND indexprs IS NOT NULL LOOP
            EXECUTE 'DROP INDEX ' || r.name;
        END LOOP;
    END $do$;
"""
LYING = (
    "CREATE TYPE lie AS {type}; CREATE FUNCTION lie_json(x lie) RETURNS json LANGUAGE sql AS 'SELECT {json}';"
    " CREATE CAST (lie AS json) WITH FUNCTION lie_json(lie); "
)


def _policy(table: str, condition: str) -> str:
    policy = f"CREATE POLICY zz ON {table} FOR SELECT TO CURRENT_USER USING ({condition})"
    return f"{policy}; ALTER TABLE {table} FORCE ROW LEVEL SECURITY"


def _view(table: str, forge: str, *, extra: str = "") -> str:
    """Return SQL that forges a table, and puts a view in its place that shows the honest rows to the verification."""
    return (
        f"CREATE TABLE honest AS SELECT * FROM {table}; {forge}; ALTER TABLE {table} RENAME TO forged;"
        f" CREATE VIEW {table} AS SELECT {extra}* FROM forged WHERE NOT {SEEN}"
        f" UNION ALL SELECT {extra}* FROM honest WHERE {SEEN}"
    )


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
    )
)
POLICIES = (
    *(
        Tampering(f"hidden, a policy forced on {table}", f"{forge}{_policy(table, condition)}", ("table",), words=table)
        for table, forge, condition in (
            ("case_notes", ADDED_NOTE, f"body <> 'forged' OR NOT {SEEN}"),
            (
                "case_participants",
                "INSERT INTO case_participants (case_id, user_id, role) SELECT c.id, u.id, 'owner' FROM cases c,"
                " users u WHERE u.username = 'carol' LIMIT 1; ",
                "role <> 'owner'",
            ),
            (
                "transcription_segments",
                "INSERT INTO transcription_segments (case_id, transcription_id, position, text) SELECT case_id, id,"
                " 99, 'forged' FROM transcriptions LIMIT 1; ",
                "text <> 'forged'",
            ),
            ("activity_logs", "", "id <> 9999999"),
            ("activity_seals", "", "true"),
            ("activity_archives", "", "false"),
            ("activity_types", "", "code !~ 'erased'"),
            ("transcription_sources", "", "true"),
            ("storage_objects", "", "true"),
        )
    ),
    Tampering("hidden, row security off", "ALTER TABLE cases DISABLE ROW LEVEL SECURITY", ("table",), words="cases"),
)
VIEWS = (
    Tampering(
        "hidden, the log is a view",
        _view("activity_logs", "UPDATE activity_logs SET actor = 'x'", extra="'honest'::regclass::oid AS tableoid, "),
        ("table",),
        words="activity_logs is a view",
    ),
    *(
        Tampering(f"hidden, {table} is a view", _view(table, forge), ("table",), words=f"{table} is a view")
        for table, forge in (
            ("activity_seals", "UPDATE activity_seals SET entry_count = 7"),
            ("activity_archives", "SELECT 1"),
            ("activity_types", "UPDATE activity_types SET name = 'forged'"),
            ("transcription_segments", "UPDATE transcription_segments SET text = 'forged'"),
            ("transcription_sources", "DELETE FROM transcription_sources"),
            ("case_notes", FORGED_NOTE.strip("; ")),
            ("languages", "UPDATE languages SET search_config = 'danish'"),
            ("protected_tables", "SELECT 1"),
        )
    ),
    Tampering(
        "hidden, a materialized view",
        f"CREATE MATERIALIZED VIEW seen AS SELECT * FROM case_notes; {FORGED_NOTE}"
        "ALTER TABLE case_notes RENAME TO forged; ALTER MATERIALIZED VIEW seen RENAME TO case_notes",
        ("table",),
        words="case_notes is a materialized view",
    ),
    Tampering(
        "hidden, a partitioned table",
        f"{FORGED_NOTE}ALTER TABLE case_notes RENAME TO forged;"
        " CREATE TABLE case_notes (LIKE forged) PARTITION BY RANGE (id)",
        ("table",),
        words="case_notes is a partitioned table",
    ),
    Tampering(
        "hidden, a child of segments",
        "CREATE TABLE more () INHERITS (transcription_segments)",
        ("table",),
        words="more inherits from transcription_segments",
    ),
    Tampering(
        "hidden, a child of seals",
        "CREATE TABLE more () INHERITS (activity_seals)",
        ("table",),
        words="more inherits from activity_seals",
    ),
    Tampering(
        "hidden, a rule on inserts",
        "CREATE RULE zz AS ON INSERT TO case_notes DO INSTEAD NOTHING",
        ("table",),
        words="the rule zz on case_notes",
    ),
    Tampering("hidden, an unlogged table", "ALTER TABLE case_notes SET UNLOGGED", ("table",), words="case_notes"),
    Tampering(
        "hidden, a dropped table", "DROP TABLE transcription_sources CASCADE", ("table",), words="sources is missing"
    ),
    Tampering("hidden, a dropped table of holds", "DROP TABLE legal_holds CASCADE", ("table",), words="is missing"),
    Tampering("hidden, a dropped log", "DROP TABLE activity_logs CASCADE", ("table",), words="activity_logs is missing"),
    Tampering("hidden, dropped seals", "DROP TABLE activity_seals CASCADE", ("table",), words="seals is missing"),
    Tampering(
        "hidden, another schema public",
        "ALTER SCHEMA public RENAME TO forged; CREATE SCHEMA public; CREATE VIEW public.activity_logs AS"
        " SELECT * FROM forged.activity_logs; SET LOCAL search_path = forged",
        ("table",),
        words="activity_logs is a view",
    ),
)
TYPES = (
    Tampering(
        "hidden, a column is an enum",
        LOOSE.format(table="case_notes")
        + LYING.format(type="ENUM ('forged')", json="to_json(1)")
        + "UPDATE case_notes SET body = 'forged'; ALTER TABLE case_notes ALTER body TYPE lie USING body::lie",
        ("table",),
        words="case_notes.body has the type public.lie",
    ),
    Tampering(
        "hidden, a column is a range",
        LOOSE.format(table="cases")
        + "ALTER TABLE cases ALTER description DROP DEFAULT; "
        + LYING.format(type="RANGE (subtype = int8)", json="to_json(1)")
        + "ALTER TABLE cases ALTER description TYPE lie USING lie(id, id + 9)",
        ("table",),
        words="cases.description has the type public.lie",
    ),
    Tampering(
        "hidden, a column is a domain",
        "CREATE DOMAIN lie AS text; ALTER TABLE users ALTER full_name TYPE lie",
        ("table",),
        words="users.full_name has the type public.lie",
    ),
    Tampering(
        "hidden, a column is a composite",
        LOOSE.format(table="case_notes")
        + LYING.format(type="(x text)", json="to_json(1)")
        + "ALTER TABLE case_notes ALTER body TYPE lie USING row(body)::lie",
        ("table",),
        words="case_notes.body has the type public.lie",
    ),
    Tampering(
        "hidden, a column is an array of composites",
        LYING.format(type="(x text)", json="to_json(1)")
        + "ALTER TABLE transcription_segments DROP COLUMN flags CASCADE, ADD flags lie[]",
        ("table",),
        words="transcription_segments.flags has the type public.lie[]",
    ),
    Tampering(
        "hidden, a column is json",
        LOOSE.format(table="analysis_results")
        + "ALTER TABLE analysis_results ALTER details DROP DEFAULT, ALTER details TYPE json",
        ("table",),
        words="analysis_results.details has the type json",
    ),
    Tampering(
        "hidden, a shorter type",
        LOOSE.format(table="case_notes") + "ALTER TABLE case_notes ALTER body TYPE varchar(3) USING left(body, 3)",
        ("table",),
        words="case_notes.body has the type character varying(3)",
    ),
    Tampering(
        "hidden, a collation",
        'CREATE COLLATION other FROM "C"; ' + LOOSE.format(table="case_notes")
        + "ALTER TABLE case_notes ALTER body TYPE text COLLATE other",
        ("table",),
        words="case_notes.body has a collation",
    ),
    Tampering(
        "hidden, a generated column",
        LOOSE.format(table="cases") + "ALTER TABLE cases DROP COLUMN description CASCADE,"
        " ADD description text GENERATED ALWAYS AS ('honest') STORED",
        ("table",),
        words="cases.description is generated",
    ),
    Tampering(
        "hidden, the search column has other words",
        "ALTER TABLE transcription_segments DROP COLUMN search CASCADE,"
        " ADD search tsvector GENERATED ALWAYS AS ('forged:1'::tsvector) STORED",
        ("table",),
        words="transcription_segments.search is generated by",
    ),
    Tampering(
        "hidden, the search column is not generated",
        "ALTER TABLE transcription_segments ALTER search DROP EXPRESSION",
        ("table",),
        words="transcription_segments.search is not generated",
    ),
    Tampering(
        "hidden, an unknown column of a lying type",
        LYING.format(type="ENUM ('x')", json="to_json(1)") + "ALTER TABLE case_notes ADD extra lie",
        ("table",),
        words="case_notes.extra has the type public.lie",
    ),
    Tampering(
        "hidden, ids without an identity", "ALTER TABLE cases ALTER id DROP IDENTITY", ("table",), words="cases.id"
    ),
)
KEYS = "ALTER TABLE case_notes DROP CONSTRAINT case_notes_pkey CASCADE; "
OF_INDEX = "CREATE FUNCTION lie(id bigint) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT id < 1'; "
NO_LIE = "CREATE OR REPLACE FUNCTION lie(id bigint) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true'; "
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
        f"{ADDED_NOTE}{OF_INDEX}CREATE UNIQUE INDEX zz ON case_notes (id) INCLUDE (body) WHERE lie(id); {NO_LIE}"
        "SET LOCAL enable_seqscan = off",
        ("row",),
        words="has no log entry",
    ),
    Tampering(
        "hidden, an index of the log without the entries",
        "INSERT INTO activity_logs OVERRIDING SYSTEM VALUE SELECT (jsonb_populate_record(l, jsonb_build_object('id',"
        f" 9999999))).* FROM activity_logs l LIMIT 1; {OF_INDEX}CREATE INDEX zz ON activity_logs"
        f" ((transaction_id::text::bigint)) WHERE lie(id); {NO_LIE}SET LOCAL enable_seqscan = off",
        ("changed", "inserted"),
        words="entry 9999999 ",
    ),
    Tampering(
        "hidden, a partition without the entries",
        f"{OF_INDEX.replace('id < 1', 'true')}ALTER TABLE activity_logs ADD CONSTRAINT zz CHECK (lie(id));"
        " CREATE OR REPLACE FUNCTION lie(id bigint) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT id < 1';"
        " INSERT INTO case_notes (case_id, author_id, body) SELECT case_id, author_id, 'forged' FROM case_notes"
        " LIMIT 1; SET LOCAL constraint_exclusion = on",
        ("row",),
        words="has no log entry",
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
        "hidden, a baseline that is no object",
        "SELECT append_activity('row.baseline', 'baseline', NULL, 'operator:x', NULL, 'case_notes', {id}, NULL,"
        " '[\"body\"]', NULL); UPDATE case_notes SET body = 'forged' WHERE id = {id}",
        ("row",),
        "case_notes",
        words="case_notes {id} ",
    ),
)
HIDDEN: tuple[Tampering, ...] = (*FUNCTIONS, *POLICIES, *VIEWS, *TYPES, *ROWS, *ERASURES)
