"""Rights of participants in time: how long they may grant, what they may take away, and who counts as an owner.

The members act by raw SQL as well as by services: the database is the guard.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.exc import DBAPIError

from src.database import Case, CaseParticipant
from src.database.connection.actor_tokens import Actor
from src.errors import Conflict, Forbidden
from src.services import accounts, cases, history, work
from tests.services.test_permissions import wait_until_blocked

pytestmark = pytest.mark.shared_database

HOUR = timedelta(hours=1)
IN_AN_HOUR = "now() + interval '1 hour'"


@pytest.fixture
def case(db):
    with db.session(actor="alice") as session:
        return cases.open_case(session, title="Granted for a while")


@pytest.fixture
def carol(db):
    with db.session(actor="root") as session:
        return accounts.create_user(session, username="carol")


@pytest.fixture
def soon():
    return datetime.now(UTC) + HOUR


@pytest.fixture
def ids(db):
    """The ids of the users by name."""
    with db.session(actor="root") as session:
        return {name: accounts.find_user(session, name).id for name in ("root", "alice", "bob", "transcriber")}


def participations(db, case):
    with db.session(actor="root") as session:
        query = select(CaseParticipant).where(CaseParticipant.case_id == case.id)
        found = session.scalars(query.order_by(CaseParticipant.user_id)).all()
        return {row.user_id: (row.role, row.expires_at, row.permissions) for row in found}


@pytest.fixture
def unchanged(db, case):
    """Asserts that the participants are the same after a block, which must be refused."""

    class Unchanged:
        def __init__(self, match, error=Forbidden):
            self.raises = pytest.raises(error, match=match)

        def __enter__(self):
            self.before = participations(db, case)
            return self.raises.__enter__()

        def __exit__(self, *raised):
            caught = self.raises.__exit__(*raised)
            assert participations(db, case) == self.before
            return caught

    return Unchanged


LONGER = "for as long as you hold them|at least as long"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE case_participants SET expires_at = NULL WHERE user_id = :bob",
        "UPDATE case_participants SET expires_at = expires_at + interval '1 microsecond' WHERE user_id = :bob",
        "UPDATE case_participants SET expires_at = 'infinity'",
        'UPDATE case_participants SET expires_at = NULL, permissions = \'{"deny": ["delete"]}\' WHERE user_id = :bob',
        "UPDATE case_participants SET role = 'editor', expires_at = NULL WHERE user_id = :bob",
        "UPDATE case_participants SET role = 'owner' WHERE user_id = :transcriber",
        "INSERT INTO case_participants (case_id, user_id, role) VALUES (:case, :root, 'owner')",
        "INSERT INTO case_participants (case_id, user_id, role) VALUES (:case, :root, 'viewer')",
        (
            "INSERT INTO case_participants (case_id, user_id, role, expires_at)"
            " VALUES (:case, :root, 'viewer', now() + interval '2 hours')"
        ),
        (
            "INSERT INTO case_participants (case_id, user_id, role) VALUES (:case, :bob, 'owner')"
            " ON CONFLICT (case_id, user_id) DO UPDATE SET expires_at = NULL"
        ),
        (
            "INSERT INTO case_participants (case_id, user_id, role, expires_at)"
            " SELECT case_id, :bob, 'owner', expires_at FROM case_participants WHERE user_id = :bob"
            " ON CONFLICT (case_id, user_id) DO UPDATE SET expires_at = NULL"
        ),
        # to a participation that nothing limits
        'UPDATE case_participants SET permissions = \'{"allow": ["manage"]}\' WHERE user_id = :transcriber',
        # taken away from an owner who stays longer
        "DELETE FROM case_participants WHERE user_id = :alice",
        "UPDATE case_participants SET role = 'viewer' WHERE user_id = :alice",
        "UPDATE case_participants SET expires_at = now() WHERE user_id = :alice",
        'UPDATE case_participants SET permissions = \'{"deny": ["manage"]}\' WHERE user_id = :alice',
    ],
)
def test_an_owner_for_an_hour_grants_and_takes_nothing_for_longer(db, case, ids, soon, unchanged, statement):  # noqa: PLR0917 - fixtures
    with db.session(actor="alice") as session:
        cases.add_participant(session, case, "bob", role="owner", expires_at=soon)
        cases.add_participant(session, case, "transcriber", role="viewer")
    with unchanged(LONGER), db.session(actor="bob") as session:
        session.execute(text(statement), {**ids, "case": case.id})


@pytest.mark.parametrize(
    "statement",
    [
        'UPDATE case_participants SET permissions = \'{"deny": ["read"]}\' WHERE user_id = :root',
        "UPDATE case_participants SET permissions = '{}' WHERE user_id = :transcriber",
        'UPDATE case_participants SET permissions = \'{"deny": ["write"]}\' WHERE user_id = :transcriber',
        "UPDATE case_participants SET expires_at = now() WHERE user_id = :transcriber",
        "DELETE FROM case_participants WHERE user_id = :transcriber",
    ],
)
def test_an_owner_for_an_hour_denies_and_lifts_nothing_for_longer(db, case, ids, soon, unchanged, statement):  # noqa: PLR0917 - fixtures
    """A denial also takes rights from leases and from participations of later, so it outlasts the one who made it."""
    with db.session(actor="alice") as session:
        cases.add_participant(session, case, "bob", role="owner", expires_at=soon)
        cases.add_participant(session, case, "transcriber", role="viewer", deny=["read", "write"])
        cases.add_participant(session, case, "root", role="editor")
    with unchanged(LONGER), db.session(actor="bob") as session:
        session.execute(text(statement), {**ids, "case": case.id})


def test_an_owner_for_an_hour_grants_until_then(db, case, carol, soon, unchanged):
    with db.session(actor="alice") as session:
        cases.add_participant(session, case, "bob", role="owner", expires_at=soon)
    with db.session(actor="bob") as session:
        cases.add_participant(session, case, "carol", role="owner", expires_at=soon)
        cases.add_participant(session, case, "transcriber", role="editor", expires_at=soon - HOUR / 2)
    with unchanged(LONGER), db.session(actor="carol") as session:
        cases.add_participant(session, case, "transcriber", role="editor")
    with db.session(actor="alice") as session:
        cases.add_participant(session, case, "transcriber", role="editor")
        cases.add_participant(session, case, "bob", role="owner")
    with db.session(actor="bob") as session:
        cases.add_participant(session, case, "carol", role="owner")


def test_what_others_granted_for_longer_may_be_left_or_reduced(db, case, ids, soon):
    with db.session(actor="alice") as session:
        cases.add_participant(session, case, "bob", role="owner", expires_at=soon)
        cases.add_participant(session, case, "transcriber", role="editor", allow=["delete"])
    with db.session(actor="bob") as session:
        cases.add_participant(session, case, "transcriber", role="editor")
        cases.add_participant(session, case, "transcriber", role="viewer")
    assert participations(db, case)[ids["transcriber"]] == ("viewer", None, {})
    with db.session(actor="bob") as session:
        cases.remove_participant(session, case, "transcriber")
        session.execute(text("DELETE FROM case_participants WHERE user_id = :bob"), ids)
    assert participations(db, case).keys() == {ids["alice"]}


def test_a_deleted_participation_is_not_restored_for_longer(db, case, ids, soon, unchanged):
    """Neither by `history.revert` of the row, nor by the function behind it, nor of a changed row."""
    with db.session(actor="alice") as session:
        ended = cases.add_participant(session, case, "transcriber", role="editor")
        reduced = cases.add_participant(session, case, "bob", role="owner")
    with db.session(actor="alice") as session:
        cases.remove_participant(session, case, "transcriber")
        cases.add_participant(session, case, "bob", role="owner", expires_at=soon)
    for thing in (ended, reduced):
        with unchanged(LONGER), db.session(actor="bob") as session:
            *_, first = history.versions(session, (CaseParticipant, thing.id))
            history.revert(session, (CaseParticipant, thing.id), to=first, reason="as it was")
    with unchanged(LONGER), db.session(actor="bob") as session:
        session.execute(
            text(
                "SELECT restore_deleted(id) FROM activity_logs WHERE entity = 'case_participants'"
                " AND operation = 'delete' AND case_id = :case"
            ),
            {"case": case.id},
        )
    with db.session(actor="alice") as session:
        history.revert(session, (CaseParticipant, ended.id), to=first_version(session, ended), reason="needed again")
    assert participations(db, case)[ids["transcriber"]] == ("editor", None, {})


def first_version(session, participant):
    *_, first = history.versions(session, (CaseParticipant, participant.id))
    return first


def test_a_participation_cannot_be_moved_to_another_user_or_case(db, case, ids, unchanged):
    with db.session(actor="alice") as session:
        cases.add_participant(session, case, "bob", role="viewer")
        other = cases.open_case(session, title="Other")
    for column, value in (("user_id", ids["transcriber"]), ("case_id", other.id), ("added_by_id", ids["bob"])):
        with unchanged("permission denied"), db.session(actor="alice") as session:
            session.execute(text(f"UPDATE case_participants SET {column} = {value} WHERE user_id = :bob"), ids)


@pytest.mark.own_database
def test_a_lease_is_not_passed_on(db, case, carol, make_audio, unchanged):
    """The holder of a lease who may manage the case grants neither for longer than the lease nor for less."""
    with db.session(actor="alice") as session:
        work.enqueue(session, make_audio(session, case), "transcribe")
        cases.add_participant(session, case, "transcriber", role="viewer", allow=["manage"])
    with db.session(actor="transcriber") as session:
        assert work.claim(session, "transcribe") is not None
    for expires_at in (None, datetime.now(UTC) + timedelta(seconds=5)):
        with unchanged("that you hold: write"), db.session(actor="transcriber") as session:
            cases.add_participant(session, case, "carol", role="editor", expires_at=expires_at)
    with db.session(actor="transcriber") as session:
        cases.add_participant(session, case, "carol", role="viewer", allow=["manage"])


MANAGERS = {
    "an editor": {"role": "editor", "allow": ["manage"]},
    "one with all verbs": {"role": "editor", "allow": ["delete", "manage"]},
}
AGAINST_OWNERS = {
    "deny everything": 'UPDATE case_participants SET permissions = \'{"deny": ["read", "write", "delete",'
    ' "manage"]}\' WHERE user_id = :alice',
    "deny to manage": 'UPDATE case_participants SET permissions = \'{"deny": ["manage"]}\' WHERE user_id = :alice',
    "deny to read": 'UPDATE case_participants SET permissions = \'{"deny": ["read"]}\' WHERE user_id = :alice',
    "deny to write": 'UPDATE case_participants SET permissions = \'{"deny": ["write"]}\' WHERE user_id = :alice',
    "expire": "UPDATE case_participants SET expires_at = now() + interval '1 day' WHERE user_id = :alice",
    "demote": "UPDATE case_participants SET role = 'viewer' WHERE user_id = :alice",
    "remove": "DELETE FROM case_participants WHERE user_id = :alice",
    "remove everybody": "DELETE FROM case_participants",
    "deny everybody": 'UPDATE case_participants SET permissions = \'{"deny": ["read"]}\'',
    "replace": "INSERT INTO case_participants (case_id, user_id, role) VALUES (:case, :alice, 'viewer')"
    " ON CONFLICT (case_id, user_id) DO UPDATE SET role = 'viewer'",
    "become one": "UPDATE case_participants SET role = 'owner' WHERE user_id = :bob",
    "make one": "INSERT INTO case_participants (case_id, user_id, role) VALUES (:case, :transcriber, 'owner')",
    "make one without verbs": "INSERT INTO case_participants (case_id, user_id, role, permissions)"
    " VALUES (:case, :transcriber, 'owner', '{\"deny\": [\"read\"]}')",
}


@pytest.mark.parametrize("manager", MANAGERS.values(), ids=MANAGERS)
@pytest.mark.parametrize("statement", AGAINST_OWNERS.values(), ids=AGAINST_OWNERS)
@pytest.mark.parametrize("owners", [1, 2])
def test_a_manager_who_is_not_an_owner_makes_and_changes_no_owner(  # noqa: PLR0917 - fixtures
    db, case, carol, ids, unchanged, manager, statement, owners
):
    with db.session(actor="alice") as session:
        cases.add_participant(session, case, "bob", **manager)
        if owners == 2:
            cases.add_participant(session, case, "carol", role="owner")
    with unchanged("an owner of case|that you hold"), db.session(actor="bob") as session:
        session.execute(text(statement), {**ids, "case": case.id})


def test_the_error_for_a_manager_says_that_an_owner_is_needed(db, case, unchanged):
    with db.session(actor="alice") as session:
        cases.add_participant(session, case, "bob", role="editor", allow=["delete", "manage"])
    only = "only an owner who participates at least as long"
    with unchanged(only), db.session(actor="bob") as session:
        cases.add_participant(session, case, "alice", role="owner", deny=["read"])
    with unchanged(only), db.session(actor="bob") as session:
        cases.remove_participant(session, case, "alice")
    with db.session(actor="alice") as session:
        hold = cases.place_hold(session, case, reason="order")
    with unchanged(only), db.session(actor="bob") as session:
        cases.remove_participant(session, case, "alice")
    with db.session(actor="alice") as session:
        cases.release_hold(session, hold, reason="over")


def test_a_manager_takes_only_what_the_manager_holds(db, case, ids, carol, unchanged):
    with db.session(actor="alice") as session:
        cases.add_participant(session, case, "bob", role="viewer", allow=["manage"])
        cases.add_participant(session, case, "transcriber", role="editor")
        cases.add_participant(session, case, "carol", role="viewer")
    held = "that you hold: write"
    for statement in (
        "DELETE FROM case_participants WHERE user_id = :transcriber",
        "UPDATE case_participants SET expires_at = now() WHERE user_id = :transcriber",
        "UPDATE case_participants SET role = 'viewer' WHERE user_id = :transcriber",
        'UPDATE case_participants SET permissions = \'{"deny": ["write"]}\' WHERE user_id = :transcriber',
        # and denies no verb that the participant could get in another way, by a lease
        'UPDATE case_participants SET permissions = \'{"deny": ["write"]}\' WHERE user_id = :carol',
        (
            "INSERT INTO case_participants (case_id, user_id, role, permissions)"
            " VALUES (:case, :root, 'viewer', '{\"deny\": [\"write\"]}')"
        ),
    ):
        with unchanged(held), db.session(actor="bob") as session:
            session.execute(text(statement), {**ids, "case": case.id, "carol": carol.id})
    with db.session(actor="bob") as session:
        for statement in (
            'UPDATE case_participants SET permissions = \'{"deny": ["read"]}\' WHERE user_id = :carol',
            "DELETE FROM case_participants WHERE user_id = :carol",
        ):
            assert session.execute(text(statement), {"carol": carol.id}).rowcount == 1


@pytest.mark.parametrize(
    "statement",
    [
        'UPDATE case_participants SET permissions = \'{"allow": ["manage"]}\' WHERE user_id = :bob',
        "UPDATE case_participants SET expires_at = now() WHERE user_id = :bob",
        "DELETE FROM case_participants WHERE user_id = :bob",
    ],
)
def test_nobody_lifts_a_denial_of_themselves(db, case, ids, unchanged, statement):
    """Without its denial, the lease of a job would let a service write."""
    with db.session(actor="alice") as session:
        cases.add_participant(session, case, "bob", role="viewer", allow=["manage"], deny=["write"])
    with unchanged("that you hold: write"), db.session(actor="bob") as session:
        session.execute(text(statement), ids)


@pytest.mark.parametrize("verb", ["manage", "read"])
@pytest.mark.parametrize("actor", ["alice", "root"])
def test_an_owner_who_is_denied_to_manage_does_not_count(db, case, ids, verb, actor):
    with pytest.raises(Conflict, match="at least one owner"), db.session(actor=actor) as session:
        session.execute(
            update(CaseParticipant).where(CaseParticipant.case_id == case.id).values(permissions={"deny": [verb]})
        )
    with db.session(actor="alice") as session:
        cases.add_participant(session, case, "bob", role="owner", deny=[verb])
    with pytest.raises(Conflict, match="at least one owner"), db.session(actor=actor) as session:
        cases.remove_participant(session, case, "alice")
    with db.session(actor="alice") as session:
        cases.add_participant(session, case, "bob", role="owner", deny=["write"])
    with db.session(actor=actor) as session:
        session.execute(text("DELETE FROM case_participants WHERE case_id = :case AND user_id = :alice"),
                        {**ids, "case": case.id})  # fmt: skip
    assert participations(db, case).keys() == {ids["bob"]}


def test_an_inactive_owner_does_not_count_and_an_administrator_adds_the_next(db, case, ids):
    """Deactivating a user never waits: an administrator may deactivate the last owner of a case."""
    with db.session(actor="alice") as session:
        cases.add_participant(session, case, "bob", role="owner")
    with db.session(actor="root") as session:
        accounts.deactivate(session, ids["bob"])
    for actor in ("alice", "root"):
        with pytest.raises(Conflict, match="active"), db.session(actor=actor) as session:
            cases.remove_participant(session, case, "alice")
    with pytest.raises(Forbidden), db.session(actor="alice") as session:
        accounts.deactivate(session, ids["alice"])
    with db.session(actor="root") as session:
        accounts.deactivate(session, ids["alice"])
    with db.session(actor="root") as session:
        cases.add_participant(session, case, "transcriber", role="owner")
        cases.remove_participant(session, case, "alice")
    assert participations(db, case).keys() == {ids["bob"], ids["transcriber"]}


@pytest.mark.parametrize("isolation", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM case_participants WHERE case_id = {case} AND user_id = {user}",
        (
            'UPDATE case_participants SET permissions = \'{{"deny": ["read"]}}\' WHERE case_id = {case}'
            " AND user_id = {user}"
        ),
        "UPDATE users SET is_active = false WHERE id = {user}",
    ],
)
def test_of_two_owners_who_leave_concurrently_one_stays(db, case, ids, owner, isolation, change):  # noqa: PLR0917 - fixtures
    """Also when one is deactivated: the other one does not leave after that."""
    with db.session(actor="alice") as session:
        cases.add_participant(session, case, "bob", role="owner")
    leave = "DELETE FROM case_participants WHERE case_id = {case} AND user_id = {user}"
    first = change.format(case=case.id, user=ids["alice"])
    second = leave.format(case=case.id, user=ids["bob"])
    with pytest.raises(DBAPIError, match=r"at least one owner|could not serialize|deadlock"):
        overlapping(owner, isolation, first, second)
    assert ids["bob"] in participations(db, case)


def overlapping(owner, isolation, first, second):
    """Run both statements in transactions that began before either ends; raise the error of the second one."""
    errors = []

    def run(connection):
        try:
            connection.execute(text(second))
            connection.commit()
        except DBAPIError as error:
            connection.rollback()
            errors.append(error)

    strict = owner.execution_options(isolation_level=isolation)
    with strict.connect() as one, strict.connect() as two:
        for connection in (one, two):
            connection.execute(text("SELECT count(*) FROM case_participants")).scalar()
        one.execute(text(first))
        thread = threading.Thread(target=run, args=(two,))
        thread.start()
        wait_until_blocked(owner, two)
        one.commit()
        thread.join(30)
    if errors:
        raise errors[0]


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM case_participants WHERE case_id = :case AND user_id = :bob",
        "UPDATE case_participants SET expires_at = now() + interval '1 hour' WHERE case_id = :case AND user_id = :bob",
    ],
)
def test_an_old_snapshot_does_not_still_grant(db, case, carol, ids, change):
    with db.session(actor="alice") as session:
        cases.add_participant(session, case, "bob", role="owner")
    insert = "INSERT INTO case_participants (case_id, user_id, role) VALUES (:case, :carol, 'owner')"
    values = {**ids, "case": case.id, "carol": carol.id}
    engine = db.engine.execution_options(actor=Actor("bob"))
    with engine.connect() as connection:
        assert connection.scalar(select(Case.title).where(Case.id == case.id)) is not None  # takes the snapshot
        with db.session(actor="alice") as session:
            session.execute(text(change), values)
        with pytest.raises(DBAPIError) as caught:
            connection.execute(text(insert), values)
    assert caught.value.orig.pgcode in {"42501", "40001"}
    assert participations(db, case).keys() == {ids["alice"], ids["bob"]} - (
        {ids["bob"]} if "DELETE" in change else set()
    )
