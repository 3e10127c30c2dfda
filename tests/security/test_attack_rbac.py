"""Attack cases 31-35: leaks of secrets, cycles of roles, and escalation of permissions.

The numbers are those of the list of attack cases. Cases covered by other files are referenced, not repeated.
"""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from src.database import Base, Case, User, UserRole
from src.database.connection.actor_tokens import Actor
from src.database.connection.driver_errors import translate
from src.database.schema.permissions import require_participation, require_role_permissions
from src.errors import Conflict, Forbidden, InvalidInput, SpeechError
from src.services import accounts, activity, cases, work
from tests.security.population import core, one_connection, refused

pytestmark = pytest.mark.shared_database

PASSWORD = "Pa$$wörd of carol"


@pytest.fixture
def carol(populated):
    with populated.db.session(actor="root") as session:
        user = accounts.create_user(session, username="carol", password=PASSWORD, email="carol@example.org")
    with populated.owner.begin() as connection:
        connection.execute(text("UPDATE users SET password_hash = :h WHERE username = 'carol'"),
                           {"h": accounts.hash_password(PASSWORD, cost=4)})  # fmt: skip
        stored = connection.scalar(text("SELECT password_hash FROM users WHERE username = 'carol'"))
    return user, stored


def all_output(populated, caplog, level):
    """Return the log lines and errors of sign-ins, failed sign-ins and a failing statement."""
    said = []
    with (
        caplog.at_level(level),
        caplog.at_level(level, logger="sqlalchemy.engine"),
        caplog.at_level(level, logger="sqlalchemy.pool"),
        one_connection(populated.db) as db,
    ):
        for attempt in (
            lambda s: accounts.authenticate(s, "carol", PASSWORD),
            lambda s: accounts.authenticate(s, "carol", PASSWORD + "?"),
            lambda s: accounts.authenticate(s, PASSWORD, "carol"),
            lambda s: s.execute(text("SELECT 1/0")),
        ):
            try:
                with db.session() as session:
                    said.append(repr(attempt(session)))
            except (SpeechError, DBAPIError) as error:
                said += [str(error), repr(error), str(error.__cause__)]
        with db.session(actor="root") as session:
            user = accounts.find_user(session, "carol")
            said += [
                repr(user),
                str(user),
                str(vars(user)),
                repr(db),
                repr(session.info["actor"]),
                repr(db.signing_key),
            ]
    return "\n".join([*said, caplog.text])


@pytest.mark.own_database
@pytest.mark.parametrize("level", [logging.INFO, logging.DEBUG])
def test_case_31_no_log_repr_exception_or_echo_contains_a_secret(populated, carol, caplog, level):
    """password_hash, tokens and sensitive columns; in the activity log: test_capture.py, test_accounts.py."""
    _, stored = carol
    said = all_output(populated, caplog, level)
    secrets = [PASSWORD, stored, stored.removeprefix("bcrypt:"), "|session|", "|login|", "password_hash='",
               populated.db.signing_key.encode(), str(populated.db.engine.url.password)]  # fmt: skip
    with populated.owner.connect() as connection:
        history = connection.scalar(text("SELECT string_agg(l::text, '|') FROM activity_logs l"))
    assert [secret for secret in secrets if secret in said] == []
    assert [secret for secret in [*secrets, "carol@example.org"] if secret in history] == []


def test_case_31_sensitive_columns_are_excluded_from_reprs_and_from_the_history(shared):
    secret = {
        f"{table.name}.{column.name}"
        for table in Base.metadata.tables.values()
        for column in table.columns
        if column.info.get("secret")
    }
    assert secret == {"users.password_hash", "users.email", "actor_keys.inner_pad", "actor_keys.outer_pad"}
    with shared.owner.connect() as connection:
        images = connection.scalars(
            text("SELECT new FROM activity_logs WHERE entity = 'users' AND operation <> 'event'")
        )
        for image in images.all():
            assert all(image[name] is None or image[name].startswith("sha256:") for name in ("email", "password_hash"))


def chain_of(session, length, **columns):
    above = None
    for level in range(length):
        role = UserRole(code=f"level-{level}", name="Level", parent_id=above, **columns)
        session.add(role)
        session.flush()
        above = role.id
    return above


