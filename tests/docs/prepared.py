"""What the examples of the documentation find prepared: a database with a case, and open sessions of three users."""

from __future__ import annotations

import ast
import importlib
import json
import re
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import sqlalchemy

import src.database
from src.database import AudioFile, Case, CaseNote, Database
from src.services import accounts, activity, analyses, bulk, cases, history, recordings, search, transcripts, work
from src.storage import MemoryStorage, case_key

SAID = ["At the harbor.", "The masters count boats [inaudible].", "Thank you."]
MODULES = (accounts, activity, analyses, bulk, cases, history, recordings, search, transcripts, work)
# What examples of the reference, of few lines, need not import.
IMPORTED: dict[str, Any] = {
    **{module.__name__.rpartition(".")[2]: module for module in MODULES},
    "formats": importlib.import_module("src.formats"),
    **{name: getattr(src.database, name) for name in src.database.__all__ if name != "owner_url"},
    "Path": Path, "UTC": UTC, "date": date, "datetime": datetime, "timedelta": timedelta,
    "select": sqlalchemy.select, "text": sqlalchemy.text,
}  # fmt: skip
VALUE = re.compile(r"  # → (.+)$")


def whisper_result(speakers: str, word: str = "harbor") -> str:
    """A result of WhisperX with three segments from the second minute on."""
    segments = [
        {"start": 60 + n, "end": 60.5 + n, "text": said.replace("harbor", word), "speaker": speaker, "words": [
            {"word": said.split()[0], "start": 60 + n, "end": 60.2 + n, "score": 0.3}
        ]}
        for n, (said, speaker) in enumerate(zip(SAID, speakers, strict=True))
    ]  # fmt: skip
    return json.dumps({"language": "en", "segments": segments, "word_segments": []})


def segments_of_a_model() -> Any:
    for n, said in enumerate(SAID):
        yield SimpleNamespace(id=n, start=n, end=n + 0.5, text=said, avg_logprob=-0.2, no_speech_prob=0.0, words=None)


class Prepared:
    """The names of the examples, each made when it is first asked for."""

    def __init__(self, db: Database, make_audio: Callable[..., AudioFile], tone: bytes, lend: Callable[[str], Any]):
        self.db = db
        self._make_audio = make_audio
        self._lend = lend
        self._open = ExitStack()
        Path("interview.flac").write_bytes(tone)
        Path("whisper.json").write_text(whisper_result("AAA"))
        Path("call.json").write_text(whisper_result("ABA"))

    def close(self) -> None:
        self._open.close()

    def names(self, code: str, *also: str) -> dict[str, Any]:
        """What the code refers to and does not import, and `also`; rows before sessions, so that these see them."""
        wanted = [*also, *sorted(_free_names(ast.parse(code).body))]
        sessions = [name for name in ("session", "admin", "worker") if name in wanted]
        rows = [name for name in wanted if hasattr(type(self), name) and name not in sessions]
        return {name: getattr(self, name) for name in ["db", *rows, *sessions]}

    # Sessions, which end with the example.

    @cached_property
    def session(self) -> Any:
        return self._open.enter_context(self.db.session(actor="alice"))

    @cached_property
    def admin(self) -> Any:
        return self._open.enter_context(self.db.session(actor="root"))

    @cached_property
    def worker(self) -> Any:
        return self._open.enter_context(self.db.session(actor="transcriber"))

    @property
    def speech_database(self) -> Database:
        return self.db

    # Rows, committed before.

    @cached_property
    def case(self) -> Case:
        with self.db.session(actor="alice") as session:
            return cases.open_case(session, title="The harbour")

    @cached_property
    def audio(self) -> AudioFile:
        case = self.case
        with self.db.session(actor="alice") as session:
            return self._make_audio(session, case, content=Path("interview.flac").read_bytes() + b"\0")

    @cached_property
    def note(self) -> CaseNote:
        case = self.case
        with self.db.session(actor="alice") as session:
            note = cases.add_note(session, case, "As written.")
        with self.db.session(actor="alice", reason="proof-reading") as session:
            note = session.get(CaseNote, note.id)
            note.body = "Corrected."
        return note

    @cached_property
    def hold(self) -> Any:
        case = self.case
        with self.db.session(actor="alice") as session:
            return cases.place_hold(session, case, reason="court order")

    @cached_property
    def first(self) -> Any:
        audio = self.audio
        with self.db.session(actor="alice") as session:
            return transcripts.import_result(session, audio, whisper_result("BBB", "harbour").encode())

    @cached_property
    def second(self) -> Any:
        first = self.first
        with self.db.session(actor="alice") as session:
            return transcripts.correct(session, first, {0: "At a harbour."})

    @cached_property
    def analysis(self) -> Any:
        audio, first = self.audio, self.first
        with self.db.session(actor="alice") as session:
            return analyses.add(session, audio, summary="Boats are counted.", transcription=first)

    @cached_property
    def job(self) -> Any:
        audio = self.audio
        with self.db.session(actor="alice") as session:
            work.enqueue(session, audio, "transcribe")
        with self.db.session(actor="transcriber") as session:
            return work.claim(session, "transcribe")

    @cached_property
    def password(self) -> str:
        with self.db.session(actor="root") as session:
            accounts.create_user(session, username="carol", password="correct horse")
        return "correct horse"

    # The rest.

    @cached_property
    def storage(self) -> MemoryStorage:
        return MemoryStorage()

    @cached_property
    def key(self) -> str:
        key = case_key(12, "wav")
        self.storage.put(key, b"RIFF")
        return key

    @cached_property
    def s3(self) -> Any:
        return self._lend("s3_storage")

    @cached_property
    def op(self) -> Any:
        return self._lend("operations")

    @cached_property
    def model(self) -> Any:
        info = SimpleNamespace(language="en", language_probability=0.9, duration=4.0)
        return SimpleNamespace(transcribe=lambda _: (segments_of_a_model(), info))


