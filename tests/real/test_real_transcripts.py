"""Real results of recognisers: every word and time is stored, and phrases are found in their language."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import select

from src.database import TranscriptionSegment
from src.services import cases, search, transcripts
from src.services.transcripts import Segment, Word

FILES = {
    "apollo11.words.json": "en",
    "arabic.words.json": "ar",
    "bonjour.words.json": "fr",
    "empty.words.json": "en",
    "japanese.words.json": "ja",
    "radio_short.fr.words.json": "fr",
}


def read(path):
    def ms(seconds):
        return round(seconds * 1000)

    return [
        Segment(
            segment["text"],
            ms(segment["start"]),
            ms(segment["end"]),
            confidence=segment["confidence"],
            words=[Word(w["text"], ms(w["start"]), ms(w["end"]), w["confidence"]) for w in segment["words"]],
        )
        for segment in json.loads(path.read_text(encoding="utf-8"))["segments"]
    ]


@pytest.fixture
def audio(db, make_audio):
    with db.session(actor="alice") as session:
        return make_audio(session, cases.open_case(session, title="Real"))


@pytest.mark.parametrize("name", FILES)
def test_every_word_and_time_of_a_real_output_is_kept(db, audio, shared_data, name):
    spoken = read(shared_data / "whisper" / name)
    with db.session(actor="alice") as session:
        added = transcripts.add(session, audio, spoken, language=FILES[name])
    with db.session(actor="alice") as session:
        rows = session.scalars(
            select(TranscriptionSegment)
            .where(TranscriptionSegment.transcription_id == added.id)
            .order_by(TranscriptionSegment.position)
        ).all()
    assert [(row.text, row.start_ms, row.end_ms, row.confidence) for row in rows] == [
        (segment.text, segment.start_ms, segment.end_ms, segment.confidence) for segment in spoken
    ]
    assert [[Word(**word) for word in row.words] for row in rows] == [segment.words for segment in spoken]


@pytest.mark.parametrize(
    ("name", "query"),
    [("apollo11.words.json", None), ("bonjour.words.json", "bonjour"), ("empty.words.json", '"thanks for watching"')],
)
def test_a_spoken_phrase_is_found_with_its_time(db, audio, shared_data, name, query):
    spoken = read(shared_data / "whisper" / name)
    # For the radio traffic, any phrase of three words.
    query = query or '"' + " ".join(word.text.strip(" .,!?") for word in spoken[0].words[:3]) + '"'
    with db.session(actor="alice") as session:
        transcripts.add(session, audio, spoken, language=FILES[name])
        hits = search.transcripts(session, query)
    assert spoken[0].start_ms in [hit.start_ms for hit in hits]
