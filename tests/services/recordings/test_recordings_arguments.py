"""Arguments: a row or its id, Literal choices, and limits."""

from __future__ import annotations

from datetime import timedelta

import pytest

from src.database.models import AudioFile, Case, User
from src.errors import InvalidInput
from src.services import recordings


@pytest.mark.own_database
def test_every_operation_accepts_ids(db, case, tone):
    with db.session(actor="alice") as session:
        audio = recordings.ingest(session, case.id, tone)
        received = recordings.receive(db, case.id, tone, actor="alice")
        other = recordings.ingest(session, case.id, received)
        with recordings.open(session, audio.id) as file:
            assert file.read() == tone
        recordings.archive(session, audio.id, reason="finished")
        recordings.restore(session, audio.id)
        recordings.delete(session, audio.id, reason="duplicate")
        recordings.restore(session, audio.id)
        assert [check.outcome for check in recordings.verify(session, audio.id)] == ["sound"]
        assert len(recordings.verify(session, case=case.id)) == 2
        assert recordings.list_recordings(session, case.id, after=audio.id) == [other]
        (usage,) = (entry for entry in recordings.storage_usage(session, case.id) if entry.state == "live")
    assert (usage.objects, usage.size_bytes) == (2, 2 * len(tone))


@pytest.mark.parametrize("invalid", ["1", 1.0, True, None, User(id=1), Case(title="never flushed")])
def test_values_other_than_rows_and_ids_are_rejected(db, invalid):
    with db.session(actor="alice") as session:
        for call in (
            lambda: recordings.list_recordings(session, invalid),
            lambda: recordings.storage_usage(session, invalid),
            lambda: recordings.upload_url(session, invalid, "a.wav", size=1),
        ):
            with pytest.raises(InvalidInput, match="Case: pass a row or its id, not"):
                call()
        with pytest.raises(InvalidInput, match="AudioFile: pass a row or its id, not"):
            recordings.open(session, invalid)


def test_a_row_that_was_not_loaded_is_identified_by_its_id(db, case, tone):
    with db.session(actor="alice") as session:
        audio = recordings.ingest(session, case, tone)
        with recordings.open(session, AudioFile(id=audio.id)) as file:
            assert file.read() == tone


def test_the_error_for_an_invalid_choice_lists_the_choices(db, case, tone):
    with (
        pytest.raises(InvalidInput, match="on_duplicate: 'skip'; pass one of 'add', 'return', 'refuse'"),
        db.session(actor="alice") as session,
    ):
        recordings.ingest(session, case, tone, on_duplicate="skip")


def test_errors_for_limits_name_the_field_and_the_value(db, case):
    with db.session(actor="alice") as session:
        with pytest.raises(InvalidInput, match="limit: 0; pass a number from 1 to 1000"):
            recordings.list_recordings(session, case, limit=0)
        with pytest.raises(InvalidInput, match="expires_in: 13:00:00"):
            recordings.upload_url(session, case, "a.wav", size=1, expires_in=timedelta(hours=13))
        with pytest.raises(InvalidInput, match="size: 0"):
            recordings.upload_url(session, case, "a.wav", size=0)
        with pytest.raises(InvalidInput, match="sample: 0"):
            recordings.verify(session, case=case, sample=0)


@pytest.mark.own_database
def test_usage_counts_no_pending_objects_for_administrators_either(db, case, tone):
    recordings.receive(db, case.id, tone, actor="alice")
    for actor in ("alice", "root"):
        with db.session(actor=actor) as session:
            assert [usage.state for usage in recordings.storage_usage(session, case.id)] == []
