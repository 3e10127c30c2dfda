"""Damages of a catalog: each with the reported sentence and the result of `apply`.

Damages without `left` are repaired by `apply`. The others are kept for the reported reason; `undo` is the statement of
an administrator.
"""

from __future__ import annotations

from typing import NamedTuple


class Damage(NamedTuple):
    statement: str
    named: str
    left: str = ""
    undo: str = ""


BY_REVISION = "tables change by revisions"
UNKNOWN = "unless it is intended"

DAMAGES = {
    # Functions
    "a function dropped": Damage("DROP FUNCTION record_login", "the function record_login is missing"),
    "an expression dropped": Damage("DROP FUNCTION lease_end", "the function lease_end is missing"),
    "a policy's function dropped": Damage("DROP FUNCTION actor_may CASCADE", "the function actor_may is missing"),
    "a trigger's function dropped": Damage("DROP FUNCTION capture_change CASCADE", "capture_change on cases is missing"),
    "a function replaced": Damage(
        "CREATE OR REPLACE FUNCTION actor_id() RETURNS bigint LANGUAGE sql STABLE SECURITY DEFINER"
        " SET search_path = pg_catalog, pg_temp AS 'SELECT 1::bigint'",
        "the function actor_id differs from this version",
    ),
    "an expression replaced": Damage(
        "CREATE OR REPLACE FUNCTION is_signed(fields text[], inner_pad bytea, outer_pad bytea) RETURNS boolean"
        " LANGUAGE sql STABLE PARALLEL SAFE RETURN true",
        "the function is_signed differs from this version",
    ),
    "a function of a CHECK replaced": Damage(
        "CREATE OR REPLACE FUNCTION participation_known_1(permissions jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE"
        " PARALLEL SAFE AS 'SELECT true'",
        "the function participation_known_1 differs from this version",
    ),
    "a function's settings reset": Damage("ALTER FUNCTION actor_id() RESET ALL", "actor_id differs from this version"),
    "a function's path changed": Damage("ALTER FUNCTION actor_id() SET search_path = public", "actor_id differs from this version"),
    "a function for its caller": Damage("ALTER FUNCTION actor_id() SECURITY INVOKER", "actor_id differs from this version"),
    "a function called immutable": Damage("ALTER FUNCTION actor_case_ids() IMMUTABLE", "actor_case_ids differs from"),
    "a function granted to PUBLIC": Damage(
        "GRANT EXECUTE ON FUNCTION capture_change TO PUBLIC", "PUBLIC may execute the function capture_change"
    ),
    "a function granted to members": Damage(
        "GRANT EXECUTE ON FUNCTION mint_actor TO sti_app", "sti_app may execute the function mint_actor"
    ),
    "a function revoked": Damage(
        "REVOKE EXECUTE ON FUNCTION actor_id FROM sti_app", "sti_app may not execute the function actor_id"
    ),
    # Objects of nobody, which can change what expressions mean
    "an overload of a built-in function": Damage(
        "CREATE FUNCTION jsonb_build_object(text, jsonb, text, jsonb) RETURNS jsonb LANGUAGE sql RETURN '{}'::jsonb",
        "the function public.jsonb_build_object(text, jsonb, text, jsonb) is unknown to this version",
        UNKNOWN,
        "DROP FUNCTION jsonb_build_object(text, jsonb, text, jsonb)",
    ),
    "an overload for its caller": Damage(
        "CREATE FUNCTION actor_id(x bigint) RETURNS bigint LANGUAGE sql RETURN 1::bigint",
        "the function public.actor_id(bigint) is unknown to this version",
        UNKNOWN,
        "DROP FUNCTION actor_id(bigint)",
    ),
    "a procedure": Damage(
        "CREATE PROCEDURE sha256(text) LANGUAGE sql AS ''",
        "the procedure public.sha256(text) is unknown to this version",
        UNKNOWN,
        "DROP PROCEDURE sha256(text)",
    ),
    "an aggregate": Damage(
        "CREATE AGGREGATE string_agg(bytea) (SFUNC = byteacat, STYPE = bytea)",
        "the aggregate public.string_agg(bytea) is unknown to this version",
        UNKNOWN,
        "DROP AGGREGATE string_agg(bytea)",
    ),
    "an operator": Damage(
        "CREATE OPERATOR public.|| (LEFTARG = bytea, RIGHTARG = bytea, FUNCTION = byteacat)",
        "the operator public.|| (bytea, bytea) is unknown to this version",
        UNKNOWN,
        "DROP OPERATOR public.|| (bytea, bytea)",
    ),
    "a type of a built-in name": Damage(
        "CREATE DOMAIN public.text AS integer", "the domain public.text is unknown", UNKNOWN, "DROP DOMAIN public.text"
    ),
    "a cast": Damage(
        "CREATE TYPE public.pair AS (x integer); CREATE CAST (public.pair AS jsonb) WITH INOUT AS ASSIGNMENT",
        "the cast (public.pair AS jsonb) is unknown to this version",
        UNKNOWN,
        "DROP TYPE public.pair CASCADE",
    ),
    "an overload": Damage(
        "CREATE FUNCTION actor_id(x int) RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT 1::bigint'",
        "the function actor_id(integer) is SECURITY DEFINER",
        UNKNOWN,
        "DROP FUNCTION actor_id(int)",
    ),
    # Row security and policies
    "row security off": Damage("ALTER TABLE audio_files DISABLE ROW LEVEL SECURITY", "row security is off on audio_files"),
    "row security forced": Damage("ALTER TABLE cases FORCE ROW LEVEL SECURITY", "row security is forced on cases"),
    "a policy dropped": Damage("DROP POLICY cases_app_select ON cases", "the policy cases_app_select on cases is missing"),
    "a policy wide open": Damage("ALTER POLICY cases_app_select ON cases USING (true)", "cases_app_select on cases differs"),
    "a policy unchecked": Damage(
        "ALTER POLICY case_notes_app_insert ON case_notes WITH CHECK (true)", "the policy case_notes_app_insert"
    ),
    "a policy for PUBLIC": Damage(
        "ALTER POLICY case_notes_app_select ON case_notes TO PUBLIC", "the policy case_notes_app_select"
    ),
    "an added policy": Damage("CREATE POLICY open ON cases USING (true)", "the policy open on cases is not declared"),
    "an added policy for a session role": Damage(
        'CREATE POLICY "Open One" ON users FOR SELECT TO sti_admin USING (true)', "the policy Open One on users"
    ),
    "a restrictive policy": Damage(
        "CREATE POLICY hours ON cases AS RESTRICTIVE USING (extract(hour FROM now()) >= 0)",
        "the policy hours on cases is unknown to this version",
        "it is restrictive",
        "DROP POLICY hours ON cases",
    ),
    # Triggers
    "a trigger disabled": Damage("ALTER TABLE cases DISABLE TRIGGER capture", "the trigger capture on cases is disabled"),
    "a trigger not always": Damage("ALTER TABLE cases ENABLE TRIGGER capture", "the trigger capture on cases is disabled"),
    "all triggers of a table disabled": Damage("ALTER TABLE users DISABLE TRIGGER USER", "capture on users is disabled"),
    "a trigger dropped": Damage("DROP TRIGGER touch ON users", "the trigger touch on users is missing"),
    "a trigger of another kind": Damage(
        "CREATE OR REPLACE TRIGGER capture AFTER INSERT ON users FOR EACH ROW EXECUTE FUNCTION"
        " capture_change('', '', '')",
        "the trigger capture on users differs from this version",
    ),
    "a trigger with other arguments": Damage(
        "CREATE OR REPLACE TRIGGER capture_change AFTER UPDATE OR DELETE ON cases FOR EACH ROW EXECUTE FUNCTION"
        " capture_change('id', 'title', '', 'write')",
        "the trigger capture_change on cases differs",
    ),
    "a constraint trigger dropped": Damage(
        "DROP TRIGGER finish_version ON transcriptions", "the trigger finish_version on transcriptions is missing"
    ),
    "a capture twice": Damage(
        "CREATE TRIGGER capture_old AFTER UPDATE ON cases FOR EACH ROW EXECUTE FUNCTION"
        " capture_change('id', '', '', 'write')",
        "the trigger capture_old on cases calls capture_change and is not declared",
    ),
    "a capture of another table": Damage(
        "CREATE TRIGGER capture_keys AFTER INSERT ON actor_keys FOR EACH ROW EXECUTE FUNCTION"
        " capture_change('', '', '', '')",
        "the trigger capture_keys on actor_keys calls capture_change",
    ),
    "a trigger outside this layer": Damage(
        "CREATE FUNCTION notify_us() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
        " CREATE TRIGGER notify AFTER INSERT ON cases FOR EACH ROW EXECUTE FUNCTION notify_us()",
        "the trigger notify on cases is unknown to this version",
        "a function outside this layer",
        "DROP FUNCTION notify_us CASCADE",
    ),
    "a trigger of a partition disabled": Damage(
        "ALTER TABLE activity_logs_default DISABLE TRIGGER refuse_change",
        "the trigger refuse_change on activity_logs_default is disabled",
    ),
    "a rule": Damage(
        "CREATE RULE quiet AS ON DELETE TO case_notes DO INSTEAD NOTHING",
        "the rule quiet on case_notes",
        UNKNOWN,
        "DROP RULE quiet ON case_notes",
    ),
    # Rights
    "a table granted": Damage("GRANT INSERT ON activity_logs TO sti_app", "sti_app has INSERT on activity_logs, which is not"),
    "a partition granted": Damage(
        "GRANT SELECT ON activity_logs_default TO PUBLIC", "PUBLIC has SELECT on activity_logs_default, which is not declared"
    ),
    "a secret column granted": Damage(
        "GRANT SELECT (password_hash) ON users TO sti_admin", "sti_admin has SELECT on users.password_hash"
    ),
    "a sequence granted": Damage(
        "GRANT USAGE ON SEQUENCE activity_logs_id_seq TO sti_app", "sti_app has USAGE on activity_logs_id_seq"
    ),
    "truncating granted": Damage("GRANT TRUNCATE ON cases TO sti_wide", "sti_wide has TRUNCATE on cases, which is not declared"),
    "a grant with an option": Damage(
        "GRANT SELECT ON cases TO sti_app WITH GRANT OPTION", "sti_app may grant SELECT on cases to others"
    ),
    "a table revoked": Damage("REVOKE SELECT ON cases FROM sti_app", "sti_app lacks SELECT on cases"),
    "a column revoked": Damage(
        "REVOKE UPDATE (title) ON cases FROM sti_app", "sti_app lacks UPDATE on cases.title"
    ),
    "a view that reads for others": Damage(
        "CREATE VIEW peep AS SELECT * FROM cases; GRANT SELECT ON peep TO sti_app", "sti_app has SELECT on peep"
    ),
    "an undeclared table": Damage(
        "CREATE TABLE added (id int); GRANT SELECT ON added TO sti_app", "the table added is not protected"
    ),
    "a grant to another role": Damage(
        "GRANT SELECT ON cases TO pg_monitor",
        "pg_monitor has SELECT on cases, which is not declared",
        UNKNOWN,
        "REVOKE SELECT ON cases FROM pg_monitor",
    ),
    "the schema for creators": Damage(
        "GRANT CREATE ON SCHEMA public TO PUBLIC", "sti_app may create objects in the schema public"
    ),
    "the schema closed": Damage(
        "REVOKE ALL ON SCHEMA public FROM sti_app, sti_wide", "sti_app, sti_wide may not use the schema public"
    ),
    "rights by default": Damage(
        "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO sti_app", "sti_app gets privileges on all new"
    ),
    # Tables
    "a table dropped": Damage("DROP TABLE activity_archives", "the table activity_archives is missing", BY_REVISION),
    "a column dropped": Damage("ALTER TABLE audio_files DROP COLUMN codec", "audio_files.codec is missing", BY_REVISION),
    "an added column": Damage(
        "ALTER TABLE cases ADD nickname text",
        "the column cases.nickname is unknown to this version",
        "no session may write it",
        "ALTER TABLE cases DROP nickname",
    ),
    "a column nullable": Damage(
        "ALTER TABLE cases ALTER title DROP NOT NULL",
        "the column cases.title is text, not text NOT NULL",
        BY_REVISION,
        "ALTER TABLE cases ALTER title SET NOT NULL",
    ),
    "a default changed": Damage(
        "ALTER TABLE cases ALTER description SET DEFAULT 'none'",
        "the column cases.description is",
        BY_REVISION,
        "ALTER TABLE cases ALTER description SET DEFAULT ''",
    ),
    "a CHECK dropped": Damage(
        "ALTER TABLE cases DROP CONSTRAINT cases_title_length_check",
        "the constraint cases_title_length_check on cases is missing",
        BY_REVISION,
        "ALTER TABLE cases ADD CONSTRAINT cases_title_length_check"
        " CHECK (char_length(title) >= 1 AND char_length(title) <= 300)",
    ),
    "a CHECK that admits more": Damage(
        "ALTER TABLE cases DROP CONSTRAINT cases_closed_after_created_check, ADD CONSTRAINT"
        " cases_closed_after_created_check CHECK (closed_at IS NOT NULL OR true)",
        "the constraint cases_closed_after_created_check on cases is CHECK",
        BY_REVISION,
        "ALTER TABLE cases DROP CONSTRAINT cases_closed_after_created_check, ADD CONSTRAINT"
        " cases_closed_after_created_check CHECK (closed_at >= created_at)",
    ),
    "a CHECK not validated": Damage(
        "ALTER TABLE cases DROP CONSTRAINT cases_closed_after_created_check, ADD CONSTRAINT"
        " cases_closed_after_created_check CHECK (closed_at >= created_at) NOT VALID",
        "NOT VALID",
        BY_REVISION,
        "ALTER TABLE cases VALIDATE CONSTRAINT cases_closed_after_created_check",
    ),
    "an added CHECK": Damage(
        "ALTER TABLE cases ADD CONSTRAINT polite CHECK (title <> '!')",
        "the constraint polite on cases is unknown to this version",
        "it only restricts the stored rows",
        "ALTER TABLE cases DROP CONSTRAINT polite",
    ),
    "a foreign key that cascades": Damage(
        "ALTER TABLE cases DROP CONSTRAINT cases_status_id_fkey, ADD CONSTRAINT cases_status_id_fkey"
        " FOREIGN KEY (status_id) REFERENCES case_statuses (id) ON DELETE CASCADE",
        "the constraint cases_status_id_fkey on cases is FOREIGN KEY",
        BY_REVISION,
        "ALTER TABLE cases DROP CONSTRAINT cases_status_id_fkey, ADD CONSTRAINT cases_status_id_fkey"
        " FOREIGN KEY (status_id) REFERENCES case_statuses (id) ON DELETE RESTRICT",
    ),
    "a unique key dropped": Damage(
        "ALTER TABLE cases DROP CONSTRAINT cases_case_code_excl",
        "the constraint cases_case_code_excl on cases is missing",
        BY_REVISION,
        "ALTER TABLE cases ADD CONSTRAINT cases_case_code_excl EXCLUDE USING btree (lower(case_code) WITH =)",
    ),
    "an index dropped": Damage(
        "DROP INDEX case_notes_case_id_idx",
        "CREATE INDEX CONCURRENTLY case_notes_case_id_idx",
        BY_REVISION,
        "CREATE INDEX case_notes_case_id_idx ON case_notes (case_id, created_at)",
    ),
    "an index without its operator class": Damage(
        "DROP INDEX cases_title_lower_idx; CREATE INDEX cases_title_lower_idx ON cases (lower(title));"
        " ALTER INDEX cases_title_lower_idx ALTER COLUMN 1 SET STATISTICS 0",
        "(lower(title)), not CREATE INDEX cases_title_lower_idx ON public.cases USING btree (lower(title) text_pattern_ops)",
        BY_REVISION,
        "DROP INDEX cases_title_lower_idx; CREATE INDEX cases_title_lower_idx ON cases (lower(title) text_pattern_ops);"
        " ALTER INDEX cases_title_lower_idx ALTER COLUMN 1 SET STATISTICS 0",
    ),
    "text that is sampled": Damage(
        "ALTER TABLE case_notes ALTER body SET STATISTICS 100", "ANALYZE samples text of cases: case_notes.body"
    ),
    "an index that is sampled": Damage(
        "ALTER INDEX case_notes_search_idx ALTER COLUMN 1 SET STATISTICS 100", "case_notes_search_idx"
    ),
    "the DEFAULT partition dropped": Damage(
        "DROP TABLE activity_logs_default", "the partition activity_logs_default is missing"
    ),
    "a type of entries deleted": Damage(
        "ALTER TABLE activity_types DISABLE TRIGGER USER; DELETE FROM activity_types WHERE code = 'row.update'",
        "activity types are missing: row.update",
    ),
    "a function with the build dropped": Damage("DROP FUNCTION schema_build", "the function schema_build() is missing"),
}  # fmt: skip
