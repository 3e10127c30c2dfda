"""The naming rules and the duties of every table, read from the models."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, PrimaryKeyConstraint, Table, UniqueConstraint
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Mapper, RelationshipProperty

from src.database.base import Versioned
from src.database.models import Base
from src.database.models.lookups import Lookup
from src.database.models.users import UserRole
from src.database.schema import ADMIN_ROLE, APP_ROLE, WIDE_ROLE, functions
from src.database.schema.declaration import protection_of
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

# Named for what they are for, since their columns alone would not say it.
NAMED_FOR_THEIR_PURPOSE = {
    "users_username_lower_key": "unique without regard to case",
    "users_email_lower_key": "unique without regard to case",
    "cases_title_lower_idx": "prefix search without regard to case",
    "audio_files_name_lower_idx": "prefix search without regard to case",
    "case_notes_search_idx": "the words of a note",
    "analysis_results_search_idx": "the words of a summary",
    "storage_objects_garbage_idx": "what the sweeper reads",
    "processing_jobs_open_key": "one open job of a kind per recording",
    "processing_jobs_queue_idx": "the order in which work is claimed",
    "processing_jobs_lease_idx": "leases that ran out",
}

# A key that is not a number: the object is known by it before there is a row for the recording.
NATURAL_FOREIGN_KEYS = {("audio_files", "path"): "storage_objects.key"}

# Their case may be missing: the log also speaks of people and settings.
CASE_OPTIONAL = {"activity_logs"}


def name_of(thing: Table | Mapper | RelationshipProperty) -> str:
    if isinstance(thing, Mapper):
        return thing.class_.__name__
    return thing.name if isinstance(thing, Table) else str(thing)


each_table = pytest.mark.parametrize("table", TABLES, ids=name_of)
each_relationship = pytest.mark.parametrize("relationship", RELATIONSHIPS, ids=name_of)


def columns_of(index: Index) -> list[str]:
    return [getattr(expression, "name", None) or str(expression) for expression in index.expressions]


def leading_columns(table: Table) -> list[list[str]]:
    """What every index of the table begins with: its own, those behind its constraints, but no partial one."""
    whole = [index for index in table.indexes if index.dialect_options["postgresql"]["where"] is None]
    constraints = [each for each in table.constraints if isinstance(each, UniqueConstraint | PrimaryKeyConstraint)]
    return [columns_of(index) for index in whole] + [[column.name for column in each.columns] for each in constraints]


@each_table
def test_a_table_is_named_lowercase_and_plural(table):
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*s", table.name)


@each_table
def test_columns_are_snake_case(table):
    assert [
        column.name for column in table.columns if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", column.name)
    ] == []


@each_table
def test_id_created_at_and_updated_at_are_there_and_set_by_the_server(table):
    identity, created, updated = (table.c[name] for name in ("id", "created_at", "updated_at"))

    assert identity.identity is not None
    assert identity.primary_key
    # A policy of cost zero needs an integer id of the case (design.md §4).
    assert str(identity.type.compile(postgresql.dialect())) == ("INTEGER" if table.name == "cases" else "BIGINT")
    for column in (created, updated):
        assert not column.nullable
        assert column.server_default is not None
        assert column.type.compile(postgresql.dialect()) == "TIMESTAMP WITH TIME ZONE"


@each_table
def test_updated_at_is_kept_by_a_trigger_or_the_rows_never_change(table):
    before_update = {
        trigger.function for trigger in TRIGGERS if trigger.table == table.name and "UPDATE" in trigger.event
    }

    assert before_update & {"touch_row", "touch_versioned_row", "guard_entry", "guard_part"}


@each_table
def test_foreign_keys_end_in_id_and_say_what_happens_on_delete(table):
    for constraint in table.foreign_key_constraints:
        assert constraint.ondelete, constraint.name
        for element in constraint.elements:
            natural = NATURAL_FOREIGN_KEYS.get((table.name, element.parent.name))
            assert element.parent.name.endswith("_id") or natural == element.target_fullname


@each_table
def test_an_index_stands_behind_every_foreign_key(table):
    present = leading_columns(table)
    for constraint in table.foreign_key_constraints:
        wanted = set(constraint.column_keys)
        assert any(set(columns[: len(wanted)]) == wanted for columns in present), constraint.name


@each_table
def test_constraints_are_named_by_the_convention(table):
    for constraint in table.constraints:
        columns = "_".join(column.name for column in constraint.columns)
        named = {
            PrimaryKeyConstraint: rf"{table.name}_pkey",
            ForeignKeyConstraint: rf"{table.name}_{columns}_fkey",
            UniqueConstraint: rf"{table.name}_{columns}_key",
            CheckConstraint: rf"{table.name}_[a-z0-9_]+_check",
        }[type(constraint)]
        assert re.fullmatch(named, str(constraint.name)), constraint.name
        assert len(str(constraint.name)) <= 63


@each_table
def test_indexes_are_named_for_the_columns_that_they_begin_with(table):
    for index in table.indexes:
        columns = columns_of(index)
        ending = "key" if index.unique else "idx"
        by_columns = {f"{table.name}_{'_'.join(columns[:count])}_{ending}" for count in range(1, len(columns) + 1)}
        if index.name not in NAMED_FOR_THEIR_PURPOSE:
            assert index.name in by_columns
        assert str(index.name).startswith(f"{table.name}_")
        assert len(str(index.name)) <= 63


def test_the_list_of_names_with_a_purpose_has_no_dead_entry():
    assert NAMED_FOR_THEIR_PURPOSE.keys() <= {str(index.name) for table in TABLES for index in table.indexes}


@each_table
def test_no_column_is_an_enum_or_a_regconfig(table):
    # Enums are not leakproof, a regconfig stops pg_upgrade.
    kinds = {column.name: column.type.compile(postgresql.dialect()).upper() for column in table.columns}
    allowed = (
        r"BIGINT|INTEGER|BOOLEAN|BYTEA|DATE|DOUBLE PRECISION|JSONB|TEXT(\[\])?|TIMESTAMP WITH TIME ZONE|TSVECTOR|XID8"
    )

    assert {name: kind for name, kind in kinds.items() if not re.fullmatch(allowed, kind)} == {}


@each_table
def test_whatever_is_below_a_case_says_which(table):
    if "case_id" in table.c and table.name not in CASE_OPTIONAL:
        assert not table.c.case_id.nullable
        assert str(table.c.case_id.type.compile(postgresql.dialect())) == "INTEGER"
        assert table.name in CASE_TABLES
    else:
        assert table.name not in CASE_TABLES


@each_table
def test_a_composite_key_is_the_only_one_that_leads_to_a_case(table):
    # A second foreign key on case_id alone costs half of an insert again and adds nothing, unless the parent is
    # optional: a row without one is in a case all the same.
    keys = [
        constraint.column_keys
        for constraint in table.foreign_key_constraints
        if "case_id" in constraint.column_keys and not any(column.nullable for column in constraint.columns)
    ]

    assert not (["case_id"] in keys and len(keys) > 1)


@each_table
def test_parents_below_a_case_are_referred_to_together_with_it(table):
    for constraint in table.foreign_key_constraints:
        target = constraint.referred_table
        if "case_id" in target.c and target.name != "storage_objects":
            assert "case_id" in constraint.column_keys, constraint.name


@each_table
def test_every_table_is_protected(table):
    assert table.name in PROTECTED_TABLES


@each_table
def test_a_table_has_policies_and_grants_for_every_role_or_is_closed_to_sessions(table):
    with_policy = {policy.role for policy in POLICIES if policy.table == table.name}
    with_grant = {role for grant in GRANTS if grant.table == table.name for role in grant.roles}

    if table.name in CLOSED_TABLES:
        assert with_policy | with_grant == set()
    else:
        assert ADMIN_ROLE in with_policy & with_grant
        assert with_policy >= with_grant
        assert APP_ROLE in with_policy or table.name in {"activity_seals", "activity_archives"}
        assert (WIDE_ROLE in with_policy, WIDE_ROLE in with_grant) == (APP_ROLE in with_policy, APP_ROLE in with_grant)


def test_what_is_protected_is_a_table_and_stands_there_once():
    assert sorted(PROTECTED_TABLES) == sorted(Base.metadata.tables)


def test_code_id_reads_every_look_up_table():
    (body,) = [function.definition for function in functions() if function.name == "code_id"]

    assert set(re.findall(r"lookup = '(\w+)'", body)) == {*LOOKUP_TABLES, "user_roles"}


@each_table
def test_a_table_declares_its_protection(table):
    declared = protection_of(table)

    assert (declared.case is None) == (table.name not in {"cases", "activity_logs", *CASE_TABLES})
    assert declared.case is None or declared.case in table.columns
    assert set(declared.not_captured) <= set(table.columns.keys())


def test_versioned_models_are_the_tables_whose_trigger_counts_versions():
    versioned = {mapper.class_.__tablename__ for mapper in MAPPERS if issubclass(mapper.class_, Versioned)}
    counted = {trigger.table for trigger in TRIGGERS if trigger.function == "touch_versioned_row"}

    assert versioned == set(VERSIONED_TABLES) == counted
    # What the issue asks for, and whatever else a session may delete: without a version an ORM delete of a row that is
    # not the actor's would only warn.
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
def test_lookups_are_simply_there_and_everything_else_is_loaded_on_purpose(relationship):
    target = relationship.mapper.class_
    is_lookup = issubclass(target, Lookup | UserRole) and relationship.parent is not relationship.mapper

    assert relationship.lazy == ("joined" if is_lookup else "raise_on_sql")


@each_relationship
def test_a_collection_leaves_deleting_to_the_database(relationship):
    if relationship.uselist and not relationship.viewonly:
        assert relationship.passive_deletes
        assert "delete-orphan" not in relationship.cascade