def _free_names(body: list[ast.stmt], assigned: set[str] | None = None) -> set[str]:
    """The names that statements refer to before they assign them."""
    free: set[str] = set()
    assigned = set() if assigned is None else assigned
    for statement in body:
        if isinstance(statement, ast.FunctionDef):
            own = {argument.arg for argument in (*statement.args.args, *statement.args.kwonlyargs)}
            free |= _free_names(statement.body, own) - assigned
            assigned.add(statement.name)
            continue
        if isinstance(statement, ast.Import | ast.ImportFrom):
            assigned |= {alias.asname or alias.name for alias in statement.names}
            continue
        parts = list(ast.iter_child_nodes(statement))
        inner = [part for part in parts if isinstance(part, ast.stmt)]
        inner += [line for part in parts if isinstance(part, ast.ExceptHandler) for line in part.body]
        names = [
            node
            for part in parts
            if not isinstance(part, ast.stmt | ast.ExceptHandler)
            for node in ast.walk(part)
            if isinstance(node, ast.Name)
        ]
        stored = {node.id for node in names if isinstance(node.ctx, ast.Store)}
        looped = {
            name.id
            for part in parts
            for loop in ast.walk(part)
            if isinstance(loop, ast.comprehension)
            for name in ast.walk(loop.target)
            if isinstance(name, ast.Name)
        }
        free |= {node.id for node in names if isinstance(node.ctx, ast.Load)} - assigned - looped
        assigned |= stored - looped
        free |= _free_names(inner, assigned)
    return free


def run(code: str, names: dict[str, Any], place: str) -> None:
    """Run code. A line that ends in `# → value` is an expression with that value, in which `…` stands for any text."""
    lines = code.splitlines()
    for statement in ast.parse(code).body:
        module = ast.Module([statement], type_ignores=[])
        expected = VALUE.search(lines[statement.end_lineno - 1])
        if expected is None:
            exec(compile(module, place, "exec", dont_inherit=True), names)
            continue
        assert isinstance(statement, ast.Expr), (
            f"{place}: only an expression has a value: {lines[statement.lineno - 1]}"
        )
        assert isinstance(statement, ast.Expr), f"{place}: only an expression has a value"
        value = repr(eval(compile(ast.Expression(statement.value), place, "eval"), names))
        pattern = ".*".join(map(re.escape, expected[1].split("…")))
        assert re.fullmatch(pattern, value, re.DOTALL), f"{place}: {value} and not {expected[1]}"
