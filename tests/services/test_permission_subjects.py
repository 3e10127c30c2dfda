"""Services register subjects of permissions, which roles and participants then have; other names are refused."""

from __future__ import annotations

from datetime import timedelta

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import text

from src.database.schema import register_permissions, unregister_permissions
from src.errors import Conflict, Forbidden, InvalidInput
from src.services import accounts, cases


@pytest.fixture
def migrate(owner):
    def run(change, *arguments):
        with owner.begin() as connection:
            change(Operations(MigrationContext.configure(connection)), *arguments)

    run(register_permissions, {"report": ["read", "write"]})
    return run


@pytest.fixture
def case(db, migrate):
    with db.session(actor="alice") as session:
        case = cases.open_case(session, title="Harbour")
        cases.add_participant(session, case, "bob", role="viewer")
        return case


def may(db, actor, case, verb="read"):
    with db.session(actor=actor) as session:
        return cases.may(session, case, verb, subject="report")


def test_a_participant_has_a_registered_verb_while_it_is_given(db, case):
    assert (may(db, "alice", case), may(db, "bob", case), may(db, "root", case)) == (True, False, True)
    with db.session(actor="alice") as session:
        cases.add_participant(session, case, "bob", subjects={"report": ["read"]})
    assert (may(db, "bob", case), may(db, "bob", case, "write")) == (True, False)
    assert not may(db, "transcriber", case)
    with db.session(actor="alice") as session:
        cases.add_participant(session, case, "bob", subjects={"report": ["read"]}, deny=["read"])
    assert not may(db, "bob", case)


def test_a_role_gives_a_registered_verb_in_the_cases_that_the_user_may_read(db, case):
    with db.session(actor="root") as session:
        accounts.create_role(session, code="reporter", name="Reporter", permissions={"report": ["read"]})
        for name in ("bob", "transcriber"):
            accounts.assign_role(session, accounts.find_user(session, name), "reporter")
    assert (may(db, "bob", case), may(db, "transcriber", case)) == (True, False)


def test_permissions_are_explained_for_registered_subjects_and_agree(db, case):
    def explained(user, of_case):
        with db.session(actor="root") as session:
            found = accounts.permissions(session, user, case=of_case)
            return {(each.subject, each.verb): (each.allowed, each.why) for each in found}

    def agrees(user):
        found = explained(user, case)
        for verb in ("read", "write"):
            assert found["report", verb][0] is may(db, user, case, verb), (user, verb)
        return {verb: found["report", verb][1] for verb in ("read", "write")}

    assert agrees("alice")["write"] == "participant with the role owner"
    assert agrees("root")["read"] == "granted by the role admin"
    assert agrees("bob")["read"] == "granted neither by the role of the user nor to this participant"
    assert agrees("transcriber")["read"] == "the user may not read the case"
    assert explained("bob", None)["report", "read"] == (False, "not granted by the role or its parents")
    with db.session(actor="alice") as session:
        cases.add_participant(session, case, "bob", subjects={"report": ["read"]})
    assert agrees("bob")["read"] == "allowed to this participant"
    with db.session(actor="alice") as session:
        cases.add_participant(session, case, "bob", subjects={"report": ["read"]}, deny=["read"])
    assert agrees("bob")["read"] == "the user may not read the case"
    with db.session(actor="alice") as session:
        cases.add_participant(session, case, "bob", subjects={"report": ["read"]},
                              expires_at=cases.now(session) - timedelta(days=1))  # fmt: skip
    agrees("bob")
    with db.session(actor="root") as session:
        accounts.create_role(session, code="reporter", name="Reporter", permissions={"report": ["read"]})
        accounts.assign_role(session, accounts.find_user(session, "bob"), "reporter")
    agrees("bob")
    assert explained("bob", None)["report", "read"] == (True, "granted by the role reporter")
    with db.session(actor="alice") as session:
        cases.add_participant(session, case, "bob", role="viewer")
    assert agrees("bob") == {
        "read": "granted by the role reporter",
        "write": "granted neither by the role of the user nor to this participant",
    }


@pytest.mark.parametrize("wrong", [{"report": ["raed"]}, {"reprot": ["read"]}, {"report": "read"}, {"report": [1]}])
def test_typos_are_refused_by_services_and_by_the_database(db, case, wrong):
    with pytest.raises(InvalidInput), db.session(actor="root") as session:
        accounts.create_role(session, code="x", name="X", permissions=wrong)
    with pytest.raises(InvalidInput), db.session(actor="alice") as session:
        cases.add_participant(session, case, "bob", subjects=wrong)
    given = {"given": str(wrong).replace("'", '"')}
    for actor, statement in (
        ("root", "UPDATE user_roles SET permissions = CAST(:given AS jsonb) WHERE code = 'service'"),
        ("alice", "UPDATE case_participants SET permissions = CAST(:given AS jsonb) WHERE role = 'viewer'"),
    ):
        with pytest.raises((InvalidInput, Forbidden)), db.session(actor=actor) as session:
            session.execute(text(statement), given)


def test_a_manager_grants_only_registered_verbs_that_the_manager_holds(db, case):
    with db.session(actor="alice") as session:
        until = cases.now(session) + timedelta(days=1)
        given = {"report": ["read"]}
        cases.add_participant(session, case, "bob", role="editor", allow=["manage"], subjects=given, expires_at=until)
    with db.session(actor="bob") as session:
        cases.add_participant(session, case, "transcriber", subjects={"report": ["read"]}, expires_at=until)
    for subjects, expires_at in (({"report": ["write"]}, until), ({"report": ["read"]}, None)):
        with pytest.raises(Forbidden, match="you can only grant"), db.session(actor="bob") as session:
            cases.add_participant(session, case, "transcriber", subjects=subjects, expires_at=expires_at)


def test_a_subject_stays_registered_while_somebody_has_it(db, case, migrate):
    with db.session(actor="alice") as session:
        cases.add_participant(session, case, "bob", subjects={"report": ["read"]})
    for change in ((unregister_permissions, "report"), (register_permissions, {"report": ["write"]})):
        with pytest.raises(Exception, match="take it away first"):
            migrate(*change)
    migrate(register_permissions, {"report": ["read"]})  # nobody has the other verb
    with db.session(actor="alice") as session:
        cases.add_participant(session, case, "bob")
    migrate(unregister_permissions, "report")
    with pytest.raises(InvalidInput, match="not a permission"):
        may(db, "alice", case)
    with pytest.raises(InvalidInput, match="registered"), db.session(actor="alice") as session:
        session.scalar(text("SELECT actor_may_on(:case, 'read', 'report')"), {"case": case.id})


@pytest.mark.parametrize("wrong", [{"case": ["read"]}, {"Report": ["read"]}, {"report": []}, {"report": "read"},
                                   {"report": ["a'b"]}, {"deny": ["read"]}])  # fmt: skip
def test_names_that_cannot_be_registered_are_refused(migrate, wrong):
    with pytest.raises(InvalidInput):
        migrate(register_permissions, wrong)


def test_only_the_owner_and_administrators_register(db, migrate):
    with pytest.raises(Forbidden), db.session(actor="alice") as session:
        session.execute(text("INSERT INTO permission_subjects (subject, verbs) VALUES ('x', '{read}')"))
    with db.session(actor="root") as session:
        session.execute(text("INSERT INTO permission_subjects (subject, verbs) VALUES ('x', '{read}')"))
    with pytest.raises((Conflict, InvalidInput)), db.session(actor="root") as session:
        session.execute(text("INSERT INTO permission_subjects (subject, verbs) VALUES ('y', '{Read}')"))
