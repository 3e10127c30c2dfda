"""Reindexing after a change of the index rules; segments and seals are not affected."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from src.database.schema import functions
from src.errors import Forbidden
from src.maintenance import indexing
from src.services import cases, history, search, transcripts
from src.services.transcripts import Segment
from tests.conftest import UNSEALED

OLD_RULES = """
CREATE OR REPLACE FUNCTION public.search_vector_1(config text, body text)
RETURNS tsvector LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    RETURN to_tsvector(config::regconfig, left(body, 200000));
END
$body$
"""


@pytest.fixture
def aged(db, owner, make_audio):
    """Segments that were indexed by old rules, in a database with the current ones."""
    rules = next(function for function in functions() if function.name == "search_vector_1")
    with owner.begin() as connection:
        connection.exec_driver_sql(OLD_RULES)
    with db.session(actor="alice") as session:
        audio = make_audio(session, cases.open_case(session, title="Old"))
        said = [Segment("déjà vu 東京湾", words=[]), *(Segment(f"harbour {n}") for n in range(5)), Segment("élèves")]
        transcripts.add(session, audio, said, language="fr")
    with owner.begin() as connection:
        connection.exec_driver_sql(rules.create(), execution_options={"no_parameters": True})
    return db


def test_segments_indexed_by_old_rules_are_found_after_reindexing(aged, owner):
    def found(query):
        with aged.session(actor="alice") as session:
            return [hit.text for hit in search.transcripts(session, query)]

    assert found("東京湾") == found("eleve") == []
    batches = indexing.reindex(owner, batch=2)
    first = next(batches)
    assert first.changed == 1
    batches.close()  # killed after the first batch
    assert found("東京湾") == ["déjà vu 東京湾"]
    assert sum(batch.changed for batch in indexing.reindex(owner, batch=3, since=first.last_id)) == 1
    assert found("eleve") == ["élèves"]
    assert [batch.changed for batch in indexing.reindex(owner)] == [0]
    with aged.session(actor="root") as session:
        verified = history.verify(session, **UNSEALED)
    assert verified.ok, verified


def test_reindexing_applies_a_changed_configuration_of_a_language(aged, owner):
    with owner.begin() as connection:
        connection.execute(text("UPDATE languages SET search_config = 'simple' WHERE code = 'fr'"))
    assert sum(batch.changed for batch in indexing.reindex(owner)) == 7
    with aged.session(actor="alice") as session:
        assert search.transcripts(session, "élève") == []
        assert len(search.transcripts(session, "élèves")) == 1


def test_the_owner_cannot_change_other_columns_of_a_segment(aged, owner):
    for change in ("text = 'x'", "start_ms = 5", "words = '[1.0]'", "flags = '{no_speech}'", "position = 9",
                   "updated_at = now()", "confidence = 0.5", "speaker = 'x'"):  # fmt: skip
        with owner.connect() as connection, pytest.raises(DBAPIError, match="never edited"):
            connection.execute(text(f"UPDATE transcription_segments SET {change}"))


def test_sessions_cannot_reindex(aged):
    for actor in ("alice", "root"):
        with pytest.raises(Forbidden), aged.session(actor=actor) as session:
            session.execute(text("UPDATE transcription_segments SET search_config = 'simple'"))


def test_an_invalid_configuration_does_not_break_search(aged, owner):
    with owner.begin() as connection:
        connection.execute(text("UPDATE languages SET search_config = 'klingon' WHERE code = 'de'"))
        connection.execute(
            text("INSERT INTO transcriptions (case_id, audio_file_id, language_id, version, content, created_by_id)"
                 " SELECT t.case_id, t.audio_file_id, l.id, 1, '', t.created_by_id FROM transcriptions t, languages l"
                 " WHERE l.code = 'de'")
        )  # fmt: skip
    with aged.session(actor="alice") as session:
        assert len(search.transcripts(session, "harbour")) == 5