@pytest.mark.own_database
def test_case_32_a_hierarchy_has_no_cycle_no_orphan_and_at_most_16_levels(db):
    """A->B->A, self, 10,000 levels (rejected at 17), diamond. Concurrent halves of a cycle: test_permissions.py."""
    with db.session(actor="root") as session:
        top = chain_of(session, 16)
    with pytest.raises(Conflict, match="16 levels"), db.session(actor="root") as session:
        session.execute(
            text("INSERT INTO user_roles (code, name, parent_id) WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT"
                 " i + 1 FROM n WHERE i < 10000) SELECT 'deep-' || i, 'Deep', :top FROM n"), {"top": top}
        )  # fmt: skip
    for parent in (func.coalesce(UserRole.id, 0), top, 10**15):
        with pytest.raises((Conflict, InvalidInput)), db.session(actor="root") as session:
            session.execute(update(UserRole).where(UserRole.code == "level-0").values(parent_id=parent))
    with pytest.raises((Conflict, IntegrityError)), db.session(actor="root") as session:
        session.execute(text("DELETE FROM user_roles WHERE code = 'level-3'"))
    with db.session(actor="root") as session:
        # A role has one parent, so a diamond is two roles with the same parent.
        for side in ("left", "right"):
            accounts.create_role(session, code=side, name=side, permissions={}, parent="user")
        accounts.create_user(session, username="dia", role="left")
    with db.session(actor="dia") as session:
        assert session.scalar(text("SELECT actor_may('case', 'open')")) is True
        assert session.scalar(text("SELECT actor_may('*', '*')")) is False


HOSTILE_JSON = {
    "not an object": "[]",
    "null": "null",
    "duplicate keys": '{"case": ["open"], "case": ["everything"]}',
    "unknown verb": '{"case": ["rule"]}',
    "star in a list": '{"case": ["open", "*"]}',
    "star as a verb of a subject": '{"case": ["*"]}',
    "a string for a list": '{"case": "open"}',
    "case-folded": '{"case": ["OPEN"]}',
    "homoglyph": '{"case": ["оpen"]}',
    "prototype": '{"__proto__": {"*": ["*"]}}',
    "nested": '{"case": ' + "[" * 1000 + "]" * 1000 + "}",
    "nested objects": '{"a":' * 1000 + "1" + "}" * 1000,
    "10 MB": json.dumps({"case": ["open"] * 1_250_000 + ["rule"]}),
    "huge key": json.dumps({"x" * 100_000: ["open"]}),
}


@pytest.mark.parametrize("document", HOSTILE_JSON.values(), ids=HOSTILE_JSON)
@pytest.mark.parametrize("table", ["user_roles", "case_participants"])
def test_case_33_invalid_permissions_are_rejected_by_the_database(shared, table, document):
    """And by Python in the same way, for arbitrary documents: tests/services/test_permissions.py."""
    with pytest.raises(DBAPIError) as caught, core(shared.db, Actor("root")) as connection:
        connection.execute(text(f"UPDATE {table} SET permissions = CAST(:p AS jsonb)"), {"p": document})
    assert caught.value.orig.pgcode in {"23514", "54001"}


@pytest.mark.parametrize("document", [
    name for name in HOSTILE_JSON if name != "duplicate keys" and not name.startswith("nested")
])  # fmt: skip
def test_case_33_python_rejects_them_with_invalid_input(document):
    for check in (require_role_permissions, require_participation):
        with pytest.raises(InvalidInput):
            check(json.loads(HOSTILE_JSON[document]))


@pytest.mark.own_database
def test_case_34_actors_can_only_grant_permissions_that_they_hold_also_to_themselves(populated):
    """To other users, and protection of the last administrator: test_permissions.py."""
    with populated.db.session(actor="alice") as session:
        case = session.get(Case, populated.case_of["alice"])
        cases.add_participant(session, case, "bob", role="editor", allow=["manage"])
    for role, more in (("owner", {}), ("viewer", {"allow": ["delete"]}), ("editor", {"allow": ["manage", "delete"]})):
        with pytest.raises(Forbidden, match="permissions that you hold"), populated.db.session(actor="bob") as session:
            cases.add_participant(session, case, "bob", role=role, **more)
    for name in ("alice", "bob", "transcriber"):
        for statement in (
            "UPDATE users SET role_id = (SELECT id FROM user_roles WHERE code = 'admin') WHERE username = :name",
            'UPDATE user_roles SET permissions = \'{"*": ["*"]}\'',
            "INSERT INTO user_roles (code, name) VALUES ('mine', :name)",
            "INSERT INTO users (username) VALUES (:name || '2')",
        ):
            with core(populated.db, Actor(name)) as connection:
                assert refused(connection, statement, {"name": name}), statement
    with pytest.raises(Forbidden), populated.db.session(actor="alice") as session:
        accounts.assign_role(session, accounts.find_user(session, "alice"), "admin")


@pytest.mark.own_database
def test_case_34_a_role_in_use_and_the_last_administrator_are_protected(populated):
    with pytest.raises((Conflict, IntegrityError)), populated.db.session(actor="root") as session:
        session.execute(text("DELETE FROM user_roles WHERE code = 'user'"))
    for change in ("UPDATE user_roles SET permissions = '{}' WHERE code = 'admin'",
                   "UPDATE users SET is_active = false WHERE username = 'root'",
                   "UPDATE users SET role_id = (SELECT id FROM user_roles WHERE code = 'user')"):  # fmt: skip
        with pytest.raises(Conflict, match="administrator"), populated.db.session(actor="root") as session:
            session.execute(text(change))


