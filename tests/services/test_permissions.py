"""Roles, participants and holds: rules across rows, enforced by the database for every path and under concurrency."""

from __future__ import annotations

import json
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select, text, update
from sqlalchemy.exc import DBAPIError

from src.database import AudioFile, Case, CaseParticipant, LegalHold, User, UserRole
from src.database.schema.permissions import require_participation, require_role_permissions
from src.errors import Busy, Conflict, Forbidden, InvalidInput
from src.services import accounts, cases

pytestmark = pytest.mark.shared_database

HOSTILE = [
    None,
    [],
    "case",
    {"case": "open"},
    {"case": ["open", "*"]},
    {"case": ["Open"]},
    {"саse": ["open"]},  # with Cyrillic letters
    {"__proto__": ["open"]},
    {"*": ["open"]},
    {"case": {"open": True}},
    {"case": [["open"]]},
    {"case": [1]},
    {"job": ["open"]},
    {"allow": ["open"]},
    {"deny": "read"},
]


def refused(check, value):
    try:
        check(value)
    except InvalidInput:
        return True
    return False


@pytest.mark.parametrize(
    "permissions", [*HOSTILE, {}, {"case": ["open"]}, {"*": ["*"]}, {"case": [], "job": ["claim"]}]
)
def test_python_and_database_agree_on_the_permissions_of_a_role(owner, permissions):
    with owner.connect() as connection:
        known = connection.scalar(
            text("SELECT public.role_permissions_known_1(CAST(:json AS jsonb))"), {"json": json.dumps(permissions)}
        )
    assert known is not refused(require_role_permissions, permissions)


@pytest.mark.parametrize("permissions", [*HOSTILE, {}, {"allow": ["manage"]}, {"allow": [], "deny": ["read", "write"]}])
def test_python_and_database_agree_on_the_permissions_of_a_participant(owner, permissions):
    with owner.connect() as connection:
        known = connection.scalar(
            text("SELECT public.participation_known_1(CAST(:json AS jsonb))"), {"json": json.dumps(permissions)}
        )
    assert known is not refused(require_participation, permissions)


names = st.sampled_from(["case", "job", "*", "allow", "deny", "open", "read", "claim", "manage", "x"])
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)


@given(documents)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_python_and_database_agree_on_any_document(owner, document):
    with owner.connect() as connection:
        row = connection.execute(
            text(
                "SELECT role_permissions_known_1(d), participation_known_1(d)"
                " FROM (SELECT CAST(:json AS jsonb)) AS x (d)"
            ),
            {"json": json.dumps(document)},
        ).one()
    assert row[0] is not refused(require_role_permissions, document)
    assert row[1] is not refused(require_participation, document)


@pytest.mark.own_database
def test_a_role_inherits_the_permissions_of_its_parent(db):
    with db.session(actor="root") as session:
        parent = session.scalars(select(UserRole).where(UserRole.code == "user")).one()
        session.add(UserRole(code="clerk", name="Clerk", parent_id=parent.id, permissions={"job": ["claim"]}))
        session.flush()
        accounts.create_user(session, username="clara", role="clerk")
    with db.session(actor="clara") as session:
        cases.open_case(session, title="By inheritance")
        assert session.scalar(text("SELECT actor_may('job', 'claim')"))
        assert not session.scalar(text("SELECT actor_may('*', '*')"))


@pytest.mark.own_database
def test_cycles_and_more_than_16_levels_of_roles_are_rejected(db):
    with db.session(actor="root") as session:
        previous = None
        for level in range(16):
            role = UserRole(code=f"level-{level}", name="Level", parent_id=previous)
            session.add(role)
            session.flush()
            previous = role.id
        first = session.scalars(select(UserRole.id).where(UserRole.code == "level-0")).one()
    with pytest.raises(Conflict, match="cycle"), db.session(actor="root") as session:
        session.get(UserRole, first).parent_id = previous
    with pytest.raises(Conflict, match="16 levels"), db.session(actor="root") as session:
        session.add(UserRole(code="level-16", name="Too deep", parent_id=previous))
    with pytest.raises((Conflict, InvalidInput)), db.session(actor="root") as session:
        session.get(UserRole, first).parent_id = first


def at_once(db, *actions):
    """Run actions in concurrent transactions, all started before any ends; return the errors."""
    barrier = threading.Barrier(len(actions))
    errors = []

    def run(action):
        try:
            with db.session(actor="root") as session:
                session.execute(text("SELECT 1"))
                barrier.wait(10)
                action(session)
        except (Conflict, Busy, DBAPIError) as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return errors


