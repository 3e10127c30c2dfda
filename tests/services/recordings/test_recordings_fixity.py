"""Reading recordings again: what a check finds, and where it stands afterwards."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from src.database import AudioFile, StorageObject
from src.maintenance.fixity_rounds import verify_all
from src.services import recordings
from tests.services.recordings.conftest import BYTES, outcomes

NOW = timedelta(0)


@pytest.mark.parametrize("harm", ["sound", "missing", "damaged"])
def test_a_check_stands_on_the_row_and_in_the_log(db, case, audio, owner, harm, store):  # noqa: PLR0917 - fixtures
    if harm == "missing":
        store.storage.delete(audio.path)
    elif harm == "damaged":
        store.storage.corrupt(audio.path)
    with db.session(actor="alice") as session:
        (check,) = recordings.verify(session, audio)
    assert (check.outcome, check.size_bytes) == (harm, len(BYTES))
    assert outcomes(db, case, "audio.verified") == [harm]
    with owner.connect() as connection:
        checked, fault = connection.execute(select(StorageObject.verified_at, StorageObject.last_error)).one()
    assert checked is not None
    assert (fault is None) == (harm == "sound")
    with db.session(actor="alice") as session:
        assert session.get(AudioFile, audio.id).row_version == audio.row_version  # no editor loses anything by it


def test_a_run_over_all_goes_on_where_it_was_killed(db, case, make_audio, storage, owner):
    with db.session(actor="alice") as session:
        made = [make_audio(session, case, content=b"RIFF" + bytes([number])) for number in range(5)]
    storage.corrupt(made[3].path)
    with Session(owner) as session:
        run = verify_all(session, {"memory": storage})
        seen = [next(run).audio_id, next(run).audio_id]
        run.close()
        rest = list(verify_all(session, {"memory": storage}))
        assert seen + [check.audio_id for check in rest] == [audio.id for audio in made]
        assert [check.outcome for check in rest] == ["sound", "damaged", "sound"]
        assert list(verify_all(session, {"memory": storage})) == []
    assert outcomes(db, case, "audio.verified") == ["damaged"]
    with Session(owner) as session:
        assert len(list(verify_all(session, {"memory": storage}, unchecked_for=NOW, sample=2))) == 2
