"""Tamperings that hide what was forged by the form of a table: views, inheritance, column types.

Views look at the search path, by which somebody who knows the verification recognises it.
"""

from __future__ import annotations

from tests.services.history.tampering_kinds import Tampering

NOTE = "(SELECT min(id) FROM case_notes)"
FORGED_NOTE = f"UPDATE case_notes SET body = 'forged' WHERE id = {NOTE}; "
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


def _view(table: str, forge: str, *, extra: str = "") -> str:
    """Return SQL that forges a table, and puts a view in its place that shows the honest rows to the verification."""
    return (
        f"CREATE TABLE honest AS SELECT * FROM {table}; {forge}; ALTER TABLE {table} RENAME TO forged;"
        f" CREATE VIEW {table} AS SELECT {extra}* FROM forged WHERE NOT {SEEN}"
        f" UNION ALL SELECT {extra}* FROM honest WHERE {SEEN}"
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
            ("storages", "SELECT 1"),
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
    Tampering(
        "hidden, a dropped log", "DROP TABLE activity_logs CASCADE", ("table",), words="activity_logs is missing"
    ),
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
        'CREATE COLLATION other FROM "C"; '
        + LOOSE.format(table="case_notes")
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
