"""What somebody may bring back from the log: the newest state of a deleted row, and nothing older."""

from __future__ import annotations

import pytest
from sqlalchemy import select, text

from src.database import AudioFile
from src.errors import Conflict
from src.services import sensitivity

DELETIONS = text(
    "SELECT id FROM activity_logs WHERE entity = 'audio_files' AND entity_id = :id AND operation = 'delete' ORDER BY id"
)


def test_an_older_deletion_does_not_take_back_what_happened_since(populated):
    """An editor who may delete could remove a mark that only a manager may remove, and wind back the row version."""
    audio = populated.audio_of["alice"]
    with populated.db.session(actor="alice") as session:
        session.execute(text("DELETE FROM audio_files WHERE id = :id"), {"id": audio})
        (first,) = session.scalars(DELETIONS, {"id": audio})
        session.execute(text("SELECT restore_deleted(:entry)"), {"entry": first})
    with populated.db.session(actor="alice") as session:
        sensitivity.mark(session, session.get_one(AudioFile, audio), "a witness is named")
    with populated.db.session(actor="alice") as session:
        marked = session.get_one(AudioFile, audio).row_version
        session.execute(text("DELETE FROM audio_files WHERE id = :id"), {"id": audio})

    with pytest.raises(Conflict, match="not the newest of row"), populated.db.session(actor="alice") as session:
        session.execute(text("SELECT restore_deleted(:entry)"), {"entry": first})
    with populated.db.session(actor="alice") as session:
        _, newest = session.scalars(DELETIONS, {"id": audio})
        session.execute(text("SELECT restore_deleted(:entry)"), {"entry": newest})
    with populated.db.session(actor="alice") as session:
        found = session.scalars(select(AudioFile).where(AudioFile.id == audio)).one()
        assert (found.is_sensitive, found.row_version) == (True, marked + 1)
