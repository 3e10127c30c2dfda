"""InvalidInput says which field, what was given and what is allowed, for programs; and never a secret."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from sqlalchemy import CheckConstraint, text

from src.database import Base
from src.database.connection.constraint_fields import column_of, limit_of
from src.database.schema import declaration
from src.errors import InvalidInput
from src.formats import parse, write
from src.services import accounts, activity, cases, recordings, work
from src.storage import case_key

pytestmark = pytest.mark.shared_database

ROOT = Path(__file__).resolve().parents[2]
# Of these modules every error about one parameter names it; the others are about a whole file, row or combination.
WALKED = ("src/services", "src/storage", "src/formats")
WITHOUT_FIELD = 31


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


def test_errors_about_one_parameter_name_it():
    without = []
    for folder in WALKED:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                is_error = isinstance(node, ast.Call) and getattr(node.func, "id", "") == "InvalidInput"
                if is_error and not any(keyword.arg == "field" for keyword in node.keywords):
                    without.append(f"{path.relative_to(ROOT)}:{node.lineno} {ast.unparse(node.args[0])[:60]}")
    assert len(without) <= WITHOUT_FIELD, without
    assert not [
        line for line in without if ": " in line.split(" ", 1)[1][:24] and "segment" not in line and "row" not in line
    ]


def test_values_of_secrets_and_texts_are_never_carried():
    for folder in WALKED:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "InvalidInput":
                    carried = [ast.unparse(k.value) for k in node.keywords if k.arg == "value"]
                    assert not {"password", "new", "email", "text", "body", "title", "token", "secret"} & set(
                        carried
                    ), path
