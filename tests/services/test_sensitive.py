"""What is marked as sensitive is exported only by those who may manage the case; the mark and refusals are logged."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from src.database import AudioFile, Case
from src.errors import Forbidden, InvalidInput, NotFound
from src.maintenance.log_archives import export_month, read_lines
from src.services import activity, cases, recordings, transcripts
from src.services.transcripts import Segment

pytestmark = pytest.mark.shared_database


@pytest.fixture
def spoken(db, make_audio):
    """A transcription in a case of alice, in which bob is an editor."""
    with db.session(actor="alice") as session:
        case = cases.open_case(session, title="Harbour")
        cases.add_participant(session, case, "bob", role="editor")
        return transcripts.add(session, make_audio(session, case), [Segment("one", 0, 900)], language="en")


def mark_case(session, spoken):
    return cases.mark_sensitive(session, spoken.case_id, reason="a child speaks")


def mark_recording(session, spoken):
    return recordings.mark_sensitive(session, spoken.audio_file_id, reason="a child speaks")


EXPORTS = {
    "export": lambda s, spoken: transcripts.export(s, spoken.id, "text"),
    "url": lambda s, spoken: recordings.url(s, spoken.audio_file_id),
}


@pytest.mark.parametrize("mark", [mark_case, mark_recording])
@pytest.mark.parametrize("export", EXPORTS)
def test_exports_of_what_is_sensitive_need_the_permission_to_manage(db, spoken, mark, export):
    with db.session(actor="bob") as session:  # every user who may write may mark
        marked = mark(session, spoken)
        assert (marked.is_sensitive, marked.sensitive_reason) == (True, "a child speaks")
    with pytest.raises(Forbidden, match="marked as sensitive"), db.session(actor="bob") as session:
        EXPORTS[export](session, spoken)
    with db.session(actor="bob") as session:
        assert len(transcripts.segments(session, spoken.id)) == 1, "reading is not exporting"
        recordings.open(session, spoken.audio_file_id).close()
        recordings.stream(session, spoken.audio_file_id).close()
    with db.session(actor="alice") as session:
        if export == "export":
            assert transcripts.export(session, spoken.id, "text") == "one\n"
        types = [entry.type for entry in activity.feed(session, case=spoken.case_id)]
        assert "sensitive.marked" in types
    with db.session(actor="bob") as session:
        refused = activity.feed(session, user=marked.id, type="access.refused") or activity.feed(
            session, type="access.refused"
        )
        assert "marked as sensitive" in refused[-1].detail["refused"]


def test_the_mark_is_removed_and_its_reason_changed_by_those_who_may_manage_only(db, spoken):
    for model, number in ((Case, spoken.case_id), (AudioFile, spoken.audio_file_id)):
        service = cases if model is Case else recordings
        with db.session(actor="bob") as session:
            with pytest.raises(InvalidInput, match="reason"):
                service.mark_sensitive(session, number, reason=" ")
            service.mark_sensitive(session, number, reason="a child speaks")
        for change in (
            lambda s, n, service=service: service.unmark_sensitive(s, n),
            lambda s, n, service=service: service.mark_sensitive(s, n, reason="other"),
            lambda s, n, model=model: s.execute(
                text(f"UPDATE {model.__tablename__} SET is_sensitive = false, sensitive_reason = NULL WHERE id = {n}")
            ),
        ):
            with pytest.raises(Forbidden, match="manage"), db.session(actor="bob") as session:
                change(session, number)
        with db.session(actor="alice") as session:
            assert service.unmark_sensitive(session, number).sensitive_reason is None
            service.unmark_sensitive(session, number)
    with db.session(actor="bob") as session:
        assert transcripts.export(session, spoken.id, "text") == "one\n"
        done = [entry.type for entry in activity.feed(session, case=spoken.case_id)]
        assert done.count("sensitive.unmarked") == 2


def test_the_mark_without_a_reason_is_refused_by_the_database(db, spoken):
    with pytest.raises(InvalidInput, match="sensitive_has_reason"), db.session(actor="alice") as session:
        session.execute(text(f"UPDATE cases SET is_sensitive = true WHERE id = {spoken.case_id}"))


def test_a_case_that_is_not_visible_is_not_found(db, spoken):
    with pytest.raises(NotFound), db.session(actor="transcriber") as session:
        cases.mark_sensitive(session, spoken.case_id, reason="x")


@pytest.mark.own_database
def test_an_export_of_a_month_is_logged_and_leaves_out_what_is_sensitive(db, owner, spoken):
    with db.session(actor="alice") as session:
        mark_case(session, spoken)
        other = cases.open_case(session, title="Quay").id
    month = datetime.now(UTC).date().replace(day=1)

    def exported(**options):
        file = io.BytesIO()
        with Session(owner) as session, session.begin():
            made = export_month(session, month, file, **options)
        file.seek(0)
        return made, {line["entry"]: line for line in read_lines(file) if "entry" in line}

    def case_of(line):
        return json.loads(line["head"])[5]

    made, lines = exported()
    payloads = {case: {line["payload"] is None for line in lines.values() if case_of(line) == case}
                for case in (spoken.case_id, other)}  # fmt: skip
    assert payloads == {spoken.case_id: {True}, other: {False}}
    assert made.withheld > 0
    assert f"{made.withheld} of sensitive cases without their content" in str(made)
    with db.session(actor="alice") as session:
        assert activity.feed(session, case=spoken.case_id, type="export.made") == []
    with db.session(actor="root") as session:
        (entry,) = [each for each in activity.feed(session, type="export.made") if each.case_id is None]
        assert (entry.detail["entries"], entry.detail["withheld"]) == (made.entries, made.withheld)

    made, lines = exported(include_sensitive=True)
    assert made.withheld == 0
    assert all(line["payload"] for line in lines.values() if case_of(line) == spoken.case_id)
    with db.session(actor="alice") as session:
        (entry,) = activity.feed(session, case=spoken.case_id, type="export.made")
        assert entry.detail["name"] == f"the log of {month:%Y-%m}"
