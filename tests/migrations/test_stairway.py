"""Upgrade, downgrade and upgrade of every revision, also with rows; a downgrade to base removes everything."""

from __future__ import annotations

import re

import pytest

from src.database import Base, Database
from src.database.provisioning.logins import provide_logins
from src.database.provisioning.migrate import downgrade, upgrade
from src.database.provisioning.seeding import apply_seeds
from src.database.schema import SESSION_ROLES, credential_view, head
from src.services import cases
from tests.migrations import catalog
from tests.migrations.conftest import engine_of, finish, picture_of, revisions, roles_of, start_alembic

# Protection is applied at the newest revision only; a downgrade keeps it until older code applies its own.
TABLES = ("relation ", "column ", "constraint ", "index ", "sequence ")
PROTECTION = re.compile(r"(sti_|OWNER=|row security|t$|TRIGGER|statistics )")
STEPS = list(zip(["base", *revisions()], revisions(), strict=False))


@pytest.mark.parametrize(("before", "revision"), STEPS)
def test_upgrade_downgrade_and_upgrade_give_the_same_schema(empty_url, before, revision):
    if before != "base":
        upgrade(empty_url, before)
    below = tables_of(empty_url)
    upgrade(empty_url, revision)
    above = picture_of(empty_url)
    assert tables_of(empty_url) != below

    downgrade(empty_url, before)
    assert catalog.differences(below, tables_of(empty_url)) == []
    upgrade(empty_url, revision)
    assert catalog.differences(above, picture_of(empty_url)) == []


def tables_of(url) -> catalog.Picture:
    """Return the objects that revisions create: tables without privileges, row security and constraint triggers."""
    tables = {
        name: " | ".join(part for part in text.split(" | ") if not PROTECTION.match(part))
        for name, text in picture_of(url).items()
        if name.startswith(TABLES) and credential_view.NAME not in name
    }
    return {name: text for name, text in tables.items() if text}


def test_a_database_with_rows_can_be_downgraded_stepwise_and_upgraded(filled_url, empty_url):
    whole = picture_of(filled_url)
    for before, revision in reversed(STEPS):
        downgrade(filled_url, before)
        upgrade(filled_url, revision)
        downgrade(filled_url, before)

    assert catalog.differences(picture_of(empty_url), picture_of(filled_url)) == []
    upgrade(filled_url)
    assert catalog.differences(whole, picture_of(filled_url)) == []


def test_a_downgraded_and_upgraded_database_serves_sessions(owner_url, speech_server, tmp_path):
    downgrade(owner_url, "base")
    upgrade(owner_url, head())
    with engine_of(owner_url) as engine, engine.begin() as connection:
        apply_seeds(connection)
        keys = provide_logins(connection, tmp_path / "keys.json", *speech_server.logins)
        connection.exec_driver_sql("INSERT INTO users (username) VALUES ('carol')")

    with (
        Database(speech_server.serving_url(owner_url), signing_key=keys.signing_key) as database,
        database.session(actor="carol") as session,
    ):
        assert cases.open_case(session, title="After the fall").case_code == "C-000001"


def test_group_roles_are_dropped_with_the_last_database_that_uses_them(server_of_our_own, tmp_path):
    first, second = (server_of_our_own.set(database=name) for name in ("first", "second"))
    with engine_of(server_of_our_own) as engine:
        connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        with connection:
            for url in (first, second):
                connection.exec_driver_sql(f"CREATE DATABASE {url.database} TEMPLATE template0")
    assert roles_of(server_of_our_own) == set()
    # Both create the group roles of the server at the same time.
    for process in [start_alembic(url, tmp_path, "upgrade", "head") for url in (first, second)]:
        finish(process)
    whole = picture_of(second)
    assert catalog.differences(picture_of(first), whole) == []

    downgrade(first, "base")
    assert roles_of(server_of_our_own) == set(SESSION_ROLES)
    assert catalog.differences(picture_of(second), whole) == []
    downgrade(second, "base")
    assert roles_of(server_of_our_own) == set()
    upgrade(second)
    assert roles_of(server_of_our_own) == set(SESSION_ROLES)
    with engine_of(second) as engine:
        # Repeated, when the roles no longer exist.
        for _ in range(2):
            Base.metadata.drop_all(engine)
            assert roles_of(server_of_our_own) == set()