def test_case_34_deleting_a_referenced_row_is_a_conflict_on_every_server():
    diagnosis = SimpleNamespace(constraint_name="users_role_id_fkey", table_name="users", column_name=None)
    assert isinstance(translate(SimpleNamespace(pgcode="23503", diag=diagnosis)), Conflict)
    assert isinstance(translate(SimpleNamespace(pgcode="23001", diag=diagnosis)), Conflict)


@pytest.mark.parametrize(("role", "given", "may"), [
    ("owner", {"deny": ["read", "write", "delete", "manage"]}, set()),
    ("viewer", {"allow": ["write"], "deny": ["write"]}, {"read"}),
    ("viewer", {}, {"read"}),
    ("viewer", {"allow": [], "deny": []}, {"read"}),
])  # fmt: skip
def test_case_35_deny_overrides_and_an_empty_list_is_not_all(populated, role, given, may):
    """More combinations: test_writing.py. A participation applies to its own case; without one, no case is visible."""
    with populated.db.session(actor="alice") as session:
        part = cases.add_participant(session, session.get(Case, populated.case_of["alice"]), "bob", role=role)
        part.permissions = given
    with populated.db.session(actor="bob") as session:
        for verb in ("read", "write", "delete", "manage"):
            assert session.scalar(select(func.public.actor_may_in(populated.case_of["bob"], verb)))
            assert session.scalar(select(func.public.actor_may_in(populated.case_of["alice"], verb))) == (verb in may)
        readable = {populated.case_of["bob"]} | ({populated.case_of["alice"]} if "read" in may else set())
        assert set(session.scalar(select(func.public.actor_case_ids()))) == readable
        for verb in ("", "*", "READ", None, "everything"):
            assert not session.scalar(select(func.public.actor_may_in(populated.case_of["alice"], verb)))
    with populated.db.session(actor="transcriber") as session:
        assert session.scalar(select(func.public.actor_case_ids())) == []
        assert session.execute(select(Case)).all() == []


def test_case_35_an_actor_without_read_learns_nothing_by_writing(populated):
    with populated.db.session(actor="alice") as session:
        cases.add_participant(
            session, session.get(Case, populated.case_of["alice"]), "bob", role="editor", deny=["read"]
        )
    with populated.db.session(actor="bob") as session:
        assert session.execute(text("UPDATE case_notes SET body = 'overwritten'")).rowcount >= 1
    with populated.db.session(actor="bob") as session:
        history = session.execute(text("SELECT old, new FROM activity_logs")).all()
        assert "Secret note of alice" not in str(history)
        assert "Secret note of alice" not in str(activity.feed(session, changes=True))


EXHAUSTED = """UPDATE processing_jobs SET state = 'running', attempts = max_attempts, worker = 'dead', leased_by_id =
 (SELECT id FROM users WHERE username = 'transcriber'), lease_expires_at = now() - interval '1 hour',
 payload = '{"secret": "of alice"}' WHERE case_id = :alice"""


@pytest.fixture
def helper(populated):
    with populated.db.session(actor="root") as session:
        accounts.create_user(session, username="helper", role="service")
    with populated.owner.begin() as connection:
        connection.execute(text('UPDATE processing_jobs SET payload = \'{"secret": "of all"}\''))
    return populated


@pytest.mark.own_database
def test_case_35_an_unsuccessful_claim_reveals_nothing(helper):
    with helper.owner.begin() as connection:
        connection.execute(text(EXHAUSTED), {"alice": helper.case_of["alice"]})
    with helper.db.session(actor="helper") as session:
        assert work.claim(session, "nothing-that-is-asked-for") is None
    with helper.db.session(actor="helper") as session:
        assert "of alice" not in str(session.scalars(text("SELECT new FROM activity_logs")).all())


@pytest.mark.own_database
def test_case_35_a_claim_that_fails_reveals_nothing(helper):
    with pytest.raises(DBAPIError) as caught, core(helper.db, Actor("helper")) as connection:
        assert connection.scalar(text("SELECT claim_job('{transcribe}', repeat('x', 999), 60)")) is not None
        connection.execute(text("SELECT claim_job('{transcribe}', 'w', 1 / 0)"))
    assert "of all" not in str(caught.value.orig)


def test_case_35_the_name_of_a_user_grants_nothing(populated):
    """Users named like roles of PostgreSQL or like operators: names are only values."""
    with populated.db.session(actor="root") as session:
        for name in ("sti_admin", "postgres", "operator:root", "public", "none"):
            session.add(User(username=name))
    for name in ("sti_admin", "postgres", "operator:root", "public", "none"):
        with populated.db.session(actor=name) as session:
            assert session.execute(select(Case)).all() == []
            assert session.scalar(text("SELECT actor_may('*', '*')")) is False
