"""A database with one of everything, for the examples of the documentation."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from src.database import Case
from src.services import accounts, activity, analyses, bulk, cases, history, recordings, search, transcripts, work

SAID = ("At the harbour.", "The masters count boats [inaudible].", "Thank you.")


def whisper_result(speakers: str = "AAA", said: tuple[str, ...] = SAID) -> str:
    segments = [
        {"start": 60 + n, "end": 60.5 + n, "text": text, "speaker": speaker, "words": [
            {"word": text.split()[0], "start": 60 + n, "end": 60.2 + n, "score": 0.3}
        ]}
        for n, (text, speaker) in enumerate(zip(said, speakers, strict=True))
    ]  # fmt: skip
    return json.dumps({"language": "en", "segments": segments, "word_segments": []})


def segments_of_a_model():
    for n, text in enumerate(SAID):
        yield SimpleNamespace(id=n, start=n, end=n + 0.5, text=text, avg_logprob=-0.2, no_speech_prob=0.0, words=None)


@pytest.fixture
def names(db, make_audio, tone, tmp_path, monkeypatch):
    """The names that examples use, and a current folder with the files that they read."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "interview.wav").write_bytes(tone)
    (tmp_path / "whisper.json").write_text(whisper_result("AAA", ("At the harbor.", *SAID[1:])))
    (tmp_path / "call.json").write_text(whisper_result("ABA"))
    with db.session(actor="root") as session:
        accounts.create_user(session, username="carol", password="the password of carol")
    with db.session(actor="alice") as session:
        case = cases.open_case(session, title="The harbour")
        cases.add_participant(session, case, "root", role="owner")
        audio = make_audio(session, case)
        transcription = transcripts.import_result(session, audio, whisper_result("BBB").encode())
        analysis = analyses.add(session, audio, summary="A quiet harbour.", transcription=transcription)
        note = cases.add_note(session, case, "first")
    info = SimpleNamespace(language="en", language_probability=0.9, duration=4.0)
    return {
        "accounts": accounts, "activity": activity, "analyses": analyses, "bulk": bulk, "cases": cases,
        "history": history, "recordings": recordings, "search": search, "transcripts": transcripts, "work": work,
        "Case": Case, "db": db, "case": case, "audio": audio, "transcription": transcription, "analysis": analysis,
        "note": note, "model": SimpleNamespace(transcribe=lambda _: (segments_of_a_model(), info)),
    }  # fmt: skip
