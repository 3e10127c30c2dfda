"""Query plans: a few visible segments among millions are read by the index on cases."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from src.services import cases, search, transcripts
from src.services.transcripts import Segment

BY_WORDS, BY_CASES = (
    "transcription_segments_search_idx",
    "transcription_segments_case_id_transcription_id_position_key",
)
SCANS = text("SELECT pg_stat_get_xact_numscans(CAST(:name AS regclass))")
QUERIES = ("harbour", '"harbour master"', "har*", "harbour -light", "東京")


@pytest.fixture
def spoken(db, make_audio):
    with db.session(actor="alice") as session:
        audio = make_audio(session, cases.open_case(session, title="Harbour"))
        said = ["the harbour master", "harbour light", "master of the harbour", "hardly", "東京湾の船"]
        transcripts.add(session, audio, [Segment(each) for each in said * 20], language="en")
    return db


def pretend_millions(owner):
    with owner.begin() as connection:
        if connection.scalar(text("SELECT current_setting('server_version_num')::integer")) < 180000:
            pytest.skip("before PostgreSQL 18 only a superuser can set the row estimate of a table")
        connection.execute(text("ANALYZE transcription_segments"))
        connection.execute(
            text("SELECT pg_restore_relation_stats('schemaname', 'public', 'relname', 'transcription_segments',"
                 " 'relpages', 10, 'reltuples', '1e7'::real)")
        )  # fmt: skip


def asked(db, query, actor="alice"):
    """Return hits, total, the number of scans of each index, and the setting after the search."""
    with db.session(actor=actor) as session:
        hits = search.transcripts(session, query, limit=7)
        scans = [session.scalar(SCANS, {"name": f"public.{name}"}) for name in (BY_WORDS, BY_CASES)]
        setting = session.scalar(text("SHOW enable_bitmapscan"))
    return [(hit.segment_id, hit.rank, hit.snippet) for hit in hits], hits.total, scans, setting


def test_few_visible_segments_among_millions_are_read_by_the_case_index(spoken, owner):
    before = [asked(spoken, query) for query in QUERIES]
    assert all(total for _, total, _, _ in before)
    pretend_millions(owner)
    for query, (hits, total, _, _) in zip(QUERIES, before, strict=True):
        found, counted, (by_words, by_cases), setting = asked(spoken, query)
        assert (found, counted, setting) == (hits, total, "on")
        assert by_words == 0 < by_cases


def test_many_visible_segments_are_read_by_the_text_search_index(spoken, owner, make_audio):
    pretend_millions(owner)
    assert asked(spoken, "harbour", actor="root")[2][0] > 0
    with spoken.session(actor="alice") as session:
        audio = make_audio(session, cases.open_case(session, title="Long"))
        transcripts.add(session, audio, [Segment("hardly")] * 4_001, language="en")
    pretend_millions(owner)
    assert asked(spoken, "harbour")[2][0] > 0
