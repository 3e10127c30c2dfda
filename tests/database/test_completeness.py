"""What `init_db --check` sees beyond protection: parts that are missing, a key of another database, an extension."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import text

from src.database.actor import SigningKey
from src.database.completeness import missing_extensions, missing_parts, wrong_key


def test_a_database_as_the_migrations_make_it_lacks_nothing(owner, speech_server):
    with owner.connect() as connection:
        assert list(missing_parts(connection)) == []
        assert list(wrong_key(connection, speech_server.keys)) == []
        assert list(missing_extensions(connection, "plpgsql, ")) == []


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        ("ALTER TABLE case_notes DROP CONSTRAINT case_notes_case_id_fkey", "case_notes_case_id_fkey"),
        ("ALTER TABLE cases DROP CONSTRAINT cases_title_length_check", "cases_title_length_check"),
        ("DROP INDEX transcription_segments_search_idx", "transcription_segments_search_idx"),
        ("ALTER TABLE audio_files DROP COLUMN codec", "audio_files.codec"),
        ("DROP TABLE activity_logs_default", "activity_logs_default"),
    ],
)
def test_a_missing_part_is_named(owner, damage, named):
    with owner.connect() as connection:
        connection.execute(text(damage))
        assert any(named in sentence for sentence in missing_parts(connection))


def test_a_key_of_another_database_and_a_retired_one_are_named(owner, speech_server):
    foreign = replace(speech_server.keys, signing_key=SigningKey.generate(speech_server.signing_key.id))
    with owner.connect() as connection:
        assert len(list(wrong_key(connection, foreign))) == 1
        connection.execute(text("UPDATE actor_keys SET retired_at = now() - interval '1 second'"))
        assert len(list(wrong_key(connection, speech_server.keys))) == 1
        assert list(missing_extensions(connection, "nosuch")) == ["the extension nosuch is missing"]
