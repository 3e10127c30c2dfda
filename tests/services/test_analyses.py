"""Analyses: details validated against named schemas, and staleness."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from src.database import AnalysisResult
from src.errors import InvalidInput, NotFound
from src.services import analyses, analysis_details, transcripts
from src.services.transcripts import Segment

pytestmark = pytest.mark.shared_database

TOPICS = {
    "type": "object",
    "properties": {
        "topics": {
            "type": "array",
            "items": {"type": "object", "properties": {"label": {"type": "string"}}, "required": ["label"]},
        }
    },
    "required": ["topics"],
}


@pytest.fixture
def topics(monkeypatch):
    monkeypatch.setattr(analysis_details, "_schemas", {})
    analyses.register_schema("topics/1", TOPICS)


def test_details_are_validated_and_stored_with_the_name_of_their_schema(db, audio, topics):
    with db.session(actor="alice") as session:
        added = analyses.add(session, audio, details={"topics": [{"label": "harbour"}]}, schema="topics/1")
        for wrong, place in (
            (
                {"topics": [{"label": "a"}, {"label": 7}]},
                r"details\.topics\[1\]\.label: the value is not of type 'string'",
            ),
            ({}, "details: 'topics' is a required property"),
        ):
            with pytest.raises(InvalidInput, match=place):
                analyses.add(session, audio, details=wrong, schema="topics/1")
        with pytest.raises(InvalidInput, match=r"schema: 'topics/2' is not registered .*: topics/1"):
            analyses.add(session, audio, schema="topics/2")
    with db.session(actor="alice") as session:
        assert session.get(AnalysisResult, added.id).details_schema == "topics/1"
        assert [analysis.version for analysis in analyses.versions(session, audio)] == [1]


def test_the_schema_of_a_name_cannot_change(topics):
    analyses.register_schema("topics/1", dict(reversed(TOPICS.items())))
    with pytest.raises(InvalidInput, match="registered for a different schema"):
        analyses.register_schema("topics/1", {"type": "object"})
    for schema in ({"type": "nothing"}, {"x": object()}):
        with pytest.raises(InvalidInput, match="not a valid JSON Schema"):
            analyses.register_schema("topics/2", schema)
    with pytest.raises(InvalidInput, match="1 to 200"):
        analyses.register_schema("x" * 201, TOPICS)


def test_a_schema_does_not_fetch_remote_references(db, audio, topics):
    analyses.register_schema("far/1", {"$ref": "http://192.0.2.1/schema.json"})
    with pytest.raises(InvalidInput, match="unresolvable reference"), db.session(actor="alice") as session:
        analyses.add(session, audio, details={"a": 1}, schema="far/1")


@pytest.mark.parametrize(("invalid", "place"), [
    ({"a": {"b": [0, float("nan")]}}, r"details\.a\.b\[1\]: nan"),
    ({"a": float("inf")}, r"details\.a: inf"),
    ({"a": ["x\0"]}, r"details\.a\[0\]: .*NUL"),
    ({"a": {"x\0": 1}}, r"details\.a, a key: .*NUL"),
    ({"a": "\ud800"}, r"details\.a: .*unpaired surrogate"),
    ({"a": b"x"}, r"details\.a: bytes is not a JSON type"),
    ({None: 1}, "details: None is not a valid JSON key"),
    ([1], "details: list is not a mapping"),
], ids=str)  # fmt: skip
def test_details_that_cannot_be_stored_are_rejected_with_their_path(db, audio, invalid, place):
    with pytest.raises(InvalidInput, match=place), db.session(actor="alice") as session:
        analyses.add(session, audio, details=invalid)


def test_an_analysis_is_stale_once_another_transcription_is_accepted(db, audio):
    with db.session(actor="alice") as session:
        first = transcripts.add(session, audio, [Segment("one")], language="en")
        second = transcripts.add(session, audio, [Segment("two")], language="en")
        of_first = analyses.add(session, audio, summary="1", transcription=first)
        of_second = analyses.add(session, audio, summary="2", transcription=second)
        analyses.add(session, audio, summary="read nothing")
        french = transcripts.add(session, audio, [Segment("un")], language="fr")

        def stale():
            versions = [analysis.version for analysis in analyses.stale(session, audio)]
            assert versions == [n for n, each in ((1, of_first), (2, of_second)) if analyses.is_stale(session, each)]
            return versions

        assert stale() == []  # a newer version that is not accepted makes nothing stale
        transcripts.accept(session, first)
        assert stale() == [2]
        transcripts.accept(session, second)
        assert stale() == [1]
        transcripts.accept(session, french)
        assert stale() == [1]
        transcripts.accept(session, first)
        assert stale() == [2]


def test_an_analysis_of_the_wrong_language_is_stale_when_the_right_one_is_accepted(db, audio):
    with db.session(actor="alice") as session:
        misheard = transcripts.add(session, audio, [Segment("321")], language="zh")
        analysis = analyses.add(session, audio, transcription=misheard)
        transcripts.accept(session, transcripts.add(session, audio, [Segment("bonjour")], language="fr"))

        assert analyses.is_stale(session, analysis)


def test_the_analysis_that_was_accepted_last_is_the_current_one(db, audio):
    with db.session(actor="alice") as session:
        first, second = (analyses.add(session, audio, summary=str(number)) for number in (1, 2))
        analyses.accept(session, second)
        analyses.accept(session, first)
        accepted = analyses.latest(session, audio, accepted=True)
        assert accepted is first
        accepted_at = first.accepted_at
        assert analyses.accept(session, first).accepted_at == accepted_at


def test_an_analysis_needs_a_transcription_of_the_same_recording(db, audio, make_audio):
    with db.session(actor="alice") as session:
        other = make_audio(session, session.get_one(type(audio.case), audio.case.id))
        other_version = transcripts.add(session, other, [Segment("x")])
        with pytest.raises(InvalidInput, match="another recording"):
            analyses.add(session, audio, transcription=other_version)


def test_users_outside_a_case_cannot_see_stale_analyses(db, audio):
    with db.session(actor="alice") as session:
        analysis = analyses.add(session, audio)
    with db.session(actor="bob") as session:
        assert analyses.versions(session, audio) == analyses.stale(session, audio) == []
        with pytest.raises(NotFound):
            analyses.is_stale(session, analysis)


def test_concurrent_writers_leave_no_gap_in_versions(db, audio):
    def add(number):
        with db.session(actor="alice") as session:
            return analyses.add(session, audio, summary=str(number)).version

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(add, range(6))) == list(range(1, 7))


@pytest.mark.parametrize("wrong", [
    {"sentiment_score": float("nan")}, {"sentiment_score": -1.01}, {"sentiment_score": 1.01}, {"sentiment_score": "1"},
    {"sentiment_score": True}, {"sentiment": 5}, {"sentiment": "glad"}, {"summary": None}, {"model_name": 5},
], ids=repr)  # fmt: skip
def test_values_of_a_wrong_type_or_out_of_range_are_rejected_with_the_field_name(db, audio, wrong):
    with pytest.raises(InvalidInput, match=next(iter(wrong))), db.session(actor="alice") as session:
        analyses.add(session, audio, **wrong)
