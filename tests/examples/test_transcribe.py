"""The transcriber of examples/: what it does with a job, and how it cuts and hears sound."""

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
    """A Stop of the test's own; the signals are the test runner's again afterwards."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield transcribe.Stop()
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def ask(db, tone):
    """Store a recording as alice, a tone unless another is given, and ask for its transcription; returns its id."""

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


def test_a_stopped_worker_gives_the_job_back_at_once(db, ask, stop):
    audio_id = ask(HARBOUR)
    with db.session(actor=ACTOR) as session:
        job = work.claim(session, transcribe.KIND)
    os.kill(os.getpid(), signal.SIGTERM)

    assert not transcribe.do(db, ACTOR, job, stop)

    left, transcription, _ = results(db, audio_id)
    assert (left.state, left.error_message, transcription) == ("queued", "the worker was asked to stop", None)
    with db.session(actor=ACTOR) as session:
        assert work.claim(session, transcribe.KIND).id == job.id


def test_another_language_is_rejected_permanently(db, ask, stop):
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
    """A recogniser that takes longer than the lease lasts, and then answers or fails."""

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
def test_who_lost_the_lease_stores_nothing(db, ask, stop, slow_recogniser, answer):
    audio_id = ask()
    slow_recogniser(answer)

    assert not transcribe.serve(db, ACTOR, stop, once=True)

    job, transcription, analysis = results(db, audio_id)
    assert (job.state, job.error_message, transcription, analysis) == ("running", None, None, None)


def test_a_lease_is_extended_while_the_work_goes_on(db, ask, stop, monkeypatch):
    ask()
    beats = []
    monkeypatch.setattr(transcribe, "HEARTBEAT_SECONDS", 0)
    monkeypatch.setattr(transcribe.work, "heartbeat", lambda *_, **how: beats.append(how))

    transcribe.serve(db, ACTOR, stop, once=True)

    # Once after the only block, and once more before storing.
    assert beats == [{"lease_seconds": transcribe.LEASE_SECONDS}] * 2


def test_blocks_hold_all_of_the_sound_and_are_cut_in_pauses(monkeypatch):
    monkeypatch.setattr(transcribe, "SHORTEST_BLOCK_MS", 2_000)  # which is in the middle of a sentence
    with HARBOUR.open("rb") as file:
        sound = list(transcribe.samples(file))
    blocks = list(transcribe.blocks(sound))

    assert b"".join(block.samples for block in blocks) == b"".join(sound)
    assert len(blocks) > 1
    place = 0
    for block in blocks:
        assert block.start_ms * transcribe.BYTES_PER_MS == place
        place += len(block.samples)
    for block in blocks[:-1]:
        # The noise of the recording is at 40; speech is at thousands.
        assert max(map(abs, array("h", block.samples[-960:]))) < 400


def test_speech_without_a_pause_is_cut_all_the_same(monkeypatch):
    monkeypatch.setattr(transcribe, "SHORTEST_BLOCK_MS", 300_000)
    with HARBOUR.open("rb") as file:
        lengths = [
            len(block.samples) // transcribe.BYTES_PER_MS for block in transcribe.blocks(transcribe.samples(file))
        ]

    assert lengths[0] == pytest.approx(transcribe.LONGEST_BLOCK_MS, abs=30)


def test_words_have_times_in_the_recording_and_segments_end_at_pauses():
    class Heard:
        def __init__(self, word, start, end, prob=0.5):
            self.word, self.start_frame, self.end_frame, self.prob = word, start, end, prob

    class Ears:
        def start_utt(self): ...
        def process_raw(self, samples, *, full_utt): ...
        def end_utt(self): ...
        def seg(self):
            return [
                Heard("<s>", 0, 9), Heard("i", 10, 19), Heard("<sil>", 20, 68), Heard("read(2)", 69, 89, 1.0000001),
                Heard("[NOISE]", 90, 139), Heard("it", 140, 149), Heard("</s>", 150, 160),
            ]  # fmt: skip

    segments = transcribe.recognise(Ears(), transcribe.Block(8000, b""))

    assert [segment.text for segment in segments] == ["i read", "it"]
    assert list(segments[0].words) == [Word("i", 8100, 8200, 0.5), Word("read", 8690, 8900, 1.0)]
    assert (segments[0].start_ms, segments[0].end_ms, segments[0].confidence) == (8100, 8900, 0.75)


@pytest.mark.parametrize(
    ("said", "mood", "score"),
    [
        ("good good fire", "mixed", 0.333),
        ("i hope so", "positive", 1.0),
        ("fire", "negative", -1.0),
        ("", "neutral", 0.0),
    ],
)
def test_the_mood_is_counted(said, mood, score):
    found = transcribe.analyse([Segment(said)])

    assert (found["sentiment"], found["sentiment_score"]) == (mood, score)
