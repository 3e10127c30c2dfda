"""Typos in closed sets of values fail in mypy, and state the choices at run time; seeds and types agree."""

from __future__ import annotations

import subprocess
import sys
from typing import get_args

import pytest

from src.database.models.analyses import SentimentCode
from src.database.models.audio_files import StatusCode
from src.database.models.cases import PriorityCode
from src.database.provisioning import seeds
from src.errors import InvalidInput
from src.services import analyses, cases, search, transcripts
from tests.conventions.sources import ROOT

# Lines that end in `# wrong` have a typo.
PROGRAM = """
from datetime import timedelta

from sqlalchemy.orm import Session

from src.database import AudioFile, Case, Transcription
from src.services import analyses, cases, recordings, search, transcripts
from src.services.choices import CaseRole, Format
from src.storage import StorageBackend


def invite(s: Session, case: Case, role: CaseRole) -> None:
    cases.add_participant(s, case, "bob", role=role)


def written(s: Session, version: Transcription, format: Format) -> str | bytes:
    return transcripts.export(s, version, format)


def calls(s: Session, case: Case, audio: AudioFile, version: Transcription, storage: StorageBackend) -> None:
    cases.open_case(s, title="t", priority="high")
    cases.open_case(s, title="t", priority="hgih")  # wrong
    cases.add_participant(s, case, "bob", role="editor", allow=["manage"])
    cases.add_participant(s, case, "bob", role="editr")  # wrong
    cases.add_participant(s, case.id, "bob", deny=["wirte"])  # wrong
    text: str = transcripts.export(s, version, "webvtt")
    content: bytes = transcripts.export(s, version.id, "source")
    transcripts.export(s, version, "vtt")  # wrong
    transcripts.import_result(s, audio, b"", dialect="whisper")
    transcripts.import_result(s, audio, b"", dialect="wisper")  # wrong
    analyses.add(s, audio.id, sentiment="mixed")
    analyses.add(s, audio, sentiment="happy")  # wrong
    recordings.ingest(s, case, b"", on_duplicate="return")
    recordings.ingest(s, case, b"", on_duplicate="skip")  # wrong
    search.transcripts(s, "q", versions="all", order="time", status="failed")
    search.transcripts(s, "q", versions="every")  # wrong
    search.transcripts(s, "q", order="date")  # wrong
    search.transcripts(s, "q", status="done")  # wrong
    storage.url("k", expires_in=timedelta(1), method="GET")
    storage.url("k", expires_in=timedelta(1), method="POST")  # wrong
    print(text, content)
"""


def test_mypy_finds_every_typo_and_nothing_else(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--cache-dir", tmp_path / "cache", program],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    found = {int(line.split(":")[1]) for line in checked.stdout.splitlines() if ": error:" in line}

    wrong = {number for number, line in enumerate(PROGRAM.splitlines(), 1) if line.endswith("# wrong")}
    assert found == wrong, checked.stdout


@pytest.mark.parametrize(
    ("rows", "literal"),
    [(seeds.CASE_PRIORITIES, PriorityCode), (seeds.AUDIO_STATUSES, StatusCode), (seeds.SENTIMENTS, SentimentCode)],
)
def test_seeded_codes_are_the_values_of_their_type(rows, literal):
    assert tuple(row["code"] for row in rows) == get_args(literal)


@pytest.mark.parametrize(
    ("call", "choices"),
    [
        (lambda s, case, audio: cases.open_case(s, title="t", priority="hgih"), "high, medium, low"),
        (lambda s, case, audio: cases.open_case(s, title="t", priority=None), "pass a code of .* or a row"),
        (lambda s, case, audio: cases.add_participant(s, case, "bob", role="editr"), "'owner', 'editor', 'viewer'"),
        (lambda s, case, audio: cases.add_participant(s, case, "bob", deny=["wirte"]), "read, write, delete, manage"),
        (lambda s, case, audio: analyses.add(s, audio, sentiment="happy"), "positive, neutral, negative, mixed"),
        (lambda s, case, audio: search.transcripts(s, "q", versions="every"), "'newest', 'accepted', 'all'"),
        (lambda s, case, audio: search.transcripts(s, "q", order="date"), "'rank', 'time'"),
        (lambda s, case, audio: search.transcripts(s, "q", status="done"), "received, queued"),
        (lambda s, case, audio: transcripts.import_result(s, audio, b"{}", dialect="wisper"), "whisper"),
    ],
)  # fmt: skip
def test_a_wrong_value_states_the_choices(db, make_audio, call, choices):
    with db.session(actor="alice") as session:
        case = cases.open_case(session, title="Types")
        audio = make_audio(session, case)
        with pytest.raises(InvalidInput, match=choices):
            call(session, case, audio)


def test_a_row_of_a_look_up_table_is_taken_like_its_code(db):
    with db.session(actor="alice") as session:
        urgent = cases.open_case(session, title="first", priority="high").priority
        assert cases.open_case(session, title="second", priority=urgent).priority.code == "high"
