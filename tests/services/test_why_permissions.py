"""`accounts.permissions` reports permissions with reasons, and agrees with the row security policies."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select, text

from src.database import ActivityLog, Case, CaseParticipant, User
from src.database.schema.permissions import CASE_VERBS, PARTICIPANT_ROLES, ROLE_PERMISSIONS
from src.errors import Conflict, Forbidden, InvalidInput, NotFound, NotSignedIn
from src.services import accounts, activity, cases, work

pytestmark = pytest.mark.shared_database


@pytest.fixture
def case(db):
    with db.session(actor="alice") as session:
        return cases.open_case(session, title="Harbour")


@pytest.fixture
def audio(db, case, make_audio):
    with db.session(actor="alice") as session:
        return make_audio(session, case)


def answers(db, asking, user, case=None):
    with db.session(actor=asking) as session:
        return {(p.subject, p.verb): p for p in accounts.permissions(session, user, case=case)}


def test_the_reason_names_the_role_of_the_participant(db, case):
    found = answers(db, "alice", "alice", case)

    assert {verb for _, verb in found} == set(CASE_VERBS)
    assert all(permission.allowed for permission in found.values())
    assert str(found["case", "manage"]) == "manage case: yes, participant with the role owner"


def test_the_reason_names_allow_deny_and_expiry(db, case):
    end = datetime(2040, 5, 6, 7, 8, 9, tzinfo=UTC)
    with db.session(actor="alice") as session:
        cases.add_participant(session, case, "bob", role="editor", expires_at=end, allow=["manage"], deny=["write"])
    found = answers(db, "bob", "bob", case)

    until = "until 2040-05-06 07:08:09 UTC"
    assert str(found["case", "read"]) == f"read case: yes, participant with the role editor {until}"
    assert str(found["case", "write"]) == f"write case: no, denied to this participant {until}"
    assert str(found["case", "manage"]).startswith("manage case: yes, allowed to this participant until 2040")
    excluded = "participant with the role editor, which does not include it"
    assert str(found["case", "delete"]) == f"delete case: no, {excluded}"


def test_the_reason_names_an_expired_or_missing_participation_or_the_role(db, case):
    with db.session(actor="alice") as session:
        cases.add_participant(session, case, "bob", expires_at=datetime.now(UTC) - timedelta(hours=1))
    assert "was a participant with the role viewer until" in answers(db, "alice", "bob", case)["case", "read"].why
    assert answers(db, "alice", "transcriber", case)["case", "read"].why == "not a participant"
    assert answers(db, "root", "root", case)["case", "delete"].why == "granted by the role admin"


def test_the_reason_names_a_valid_lease(db, case, audio):
    with db.session(actor="alice") as session:
        work.enqueue(session, audio, "transcribe")
    with db.session(actor="transcriber") as session:
        claimed = work.claim(session, "transcribe")
    found = answers(db, "transcriber", "transcriber", case)

    assert found["case", "read"].why.startswith(f"holds the lease of job {claimed.id} until")
    assert not found["case", "manage"].allowed


def test_outside_cases_the_reason_names_the_role_or_its_parent(db):
    with db.session(actor="root") as session:
        accounts.create_role(session, code="clerk", name="Clerk", parent="user", permissions={"job": ("claim",)})
        accounts.create_user(session, username="clara", role="clerk")
    found = answers(db, "bob", "clara")

    assert set(found) == {(subject, verb) for subject, verbs in ROLE_PERMISSIONS.items() for verb in verbs}
    assert str(found["case", "open"]) == "open case: yes, granted by the role clerk, inherited from user"
    assert str(found["job", "claim"]) == "claim job: yes, granted by the role clerk"
    assert str(found["*", "*"]) == "* *: no, not granted by the role or its parents"


def test_an_invisible_case_and_a_deleted_case_raise_the_same_error(db, case):
    with pytest.raises(NotFound) as forbidden:
        answers(db, "bob", "bob", case)
    with db.session(actor="root") as session:
        session.delete(case)
    with pytest.raises(NotFound) as missing:
        answers(db, "bob", "bob", case)
    assert str(forbidden.value) == str(missing.value)


def test_an_inactive_user_has_no_permissions(db, case):
    with db.session(actor="alice") as session:
        cases.add_participant(session, case, "bob", role="owner")
    with db.session(actor="root") as session:
        accounts.deactivate(session, accounts.find_user(session, "bob"))
    assert {p.why for p in answers(db, "alice", "bob", case).values()} == {"the user is not active"}
    with pytest.raises(NotSignedIn, match="No active user"):
        answers(db, "bob", "bob", case)
    with db.session(actor="root") as session:
        accounts.activate(session, accounts.find_user(session, "bob"))
    assert answers(db, "bob", "bob", case)["case", "manage"].allowed


verbs = st.lists(st.sampled_from(CASE_VERBS), unique=True)
parts = st.none() | st.tuples(st.sampled_from(PARTICIPANT_ROLES), verbs, verbs, st.booleans())


@given(part=parts, leased=st.booleans())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_answer_agrees_with_the_policies(db, owner, audio, part, leased):
    with owner.begin() as connection:
        user = connection.scalar(select(User.id).where(User.username == "transcriber"))
        connection.execute(delete(CaseParticipant).where(CaseParticipant.user_id == user))
        connection.execute(text("DELETE FROM processing_jobs"))
        if part is not None:
            role, allow, deny, expired = part
            connection.execute(
                text(
                    "INSERT INTO case_participants (case_id, user_id, role, permissions, expires_at, added_by_id)"
                    " VALUES (:case, :user, :role, jsonb_build_object('allow', CAST(:allow AS text[]),"
                    " 'deny', CAST(:deny AS text[])), CASE WHEN :expired THEN now() - interval '1 s' END, :user)"
                ),
                {"case": audio.case_id, "user": user, "role": role, "allow": allow, "deny": deny, "expired": expired},
            )
        if leased:
            connection.execute(
                text(
                    "INSERT INTO processing_jobs (case_id, audio_file_id, kind, state, leased_by_id, lease, attempts,"
                    " lease_expires_at, created_by_id)"
                    " VALUES (:case, :audio, 'x', 'running', :user, 1, 1, now() + interval '1 h', :user)"
                ),
                {"case": audio.case_id, "audio": audio.id, "user": user},
            )
    allowed = {verb for (_, verb), p in answers(db, "root", "transcriber", Case(id=audio.case_id)).items() if p.allowed}
    with db.session(actor="transcriber") as session:
        decided = {
            verb
            for verb in CASE_VERBS
            if session.scalar(text("SELECT actor_may_in(:c, :v)"), {"c": audio.case_id, "v": verb})
        }
    assert allowed == decided


def test_only_administrators_create_and_assign_roles(db):
    with pytest.raises(InvalidInput, match="no verb 'close'"), db.session(actor="root") as session:
        accounts.create_role(session, code="x", name="X", permissions={"case": ["close"]})
    with pytest.raises(Conflict), db.session(actor="root") as session:
        accounts.create_role(session, code="user", name="Again", permissions={})
    with pytest.raises(Forbidden), db.session(actor="alice") as session:
        accounts.create_role(session, code="x", name="X", permissions={})
    for action in (lambda s, u: accounts.assign_role(s, u, "admin"), accounts.deactivate):
        with pytest.raises(Forbidden), db.session(actor="alice") as session:
            action(session, accounts.find_user(session, "alice"))
    with db.session(actor="root") as session:
        accounts.assign_role(session, accounts.find_user(session, "bob"), "admin")
    with db.session(actor="root") as session:
        assert "root assigned a role to bob" in [str(entry) for entry in activity.feed(session, type="role.assigned")]
    with pytest.raises(InvalidInput, match="use one of: "), db.session(actor="bob") as session:
        accounts.assign_role(session, accounts.find_user(session, "bob"), "emperor")


@pytest.mark.own_database
def test_denied_accesses_are_logged_although_the_session_rolled_back(db, case):
    with db.session(actor="alice") as session:
        cases.add_participant(session, case, "bob")
    with pytest.raises(Forbidden), db.session(actor="bob") as session:
        cases.add_note(session, case, "A viewer writes nothing")
    with pytest.raises(Forbidden), db.session(actor="bob") as session:
        session.get(type(case), case.id).title = "Mine"
    with db.session(actor="root") as session:
        logged = session.scalars(
            select(ActivityLog).where(ActivityLog.activity_type.has(code="access.refused")).order_by(ActivityLog.id)
        ).all()
    assert [entry.actor for entry in logged] == ["bob", "bob"]
    assert all("may" in entry.new["refused"] for entry in logged)


def test_verbs_are_allowed_and_denied_by_name(db, case):
    with pytest.raises(InvalidInput, match="no verb 'own'"), db.session(actor="alice") as session:
        cases.add_participant(session, case, "bob", allow=["own"])
    with db.session(actor="alice") as session:
        cases.add_participant(session, case, "bob", allow=["write"])
    with db.session(actor="bob") as session:
        cases.add_note(session, case, "Allowed to write")
    with db.session(actor="alice") as session:
        cases.add_participant(session, case, "bob", role="editor", deny=["write"])
    with pytest.raises(Forbidden), db.session(actor="bob") as session:
        cases.add_note(session, case, "Denied again")