@pytest.mark.own_database
def test_two_concurrent_updates_cannot_create_a_cycle_of_roles(db):
    with db.session(actor="root") as session:
        a, b = UserRole(code="a", name="A"), UserRole(code="b", name="B")
        session.add_all([a, b])

    def set_parent(child, parent):
        return lambda session: session.execute(update(UserRole).where(UserRole.id == child).values(parent_id=parent))

    assert len(at_once(db, set_parent(a.id, b.id), set_parent(b.id, a.id))) == 1


@pytest.mark.own_database
@pytest.mark.parametrize("way", ["deactivate", "demote", "delete", "strip the role"])
def test_the_last_administrator_cannot_be_removed(db, way):
    with pytest.raises((Conflict, Forbidden)), db.session(actor="root") as session:
        root = accounts.find_user(session, "root")
        if way == "deactivate":
            root.is_active = False
        elif way == "demote":
            root.role = session.scalars(select(UserRole).where(UserRole.code == "user")).one()
        elif way == "delete":
            session.execute(delete(User).where(User.username == "root"))
        else:
            session.execute(update(UserRole).where(UserRole.code == "admin").values(permissions={}))
    with db.session(actor="root") as session:
        assert session.scalar(text("SELECT actor_may('*', '*')"))


@pytest.mark.own_database
def test_two_administrators_cannot_deactivate_each_other_concurrently(db, owner):
    with db.session(actor="root") as session:
        second = accounts.create_user(session, username="second", role="admin")
        first = accounts.find_user(session, "root")

    def deactivate(user):
        return lambda session: session.execute(update(User).where(User.id == user.id).values(is_active=False))

    at_once(db, deactivate(first), deactivate(second))
    # The later one is rejected, or affects no row, since its actor is not active any more.
    with owner.connect() as connection:
        active = connection.scalars(select(User.username).where(User.is_active)).all()
    assert len({"root", "second"} & set(active)) == 1


@pytest.fixture
def case(db):
    with db.session(actor="alice") as session:
        return cases.open_case(session, title="Guarded")


@pytest.mark.parametrize("change", ["delete", "demote", "expire", "raw"])
def test_the_last_owner_of_a_case_cannot_be_removed(db, case, change):
    with pytest.raises(Conflict, match="at least one owner"), db.session(actor="alice") as session:
        mine = session.scalars(select(CaseParticipant)).one()
        if change == "delete":
            session.delete(mine)
        elif change == "demote":
            mine.role = "viewer"
        elif change == "expire":
            session.execute(text("UPDATE case_participants SET expires_at = now() + interval '1 day'"))
        else:
            session.execute(text("DELETE FROM case_participants"))


def test_ownership_can_be_transferred(db, case):
    with db.session(actor="alice") as session:
        cases.add_participant(session, case, "bob", role="owner")
    with db.session(actor="bob") as session:
        cases.remove_participant(session, case, "alice")
    with db.session(actor="alice") as session:
        assert session.get(Case, case.id) is None


def test_participants_can_only_grant_permissions_that_they_hold(db, case):
    with db.session(actor="alice") as session:
        bob = cases.add_participant(session, case, "bob", role="editor")
        bob.permissions = {"allow": ["manage"]}
    for role, permissions in (("owner", {}), ("viewer", {"allow": ["delete"]})):
        with pytest.raises(Forbidden, match="permissions that you hold"), db.session(actor="bob") as session:
            user = accounts.find_user(session, "transcriber")
            session.add(CaseParticipant(case_id=case.id, user_id=user.id, role=role, permissions=permissions))
    with pytest.raises(Forbidden, match="permissions that you hold"), db.session(actor="bob") as session:
        session.get(CaseParticipant, bob.id).role = "owner"
    with db.session(actor="bob") as session:
        cases.add_participant(session, case, "transcriber", role="editor")


def test_deny_overrides_allow_and_expired_participants_have_no_access(db, case):
    with db.session(actor="alice") as session:
        bob = cases.add_participant(session, case, "bob", role="editor")
        bob.permissions = {"allow": ["delete"], "deny": ["write", "delete"]}
    with db.session(actor="bob") as session:
        assert session.get(Case, case.id) is not None
    with pytest.raises(Forbidden), db.session(actor="bob") as session:
        cases.add_note(session, case, "denied")
    with db.session(actor="alice") as session:
        session.execute(
            text("UPDATE case_participants SET expires_at = now() - interval '1 second' WHERE role = 'editor'")
        )
    with db.session(actor="bob") as session:
        assert session.get(Case, case.id) is None


