"""Attempts of the application's login with roles, settings and the schema: none gives access to foreign rows."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError

from src.database import Case
from src.database.connection.actor_tokens import Actor
from src.database.schema import SESSION_ROLES
from src.database.schema.objects import MEMBER_ROLES
from src.errors import Forbidden
from tests.security.population import ALL_TABLES, CASE_TABLES, core, one_connection, refused

LEGAL_ROLES = (
    "RESET ROLE",
    "SET ROLE sti_app",
    "SET ROLE sti_wide",
    "SET ROLE NONE",
)


def foreign_rows(shared, session):
    """Return one table name per row of Bob's case that this transaction can read; an error counts as no row."""
    found = []
    for table in CASE_TABLES:
        column = "id" if table == "cases" else "case_id"
        query = f"SELECT count(*) FROM public.{table} WHERE {column} = :bob"
        bob = {"bob": shared.case_of["bob"]}
        if not refused(session, query, bob):
            found += [table] * session.scalar(text(query), bob)
    return found


@pytest.mark.parametrize("statement", LEGAL_ROLES)
def test_roles_available_to_the_login_show_no_foreign_row(unchanged, statement):
    with unchanged.db.session(actor="alice") as session:
        session.execute(text(statement))
        assert foreign_rows(unchanged, session) == []


@pytest.mark.parametrize("statement", LEGAL_ROLES)
def test_roles_available_to_the_login_write_no_foreign_row(unchanged, statement):
    writes = (
        "UPDATE cases SET title = 'x' WHERE case_code = 'CASE-BOB'",
        "DELETE FROM cases WHERE case_code = 'CASE-BOB'",
        "UPDATE users SET role_id = 1, is_active = true",
        "INSERT INTO users (username, role_id) VALUES ('evil', 1)",
        f"INSERT INTO case_participants (case_id, user_id, role) VALUES ({unchanged.case_of['bob']}, 1, 'owner')",
        """UPDATE user_roles SET permissions = '{"*": ["*"]}'""",
        "UPDATE case_statuses SET name = 'x'",
        "DELETE FROM languages",
    )
    for write in writes:
        try:
            with unchanged.db.session(actor="alice") as session:
                session.execute(text(statement))
                assert session.execute(text(write)).rowcount == 0, write
        except Forbidden:
            continue


def test_an_administrator_sees_all_cases_only_with_a_valid_token(shared):
    with shared.db.session(actor="root") as session:
        assert len(session.scalars(select(Case)).all()) == 2
        session.execute(select(func.set_config("sti.actor", "", True)))
        assert session.scalars(select(Case)).all() == []


@pytest.mark.parametrize(
    "statement",
    [
        "SET SESSION AUTHORIZATION {owner}",
        "SET ROLE {owner}",
        "SET ROLE pg_read_all_data",
        "SET ROLE postgres",
        "SET session_replication_role = replica",
        "SET LOCAL session_replication_role = replica",
        "GRANT {owner} TO {login}",
        "ALTER ROLE {login} BYPASSRLS",
        "ALTER ROLE {login} SUPERUSER",
        "CREATE ROLE evil",
        "SECURITY LABEL ON TABLE cases IS 'x'",
        "COPY cases TO '/tmp/never'",
        "COPY cases TO PROGRAM 'cat'",
        "SELECT pg_read_file('postgresql.conf')",
        "SELECT * FROM pg_authid",
        "SELECT * FROM pg_statistic",
        "SELECT lo_import('/etc/passwd')",
        "CREATE TABLE public.evil (x int)",
        "CREATE VIEW public.evil AS SELECT 1",
        "CREATE FUNCTION public.evil() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE SCHEMA evil",
        "CREATE EXTENSION dblink",
        "DROP FUNCTION public.actor_id() CASCADE",
        "ALTER FUNCTION public.actor_id() RESET ALL",
        "CREATE OR REPLACE FUNCTION public.actor_id() RETURNS bigint LANGUAGE sql AS 'SELECT 2::bigint'",
        "DROP SCHEMA public CASCADE",
        *(f"DROP OWNED BY {role}" for role in SESSION_ROLES),
        "SET ROLE sti_admin; RESET ROLE; SET ROLE sti_app; DROP OWNED BY CURRENT_ROLE",
        "REASSIGN OWNED BY sti_app TO sti_wide",
        "DROP ROLE sti_app",
        "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT ALL ON TABLES TO PUBLIC",
    ],
)
@pytest.mark.parametrize("role", [*SESSION_ROLES, "NONE"])
def test_statements_of_owners_and_superusers_are_rejected(shared, statement, role):
    spelled = statement.format(owner=shared.owner.url.username, login=shared.db.engine.url.username)
    with core(shared.db, Actor("alice"), role) as connection:
        with pytest.raises(DBAPIError) as caught, connection.begin_nested():
            connection.execute(text(spelled))
        connection.get_transaction().rollback()
    # insufficient privilege; or a role, provider or extension that this server does not have
    assert caught.value.orig.pgcode in {"42501", "22023", "42704", "0A000", "58P01", "2BP01", "55P02"}, caught.value


