"""examples/transcribe.py: processing of jobs, division of audio into blocks, recognition."""

from __future__ import annotations

import os
import signal
from array import array
from pathlib import Path

import pytest
from sqlalchemy import select, text

from src.database import AudioFile, ProcessingJob
from src.services import analyses, cases, recordings, transcripts, work
from src.services.transcripts import Segment, Word

pytest.importorskip("av", reason="PyAV is not installed")
pytest.importorskip("pocketsphinx", reason="pocketsphinx is not installed")

from examples import transcribe

HARBOUR = Path(transcribe.__file__).with_name("harbour.flac")
ACTOR = "transcriber"


@pytest.fixture
def stop():
    """A Stop for one test; restores the signal handlers of the test runner afterwards."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield transcribe.Stop()
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def ask(db, tone):
    """Store a recording as alice (default: a tone) and enqueue its transcription; return its id."""

    def store(source=tone, **facts) -> int:
        with db.session(actor="alice") as session:
            audio = recordings.ingest(session, cases.open_case(session, title="Harbour"), source, **facts)
            work.enqueue(session, audio, transcribe.KIND)
            return audio.id

    return store


def results(db, audio_id):
    with db.session(actor="alice") as session:
        audio = session.get(AudioFile, audio_id)
        job = session.scalars(select(ProcessingJob).where(ProcessingJob.audio_file_id == audio_id)).one()
        return job, transcripts.latest(session, audio), analyses.latest(session, audio)


def test_a_job_becomes_a_transcription_an_analysis_and_a_done_job(db, ask, stop):
    audio_id = ask()

    assert transcribe.serve(db, ACTOR, stop, once=True)

    job, transcription, analysis = results(db, audio_id)
    assert job.state == "done"
    assert (transcription.language.code, transcription.model_name) == ("en", "pocketsphinx")
    assert (analysis.transcription_id, analysis.sentiment.code) == (transcription.id, "neutral")


def test_an_empty_queue_is_not_a_failure(db, stop, capsys):
    assert transcribe.serve(db, ACTOR, stop, once=True)
    assert "nothing to do" in capsys.readouterr().err


def test_sigterm_returns_the_job_to_the_queue_at_once(db, ask, stop):
    audio_id = ask(HARBOUR)
    with db.session(actor=ACTOR) as session:
        job = work.claim(session, transcribe.KIND)
    os.kill(os.getpid(), signal.SIGTERM)

    assert not transcribe.do(db, ACTOR, job, stop)

    left, transcription, _ = results(db, audio_id)
    assert (left.state, left.error_message, transcription) == ("queued", "the worker was asked to stop", None)
    with db.session(actor=ACTOR) as session:
        assert work.claim(session, transcribe.KIND).id == job.id


def test_another_language_fails_without_a_retry(db, ask, stop):
    audio_id = ask(language="ja")

    assert not transcribe.serve(db, ACTOR, stop, once=True)

    job, _, _ = results(db, audio_id)
    assert job.state == "failed"
    assert "Japanese" in job.error_message


def test_a_broken_recording_does_not_end_the_service(db, ask, stop, monkeypatch):
    monkeypatch.setattr(transcribe, "recognise", lambda *_: break_down())
    audio_id = ask()

    assert not transcribe.serve(db, ACTOR, stop, once=True)

    job, _, _ = results(db, audio_id)
    assert (job.state, job.error_message) == ("queued", "RuntimeError: Failed to process")


@pytest.fixture
def slow_recogniser(owner, monkeypatch):
    """A recogniser that takes longer than the lease, then returns or fails."""

    def answer_late(answer):
        def recognise(decoder, block):
            with owner.begin() as connection:
                connection.execute(text("UPDATE processing_jobs SET lease_expires_at = now() - interval '1 second'"))
            return answer()

        monkeypatch.setattr(transcribe, "recognise", recognise)

    return answer_late


def break_down():
    raise RuntimeError("Failed to process")


@pytest.mark.parametrize("answer", [list, break_down])
def test_a_worker_that_lost_the_lease_stores_nothing(db, ask, stop, slow_recogniser, answer):
    audio_id = ask()
    slow_recogniser(answer)

    assert not transcribe.serve(db, ACTOR, stop, once=True)

    job, transcription, analysis = results(db, audio_id)
    assert (job.state, job.error_message, transcription, analysis) == ("running", None, None, None)


def test_the_lease_is_extended_during_the_work(db, ask, stop, monkeypatch):
    ask()
    beats = []
    monkeypatch.setattr(transcribe, "HEARTBEAT_SECONDS", 0)
    monkeypatch.setattr(transcribe.work, "heartbeat", lambda *_, **how: beats.append(how))

    transcribe.serve(db, ACTOR, stop, once=True)

    # Once after the only block, and once more before storing.
    assert beats == [{"lease_seconds": transcribe.LEASE_SECONDS}] * 2


def test_blocks_contain_all_audio_and_are_divided_at_pauses(monkeypatch):
    monkeypatch.setattr(transcribe, "SHORTEST_BLOCK_MS", 2_000)  # in the middle of a sentence
    with HARBOUR.open("rb") as file:
        audio = list(transcribe.samples(file))
    blocks = list(transcribe.blocks(audio))

    assert b"".join(block.samples for block in blocks) == b"".join(audio)
    assert len(blocks) > 1
    place = 0
    for block in blocks:
        assert block.start_ms * transcribe.BYTES_PER_MS == place
        place += len(block.samples)
    for block in blocks[:-1]:
        # The amplitude of the noise is 40, that of speech is in the thousands.
        assert max(map(abs, array("h", block.samples[-960:]))) < 400


def test_speech_without_a_pause_is_divided_at_the_longest_block(monkeypatch):
    monkeypatch.setattr(transcribe, "SHORTEST_BLOCK_MS", 300_000)
    with HARBOUR.open("rb") as file:
        lengths = [
            len(block.samples) // transcribe.BYTES_PER_MS for block in transcribe.blocks(transcribe.samples(file))
        ]

    assert lengths[0] == pytest.approx(transcribe.LONGEST_BLOCK_MS, abs=30)


def test_word_times_are_relative_to_the_recording_and_segments_end_at_pauses():
    class FakeSegment:
        def __init__(self, word, start, end, prob=0.5):
            self.word, self.start_frame, self.end_frame, self.prob = word, start, end, prob

    class FakeDecoder:
        def start_utt(self): ...
        def process_raw(self, samples, *, full_utt): ...
        def end_utt(self): ...
        def seg(self):
            return [
                FakeSegment("<s>", 0, 9), FakeSegment("i", 10, 19), FakeSegment("<sil>", 20, 68),
                FakeSegment("read(2)", 69, 89, 1.0000001),
                FakeSegment("[NOISE]", 90, 139), FakeSegment("it", 140, 149), FakeSegment("</s>", 150, 160),
            ]  # fmt: skip

    segments = transcribe.recognise(FakeDecoder(), transcribe.Block(8000, b""))

    assert [segment.text for segment in segments] == ["i read", "it"]
    assert list(segments[0].words) == [Word("i", 8100, 8200, 0.5), Word("read", 8690, 8900, 1.0)]
    assert (segments[0].start_ms, segments[0].end_ms, segments[0].confidence) == (8100, 8900, 0.75)


@pytest.mark.parametrize(
    ("said", "sentiment", "score"),
    [
        ("good good fire", "mixed", 0.333),
        ("i hope so", "positive", 1.0),
        ("fire", "negative", -1.0),
        ("", "neutral", 0.0),
    ],
)
def test_the_sentiment_is_counted(said, sentiment, score):
    found = transcribe.analyse([Segment(said)])

    assert (found["sentiment"], found["sentiment_score"]) == (sentiment, score)
