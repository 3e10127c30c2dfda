"""What a verification reads, and what it reports when it cannot: as the owner, as an administrator, by the command."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import text

from src.database import Case, CaseNote
from src.services import cases, history, transcripts
from tests.security.population import add_audio
from tests.services.history.hidden import ADDED_NOTE, FUNCTIONS, HIDDEN
from tests.services.history.tampering_kinds import Tampering


def as_root(sealed):
    with sealed.db.session(actor="root") as session:
        return history.verify(session, key=sealed.key, heads=sealed.heads)


def forge(sealed, statement):
    with sealed.owner.begin() as connection:
        connection.execute(text("SET LOCAL search_path = public"))
        connection.exec_driver_sql(f"ALTER TABLE case_notes DISABLE TRIGGER USER; {statement}".replace("%", "%%"))


def only(kinds, words) -> Tampering:
    (found,) = [each for each in kinds if words in each.name]
    return found


def test_a_transcription_without_segments_verifies(sealed):
    files = {"a.vtt": b"WEBVTT\n", "b.json": json.dumps({"text": "", "segments": []}).encode()}
    with sealed.db.session(actor="alice") as session:
        case = cases.open_case(session, title="Silence")
        transcripts.add(session, add_audio(session, case.id, "silence.wav"), [], language="en")
        for name, content in files.items():
            audio = add_audio(session, case.id, f"{name}.wav")
            transcripts.import_result(session, audio, content, name=name, language="en")
    report = sealed.verify()
    assert (report.findings, report.transcriptions) == ([], 7)


def test_an_administrator_reads_all_but_the_columns_of_the_owner(shared_sealed):
    report = as_root(shared_sealed)
    assert (report.ok, report.not_read) == (True, [])
    owners = ("password_hash", "sign_in_epoch")
    assert report.left_out == [f"users.{column} (only the owner of the database may read it)" for column in owners]
    assert report.rows == shared_sealed.verify().rows


def test_neither_policies_nor_the_functions_that_they_call_hide_rows_from_administrators(sealed):
    policy = (
        "CREATE POLICY zz ON case_notes AS RESTRICTIVE FOR SELECT TO sti_admin USING (body <> 'forged' OR"
        " current_setting('search_path') <> 'pg_catalog, pg_temp')"
    )
    forge(sealed, ADDED_NOTE + policy)
    assert "table: the policy zz on case_notes may hide rows from administrators" in map(str, as_root(sealed).findings)
    assert [finding.kind for finding in sealed.verify().findings] == ["row"]
    forge(sealed, f"DROP POLICY zz ON case_notes; {only(FUNCTIONS, 'actor_may').statement}")
    assert any("cannot execute UPDATE in a read-only transaction" in str(each) for each in as_root(sealed).findings)
    assert {finding.kind for finding in sealed.verify().findings} == {"row"}


@pytest.mark.parametrize("words", ["a policy forced on case_notes", "a dropped table of holds"])
def test_the_command_names_what_is_hidden(sealed, command, words):
    with sealed.owner.begin() as connection:
        each = only(HIDDEN, words)
        connection.execute(text("SET LOCAL search_path = public"))
        for table in ("cases", "case_notes", "activity_logs"):
            connection.exec_driver_sql(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        connection.exec_driver_sql(each.statement.replace("{id}", "1").replace("%", "%%"))
    code, printed = command("verify")
    assert code == 1
    assert each.words.format(id=1) in printed


def test_an_erasure_records_the_present_rows_and_can_be_repeated(sealed):
    with sealed.db.session(actor="alice") as session:
        case = cases.open_case(session, title="Xenophon")
        note = cases.add_note(session, case, "Xenophon wrote")
        session.flush()
        note.body = "corrected"
    with sealed.db.session(actor="root") as session:
        assert history.erase(session, case=case.id, reason="asked") > 3
    assert sealed.verify().findings == []
    with sealed.db.session(actor="alice") as session:
        (present,) = history.versions(session, (CaseNote, note.id), limit=1)
        assert (present.operation, present.values["body"]) == ("baseline", "corrected")
        session.delete(session.get(Case, case.id))
    with sealed.db.session(actor="root") as session:
        history.erase(session, case=case.id, reason="asked again")
    sealed.seal()
    assert sealed.verify().findings == []
    with sealed.owner.connect() as connection:
        left = "SELECT count(*) FROM activity_logs l WHERE l::text ~ 'Xenophon|corrected'"
        assert connection.scalar(text(left)) == 0


def test_a_verification_changes_nothing_in_the_session(sealed):
    with sealed.db.session(actor="root") as session:
        history.verify(session, key=sealed.key, heads=sealed.heads)
        cases.open_case(session, title="After the verification")
        assert session.scalar(text("SHOW enable_seqscan")) == "on"
        assert session.scalar(text("SHOW transaction_read_only")) == "off"
    assert sealed.verify().ok
