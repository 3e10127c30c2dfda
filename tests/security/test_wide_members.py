"""Members of very many cases use a separate role: other plans, but the same rows and the same errors."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
from sqlalchemy import Engine, func, select, text
from sqlalchemy.exc import DBAPIError

from src.database import Case, Database
from src.database.connection.actor_tokens import Actor
from src.database.schema import APP_ROLE, WIDE_ROLE
from tests.declared import POLICIES
from tests.security.population import CASE_TABLES, Populated, core, wide

# The thresholds of src/database/sql/case_access.sql.
WIDE_CASES = 1000
CHANGES = 16
JOIN = """
    INSERT INTO public.case_participants (case_id, user_id, role, expires_at)
    SELECT c.id, u.id, 'viewer', CASE WHEN :expired THEN now() - interval '1 second' END
      FROM public.cases c, public.users u WHERE u.username = 'alice' AND c.title LIKE 'filler%'
     ORDER BY c.id LIMIT :most
"""


def add_alice_to_cases(owner: Engine, most: int, *, expired: bool = False) -> None:
    """Add Alice as a viewer to this many cases of Bob."""
    with owner.begin() as connection:
        connection.execute(
            text("INSERT INTO public.cases (title, opened_by_id) SELECT 'filler ' || n, u.id"
                 " FROM generate_series(1, :most) n, public.users u WHERE u.username = 'bob'"), {"most": most}
        )  # fmt: skip
        connection.execute(text(JOIN), {"most": most, "expired": expired})


def role_of(db: Database, name: str) -> str:
    with db.session(actor=name, required=False) as session:
        return session.scalar(select(func.current_user()))


def test_some_more_cases_change_the_role_of_a_member_and_nothing_else(db, owner):
    add_alice_to_cases(owner, WIDE_CASES)
    assert role_of(db, "alice") == APP_ROLE
    with owner.begin() as connection:
        # A set is stored again after more than sixteen changes.
        connection.execute(text("INSERT INTO cases (title, opened_by_id) SELECT 'more', id FROM users,"
                                f" generate_series(1, {CHANGES + 1}) WHERE username = 'alice'"))  # fmt: skip
    assert role_of(db, "alice") == WIDE_ROLE
    # Bob owns the same number of cases.
    assert role_of(db, "bob") == APP_ROLE
    with db.session(actor="alice") as session:
        assert session.scalar(select(func.count()).select_from(Case)) == WIDE_CASES + CHANGES + 1
        session.add(Case(title="opened"))
        session.flush()
        assert session.scalar(select(func.count()).select_from(Case)) == WIDE_CASES + CHANGES + 2


def test_a_member_of_a_small_share_of_many_cases_is_not_wide(db, owner):
    add_alice_to_cases(owner, WIDE_CASES + 1)
    assert role_of(db, "alice") == WIDE_ROLE
    with owner.begin() as connection:
        # The role depends on the estimated number of cases, which ANALYZE updates.
        connection.execute(text("INSERT INTO cases (title, opened_by_id) SELECT 'more', u.id"
                                " FROM generate_series(1, :more), users u WHERE u.username = 'bob'"),
                           {"more": 10 * WIDE_CASES})  # fmt: skip
        connection.execute(text("ANALYZE cases"))
        connection.execute(text("SELECT discard_case_accesses(ARRAY(SELECT id FROM users))"))
    assert role_of(db, "alice") == APP_ROLE


@pytest.mark.parametrize("table", CASE_TABLES)
def test_both_roles_show_the_same_rows(shared: Populated, table):
    rows = {}
    for given in (nullcontext(), wide(shared.owner, "alice")):
        with given, core(shared.db, Actor("alice")) as connection:
            rows[connection.scalar(select(func.current_user()))] = set(
                connection.scalars(text(f"SELECT id FROM public.{table}"))
            )
    assert rows[WIDE_ROLE] == rows[APP_ROLE]
    assert table == "legal_holds" or rows[WIDE_ROLE]


def test_an_expired_or_denied_participation_shows_nothing(db, owner):
    add_alice_to_cases(owner, 3, expired=True)
    with owner.begin() as connection:
        connection.execute(text("INSERT INTO cases (title, opened_by_id) SELECT 'denied', id FROM users"
                                " WHERE username = 'bob'"))  # fmt: skip
        connection.execute(
            text("INSERT INTO case_participants (case_id, user_id, role, permissions) SELECT c.id, u.id, 'viewer',"
                 " '{\"deny\": [\"read\"]}' FROM cases c, users u WHERE c.title = 'denied' AND u.username = 'alice'")
        )  # fmt: skip
    with wide(owner, "alice"), core(db, Actor("alice")) as connection:
        assert connection.scalar(select(func.current_user())) == WIDE_ROLE
        assert connection.scalars(text("SELECT id FROM public.cases")).all() == []


@pytest.mark.parametrize("actor", [None, "mallory", "alice", "transcriber"])
def test_the_role_shows_nothing_to_those_who_were_not_given_it(shared, actor):
    with core(shared.db, Actor(actor), WIDE_ROLE) as connection:
        for table in CASE_TABLES:
            # Their own entries of no case are always theirs.
            where = "WHERE case_id IS NOT NULL" if table == "activity_logs" else ""
            assert connection.scalar(text(f"SELECT count(*) FROM public.{table} {where}")) == 0, table


def test_a_member_who_takes_the_role_learns_nothing_from_an_index(shared):
    """The condition of the caller is part of the scan of the index (case_id, sha256)."""
    plans = set()
    with core(shared.db, Actor("alice"), WIDE_ROLE) as connection:
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        for least in ("", "zzz"):
            asked = f"SELECT id FROM audio_files WHERE case_id = {shared.case_of['bob']} AND sha256 >= '{least}'"
            explain = "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF, BUFFERS OFF)"
            plan = connection.scalars(text(f"{explain} {asked}")).all()
            plans.add("\n".join(plan).replace("'zzz'", "''"))
    assert len(plans) == 1, plans


def test_a_manager_without_delete_cannot_add_an_owner_with_either_role(db, owner):
    add_alice_to_cases(owner, 1)
    with owner.begin() as connection:
        connection.execute(text("UPDATE case_participants p SET permissions = '{\"allow\": [\"manage\"]}' FROM users u"
                                " WHERE u.id = p.user_id AND u.username = 'alice'"))  # fmt: skip
    for given in (nullcontext(), wide(owner, "alice")):
        with (
            given,
            core(db, Actor("alice")) as connection,
            pytest.raises(DBAPIError, match="permissions that you hold"),
            connection.begin_nested(),
        ):
            connection.execute(
                text("INSERT INTO case_participants (case_id, user_id, role) SELECT c.id, u.id, 'owner'"
                     " FROM cases c, users u WHERE u.username = 'transcriber' LIMIT 1")
            )  # fmt: skip


def test_the_two_roles_have_policies_for_the_same_commands():
    commands = {
        role: {(policy.table, policy.command) for policy in POLICIES if policy.role == role}
        for role in (APP_ROLE, WIDE_ROLE)
    }
    assert commands[APP_ROLE] == commands[WIDE_ROLE]