DEFINITIONS = (
    "TRUNCATE {table} CASCADE",
    "DROP TABLE {table} CASCADE",
    "ALTER TABLE {table} DISABLE TRIGGER ALL",
    "ALTER TABLE {table} DISABLE TRIGGER USER",
    "ALTER TABLE {table} DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE {table} ADD COLUMN evil int",
    "ALTER TABLE {table} OWNER TO sti_app",
    "CREATE POLICY evil ON {table} USING (true)",
    "CREATE TRIGGER evil BEFORE INSERT ON {table} EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "CREATE RULE evil AS ON INSERT TO {table} DO INSTEAD NOTHING",
    "CREATE INDEX ON {table} (id)",
    "COMMENT ON TABLE {table} IS 'evil'",
    "ALTER TABLE {table} REPLICA IDENTITY FULL",
)


@pytest.mark.parametrize("table", ALL_TABLES)
@pytest.mark.parametrize("role", SESSION_ROLES)
def test_no_table_can_be_weakened(shared, table, role):
    with core(shared.db, Actor("alice"), role) as connection:
        for definition in DEFINITIONS:
            statement = definition.format(table=table)
            with pytest.raises(DBAPIError) as caught, connection.begin_nested():
                connection.execute(text(statement))
            assert caught.value.orig.pgcode == "42501", (statement, caught.value)


@pytest.mark.parametrize("role", SESSION_ROLES)
def test_privileges_cannot_be_granted_to_others(shared, role):
    rights = text("SELECT relname::text, relacl::text FROM pg_class WHERE relnamespace = 'public'::regnamespace")
    with core(shared.db, Actor("alice"), role) as connection:
        before = set(connection.execute(rights).all())
        for table in ALL_TABLES:
            # If the role has the privilege without the grant option, this is only a warning.
            refused(connection, f"GRANT ALL ON {table} TO PUBLIC")
        assert set(connection.execute(rights).all()) == before


def test_server_settings_cannot_be_changed(shared):
    with shared.db.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        with pytest.raises(DBAPIError) as caught:
            connection.execute(text("ALTER SYSTEM SET row_security = off"))
        assert caught.value.orig.pgcode == "42501"


def test_the_login_is_a_member_of_the_session_roles_only(shared):
    with core(shared.db, Actor("alice"), "NONE") as connection:
        reachable = connection.scalars(
            text("SELECT rolname FROM pg_roles WHERE pg_has_role(session_user, oid, 'MEMBER') ORDER BY 1")
        ).all()
        owned = connection.scalar(
            text("SELECT count(*) FROM pg_class WHERE pg_has_role(session_user, relowner, 'MEMBER')")
        )
        usable = [
            table
            for table in ALL_TABLES
            for right in ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")
            if connection.scalar(text("SELECT has_table_privilege(:table, :right)"), {"table": table, "right": right})
        ]
    assert reachable == sorted([*MEMBER_ROLES, shared.db.engine.url.username])
    assert owned == 0
    assert usable == [], "the login itself has no privileges until it sets a role"


def test_row_security_off_raises_an_error(shared):
    with core(shared.db, Actor("alice")) as connection:
        connection.execute(text("SET LOCAL row_security = off"))
        for table in CASE_TABLES:
            with pytest.raises(DBAPIError, match="row-level security"), connection.begin_nested():
                connection.execute(text(f"SELECT count(*) FROM {table}"))


def test_prepared_plans_do_not_carry_an_actor_into_the_next_transaction(populated):
    with one_connection(populated.db) as single:
        seen = {}
        for name in ("alice", "bob", None):
            with single.session(actor=name) as session:
                if name == "alice":
                    session.execute(text("PREPARE mine AS SELECT title FROM cases"))
                    session.execute(text("SET plan_cache_mode = force_generic_plan"))
                seen[name] = session.scalars(text("EXECUTE mine")).all()
    assert seen == {"alice": ["Case of alice"], "bob": ["Case of bob"], None: []}
