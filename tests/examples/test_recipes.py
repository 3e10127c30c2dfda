"""The code of docs/recipes.md runs, one block after the other, in a database of its own."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from src.services import cases, transcripts

RECIPES = Path(__file__).resolve().parents[2] / "docs" / "recipes.md"
SAID = ["At the harbor.", "The masters count boats [inaudible].", "Thank you."]


def result(speakers: str) -> str:
    segments = [
        {"start": 60 + n, "end": 60.5 + n, "text": said, "speaker": speaker, "words": [
            {"word": said.split()[0], "start": 60 + n, "end": 60.2 + n, "score": 0.3}
        ]}
        for n, (said, speaker) in enumerate(zip(SAID, speakers, strict=True))
    ]  # fmt: skip
    return json.dumps({"language": "en", "segments": segments, "word_segments": []})


def segments_of_a_model():
    for n, said in enumerate(SAID):
        yield SimpleNamespace(id=n, start=n, end=n + 0.5, text=said, avg_logprob=-0.2, no_speech_prob=0.0, words=None)


def test_the_code_of_the_recipes_runs(db, make_audio, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "whisper.json").write_text(result("AAA"))
    (tmp_path / "call.json").write_text(result("ABA"))
    with db.session(actor="alice") as session:
        case = cases.open_case(session, title="The harbour")
        audio = make_audio(session, case)
        transcripts.import_result(session, audio, result("BBB").replace("harbor", "harbour").encode())
    info = SimpleNamespace(language="en", language_probability=0.9, duration=4.0)
    model = SimpleNamespace(transcribe=lambda _: (segments_of_a_model(), info))
    blocks = re.findall(r"^```python\n(.*?)^```", RECIPES.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    names = {"db": db, "case": case, "audio": audio, "model": model}

    for block in blocks:
        exec(compile(block, str(RECIPES), "exec"), names)

    printed = capsys.readouterr().out
    assert "60000 B At the <mark>harbour</mark>." in printed
    assert "The <mark>masters</mark> count boats [inaudible]." in printed
    assert "alice accepted version 3 of" in printed
    assert names["spoken"] == {"A": 1000, "B": 500}
    assert names["original"] == result("ABA").encode()
    assert "2500" in printed.split()


@pytest.mark.parametrize("page", sorted(path.name for path in RECIPES.parent.glob("*.md")))
def test_the_readme_names_every_page(page):
    assert f"docs/{page}" in (RECIPES.parents[1] / "README.md").read_text(encoding="utf-8")
