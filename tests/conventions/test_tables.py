"""Naming rules and required properties of all tables, read from the models."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, PrimaryKeyConstraint, Table, UniqueConstraint
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import ExcludeConstraint
from sqlalchemy.orm import Mapper, RelationshipProperty

from src.database.base import Versioned
from src.database.models import Base
from src.database.models.lookups import Lookup
from src.database.models.users import UserRole
from src.database.schema import ADMIN_ROLE, APP_ROLE, WIDE_ROLE, functions
from src.database.schema.declaration import COMPUTED, protection_of
from tests.declared import (
    CASE_TABLES,
    CLOSED_TABLES,
    GRANTS,
    LOOKUP_TABLES,
    POLICIES,
    PROTECTED_TABLES,
    TRIGGERS,
    VERSIONED_TABLES,
)

TABLES = list(Base.metadata.sorted_tables)
MAPPERS = sorted(Base.registry.mappers, key=lambda mapper: mapper.class_.__name__)
RELATIONSHIPS = [relationship for mapper in MAPPERS for relationship in mapper.relationships]

# Named for their purpose, which their columns do not express.
NAMED_FOR_THEIR_PURPOSE = {
    "users_username_lower_key": "case-insensitive uniqueness",
    "users_email_lower_idx": "case-insensitive uniqueness, for administrators",
    "cases_title_lower_idx": "case-insensitive prefix search",
    "audio_files_name_lower_idx": "case-insensitive prefix search",
    "case_notes_search_idx": "the words of a note",
    "analysis_results_search_idx": "the words of a summary",
    "storage_objects_garbage_idx": "rows that the sweeper reads",
    "storages_unmarked_key": "one storage of a backend without markers",
    "processing_jobs_open_key": "one open job of a kind per recording",
    "processing_jobs_queue_idx": "the order in which jobs are claimed",
    "processing_jobs_lease_idx": "expired leases",
    **dict.fromkeys(
        (
            "activity_logs_actor_id_idx",
            "activity_logs_entity_idx",
            "activity_logs_transaction_id_idx",
            "audio_files_deleted_at_idx",
            "case_participants_user_id_idx",
            "cases_opened_mark_idx",
            "processing_jobs_leased_by_id_idx",
            "transcriptions_language_id_idx",
        ),
        "an expression of the column that is not leakproof",
    ),
}

# What drivers may be unable to read: type → what the CHECK of the column calls.
READABLE = {
    "TIMESTAMP.*": "readable_time_1",
    "DATE": "readable_date_1",
    "JSONB?": "readable_json_1",
    r".*\[\]": "array_ndims",
}

# A key of type text: the object exists under it before the row of the recording.
NATURAL_FOREIGN_KEYS = {("audio_files", "path"): "storage_objects.key"}

# Rows that are deactivated and not deleted: deleting one may scan the tables that refer to it.
KEPT_TABLES = {"users", "user_roles", "storages", *LOOKUP_TABLES}

# The case id is nullable: the log also contains entries on users and settings.
CASE_OPTIONAL = {"activity_logs", "case_access_changes"}


def name_of(item: Table | Mapper | RelationshipProperty) -> str:
    if isinstance(item, Mapper):
        return item.class_.__name__
    return item.name if isinstance(item, Table) else str(item)


each_table = pytest.mark.parametrize("table", TABLES, ids=name_of)
each_relationship = pytest.mark.parametrize("relationship", RELATIONSHIPS, ids=name_of)


def columns_of(index: Index) -> list[str]:
    return [getattr(expression, "name", None) or str(expression) for expression in index.expressions]


def leading_columns(table: Table) -> list[list[str]]:
    """The columns of every index of the table, including those of its constraints, without partial indexes."""
    whole = [index for index in table.indexes if index.dialect_options["postgresql"]["where"] is None]
    constraints = [each for each in table.constraints if isinstance(each, UniqueConstraint | PrimaryKeyConstraint)]
    return [columns_of(index) for index in whole] + [[column.name for column in each.columns] for each in constraints]


@each_table
def test_table_names_are_lowercase_and_plural(table):
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*s", table.name)


@each_table
def test_columns_are_snake_case(table):
    assert [
        column.name for column in table.columns if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", column.name)
    ] == []


@each_table
def test_id_created_at_and_updated_at_exist_and_are_set_by_the_server(table):
    identity, created, updated = (table.c[name] for name in ("id", "created_at", "updated_at"))

    assert identity.identity is not None
    assert identity.primary_key
    # A policy with zero cost needs a case id of type integer (design.md §4).
    assert str(identity.type.compile(postgresql.dialect())) == ("INTEGER" if table.name == "cases" else "BIGINT")
    for column in (created, updated):
        assert not column.nullable
        assert column.server_default is not None
        assert column.type.compile(postgresql.dialect()) == "TIMESTAMP WITH TIME ZONE"


@each_table
def test_updated_at_is_set_by_a_trigger_or_the_rows_are_immutable(table):
    before_update = {
        trigger.function for trigger in TRIGGERS if trigger.table == table.name and "UPDATE" in trigger.event
    }

    assert before_update & {"touch_row", "touch_versioned_row", "guard_entry", "guard_part"}


@each_table
def test_foreign_keys_end_in_id_and_declare_on_delete(table):
    for constraint in table.foreign_key_constraints:
        assert constraint.ondelete, constraint.name
        for element in constraint.elements:
            natural = NATURAL_FOREIGN_KEYS.get((table.name, element.parent.name))
            assert element.parent.name.endswith("_id") or natural == element.target_fullname


@each_table
def test_every_foreign_key_has_an_index_unless_its_rows_are_kept(table):
    present = leading_columns(table)
    for constraint in table.foreign_key_constraints:
        if (constraint.referred_table.name in KEPT_TABLES and "case_id" in table.c) or table.name == "cases":
            continue
        expected = set(constraint.column_keys)
        assert any(set(columns[: len(expected)]) == expected for columns in present), constraint.name


@each_table
def test_constraint_names_follow_the_convention(table):
    for constraint in table.constraints:
        columns = "_".join(column.name for column in constraint.columns)
        named = {
            PrimaryKeyConstraint: rf"{table.name}_pkey",
            ForeignKeyConstraint: rf"{table.name}_{columns}_fkey",
            UniqueConstraint: rf"{table.name}_{columns}_key",
            CheckConstraint: rf"{table.name}_[a-z0-9_]+_check",
            ExcludeConstraint: rf"{table.name}_[a-z0-9_]+_excl",
        }[type(constraint)]
        assert re.fullmatch(named, str(constraint.name)), constraint.name
        assert len(str(constraint.name)) <= 63


@each_table
def test_indexes_are_named_for_their_leading_columns(table):
    for index in table.indexes:
        columns = columns_of(index)
        ending = "key" if index.unique else "idx"
        by_columns = {f"{table.name}_{'_'.join(columns[:count])}_{ending}" for count in range(1, len(columns) + 1)}
        if index.name not in NAMED_FOR_THEIR_PURPOSE:
            assert index.name in by_columns
        assert str(index.name).startswith(f"{table.name}_")
        assert len(str(index.name)) <= 63


def test_the_list_of_names_for_a_purpose_has_no_stale_entry():
    assert NAMED_FOR_THEIR_PURPOSE.keys() <= {str(index.name) for table in TABLES for index in table.indexes}


@each_table
def test_no_column_is_an_enum_or_a_regconfig(table):
    # Enums are not leakproof, and a regconfig blocks pg_upgrade.
    kinds = {column.name: column.type.compile(postgresql.dialect()).upper() for column in table.columns}
    scalar = "BIGINT|BYTEA|DATE|DOUBLE PRECISION|JSONB|TIMESTAMP WITH TIME ZONE|TSVECTOR|UUID|XID8"
    allowed = rf"{scalar}|(INTEGER|BOOLEAN|TEXT)(\[\])?"

    assert {name: kind for name, kind in kinds.items() if not re.fullmatch(allowed, kind)} == {}


@each_table
def test_every_time_document_and_list_is_limited_to_what_clients_can_read(table):
    limited = {str(each.name): str(each.sqltext) for each in table.constraints if isinstance(each, CheckConstraint)}
    for column in table.columns:
        kind = column.type.compile(postgresql.dialect()).upper()
        function = next(
            (function for type_, function in READABLE.items() if re.fullmatch(type_, kind)),
            None,
        )
        if function is not None and not column.info.get(COMPUTED):
            found = [name for name, rule in limited.items() if re.search(rf"{function}\b.*\b{column.name}\b", rule)]
            assert found, f"{column.name}: use a column function of src/database/base.py"


@each_table
def test_tables_below_a_case_have_a_case_id(table):
    if "case_id" in table.c and table.name not in CASE_OPTIONAL:
        assert not table.c.case_id.nullable
        assert str(table.c.case_id.type.compile(postgresql.dialect())) == "INTEGER"
        assert table.name in CASE_TABLES
    else:
        assert table.name not in CASE_TABLES


@each_table
def test_a_composite_key_is_the_only_foreign_key_to_a_case(table):
    # A second foreign key on case_id alone makes an insert 50 % slower and adds nothing, unless the parent is optional:
    # a row without a parent still belongs to a case.
    keys = [
        constraint.column_keys
        for constraint in table.foreign_key_constraints
        if "case_id" in constraint.column_keys
        and constraint.referred_table.name != "storage_objects"  # an object outlives its case
        and not any(column.nullable for column in constraint.columns)
    ]

    assert not (["case_id"] in keys and len(keys) > 1)


@each_table
def test_foreign_keys_to_tables_below_a_case_include_the_case(table):
    for constraint in table.foreign_key_constraints:
        target = constraint.referred_table
        if "case_id" in target.c and target.name != "storage_objects":
            assert "case_id" in constraint.column_keys, constraint.name


@each_table
def test_every_table_is_protected(table):
    assert table.name in PROTECTED_TABLES


@each_table
def test_a_table_has_policies_and_grants_for_all_roles_or_is_closed(table):
    with_policy = {policy.role for policy in POLICIES if policy.table == table.name}
    with_grant = {role for grant in GRANTS if grant.table == table.name for role in grant.roles}

    if table.name in CLOSED_TABLES:
        assert with_policy == set()
        columns = {grant.columns for grant in GRANTS if grant.table == table.name}
        assert with_grant == set() or columns == {("id",)}
    else:
        assert ADMIN_ROLE in with_policy & with_grant
        assert with_policy >= with_grant
        assert APP_ROLE in with_policy or table.name in {
            "activity_seals", "activity_archives", "storage_objects", "storages"
        }  # fmt: skip
        assert (WIDE_ROLE in with_policy, WIDE_ROLE in with_grant) == (APP_ROLE in with_policy, APP_ROLE in with_grant)


def test_protected_tables_are_all_tables_once():
    assert sorted(PROTECTED_TABLES) == sorted(Base.metadata.tables)


def test_code_id_reads_all_lookup_tables():
    (body,) = [function.definition for function in functions() if function.name == "code_id"]

    assert set(re.findall(r"lookup = '(\w+)'", body)) == {*LOOKUP_TABLES, "user_roles"}


@each_table
def test_a_table_declares_its_protection(table):
    declared = protection_of(table)

    assert (declared.case is None) == (table.name not in {"cases", "activity_logs", *CASE_TABLES})
    assert declared.case is None or declared.case in table.columns
    assert set(declared.not_captured) <= set(table.columns.keys())


def test_versioned_models_are_the_tables_with_a_version_trigger():
    versioned = {mapper.class_.__tablename__ for mapper in MAPPERS if issubclass(mapper.class_, Versioned)}
    counted = {trigger.table for trigger in TRIGGERS if trigger.function == "touch_versioned_row"}

    assert versioned == set(VERSIONED_TABLES) == counted
    # The tables of the issue, and all others that sessions may delete from: without a version, an ORM delete of a row
    # that the actor cannot see would only emit a warning.
    assert versioned >= {"users", "user_roles", "cases", "case_participants", "case_notes", "audio_files"}
    for mapper in MAPPERS:
        if mapper.class_.__tablename__ in versioned:
            assert mapper.version_id_col is mapper.local_table.c.row_version
            assert mapper.version_id_generator is False


@each_relationship
def test_relationships_name_their_other_side(relationship):
    assert relationship.backref is None
    if relationship.back_populates:
        other = relationship.mapper.relationships[relationship.back_populates]
        assert other.back_populates == relationship.key
        assert other.mapper is relationship.parent


@each_relationship
def test_only_lookups_are_loaded_eagerly_and_nothing_lazily(relationship):
    target = relationship.mapper.class_
    is_lookup = issubclass(target, Lookup | UserRole) and relationship.parent is not relationship.mapper

    assert relationship.lazy == ("joined" if is_lookup else "raise_on_sql")


@each_relationship
def test_collections_leave_deletes_to_the_database(relationship):
    if relationship.uselist and not relationship.viewonly:
        assert relationship.passive_deletes
        assert "delete-orphan" not in relationship.cascade
