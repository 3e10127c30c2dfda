"""Services take a row or its id wherever they take a row."""

from __future__ import annotations

import pytest

from src.errors import InvalidInput, NotFound
from src.services import accounts, activity, analyses, cases, transcripts, work
from src.services.transcripts import Segment

SPOKEN = [Segment("At the harbour.", start_ms=0, end_ms=900)]


@pytest.mark.own_database
def test_ids_do_what_rows_do(db, audio):
    case = audio.case
    with db.session(actor="root") as session:
        bob = accounts.find_user(session, "bob")
        accounts.deactivate(session, bob.id)
        accounts.activate(session, bob.id)
        accounts.assign_role(session, bob.id, accounts.find_role(session, "user"))
    with db.session(actor="alice") as session:
        cases.add_participant(session, case.id, bob.id, role="editor")
        assert accounts.permissions(session, bob.id, case=case.id)
        cases.remove_participant(session, case.id, bob.id)
        assert cases.add_note(session, case.id, "by id").case_id == case.id
        hold = cases.place_hold(session, case.id, reason="by id")
        assert cases.release_hold(session, hold.id, reason="by id").released_at is not None
        assert activity.feed(session, case=case.id, user=accounts.find_user(session, "alice").id)
        first = transcripts.add(session, audio.id, SPOKEN, language="en")
        second = transcripts.correct(session, first.id, {0: "At the pier."})
        assert [change.operation for change in transcripts.diff(session, first.id, second.id)] != []
        assert transcripts.accept(session, second.id) is second
        assert transcripts.latest(session, audio.id, accepted=True) is second
        assert transcripts.versions(session, audio.id) == [first, second]
        assert transcripts.segments(session, first.id)[0].text == "At the harbour."
        assert "WEBVTT" in transcripts.export(session, first.id, "webvtt")
        assert transcripts.restore(session, first.id).based_on_id == first.id
        third = transcripts.add(session, audio.id, SPOKEN, language="en", based_on=second.id)
        analysis = analyses.add(session, audio.id, summary="Quiet.", transcription=third.id)
        assert analyses.latest(session, audio.id) is analysis
        assert analyses.versions(session, audio.id) == [analysis]
        assert analyses.stale(session, audio.id) == [analysis]
        assert analyses.is_stale(session, analysis.id)
        assert analyses.accept(session, analysis.id).accepted_at is not None
        assert work.enqueue(session, audio.id, "transcribe").audio_file_id == audio.id
        assert cases.close(session, case.id).closed_at is not None


@pytest.mark.parametrize("wrong", ["12", 1.5, True, None])
def test_other_values_are_rejected(db, audio, wrong):
    with db.session(actor="alice") as session:
        for call in (
            lambda: cases.close(session, wrong),
            lambda: transcripts.latest(session, wrong),
            lambda: analyses.versions(session, wrong),
            lambda: work.enqueue(session, wrong, "transcribe"),
        ):
            with pytest.raises(InvalidInput, match="pass a row or its id"):
                call()


def test_an_id_that_does_not_exist_is_not_found(db, audio):
    with db.session(actor="alice") as session:
        for call in (
            lambda: cases.close(session, 999_999),
            lambda: transcripts.add(session, 999_999, SPOKEN),
            lambda: transcripts.segments(session, 999_999),
            lambda: analyses.is_stale(session, 999_999),
            lambda: work.enqueue(session, 999_999, "transcribe"),
        ):
            with pytest.raises(NotFound, match="does not exist, or you may not see it"):
                call()
