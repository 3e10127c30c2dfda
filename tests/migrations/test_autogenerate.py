"""`alembic revision --autogenerate` renders revisions that are correct, without long locks, and repeatable."""

from __future__ import annotations

import ast

import pytest
from sqlalchemy import text

from src.database.provisioning.comparison import compare
from tests.migrations import catalog
from tests.migrations.conftest import engine_of, picture_of
from tests.migrations.scratch import NEXT, NOW, Copy
from tests.migrations.test_contributing import carry_out, example


@pytest.fixture
def copy(tmp_path) -> Copy:
    copy = Copy(tmp_path / "copy")
    (copy.folder / "tests" / "services").mkdir(parents=True)
    return copy


def generate(copy: Copy, url, subject: str = "subject") -> str:
    """Return the revision that the command generates in the copy."""
    copy.alembic(url, "revision", "--autogenerate", "--rev-id", NEXT, "-m", subject)
    (path,) = (copy.folder / "alembic" / "versions").glob(f"*_{NEXT}_{subject}.py")
    return path.read_text(encoding="utf-8")


def function(code: str, name: str) -> str:
    (found,) = (node for node in ast.parse(code).body if isinstance(node, ast.FunctionDef) and node.name == name)
    return ast.unparse(found)


def differences(url) -> list[str]:
    with engine_of(url) as engine, engine.connect() as connection:
        return [str(difference) for difference in compare(connection)]


def test_the_first_example_matches_the_generated_revision(copy, owner_url):
    carry_out(copy, example(1, NOW)[0])
    (path,) = (copy.folder / "alembic" / "versions").glob(f"*_{NEXT}_*.py")
    shown = path.read_text(encoding="utf-8")
    path.unlink()
    written = generate(copy, owner_url, "venue")

    assert function(written, "upgrade") == function(shown, "upgrade")
    assert "###" not in written
    copy.alembic(owner_url, "upgrade", "head")
    assert copy.alembic(owner_url, "check").startswith("No new upgrade operations detected.")


def test_the_second_example_creates_the_same_tables_as_the_generated_revision(copy, owner_url, filled_url):
    carry_out(copy, example(2, NOW)[0])
    copy.alembic(filled_url, "upgrade", "head")
    shown = picture_of(filled_url)
    copy.alembic(filled_url, "downgrade", NOW)
    (path,) = (copy.folder / "alembic" / "versions").glob(f"*_{NEXT}_*.py")
    path.unlink()
    written = generate(copy, filled_url, "exhibits")
    copy.alembic(filled_url, "upgrade", "head")

    # A new table needs no concurrent operations.
    assert "autocommit_block" not in written
    assert 'name="label_length"' in written
    assert catalog.differences(shown, picture_of(filled_url)) == []


def test_an_interrupted_revision_can_be_run_again(copy, filled_url):
    copy.edit(
        "src/database/models/cases.py",
        '        Index("case_notes_case_id_idx", "case_id", "created_at"),\n',
        '        Index("case_notes_case_id_idx", "case_id", "created_at"),\n'
        '        CheckConstraint("body NOT LIKE \'line%\'", name="body_form"),\n'
        '        Index("case_notes_updated_at_idx", "updated_at"),\n',
    )
    written = generate(copy, filled_url)
    assert "\"body NOT LIKE 'line%'\"" in written
    assert "postgresql_concurrently=True" in written
    assert "postgresql_not_valid=True" in written
    refused = copy.run(filled_url, "-m", "alembic", "upgrade", "head")
    assert refused.returncode != 0
    assert "case_notes_body_form_check" in refused.stderr

    with engine_of(filled_url) as engine, engine.begin() as connection:
        connection.execute(text("UPDATE case_notes SET body = 'One ' || body"))
    copy.alembic(filled_url, "upgrade", "head")
    after = picture_of(filled_url)
    assert "not valid" not in after["constraint case_notes.case_notes_body_form_check"]
    copy.alembic(filled_url, "downgrade", NOW)
    assert not {
        name for name in picture_of(filled_url) if "case_notes_body_form" in name or "case_notes_updated_at_idx" in name
    }
    copy.alembic(filled_url, "upgrade", "head")
    assert catalog.differences(after, picture_of(filled_url)) == []


def test_a_changed_check_is_reported_by_the_comparison_only(copy, owner_url):
    copy.edit("src/database/models/cases.py", "user_text(300, least=1)", "user_text(301, least=1)")
    assert "op." not in generate(copy, owner_url)

    assert "the constraint cases_title_length_check on cases is CHECK" in copy.alembic(owner_url, "upgrade", "head")
