"""Transcriptions and analyses: versions, validation, search."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from src.database import TranscriptionSegment
from src.errors import Forbidden, InvalidInput, NotFound
from src.services import analyses, cases, search, transcripts
from src.services.transcripts import Segment, Word

pytestmark = pytest.mark.shared_database

SPEECH = [
    Segment("And so, my fellow Americans:", 330, 4000, speaker="A", words=[Word("And", 330, 500, 0.9), Word("so")]),
    Segment("ask not what your country can do for you", 5000, 9000, speaker="B", confidence=0.5),
]


def test_a_transcription_stores_times_words_and_speakers(db, audio):
    with db.session(actor="alice") as session:
        added = transcripts.add(session, audio, SPEECH, language="en-US", model_name="recogniser", model_version="1")

    assert (added.version, added.language.code) == (1, "en")
    assert added.content == "And so, my fellow Americans: ask not what your country can do for you"
    with db.session(actor="alice") as session:
        first, second = session.scalars(select(TranscriptionSegment).order_by(TranscriptionSegment.position))
    assert (first.start_ms, first.end_ms, first.speaker, first.confidence) == (330, 4000, "A", None)
    assert first.words == [{"text": "And", "start_ms": 330, "end_ms": 500, "confidence": 0.9}, {"text": "so"}]
    assert (second.words, second.confidence, second.flags) == (None, 0.5, [])


def test_versions_are_numbered_per_language_and_latest_need_not_be_accepted(db, audio):
    with db.session(actor="alice") as session:
        first = transcripts.add(session, audio, SPEECH, language="en")
        transcripts.accept(session, first)
        second = transcripts.add(session, audio, SPEECH[1:], language="en", based_on=first)
        french = transcripts.add(session, audio, [], language="fr")
        undetermined = transcripts.add(session, audio, [])

    assert [version.version for version in (first, second, french, undetermined)] == [1, 2, 1, 1]
    assert undetermined.language.code == "und"
    with db.session(actor="alice") as session:
        assert transcripts.latest(session, audio, language="en").id == second.id
        assert transcripts.latest(session, audio, accepted=True).id == first.id
        assert transcripts.latest(session, audio, language="de") is None


def test_concurrent_writers_of_one_recording_leave_no_gap_and_no_duplicate(db, audio):
    def add(number):
        with db.session(actor="alice") as session:
            return transcripts.add(session, audio, [Segment(f"take {number}")], language="en").version

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(add, range(12))) == list(range(1, 13))


@pytest.mark.parametrize(
    ("segment", "place"),
    [
        (Segment("x", 5, 4), "segment 1.*less than start_ms"),
        (Segment("x", -1), "segment 1"),
        (Segment("x", 1.5), "segment 1.*milliseconds"),
        (Segment("x", True), "segment 1"),
        (Segment("x", confidence=math.nan), "segment 1.*confidence"),
        (Segment("a\0b"), "segment 1.*NUL"),
        (Segment("\ud800"), "segment 1"),
        (Segment(None), "segment 1"),
        (Segment("x", words=[Word("ok"), Word("y", 9, 8)]), "segment 1, word 1"),
        (Segment("x", words=[Word("y", confidence=2)]), "segment 1, word 0"),
    ],
)
def test_invalid_segments_are_rejected_with_their_place(db, audio, segment, place):
    with pytest.raises(InvalidInput, match=place), db.session(actor="alice") as session:
        transcripts.add(session, audio, [Segment("fine"), segment])
    with db.session(actor="alice") as session:
        assert transcripts.latest(session, audio) is None


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=200)
segments = st.lists(
    st.builds(Segment, texts, speaker=st.none() | texts.filter(lambda name: len(name) <= 200)), max_size=5
)


@given(segments)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_round_trips(db, audio, spoken):
    with db.session(actor="alice") as session:
        added = transcripts.add(session, audio, spoken)
    with db.session(actor="alice") as session:
        rows = session.scalars(
            select(TranscriptionSegment)
            .where(TranscriptionSegment.transcription_id == added.id)
            .order_by(TranscriptionSegment.position)
        )
        assert [(row.text, row.speaker) for row in rows] == [(segment.text, segment.speaker) for segment in spoken]


def test_an_oversized_text_is_stored_and_indexed_by_its_beginning(db, audio):
    with db.session(actor="alice") as session:
        transcripts.add(session, audio, [Segment("harbour " + "word1 " * 400_000)], language="en")
        (hit,) = search.transcripts(session, "harbour")
        assert len(hit.text) > 2_000_000


def test_search_uses_web_syntax_and_the_configuration_of_each_language(db, audio):
    with db.session(actor="alice") as session:
        transcripts.add(session, audio, SPEECH, language="en")
        transcripts.add(session, audio, [Segment("Les bateaux arrivaient au port", 0, 10)], language="fr")

        def found(query, **options):
            return [hit.text[:3] for hit in search.transcripts(session, query, **options)]

        assert found('"your country"') == ["ask"]
        assert found("american") == ["And"]
        assert found("country -ask") == []
        assert sorted(found("americans OR country")) == ["And", "ask"]
        assert found("bateau") == ["Les"]
        assert found("arriver", case=audio.case) == ["Les"]
        assert found("") == []
        (hit,) = search.transcripts(session, "country")
    assert (hit.start, hit.end, hit.speaker, hit.version) == (5.0, 9.0, "B", 1)
    assert "[country]" in hit.snippet


@pytest.mark.own_database
def test_search_finds_only_newest_versions_in_visible_cases(db, audio):
    with db.session(actor="alice") as session:
        transcripts.add(session, audio, [Segment("misheard harbinger")], language="en")
        transcripts.add(session, audio, [Segment("heard harbour")], language="en")
        assert search.transcripts(session, "harbinger") == []
        assert len(search.transcripts(session, "harbour")) == 1
    with db.session(actor="bob") as session:
        assert search.transcripts(session, "harbour") == []
        assert search.transcripts(session, "harbour", case=audio.case) == []
    with db.session(actor="root") as session:
        assert len(search.transcripts(session, "harbour")) == 1


@pytest.mark.parametrize("query", ["a\0b", "\ud800", "x" * 1001])
def test_invalid_queries_are_rejected(db, query):
    with db.session(actor="alice") as session, pytest.raises(InvalidInput):
        search.transcripts(session, query)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_query_breaks_search(db, audio, query):
    with db.session(actor="alice") as session:
        search.transcripts(session, query)


def test_analyses_refer_to_their_transcription(db, audio):
    with db.session(actor="alice") as session:
        read = transcripts.add(session, audio, SPEECH, language="en")
        first = analyses.add(session, audio, summary="A speech", sentiment="positive", sentiment_score=0.5,
                             details={"topics": ["country"]}, transcription=read)  # fmt: skip
        second = analyses.add(session, audio, summary="The same again")
        analyses.accept(session, first)
    with db.session(actor="alice") as session:
        assert (first.version, second.version, first.transcription_id) == (1, 2, read.id)
        assert analyses.latest(session, audio).id == second.id
        assert analyses.latest(session, audio, accepted=True).sentiment.code == "positive"
        with pytest.raises(InvalidInput, match="positive, neutral, negative, mixed"):
            analyses.add(session, audio, sentiment="cheerful")
        with pytest.raises(InvalidInput, match="-1 to 1"):
            analyses.add(session, audio, sentiment_score=7)


def test_details_that_cannot_be_converted_to_json_are_rejected(db, audio):
    with pytest.raises(InvalidInput, match="JSON"), db.session(actor="alice") as session:
        analyses.add(session, audio, details={"when": audio.created_at})


def test_users_outside_a_case_and_viewers_cannot_add(db, audio):
    with pytest.raises(NotFound), db.session(actor="bob") as session:
        transcripts.add(session, audio, SPEECH)
    with db.session(actor="alice") as session:
        cases.add_participant(session, audio.case, "bob", role="viewer")
    for add in (lambda s: transcripts.add(s, audio, SPEECH), lambda s: analyses.add(s, audio, summary="mine")):
        with pytest.raises(Forbidden), db.session(actor="bob") as session:
            add(session)