@pytest.fixture
def held(db, case, make_audio):
    with db.session(actor="alice") as session:
        make_audio(session, case)
        cases.add_note(session, case, "a note")
        cases.add_participant(session, case, "bob", role="viewer")
        first = cases.place_hold(session, case, reason="court order 1")
        cases.place_hold(session, case, reason="court order 2")
        return first


def test_a_hold_forbids_deletion_by_every_path_also_for_the_database_owner(db, case, held, owner):
    attempts = ["cases", "audio_files", "case_notes", "case_participants", "legal_holds", "storage_objects"]
    for table in attempts:
        with pytest.raises(DBAPIError, match="legal hold"), owner.begin() as connection:
            connection.execute(text(f"DELETE FROM {table}"))
        with pytest.raises(DBAPIError, match=r"not allowed|cannot truncate"), owner.begin() as connection:
            connection.execute(text(f"TRUNCATE {table}"))
    with pytest.raises(Conflict, match="legal hold"), db.session(actor="root") as session:
        session.delete(session.get(Case, case.id))
    with pytest.raises(Conflict, match="legal hold"), db.session(actor="alice") as session:
        session.execute(delete(AudioFile))
    with pytest.raises(DBAPIError, match="legal hold"), owner.begin() as connection:
        connection.execute(text("UPDATE cases SET active_holds = 0"))
        connection.execute(text("DELETE FROM audio_files"))


def test_a_participant_can_be_removed_under_a_hold(db, case, held):
    with db.session(actor="alice") as session:
        cases.remove_participant(session, case, "bob")
    with db.session(actor="bob") as session:
        assert session.get(Case, case.id) is None


def test_deletion_is_allowed_after_the_last_hold_is_released(db, case, held):
    with db.session(actor="alice") as session:
        cases.release_hold(session, held, reason="settled")
    with pytest.raises(Conflict, match="legal hold"), db.session(actor="alice") as session:
        session.execute(delete(AudioFile))
    with db.session(actor="alice") as session:
        second = session.scalars(select(LegalHold).where(LegalHold.released_at.is_(None))).one()
        cases.release_hold(session, second, reason="settled too")
        session.delete(session.get(Case, case.id))
    with db.session(actor="root") as session:
        assert session.get(Case, case.id) is None


def test_placing_a_hold_keeps_pending_changes_of_the_case(db, case):
    with db.session(actor="alice") as session:
        mine = session.get(Case, case.id)
        cases.place_hold(session, mine, reason="court order")
        mine.title = "Renamed under a hold"
    with db.session(actor="alice") as session:
        assert session.get(Case, case.id).active_holds == 1


@pytest.mark.own_database
@pytest.mark.parametrize("isolation", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
@pytest.mark.parametrize("first", ["hold", "delete"])
def test_a_hold_and_a_concurrent_deletion_are_serialized(owner, db, case, make_audio, isolation, first):  # noqa: PLR0917 - fixtures
    with db.session(actor="alice") as session:
        make_audio(session, case)
    hold = f"INSERT INTO legal_holds (case_id, reason, placed_by_id) VALUES ({case.id}, 'order', {case.opened_by_id})"
    erase = "DELETE FROM audio_files"
    early, late = (hold, erase) if first == "hold" else (erase, hold)
    strict = owner.execution_options(isolation_level=isolation)
    outcome = []

    def second(connection):
        try:
            connection.execute(text(late))
            connection.commit()
        except DBAPIError as error:
            connection.rollback()
            outcome.append(error)

    with strict.connect() as one, strict.connect() as two:
        for connection in (one, two):
            connection.execute(text("SELECT count(*) FROM audio_files")).scalar()
        one.execute(text(early))
        thread = threading.Thread(target=second, args=(two,))
        thread.start()
        wait_until_blocked(owner, two)
        one.commit()
        thread.join(30)
    with owner.connect() as connection:
        holds = connection.scalar(text("SELECT count(*) FROM legal_holds"))
        files = connection.scalar(text("SELECT count(*) FROM audio_files"))
    # A hold that was placed first keeps the recording; after the deletion a hold may be placed.
    assert (holds, files) in ({(1, 1)} if first == "hold" else {(0, 0), (1, 0)})
    assert first == "delete" or outcome


def wait_until_blocked(engine, connection):
    """Wait until the other connection waits for a lock or has finished."""
    pid = connection.connection.dbapi_connection.info.backend_pid
    query = text("SELECT wait_event_type = 'Lock' OR state <> 'active' FROM pg_stat_activity WHERE pid = :pid")
    for _ in range(2000):
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as watcher:
            if watcher.scalar(query, {"pid": pid}):
                return
    pytest.fail("the second transaction neither waits nor ends")
