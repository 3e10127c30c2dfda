"""Damages of single properties of indexes, constraints, columns and tables: each on an object of its own.

Each is reported with `named`, and either repaired by `apply` or by the statement in the report.
"""

from __future__ import annotations

from typing import NamedTuple


class Detail(NamedTuple):
    statement: str
    named: str


def _index(name: str, definition: str, *, unique: str = "") -> str:
    return f"DROP INDEX {name}; CREATE {unique}INDEX {name} ON {definition}"


DETAILS = {
    # Indexes
    "operator class lost": Detail(
        _index("audio_files_name_lower_idx", "audio_files (lower(name))"),
        "the index audio_files_name_lower_idx on audio_files is CREATE INDEX audio_files_name_lower_idx ON"
        " public.audio_files USING btree (lower(name)), not",
    ),
    "operator class added": Detail(
        _index("activity_archives_month_idx", "activity_archives (month date_ops, (storage_key) text_pattern_ops)"),
        "the index activity_archives_month_idx on activity_archives is",
    ),
    "collation": Detail(
        _index("cases_title_lower_idx", 'cases (lower(title) COLLATE "C" text_pattern_ops)'),
        'lower(title) COLLATE "C" text_pattern_ops)',
    ),
    "order": Detail(_index("case_notes_case_id_idx", "case_notes (case_id, created_at DESC)"), "created_at DESC), not"),
    "nulls": Detail(
        _index("processing_jobs_case_id_audio_file_id_idx", "processing_jobs (case_id, audio_file_id NULLS FIRST)"),
        "audio_file_id NULLS FIRST), not",
    ),
    "included columns": Detail(
        _index("legal_holds_case_id_idx", "legal_holds (case_id) INCLUDE (created_at)"), "INCLUDE (created_at), not"
    ),
    "condition added": Detail(
        _index("users_role_id_idx", "users (role_id) WHERE is_active"), "(role_id) WHERE is_active, not"
    ),
    "condition changed": Detail(
        _index("storage_objects_garbage_idx", "storage_objects (state, created_at) WHERE state <> 'lively'"),
        "WHERE (state <> 'lively'::text), not",
    ),
    "storage parameters": Detail(
        _index("audio_files_case_id_sha256_idx", "audio_files (case_id, sha256) WITH (fillfactor = 50)"),
        "WITH (fillfactor='50'), not",
    ),
    "method": Detail(
        _index("case_access_changes_user_id_idx", "case_access_changes USING hash (user_id)"),
        "USING hash (user_id), not",
    ),
    "expression": Detail(
        _index("transcriptions_language_id_idx", "transcriptions ((language_id + 1))"), "((language_id + 1))), not"
    ),
    "uniqueness": Detail(
        _index("user_roles_parent_id_idx", "user_roles (parent_id, code)", unique="UNIQUE "),
        "CREATE UNIQUE INDEX user_roles_parent_id_idx",
    ),
    "nulls not distinct": Detail(
        _index(
            "users_username_lower_key",
            "users (lower(username)) NULLS NOT DISTINCT WHERE username > ''",
            unique="UNIQUE ",
        ),
        "NULLS NOT DISTINCT",
    ),
    "an index of the log": Detail(
        _index("activity_logs_actor_id_idx", "activity_logs (actor_id, id)"),
        "the index activity_logs_actor_id_idx on activity_logs is",
    ),
    "an index of the log missing": Detail(
        "DROP INDEX activity_logs_case_id_entity_idx",
        "the index activity_logs_case_id_entity_idx on activity_logs is missing"
    ),
    "an index of the log on some partitions": Detail(
        "DROP INDEX activity_logs_transaction_id_idx; CREATE INDEX activity_logs_transaction_id_idx ON ONLY"
        " activity_logs ((transaction_id::text::bigint))",
        "INVALID, not",
    ),
    "an index of keys with options": Detail(
        "ALTER INDEX cases_pkey SET (fillfactor = 50)",
        "the options of the index cases_pkey on cases is fillfactor=50, not none",
    ),
    # Constraints
    "deferrable": Detail(
        "ALTER TABLE case_notes ALTER CONSTRAINT case_notes_author_id_fkey DEFERRABLE",
        "ON DELETE RESTRICT DEFERRABLE, not",
    ),
    "not validated": Detail(
        "ALTER TABLE sentiments DROP CONSTRAINT sentiments_name_length_check, ADD CONSTRAINT"
        " sentiments_name_length_check CHECK (char_length(name) >= 1 AND char_length(name) <= 100) NOT VALID",
        "the constraint sentiments_name_length_check on sentiments is",
    ),
    "a foreign key not validated": Detail(
        "ALTER TABLE users DROP CONSTRAINT users_role_id_fkey, ADD CONSTRAINT users_role_id_fkey FOREIGN KEY (role_id)"
        " REFERENCES user_roles (id) ON DELETE RESTRICT NOT VALID",
        "VALIDATE CONSTRAINT users_role_id_fkey",
    ),
    "on delete": Detail(
        "ALTER TABLE legal_holds DROP CONSTRAINT legal_holds_case_id_fkey, ADD CONSTRAINT legal_holds_case_id_fkey"
        " FOREIGN KEY (case_id) REFERENCES cases (id) ON DELETE RESTRICT",
        "the constraint legal_holds_case_id_fkey on legal_holds is",
    ),
    "on update": Detail(
        "ALTER TABLE case_participants DROP CONSTRAINT case_participants_user_id_fkey, ADD CONSTRAINT"
        " case_participants_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON UPDATE CASCADE",
        "ON UPDATE CASCADE",
    ),
    "unique nulls not distinct": Detail(
        "ALTER TABLE languages DROP CONSTRAINT languages_code_key, ADD CONSTRAINT languages_code_key UNIQUE NULLS NOT"
        " DISTINCT (code)",
        "UNIQUE NULLS NOT DISTINCT (code), not",
    ),
    "unique with more columns": Detail(
        "ALTER TABLE name_locks DROP CONSTRAINT name_locks_digest_key, ADD CONSTRAINT name_locks_digest_key UNIQUE"
        " (digest) INCLUDE (id)",
        "UNIQUE (digest) INCLUDE (id), not",
    ),
    "excluded otherwise": Detail(
        "ALTER TABLE cases DROP CONSTRAINT cases_case_code_excl, ADD CONSTRAINT cases_case_code_excl"
        ' EXCLUDE USING btree (lower(case_code) COLLATE "C" WITH =)',
        'EXCLUDE USING btree (lower(case_code) COLLATE "C" WITH =), not',
    ),
    # Columns
    "default": Detail("ALTER TABLE audio_files ALTER name SET DEFAULT ''", "the column audio_files.name is"),
    "identity": Detail("ALTER TABLE languages ALTER id SET GENERATED ALWAYS", "the column languages.id is"),
    "numbers": Detail(
        "ALTER TABLE case_notes ALTER id SET INCREMENT BY 2 SET CACHE 100 SET CYCLE",
        "the numbering of the column case_notes.id is bigint START 1 INCREMENT 2 MINVALUE 1",
    ),
    "generated": Detail(
        "ALTER TABLE transcription_segments DROP search, ADD search tsvector GENERATED ALWAYS AS"
        " (to_tsvector('english', text)) STORED",
        "the column transcription_segments.search is",
    ),
    "storage": Detail(
        "ALTER TABLE case_notes ALTER body SET STORAGE EXTERNAL",
        "the storage of the column case_notes.body is EXTERNAL, not EXTENDED",
    ),
    "compression": Detail(
        "ALTER TABLE case_notes ALTER body SET COMPRESSION pglz",
        "the compression of the column case_notes.body is pglz, not default",
    ),
    "comment": Detail(
        "COMMENT ON COLUMN activity_logs.entity IS 'the thing'",
        "the comment on the column activity_logs.entity is the thing, not the table",
    ),
    "comment removed": Detail(
        "COMMENT ON COLUMN activity_logs.actor IS NULL",
        "the comment on the column activity_logs.actor is missing, not user name at that time",
    ),
    # Tables
    "replica identity": Detail(
        "ALTER TABLE cases REPLICA IDENTITY NOTHING",
        "the replica identity of the table cases is nothing, not the primary key"
    ),
    "replica identity of a partition": Detail(
        "ALTER TABLE activity_logs_default REPLICA IDENTITY FULL",
        "the replica identity of the partition activity_logs_default is not the primary key",
    ),
    "persistence": Detail(
        "ALTER TABLE activity_archives SET UNLOGGED",
        "the persistence of the table activity_archives is UNLOGGED, not LOGGED"
    ),
    "numbers given twice": Detail(
        "ALTER SEQUENCE users_id_seq RESTART WITH 1", "the next number of users.id is taken: 0 were given, the last is"
    ),
}  # fmt: skip
# Reported, and left to their owner.
OF_OTHERS = {
    "an added index": Detail(
        "CREATE INDEX cases_updated_at_idx ON cases (updated_at)",
        "the index cases_updated_at_idx on cases is unknown to this version (the plans of queries may reveal",
    ),
    "a detached partition": Detail(
        "ALTER TABLE activity_logs DETACH PARTITION activity_logs_default",
        "the table activity_logs_default is not a partition: its entries are missing from the log",
    ),
}
