"""Fixity checks: their outcomes, and the rows and log entries in which they are stored."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from src.database import AudioFile, StorageObject
from src.maintenance.fixity_rounds import verify_all
from src.services import recordings
from tests.services.recordings.conftest import CONTENT, log_outcomes

ZERO = timedelta(0)


@pytest.mark.parametrize("outcome", ["sound", "missing", "damaged"])
def test_a_check_is_stored_in_the_row_of_the_object_and_logged(db, case, audio, owner, outcome, storage_fixture):  # noqa: PLR0917 - fixtures
    if outcome == "missing":
        storage_fixture.storage.delete(audio.path)
    elif outcome == "damaged":
        storage_fixture.storage.corrupt(audio.path)
    with db.session(actor="alice") as session:
        (check,) = recordings.verify(session, audio)
    assert (check.outcome, check.size_bytes) == (outcome, len(CONTENT))
    assert log_outcomes(db, case, "audio.verified") == [outcome]
    with owner.connect() as connection:
        verified_at, last_error = connection.execute(select(StorageObject.verified_at, StorageObject.last_error)).one()
    assert verified_at is not None
    assert (last_error is None) == (outcome == "sound")
    with db.session(actor="alice") as session:
        assert (
            session.get(AudioFile, audio.id).row_version == audio.row_version
        )  # a concurrent edit is not a lost update


def test_verify_all_resumes_where_it_was_interrupted(db, case, make_audio, storage, owner):
    with db.session(actor="alice") as session:
        audios = [make_audio(session, case, content=b"RIFF" + bytes([index])) for index in range(5)]
    storage.corrupt(audios[3].path)
    with Session(owner) as session:
        checks = verify_all(session, {"memory": storage})
        verified = [next(checks).audio_id, next(checks).audio_id]
        checks.close()
        rest = list(verify_all(session, {"memory": storage}))
        assert verified + [check.audio_id for check in rest] == [audio.id for audio in audios]
        assert [check.outcome for check in rest] == ["sound", "damaged", "sound"]
        assert list(verify_all(session, {"memory": storage})) == []
    assert log_outcomes(db, case, "audio.verified") == ["damaged"]
    with Session(owner) as session:
        assert len(list(verify_all(session, {"memory": storage}, unchecked_for=ZERO, sample=2))) == 2
