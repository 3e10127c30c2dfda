"""InvalidInput says which field, what was given and what is allowed, for programs; and never a secret."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from sqlalchemy import CheckConstraint, text

from src.database import Base, Case
from src.database.connection.constraint_fields import column_of, limit_of
from src.database.schema import declaration
from src.errors import InvalidInput
from src.formats import parse, write
from src.services import accounts, activity, analyses, bulk, cases, history, recordings, search, transcripts, work
from src.storage import case_key

pytestmark = pytest.mark.shared_database

ROOT = Path(__file__).resolve().parents[2]
WALKED = ("src/services", "src/storage", "src/formats", "src/database/connection/session.py")
# Errors that concern no argument of a public function, with the reason.
WITHOUT_FIELD = {
    "src/services/history/snapshots.py": "an entry of the log that cannot be read",
    "src/database/connection/session.py": "the session itself has another origin",
}
# Errors about a whole result: `transcripts.import_result` names its parameter.
WHOLE_RESULTS = "src/formats/"


def test_services_name_the_field_the_value_and_the_limit(db, tone):
    with db.session(actor="alice") as session:
        case = cases.open_case(session, title="any")
    for call, field, value, limit in (
        (lambda s: cases.open_case(s, title=""), "title", None, None),
        (lambda s: cases.open_case(s, title="a\x00"), "title", None, None),
        (lambda s: cases.add_participant(s, case, "bob", role="boss"), "role", "boss", ("owner", "editor", "viewer")),
        (lambda s: cases.place_hold(s, case, reason=" "), "reason", None, None),
        (lambda s: activity.feed(s, limit=0), "limit", 0, 10_000),
        (lambda s: recordings.ingest(s, case, tone, name="a.wav", on_duplicate="x"), "on_duplicate", "x",
         ("add", "return", "refuse")),
        (lambda s: work.claim(s, "transcribe", worker="w", lease_seconds=0), "lease_seconds", 0, 86_400),
        (lambda s: accounts.find_role(s, "boss"), "role", "boss", None),
        (lambda s: accounts.hash_password("x" * 73), "password", None, 72),
        (lambda s: accounts.create_user(s, username="x", password="y" * 80), "password", None, 72),
        (lambda s: db.storage.put(case_key(1, "wav"), b"", size=-1), "size", -1, 0),
        (lambda s: list(write("docx", [])), "format", "docx", None),
        (lambda s: parse(b"{}", dialect="x"), "dialect", "x", None),
    ):  # fmt: skip
        with pytest.raises(InvalidInput) as caught, db.session(actor="root") as session:
            call(session)
        found = caught.value
        assert (found.field, found.value) == (field, value), str(found)
        assert limit is None or found.limit == limit, str(found)


def test_rules_of_the_database_name_the_field_and_the_limit(db):
    for statement, field, limit in (
        ("UPDATE cases SET title = repeat('x', 301)", "title", 300),
        ("UPDATE cases SET title = NULL", "title", None),
        ("INSERT INTO cases (title) VALUES (NULL)", "title", None),
        ("UPDATE users SET full_name = repeat('x', 201) WHERE username = 'alice'", "full_name", 200),
        ("UPDATE users SET email = 'x' WHERE username = 'alice'", "email", None),
    ):
        with db.session(actor="alice") as session:
            cases.open_case(session, title="any")
        with pytest.raises(InvalidInput) as caught, db.session(actor="alice") as session:
            session.execute(text(statement))
        assert (caught.value.field, caught.value.limit, caught.value.value) == (field, limit, None), statement


def test_every_limit_of_a_column_is_found_by_the_name_of_its_check():
    found = 0
    for table in Base.metadata.tables.values():
        for check in table.constraints:
            if not isinstance(check, CheckConstraint) or not str(check.name).endswith("_length_check"):
                continue
            name = str(check.name)
            column = column_of(table.name, name)
            if column is not None and declaration.LENGTH in table.columns[column].info:
                found += 1
                assert limit_of(table.name, name) == table.columns[column].info[declaration.LENGTH][1]
    assert found > 20
    assert column_of("cases", "cases_case_code_form_check") == "case_code"
    assert (column_of("reports", "reports_title_length_check"), limit_of("reports", "reports_title_length_check")) == (
        "title",
        None,
    )


def walked():
    """Every construction of an InvalidInput, with its file."""
    for place in WALKED:
        root = ROOT / place
        for path in sorted(root.rglob("*.py")) if root.is_dir() else [root]:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") in {"InvalidInput", "NotAudio"}:
                    yield str(path.relative_to(ROOT)), node


def test_every_error_about_an_argument_names_it():
    without = {}
    for path, node in walked():
        if node.func.id == "InvalidInput" and not any(keyword.arg == "field" for keyword in node.keywords):
            without.setdefault(path, []).append(f"line {node.lineno}: {ast.unparse(node.args[0])[:60]}")
    unexpected = {path: lines for path, lines in without.items() if not path.startswith(WHOLE_RESULTS)}
    assert unexpected.keys() <= WITHOUT_FIELD.keys(), unexpected
    assert all(len(lines) == 1 for lines in unexpected.values()), unexpected


def test_codes_sources_and_rows_are_named(db, make_audio):
    with db.session(actor="alice") as session:
        audio = make_audio(session, cases.open_case(session, title="any"))
        case = audio.case_id
    for call, field, value in (
        (lambda s: cases.set_status(s, case, "lost"), "status", "lost"),
        (lambda s: cases.set_status(s, case, 7), "status", None),
        (lambda s: cases.set_priority(s, case, "soon"), "priority", "soon"),
        (lambda s: cases.open_case(s, title="x", priority="soon"), "priority", "soon"),
        (lambda s: analyses.add(s, audio, sentiment="grim"), "sentiment", "grim"),
        (lambda s: search.transcripts(s, "word", status="lost"), "status", "lost"),
        (lambda s: recordings.ingest(s, case, b"", name="a.wav"), "source", None),
        (lambda s: recordings.ingest(s, case, b"text", name="a.wav"), "source", None),
        (lambda s: recordings.ingest(s, case, "/nowhere/a.wav"), "source", None),
        (lambda s: recordings.ingest(s, case, 7, name="a.wav"), "source", None),
        (lambda s: transcripts.import_result(s, audio, b"no subtitles, no JSON"), "source", None),
        (lambda s: transcripts.import_result(s, audio, Path("/nowhere")), "source", None),
        (lambda s: history.versions(s, "case"), "thing", None),
        (recordings.verify, "case", None),
    ):
        with pytest.raises(InvalidInput) as caught, db.session(actor="alice") as session:
            call(session)
        assert (caught.value.field, caught.value.value) == (field, value), str(caught.value)
    for rows, field in (([{"tittle": "x"}], "tittle"), ([{"title": "x" * 400}], "title"), (["x"], "rows")):
        with pytest.raises(InvalidInput, match=r"^row 0: ") as caught:
            bulk.insert(db, Case, rows, actor="alice")
        assert caught.value.field == field


def test_values_of_secrets_and_texts_are_never_carried():
    for path, node in walked():
        carried = {ast.unparse(keyword.value) for keyword in node.keywords if keyword.arg == "value"}
        assert not {"password", "new", "email", "text", "body", "title", "token", "secret"} & carried, path
