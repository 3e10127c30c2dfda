"""The baseline: all tables of the layer, grouped by subject.

Revision ID: 1001
Revises: none

Revisions do not contain functions, triggers, policies and grants: these are compared with the code after every upgrade.
The baseline may be changed in place until the issues on security, trust, input, work and versions are closed
(decision 10); after that it is never changed.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from src.database.base import TransactionId
from src.database.schema.creation import after_drop

revision = "1001"
down_revision = None
branch_labels = None
depends_on = None


def moment(name: str, **options: Any) -> sa.Column[Any]:
    """A timestamp that every client can read."""
    limit = sa.CheckConstraint(f"public.readable_time_1({name})", name=f"{name}_range")
    return sa.Column(name, postgresql.TIMESTAMP(timezone=True), limit, **options)


def day(name: str, **options: Any) -> sa.Column[Any]:
    """A date that every client can read."""
    return sa.Column(
        name, sa.Date(), sa.CheckConstraint(f"public.readable_date_1({name})", name=f"{name}_range"), **options
    )


def document(name: str, size: int, rows: str = "", **options: Any) -> sa.Column[Any]:
    """A JSON document that every client can read, of at most `size` bytes as text; in all rows, or those of `rows`."""
    limit = f"public.readable_json_1({name}, {size})"
    return sa.Column(
        name,
        postgresql.JSONB(),
        sa.CheckConstraint(f"NOT ({rows}) OR {limit}" if rows else limit, name=f"{name}_readable"),
        **options,
    )


def record(identity: Any = sa.BigInteger, *, row_version: bool = False) -> tuple[Any, ...]:
    """The columns of every table except those of the log: id, timestamps and, optionally, the row version."""
    columns = [
        sa.Column("id", identity(), sa.Identity(), nullable=False),
        moment("created_at", server_default=sa.text("now()"), nullable=False),
        moment("updated_at", server_default=sa.text("now()"), nullable=False),
    ]
    if row_version:
        columns.append(
            sa.Column(
                "row_version", sa.BigInteger(), server_default="1", nullable=False, comment="counted by a trigger"
            )
        )
    return tuple(columns)


def sensitivity() -> tuple[Any, ...]:
    """The mark of sensitive cases and recordings."""
    manage = "exports need the permission to manage"
    return (
        sa.Column("is_sensitive", sa.Boolean(), server_default=sa.text("false"), nullable=False, comment=manage),
        sa.Column("sensitive_reason", sa.Text(), nullable=True),
        sa.CheckConstraint("NOT is_sensitive OR sensitive_reason IS NOT NULL", name="sensitive_has_reason"),
        sa.CheckConstraint(
            "char_length(sensitive_reason) >= 1 AND char_length(sensitive_reason) <= 2000",
            name="sensitive_reason_length",
        ),
    )


def look_up(name: str, *columns: sa.Column[Any] | sa.CheckConstraint) -> None:
    """Create a lookup table, keyed by a code."""
    op.create_table(
        name,
        *record(),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "is_active", sa.Boolean(), server_default=sa.text("true"), nullable=False, comment="offered for new rows"
        ),
        sa.Column(
            "seed_fingerprint", sa.Text(), nullable=True, comment="hash of the seed; null: not a seed of init_db"
        ),
        *columns,
        sa.CheckConstraint("code ~ '^[A-Za-z0-9][A-Za-z0-9._-]*$'", name="code_form"),
        sa.CheckConstraint("char_length(code) >= 1 AND char_length(code) <= 64", name="code_length"),
        sa.CheckConstraint("char_length(description) <= 2000", name="description_length"),
        sa.CheckConstraint("char_length(name) >= 1 AND char_length(name) <= 200", name="name_length"),
        sa.PrimaryKeyConstraint("id", name=f"{name}_pkey"),
        sa.UniqueConstraint("code", name=f"{name}_code_key"),
    )


def look_ups() -> None:
    category = "change, access, file, work, people"
    look_up(
        "activity_types",
        sa.Column("category", sa.Text(), server_default="change", nullable=False, comment=category),
    )
    outcome = "processed: sets processed_at; failed: keeps error_message; null: not finished, has neither"
    look_up(
        "audio_statuses",
        sa.Column("outcome", sa.Text(), nullable=True, comment=outcome),
        sa.CheckConstraint("outcome IN ('processed', 'failed')", name="outcome_known"),
    )
    weight = "sorts the levels; higher is more urgent"
    look_up("case_priorities", sa.Column("weight", sa.BigInteger(), nullable=False, comment=weight))
    closed = "cases with this status are closed: they have closed_at"
    look_up(
        "case_statuses",
        sa.Column("is_closed", sa.Boolean(), server_default=sa.text("false"), nullable=False, comment=closed),
    )
    op.create_table(
        "case_status_moves",
        *record(),
        sa.Column("from_status_id", sa.BigInteger(), nullable=False),
        sa.Column("to_status_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "is_active",
            sa.Boolean(),
            server_default=sa.text("true"),
            nullable=False,
            comment="false: the move is not allowed",
        ),
        sa.CheckConstraint("from_status_id <> to_status_id", name="statuses_differ"),
        sa.ForeignKeyConstraint(
            ["from_status_id"],
            ["case_statuses.id"],
            name="case_status_moves_from_status_id_fkey",
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["to_status_id"], ["case_statuses.id"], name="case_status_moves_to_status_id_fkey", ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name="case_status_moves_pkey"),
        sa.UniqueConstraint("from_status_id", "to_status_id", name="case_status_moves_from_status_id_to_status_id_key"),
    )
    op.create_index("case_status_moves_to_status_id_idx", "case_status_moves", ["to_status_id"])
    configuration = "name of a text search configuration"
    look_up(
        "languages",
        sa.Column("native_name", sa.Text(), server_default="", nullable=False),
        sa.Column("search_config", sa.Text(), server_default="simple", nullable=False, comment=configuration),
    )
    look_up("sentiments")


def users() -> None:
    op.create_table(
        "user_roles",
        *record(row_version=True),
        sa.Column("code", sa.Text(), nullable=False, comment="admin, user, service, …"),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("parent_id", sa.BigInteger(), nullable=True),
        document(
            "permissions",
            16 << 10,
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
            comment='{"subject": ["verb", …]}; "*" is all',
        ),
        sa.Column(
            "seed_fingerprint", sa.Text(), nullable=True, comment="hash of the seed; null: not a seed of init_db"
        ),
        sa.CheckConstraint("char_length(code) >= 1 AND char_length(code) <= 64", name="code_length"),
        sa.CheckConstraint("char_length(description) <= 2000", name="description_length"),
        sa.CheckConstraint("char_length(name) >= 1 AND char_length(name) <= 200", name="name_length"),
        sa.CheckConstraint("parent_id <> id", name="parent_other"),
        sa.CheckConstraint("public.permissions_form_2(permissions)", name="permissions_form"),
        sa.ForeignKeyConstraint(
            ["parent_id"], ["user_roles.id"], name="user_roles_parent_id_fkey", ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name="user_roles_pkey"),
        sa.UniqueConstraint("code", name="user_roles_code_key"),
    )
    op.create_index("user_roles_parent_id_idx", "user_roles", ["parent_id"])
    op.create_table(
        "permission_subjects",
        *record(),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("verbs", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.CheckConstraint("char_length(subject) >= 1 AND char_length(subject) <= 63", name="subject_length"),
        sa.CheckConstraint("public.permission_subject_form_2(subject, verbs)", name="subject_form"),
        sa.CheckConstraint(
            "cardinality(verbs) = 0 OR array_ndims(verbs) = 1 AND octet_length(verbs::text) <= 16384",
            name="verbs_readable",
        ),
        sa.PrimaryKeyConstraint("id", name="permission_subjects_pkey"),
        sa.UniqueConstraint("subject", name="permission_subjects_subject_key"),
    )
    op.create_table(
        "users",
        *record(row_version=True),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("full_name", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "password_hash", sa.Text(), nullable=True, comment="bcrypt with a scheme prefix; null: cannot sign in"
        ),
        sa.Column(
            "sign_in_epoch",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="raised by a new password and by deactivation: what services handed out before is void",
        ),
        sa.Column("is_active", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        moment("last_login", server_default=sa.FetchedValue(), nullable=True),
        sa.Column(
            "role_id", sa.BigInteger(), server_default=sa.text("public.code_id('user_roles', 'user')"), nullable=False
        ),
        sa.CheckConstraint("email LIKE '%_@_%'", name="email_form"),
        sa.CheckConstraint("username !~ '[[:cntrl:]|]' AND username = btrim(username)", name="username_form"),
        sa.CheckConstraint("char_length(email) >= 3 AND char_length(email) <= 254", name="email_length"),
        sa.CheckConstraint("char_length(full_name) <= 200", name="full_name_length"),
        sa.CheckConstraint("char_length(password_hash) <= 255", name="password_hash_length"),
        sa.CheckConstraint("char_length(username) >= 1 AND char_length(username) <= 64", name="username_length"),
        sa.ForeignKeyConstraint(["role_id"], ["user_roles.id"], name="users_role_id_fkey", ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name="users_pkey"),
    )
    op.create_index("users_email_lower_idx", "users", [sa.text("lower(email)")])
    op.create_index("users_role_id_idx", "users", ["role_id"])
    op.create_index("users_username_lower_key", "users", [sa.text("lower(username)")], unique=True)
    op.create_table(
        "login_throttles",
        *record(),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("failures", sa.BigInteger(), nullable=False),
        moment("last_failed_at", nullable=False),
        sa.CheckConstraint("failures >= 1", name="failures_positive"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="login_throttles_user_id_fkey", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="login_throttles_pkey"),
        sa.UniqueConstraint("user_id", name="login_throttles_user_id_key"),
    )
    op.create_table(
        "case_accesses",
        *record(),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        moment("valid_until", nullable=True),
        sa.Column(
            "cluster",
            sa.BigInteger(),
            nullable=False,
            comment="system identifier of the cluster that computed the set",
        ),
        sa.Column("is_wide", sa.Boolean(), nullable=False, comment="a large part of all cases: read as sti_wide"),
        sa.Column("case_ids", postgresql.ARRAY(sa.Integer()), nullable=False),
        sa.Column(
            "flags",
            postgresql.ARRAY(sa.Boolean()),
            nullable=False,
            comment="element n is true when case n may be read",
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="case_accesses_user_id_fkey", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="case_accesses_pkey"),
        sa.UniqueConstraint("user_id", name="case_accesses_user_id_key"),
    )
    op.create_table(
        "case_access_changes",
        *record(),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("case_id", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="case_access_changes_pkey"),
    )
    op.create_index("case_access_changes_user_id_idx", "case_access_changes", ["user_id"])
    op.create_table(
        "actor_keys",
        *record(),
        sa.Column("inner_pad", sa.LargeBinary(), nullable=False),
        sa.Column("outer_pad", sa.LargeBinary(), nullable=False),
        moment("retired_at", nullable=True, comment="tokens of this key are rejected from then on"),
        sa.CheckConstraint("octet_length(inner_pad) = 64 AND octet_length(outer_pad) = 64", name="pad_length"),
        sa.PrimaryKeyConstraint("id", name="actor_keys_pkey"),
    )


def cases() -> None:
    op.create_table(
        "cases",
        *record(sa.Integer, row_version=True),
        sa.Column(
            "case_code",
            sa.Text(),
            server_default=sa.FetchedValue(),
            nullable=False,
            comment="when none is given, a trigger derives C-000042 from the id",
        ),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "status_id",
            sa.BigInteger(),
            server_default=sa.text("public.code_id('case_statuses', 'active')"),
            nullable=False,
        ),
        sa.Column(
            "priority_id",
            sa.BigInteger(),
            server_default=sa.text("public.code_id('case_priorities', 'medium')"),
            nullable=False,
        ),
        sa.Column("opened_by_id", sa.BigInteger(), server_default=sa.text("public.actor_id()"), nullable=False),
        moment("closed_at", server_default=sa.FetchedValue(), nullable=True),
        sa.Column(
            "active_holds",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="unreleased legal holds; counted by a trigger",
        ),
        *sensitivity(),
        sa.Column(
            "opened_mark",
            sa.Text(),
            server_default=sa.FetchedValue(),
            nullable=True,
            comment="actor and transaction that opened the case; read by the policy for SELECT",
        ),
        sa.CheckConstraint("char_length(case_code) >= 1 AND char_length(case_code) <= 64", name="case_code_length"),
        sa.CheckConstraint("char_length(description) <= 20000", name="description_length"),
        sa.CheckConstraint("char_length(title) >= 1 AND char_length(title) <= 300", name="title_length"),
        sa.CheckConstraint("closed_at >= created_at", name="closed_after_created"),
        sa.CheckConstraint(
            "case_code = 'C-' || lpad(id::text, greatest(6, length(id::text)), '0') OR normalize(case_code, NFKC) !~*"
            r" '^[[:space:]]*[c\u0421\u0441][[:space:]]*[-\u2010-\u2015\u2212][[:space:]]*[0-9]{6,}[[:space:]]*$'",
            name="case_code_reserved",
        ),
        sa.ForeignKeyConstraint(["opened_by_id"], ["users.id"], name="cases_opened_by_id_fkey", ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(
            ["priority_id"], ["case_priorities.id"], name="cases_priority_id_fkey", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(["status_id"], ["case_statuses.id"], name="cases_status_id_fkey", ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name="cases_pkey"),
        postgresql.ExcludeConstraint((sa.text("lower(case_code)"), "="), using="btree", name="cases_case_code_excl"),
    )
    op.create_index("cases_opened_mark_idx", "cases", [sa.text("(opened_mark || '')")])
    op.create_index("cases_title_lower_idx", "cases", [sa.text("lower(title) text_pattern_ops")])
    op.create_table(
        "case_participants",
        *record(row_version=True),
        sa.Column("case_id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False, comment="owner, editor or viewer"),
        document(
            "permissions",
            16 << 10,
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
            comment='{"allow": [verb, …], "deny": [verb, …], subject of a service: [verb, …]}',
        ),
        moment("expires_at", nullable=True),
        sa.Column("added_by_id", sa.BigInteger(), server_default=sa.text("public.actor_id()"), nullable=True),
        sa.CheckConstraint("role IN ('owner', 'editor', 'viewer')", name="role_known"),
        sa.CheckConstraint("public.permissions_form_2(permissions)", name="permissions_form"),
        sa.ForeignKeyConstraint(
            ["added_by_id"], ["users.id"], name="case_participants_added_by_id_fkey", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name="case_participants_case_id_fkey", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="case_participants_user_id_fkey", ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name="case_participants_pkey"),
        sa.UniqueConstraint("case_id", "user_id", name="case_participants_case_id_user_id_key"),
    )
    op.create_index("case_participants_user_id_idx", "case_participants", [sa.text("(user_id + 0)")])
    op.create_table(
        "case_notes",
        *record(row_version=True),
        sa.Column("case_id", sa.Integer(), nullable=False),
        sa.Column("author_id", sa.BigInteger(), server_default=sa.text("public.actor_id()"), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.CheckConstraint("char_length(body) >= 1 AND char_length(body) <= 100000", name="body_length"),
        sa.ForeignKeyConstraint(["author_id"], ["users.id"], name="case_notes_author_id_fkey", ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name="case_notes_case_id_fkey", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="case_notes_pkey"),
    )
    op.create_index("case_notes_case_id_idx", "case_notes", ["case_id", "created_at"])
    op.create_index(
        "case_notes_search_idx",
        "case_notes",
        [sa.text("public.search_vector_1('simple', body)")],
        postgresql_using="gin",
    )
    op.create_table(
        "legal_holds",
        *record(row_version=True),
        sa.Column("case_id", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("placed_by_id", sa.BigInteger(), server_default=sa.text("public.actor_id()"), nullable=False),
        moment("released_at", nullable=True),
        sa.Column("released_by_id", sa.BigInteger(), nullable=True),
        sa.Column("release_reason", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(released_at IS NULL) = (released_by_id IS NULL) AND (released_at IS NULL) = (release_reason IS NULL)",
            name="released_whole",
        ),
        sa.CheckConstraint("char_length(reason) >= 1 AND char_length(reason) <= 2000", name="reason_length"),
        sa.CheckConstraint(
            "char_length(release_reason) >= 1 AND char_length(release_reason) <= 2000",
            name="release_reason_length",
        ),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name="legal_holds_case_id_fkey", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["placed_by_id"], ["users.id"], name="legal_holds_placed_by_id_fkey", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["released_by_id"], ["users.id"], name="legal_holds_released_by_id_fkey", ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name="legal_holds_pkey"),
    )
    op.create_index("legal_holds_case_id_idx", "legal_holds", ["case_id"])


def storages() -> None:
    op.create_table(
        "storages",
        *record(),
        sa.Column("name", sa.Text(), nullable=False, comment="name of the storage backend"),
        sa.Column("storage", sa.Uuid(), nullable=False, comment="id in the marker"),
        document(
            "location",
            16 << 10,
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
            comment="options that open it; never a credential",
        ),
        sa.Column(
            "is_marked",
            sa.Boolean(),
            server_default=sa.text("true"),
            nullable=False,
            comment="false: the backend cannot keep a marker",
        ),
        sa.Column(
            "is_owned",
            sa.Boolean(),
            server_default=sa.text("true"),
            nullable=False,
            comment="false: left to the database that this one is a copy of",
        ),
        moment("claimed_at", nullable=True, comment="when its marker was written; null until then"),
        sa.Column(
            "sequence",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="raised here and in the marker; a smaller one than the marker's is a copy",
        ),
        sa.CheckConstraint("char_length(name) >= 1 AND char_length(name) <= 64", name="name_length"),
        sa.CheckConstraint("sequence >= 0", name="sequence_positive"),
        sa.CheckConstraint("jsonb_typeof(location) = 'object'", name="location_object"),
        sa.PrimaryKeyConstraint("id", name="storages_pkey"),
        sa.UniqueConstraint("storage", name="storages_storage_key"),
    )
    op.create_index(
        "storages_unmarked_key", "storages", ["name"], unique=True, postgresql_where=sa.text("NOT is_marked")
    )
    op.create_table(
        "database_identities",
        *record(),
        sa.Column("identity", sa.Uuid(), nullable=False, comment="id of this database in the markers of its storages"),
        sa.Column(
            "system_identifier",
            sa.BigInteger(),
            nullable=False,
            comment="of the cluster in which it was confirmed",
        ),
        sa.Column("database_oid", sa.BigInteger(), nullable=False, comment="of the database in that cluster"),
        moment("confirmed_at", nullable=False),
        sa.Column("quarantine", sa.Text(), nullable=True, comment="why a marker shows that this is a copy"),
        moment("restored_at", nullable=True, comment="when a copy was last confirmed as the owner"),
        moment("snapshot_at", nullable=True, comment="the last object that the copy knew was announced"),
        sa.CheckConstraint("char_length(quarantine) <= 2000", name="quarantine_length"),
        sa.CheckConstraint("id = 1", name="single_row"),
        sa.PrimaryKeyConstraint("id", name="database_identities_pkey"),
    )


def audio() -> None:
    op.create_table(
        "storage_objects",
        *record(),
        sa.Column("case_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("backend", sa.Text(), nullable=False, comment="name of the storage backend"),
        sa.Column(
            "storage_id",
            sa.BigInteger(),
            nullable=True,
            comment="null: announced before the database had an identity",
        ),
        sa.Column(
            "announced_by_id",
            sa.BigInteger(),
            nullable=True,
            comment="null: the owner of the database, not a session",
        ),
        sa.Column("state", sa.Text(), server_default="pending", nullable=False),
        sa.Column(
            "audio_file_id",
            sa.BigInteger(),
            nullable=True,
            comment="the recording whose object it was; null while it is one",
        ),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column(
            "upload_id", sa.Text(), nullable=True, comment="id of a multipart upload that may have to be aborted"
        ),
        moment("delete_after", nullable=True),
        sa.Column("attempts", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True, comment="error of the last check or removal"),
        moment("verified_at", nullable=True, comment="when the bytes were last read and compared"),
        moment("checked_at", nullable=True, comment="the same, by maintenance: no session can claim it"),
        sa.CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name="sha256_form"),
        sa.CheckConstraint("state IN ('pending', 'live', 'superseded', 'deleting')", name="state_known"),
        sa.CheckConstraint("attempts >= 0", name="attempts_positive"),
        sa.CheckConstraint("char_length(backend) >= 1 AND char_length(backend) <= 64", name="backend_length"),
        sa.CheckConstraint("char_length(key) >= 1 AND char_length(key) <= 512", name="key_length"),
        sa.CheckConstraint("char_length(last_error) <= 4000", name="last_error_length"),
        sa.CheckConstraint("size_bytes >= 0", name="size_bytes_positive"),
        sa.ForeignKeyConstraint(
            ["announced_by_id"], ["users.id"], name="storage_objects_announced_by_id_fkey", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["storage_id"], ["storages.id"], name="storage_objects_storage_id_fkey", ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name="storage_objects_pkey"),
        sa.UniqueConstraint("case_id", "key", name="storage_objects_case_id_key_key"),
        sa.UniqueConstraint("key", name="storage_objects_key_key"),
    )
    op.create_index(
        "storage_objects_audio_file_id_idx",
        "storage_objects",
        ["audio_file_id"],
        postgresql_where=sa.text("audio_file_id IS NOT NULL"),
    )
    op.create_index("storage_objects_announced_by_id_state_idx", "storage_objects", ["announced_by_id", "state"])
    op.create_index(
        "storage_objects_garbage_idx",
        "storage_objects",
        ["state", "created_at"],
        postgresql_where=sa.text("state <> 'live'"),
    )
    op.create_table(
        "audio_files",
        *record(row_version=True),
        sa.Column("case_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False, comment="file name given by the user; never part of a path"),
        sa.Column("path", sa.Text(), nullable=False, comment="key of the bytes in their storage backend"),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False, comment="SHA-256 of the bytes, lowercase hexadecimal"),
        sa.Column("content_type", sa.Text(), nullable=True, comment="media type by content, not by file name"),
        sa.Column("duration_ms", sa.BigInteger(), nullable=True, comment="of the decoded samples, in milliseconds"),
        sa.Column("sample_rate_hz", sa.BigInteger(), nullable=True),
        sa.Column("channels", sa.BigInteger(), nullable=True),
        sa.Column("codec", sa.Text(), nullable=True),
        sa.Column(
            "is_truncated",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="decodes to less than its header states",
        ),
        moment("recorded_at", nullable=True, comment="when people spoke, if known"),
        sa.Column("language_id", sa.BigInteger(), nullable=True),
        sa.Column(
            "status_id",
            sa.BigInteger(),
            server_default=sa.text("public.code_id('audio_statuses', 'received')"),
            nullable=False,
        ),
        moment("processed_at", server_default=sa.FetchedValue(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column(
            "storage_type", sa.Text(), server_default="local", nullable=False, comment="name of the storage backend"
        ),
        document(
            "storage_config",
            16 << 10,
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
            comment="storage: the id of the storage that has the bytes, set by a trigger",
        ),
        sa.Column("is_archived", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("archive_reason", sa.Text(), server_default=sa.FetchedValue(), nullable=True),
        moment(
            "deleted_at",
            server_default=sa.FetchedValue(),
            nullable=True,
            comment="marked as deleted; a sweep removes it after a grace period",
        ),
        sa.Column("uploaded_by_id", sa.BigInteger(), server_default=sa.text("public.actor_id()"), nullable=False),
        *sensitivity(),
        sa.CheckConstraint("jsonb_typeof(storage_config) = 'object'", name="storage_config_object"),
        sa.CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name="sha256_form"),
        sa.CheckConstraint("NOT is_archived OR archive_reason IS NOT NULL", name="archive_has_reason"),
        sa.CheckConstraint("channels BETWEEN 1 AND 64", name="channels_range"),
        sa.CheckConstraint(
            "char_length(archive_reason) >= 1 AND char_length(archive_reason) <= 2000",
            name="archive_reason_length",
        ),
        sa.CheckConstraint("char_length(codec) <= 64", name="codec_length"),
        sa.CheckConstraint("char_length(content_type) <= 128", name="content_type_length"),
        sa.CheckConstraint("char_length(error_message) <= 4000", name="error_message_length"),
        sa.CheckConstraint("char_length(name) >= 1 AND char_length(name) <= 1024", name="name_length"),
        sa.CheckConstraint(
            "char_length(storage_type) >= 1 AND char_length(storage_type) <= 64",
            name="storage_type_length",
        ),
        sa.CheckConstraint("duration_ms >= 0", name="duration_ms_positive"),
        sa.CheckConstraint("sample_rate_hz BETWEEN 1 AND 768000", name="sample_rate_hz_range"),
        sa.CheckConstraint("size_bytes > 0", name="size_bytes_positive"),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name="audio_files_case_id_fkey", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["language_id"], ["languages.id"], name="audio_files_language_id_fkey", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["case_id", "path"],
            ["storage_objects.case_id", "storage_objects.key"],
            name="audio_files_case_id_path_fkey",
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["status_id"], ["audio_statuses.id"], name="audio_files_status_id_fkey", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["uploaded_by_id"], ["users.id"], name="audio_files_uploaded_by_id_fkey", ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name="audio_files_pkey"),
        sa.UniqueConstraint("case_id", "id", name="audio_files_case_id_id_key"),
        sa.UniqueConstraint("case_id", "path", name="audio_files_case_id_path_key"),
    )
    op.create_index("audio_files_case_id_created_at_idx", "audio_files", ["case_id", "created_at"])
    op.create_index("audio_files_case_id_sha256_idx", "audio_files", ["case_id", "sha256"])
    op.create_index("audio_files_deleted_at_idx", "audio_files", [sa.text("timezone('UTC', deleted_at)")])
    op.create_index("audio_files_name_lower_idx", "audio_files", [sa.text("lower(name) text_pattern_ops")])
    op.create_table(
        "processing_jobs",
        *record(row_version=True),
        sa.Column("case_id", sa.Integer(), nullable=False),
        sa.Column("audio_file_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False, comment="transcribe, analyse, …"),
        sa.Column("state", sa.Text(), server_default="queued", nullable=False),
        sa.Column("priority", sa.BigInteger(), server_default="0", nullable=False, comment="higher is sooner"),
        document("payload", 1 << 20, server_default=sa.text("'{}'::jsonb"), nullable=False),
        document("result", 16 << 20, nullable=True),
        moment("run_after", server_default=sa.text("now()"), nullable=False),
        sa.Column("attempts", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("max_attempts", sa.BigInteger(), server_default="3", nullable=False),
        sa.Column(
            "lease",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="fencing number: grows with every claim",
        ),
        sa.Column("leased_by_id", sa.BigInteger(), nullable=True),
        moment("lease_expires_at", nullable=True),
        sa.Column("worker", sa.Text(), nullable=True, comment="name of the worker process, given by it"),
        moment("started_at", nullable=True),
        moment("finished_at", nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("created_by_id", sa.BigInteger(), server_default=sa.text("public.actor_id()"), nullable=False),
        sa.CheckConstraint(
            "(state = 'running') = (lease_expires_at IS NOT NULL) AND (state = 'running') = (leased_by_id IS NOT NULL)",
            name="running_has_lease",
        ),
        sa.CheckConstraint("jsonb_typeof(payload) = 'object'", name="payload_object"),
        sa.CheckConstraint("jsonb_typeof(result) = 'object'", name="result_object"),
        sa.CheckConstraint("state IN ('queued', 'running', 'done', 'failed')", name="state_known"),
        sa.CheckConstraint("attempts >= 0 AND max_attempts BETWEEN 1 AND 1000", name="attempts_range"),
        sa.CheckConstraint("priority BETWEEN -1000000 AND 1000000", name="priority_range"),
        sa.CheckConstraint("char_length(error_message) <= 4000", name="error_message_length"),
        sa.CheckConstraint("char_length(kind) >= 1 AND char_length(kind) <= 64", name="kind_length"),
        sa.CheckConstraint("char_length(worker) <= 200", name="worker_length"),
        sa.CheckConstraint("lease >= 0", name="lease_positive"),
        sa.ForeignKeyConstraint(
            ["case_id", "audio_file_id"],
            ["audio_files.case_id", "audio_files.id"],
            name="processing_jobs_case_id_audio_file_id_fkey",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["created_by_id"], ["users.id"], name="processing_jobs_created_by_id_fkey", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["leased_by_id"], ["users.id"], name="processing_jobs_leased_by_id_fkey", ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name="processing_jobs_pkey"),
    )
    op.create_index("processing_jobs_case_id_audio_file_id_idx", "processing_jobs", ["case_id", "audio_file_id"])
    op.create_index("processing_jobs_lease_idx", "processing_jobs", [sa.text("timezone('UTC', lease_expires_at)")])
    op.create_index("processing_jobs_leased_by_id_idx", "processing_jobs", [sa.text("(leased_by_id + 0)")])
    op.create_index(
        "processing_jobs_open_key",
        "processing_jobs",
        ["case_id", "audio_file_id", sa.text("public.open_job_kind_1(state, kind)")],
        unique=True,
    )
    op.create_index(
        "processing_jobs_queue_idx",
        "processing_jobs",
        [
            sa.text("public.queued_job_kind_1(state, kind)"),
            sa.text("(- priority)"),
            sa.text("timezone('UTC', run_after)"),
            "id",
        ],
    )


def transcriptions() -> None:
    op.create_table(
        "transcriptions",
        *record(row_version=True),
        sa.Column("case_id", sa.Integer(), nullable=False),
        sa.Column("audio_file_id", sa.BigInteger(), nullable=False),
        sa.Column("language_id", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False, comment="1, 2, 3 … per recording and language"),
        sa.Column("based_on_id", sa.BigInteger(), nullable=True, comment="the version that this one corrects"),
        sa.Column("content", sa.Text(), nullable=False, comment="the whole text"),
        sa.Column("confidence", sa.Double(), nullable=True),
        sa.Column("model_name", sa.Text(), nullable=True, comment="recogniser; null for text written by people"),
        sa.Column("model_version", sa.Text(), nullable=True),
        moment("accepted_at", nullable=True),
        sa.Column("accepted_by_id", sa.BigInteger(), nullable=True),
        sa.Column("created_by_id", sa.BigInteger(), server_default=sa.text("public.actor_id()"), nullable=False),
        sa.Column(
            "segments_sha256",
            sa.Text(),
            server_default=sa.FetchedValue(),
            nullable=True,
            comment="digest of its segments and sources; set by a trigger at commit, then final",
        ),
        sa.CheckConstraint("segments_sha256 ~ '^[0-9a-f]{64}$'", name="segments_sha256_form"),
        sa.CheckConstraint("(accepted_at IS NULL) = (accepted_by_id IS NULL)", name="accepted_whole"),
        sa.CheckConstraint("char_length(model_name) <= 200", name="model_name_length"),
        sa.CheckConstraint("char_length(model_version) <= 200", name="model_version_length"),
        sa.CheckConstraint("confidence BETWEEN 0 AND 1", name="confidence_range"),
        sa.CheckConstraint("version BETWEEN 1 AND 1000000000", name="version_range"),
        sa.ForeignKeyConstraint(
            ["accepted_by_id"], ["users.id"], name="transcriptions_accepted_by_id_fkey", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["case_id", "audio_file_id"],
            ["audio_files.case_id", "audio_files.id"],
            name="transcriptions_case_id_audio_file_id_fkey",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["case_id", "based_on_id"],
            ["transcriptions.case_id", "transcriptions.id"],
            name="transcriptions_case_id_based_on_id_fkey",
            ondelete="SET NULL (based_on_id)",
        ),
        sa.ForeignKeyConstraint(
            ["created_by_id"], ["users.id"], name="transcriptions_created_by_id_fkey", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["language_id"], ["languages.id"], name="transcriptions_language_id_fkey", ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name="transcriptions_pkey"),
        sa.UniqueConstraint(
            "case_id",
            "audio_file_id",
            "language_id",
            "version",
            name="transcriptions_case_id_audio_file_id_language_id_version_key",
        ),
        sa.UniqueConstraint("case_id", "id", name="transcriptions_case_id_id_key"),
    )
    op.create_index("transcriptions_case_id_based_on_id_idx", "transcriptions", ["case_id", "based_on_id"])
    op.create_index("transcriptions_language_id_idx", "transcriptions", [sa.text("(language_id + 0)")])
    op.create_table(
        "transcription_segments",
        *record(),
        sa.Column("case_id", sa.Integer(), nullable=False),
        sa.Column("transcription_id", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False, comment="0, 1, 2 … in the order of the source"),
        sa.Column(
            "start_ms", sa.BigInteger(), nullable=True, comment="from the start of the recording, in milliseconds"
        ),
        sa.Column("end_ms", sa.BigInteger(), nullable=True),
        sa.Column("speaker", sa.Text(), nullable=True),
        sa.Column("text", sa.Text(), nullable=False),
        document(
            "words",
            16 << 20,
            nullable=True,
            comment='[{"text", "start_ms", "end_ms", "confidence"}, …]; unknown values are left out',
        ),
        sa.Column("confidence", sa.Double(), nullable=True),
        sa.Column(
            "flags",
            postgresql.ARRAY(sa.Text()),
            server_default=sa.text("'{}'::text[]"),
            nullable=False,
            comment="quality flags: no_speech, repetition, …",
        ),
        sa.Column("search_config", sa.Text(), server_default="simple", nullable=False),
        sa.Column(
            "search",
            postgresql.TSVECTOR(),
            sa.Computed("public.search_vector_1(search_config, text)", persisted=True),
            nullable=True,
        ),
        sa.CheckConstraint(
            "cardinality(flags) = 0 OR array_ndims(flags) = 1 AND octet_length(flags::text) <= 16384",
            name="flags_readable",
        ),
        sa.CheckConstraint("jsonb_typeof(words) = 'array'", name="words_array"),
        sa.CheckConstraint("char_length(speaker) <= 200", name="speaker_length"),
        sa.CheckConstraint("confidence BETWEEN 0 AND 1", name="confidence_range"),
        sa.CheckConstraint("end_ms >= start_ms", name="end_after_start"),
        sa.CheckConstraint("position >= 0", name="position_positive"),
        sa.CheckConstraint("start_ms >= 0", name="start_ms_positive"),
        sa.ForeignKeyConstraint(
            ["case_id", "transcription_id"],
            ["transcriptions.case_id", "transcriptions.id"],
            name="transcription_segments_case_id_transcription_id_fkey",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="transcription_segments_pkey"),
        sa.UniqueConstraint(
            "case_id",
            "transcription_id",
            "position",
            name="transcription_segments_case_id_transcription_id_position_key",
        ),
    )
    op.create_index("transcription_segments_search_idx", "transcription_segments", ["search"], postgresql_using="gin")
    op.create_table(
        "transcription_sources",
        *record(),
        sa.Column("case_id", sa.Integer(), nullable=False),
        sa.Column("transcription_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "audio_file_id",
            sa.BigInteger(),
            server_default=sa.FetchedValue(),
            nullable=True,
            comment="copied from the transcription; null for older duplicates",
        ),
        sa.Column("dialect", sa.Text(), nullable=False, comment="whisper, amazon-batch, webvtt, …"),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name="sha256_form"),
        sa.CheckConstraint(
            "char_length(dialect) >= 1 AND char_length(dialect) <= 64",
            name="dialect_length",
        ),
        sa.CheckConstraint("char_length(name) <= 1024", name="name_length"),
        sa.ForeignKeyConstraint(
            ["case_id", "transcription_id"],
            ["transcriptions.case_id", "transcriptions.id"],
            name="transcription_sources_case_id_transcription_id_fkey",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="transcription_sources_pkey"),
        sa.UniqueConstraint(
            "case_id", "audio_file_id", "sha256", name="transcription_sources_case_id_audio_file_id_sha256_key"
        ),
    )
    op.create_index(
        "transcription_sources_case_id_transcription_id_idx", "transcription_sources", ["case_id", "transcription_id"]
    )


def analyses() -> None:
    op.create_table(
        "analysis_results",
        *record(row_version=True),
        sa.Column("case_id", sa.Integer(), nullable=False),
        sa.Column("audio_file_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "transcription_id", sa.BigInteger(), nullable=True, comment="the transcription version that was analysed"
        ),
        sa.Column("version", sa.BigInteger(), nullable=False, comment="1, 2, 3 … per recording"),
        sa.Column("summary", sa.Text(), server_default="", nullable=False),
        sa.Column("sentiment_id", sa.BigInteger(), nullable=True),
        sa.Column("sentiment_score", sa.Double(), nullable=True, comment="-1 negative … 1 positive"),
        document("details", 16 << 20, server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("details_schema", sa.Text(), nullable=True, comment="name of the JSON Schema of the details"),
        sa.Column("model_name", sa.Text(), nullable=True),
        sa.Column("model_version", sa.Text(), nullable=True),
        moment("accepted_at", nullable=True),
        sa.Column("accepted_by_id", sa.BigInteger(), nullable=True),
        sa.Column("created_by_id", sa.BigInteger(), server_default=sa.text("public.actor_id()"), nullable=False),
        sa.CheckConstraint("jsonb_typeof(details) = 'object'", name="details_object"),
        sa.CheckConstraint("(accepted_at IS NULL) = (accepted_by_id IS NULL)", name="accepted_whole"),
        sa.CheckConstraint(
            "char_length(details_schema) >= 1 AND char_length(details_schema) <= 200",
            name="details_schema_length",
        ),
        sa.CheckConstraint("char_length(model_name) <= 200", name="model_name_length"),
        sa.CheckConstraint("char_length(model_version) <= 200", name="model_version_length"),
        sa.CheckConstraint("sentiment_score BETWEEN -1 AND 1", name="sentiment_score_range"),
        sa.CheckConstraint("version BETWEEN 1 AND 1000000000", name="version_range"),
        sa.ForeignKeyConstraint(
            ["accepted_by_id"], ["users.id"], name="analysis_results_accepted_by_id_fkey", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["case_id", "audio_file_id"],
            ["audio_files.case_id", "audio_files.id"],
            name="analysis_results_case_id_audio_file_id_fkey",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["case_id", "transcription_id"],
            ["transcriptions.case_id", "transcriptions.id"],
            name="analysis_results_case_id_transcription_id_fkey",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["created_by_id"], ["users.id"], name="analysis_results_created_by_id_fkey", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["sentiment_id"], ["sentiments.id"], name="analysis_results_sentiment_id_fkey", ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name="analysis_results_pkey"),
        sa.UniqueConstraint(
            "case_id", "audio_file_id", "version", name="analysis_results_case_id_audio_file_id_version_key"
        ),
    )
    op.create_index(
        "analysis_results_case_id_transcription_id_idx", "analysis_results", ["case_id", "transcription_id"]
    )
    op.create_index(
        "analysis_results_search_idx",
        "analysis_results",
        [sa.text("public.search_vector_1('simple', summary)")],
        postgresql_using="gin",
    )


def activity_log() -> None:
    op.create_table(
        "activity_logs",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        moment("created_at", server_default=sa.text("clock_timestamp()"), nullable=False),
        moment(
            "updated_at",
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
            comment="always created_at",
        ),
        sa.Column("activity_type_id", sa.BigInteger(), nullable=False),
        sa.Column("actor_id", sa.Integer(), nullable=True, comment="null: the owner of the database, not a session"),
        sa.Column("actor", sa.Text(), nullable=False, comment="user name at that time"),
        sa.Column("case_id", sa.Integer(), nullable=True),
        sa.Column("entity", sa.Text(), nullable=True, comment="the table"),
        sa.Column("entity_id", sa.BigInteger(), nullable=True),
        sa.Column("operation", sa.Text(), nullable=False),
        document("old", 64 << 20, "operation = 'event'", nullable=True, comment="changed columns, as before"),
        document("new", 64 << 20, "operation = 'event'", nullable=True, comment="the whole row, or an event's detail"),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("transaction_id", TransactionId(), nullable=False),
        sa.Column(
            "epoch",
            sa.BigInteger(),
            nullable=False,
            comment="system identifier of the cluster; transaction ids are unique within one",
        ),
        sa.Column("schema_revision", sa.Text(), nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=True),
        sa.Column("payload_hash", sa.LargeBinary(), nullable=False),
        sa.Column("leaf_hash", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint(
            "operation IN ('insert', 'update', 'delete', 'baseline', 'event')",
            name="operation_known",
        ),
        sa.CheckConstraint("char_length(reason) <= 2000", name="reason_length"),
        sa.CheckConstraint("char_length(request_id) <= 200", name="request_id_length"),
        sa.PrimaryKeyConstraint("id", "created_at", name="activity_logs_pkey"),
        postgresql_partition_by="RANGE (created_at)",
    )
    op.create_index("activity_logs_case_id_created_at_idx", "activity_logs", ["case_id", "created_at", "id"])
    op.create_index(
        "activity_logs_case_id_entity_idx", "activity_logs", ["case_id", "entity", "entity_id", "created_at", "id"]
    )
    op.create_index(
        "activity_logs_entity_idx", "activity_logs", [sa.text("(entity || '')"), "entity_id", "created_at", "id"]
    )
    op.create_index("activity_logs_actor_id_idx", "activity_logs", [sa.text("(actor_id + 0)"), "created_at", "id"])
    op.create_index("activity_logs_transaction_id_idx", "activity_logs", [sa.text("(transaction_id::text::bigint)")])
    op.create_table(
        "activity_seals",
        *record(),
        sa.Column("previous_id", sa.BigInteger(), nullable=True),
        day("month", nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column(
            "low_xid", TransactionId(), nullable=False, comment="no entry of the batch has an earlier transaction"
        ),
        sa.Column("high_xid", TransactionId(), nullable=False, comment="first transaction after the batch"),
        sa.Column("entry_count", sa.BigInteger(), nullable=False),
        sa.Column(
            "next_xid",
            TransactionId(),
            server_default=sa.text("'0'::xid8"),
            nullable=False,
            comment="first transaction id not yet assigned at sealing",
        ),
        sa.Column("root", sa.LargeBinary(), nullable=False, comment="Merkle root over the leaf hashes"),
        sa.Column(
            "leaves",
            sa.LargeBinary(),
            server_default=sa.text("''::bytea"),
            nullable=False,
            comment="id (8 bytes) and leaf hash (32) of each entry",
        ),
        sa.Column(
            "seal_hash",
            sa.LargeBinary(),
            nullable=False,
            comment="over the previous seal_hash and the fields of this seal",
        ),
        sa.Column("signature", sa.LargeBinary(), nullable=True),
        sa.Column("signing_key", sa.Text(), nullable=True, comment="fingerprint of the signing key"),
        moment("pruned_at", nullable=True, comment="when the entries were moved to the archive"),
        document("details", 1 << 20, server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.CheckConstraint("month = date_trunc('month', month::timestamp)::date", name="month_first_day"),
        sa.CheckConstraint("char_length(signing_key) <= 200", name="signing_key_length"),
        sa.CheckConstraint("entry_count >= 0", name="entry_count_positive"),
        sa.CheckConstraint("low_xid <= high_xid", name="xid_order"),
        sa.ForeignKeyConstraint(
            ["previous_id"], ["activity_seals.id"], name="activity_seals_previous_id_fkey", ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name="activity_seals_pkey"),
        sa.UniqueConstraint("previous_id", name="activity_seals_previous_id_key"),
    )
    op.create_table(
        "activity_archives",
        *record(),
        day("month", nullable=False),
        sa.Column("storage_key", sa.Text(), nullable=False),
        sa.Column("storage_type", sa.Text(), nullable=False, comment="name of the storage backend"),
        sa.Column("storage_id", sa.BigInteger(), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False, comment="of the compressed file"),
        sa.Column("entry_count", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("month = date_trunc('month', month::timestamp)::date", name="month_first_day"),
        sa.CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name="sha256_form"),
        sa.CheckConstraint(
            "char_length(storage_key) >= 1 AND char_length(storage_key) <= 1024",
            name="storage_key_length",
        ),
        sa.CheckConstraint(
            "char_length(storage_type) >= 1 AND char_length(storage_type) <= 64",
            name="storage_type_length",
        ),
        sa.CheckConstraint("size_bytes >= 0 AND entry_count >= 0", name="counts_positive"),
        sa.ForeignKeyConstraint(
            ["storage_id"], ["storages.id"], name="activity_archives_storage_id_fkey", ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name="activity_archives_pkey"),
        sa.UniqueConstraint("storage_key", name="activity_archives_storage_key_key"),
    )
    op.create_index("activity_archives_month_idx", "activity_archives", ["month"])
    op.create_index("activity_archives_storage_id_idx", "activity_archives", ["storage_id"])


def services() -> None:
    op.create_table(
        "protected_tables",
        *record(),
        sa.Column("name", sa.Text(), nullable=False),
        document("declaration", 1 << 20, nullable=False, comment="the arguments of protect_table"),
        sa.CheckConstraint("char_length(name) >= 1 AND char_length(name) <= 63", name="name_length"),
        sa.PrimaryKeyConstraint("id", name="protected_tables_pkey"),
        sa.UniqueConstraint("name", name="protected_tables_name_key"),
    )


def limits() -> None:
    op.create_table(
        "name_locks",
        *record(),
        sa.Column("digest", sa.Text(), nullable=False, comment="SHA-256 of the name, in hexadecimal"),
        sa.PrimaryKeyConstraint("id", name="name_locks_pkey"),
        sa.UniqueConstraint("digest", name="name_locks_digest_key"),
    )
    op.create_table(
        "log_overflows",
        *record(),
        sa.Column(
            "counter",
            sa.BigInteger(),
            nullable=False,
            comment="id of the user; negative: failed sign-ins of the user; 0: those with unknown names; plus 2^62: reads",
        ),
        moment("ends_at", nullable=False, comment="from then on entries are written again"),
        sa.Column("dropped", sa.BigInteger(), nullable=False, comment="entries that were counted and not written"),
        sa.Column("entry_id", sa.BigInteger(), nullable=False, comment="the entry that states the count"),
        sa.PrimaryKeyConstraint("id", name="log_overflows_pkey"),
        sa.UniqueConstraint("counter", name="log_overflows_counter_key"),
    )


def upgrade() -> None:
    look_ups()
    users()
    cases()
    storages()
    audio()
    transcriptions()
    analyses()
    activity_log()
    services()
    limits()


def downgrade() -> None:
    for table in (
        "log_overflows",
        "name_locks",
        "protected_tables",
        "permission_subjects",
        "activity_archives",
        "activity_seals",
        "activity_logs",
        "analysis_results",
        "transcription_sources",
        "transcription_segments",
        "transcriptions",
        "processing_jobs",
        "audio_files",
        "storage_objects",
        "database_identities",
        "storages",
        "legal_holds",
        "case_notes",
        "case_participants",
        "cases",
        "actor_keys",
        "case_access_changes",
        "case_accesses",
        "login_throttles",
        "users",
        "user_roles",
        "sentiments",
        "languages",
        "case_status_moves",
        "case_statuses",
        "case_priorities",
        "audio_statuses",
        "activity_types",
    ):
        op.drop_table(table)
    # Functions are dropped after the last table that uses them, roles with the last database of the server.
    op.execute(sa.text(after_drop().replace(":", r"\:")))
