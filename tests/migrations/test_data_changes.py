"""Data migrations in batches with separate commits: resumable, and logged as the revision."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from src.services import cases
from tests.migrations.conftest import contents, engine_of, finish, outside, programs_for, start
from tests.migrations.scratch import NEXT, NOW, Copy

UP = (
    "op.add_column('case_notes', sa.Column('kind', sa.Text), if_not_exists=True)\n"
    "update_in_batches(op, revision, 'case_notes', "
    "set_=\"kind = CASE WHEN body ~ '^Q:' THEN 'question' ELSE 'note' END\", where='kind IS NULL', rows=10)"
)
DOWN = (
    "update_in_batches(op, revision, 'case_notes', set_=\"body = body || ''\", where='kind IS NULL')\n"
    "op.drop_column('case_notes', 'kind')"
)
ENTRIES = text(
    "SELECT actor, count(*), count(DISTINCT entity_id), count(DISTINCT transaction_id) FROM activity_logs"
    " WHERE entity = 'case_notes' AND operation = 'update' GROUP BY actor ORDER BY actor"
)


@pytest.fixture
def noted(db, owner_url):
    """The URL of the owner, for a database with 35 notes, every fifth a question."""
    with db.session(actor="alice") as session:
        case = cases.open_case(session, title="Notes")
        for number in range(35):
            cases.add_note(session, case, f"{'Q: ' if number % 5 == 0 else ''}note {number}")
    db.close()
    return owner_url


@pytest.fixture
def copy(tmp_path):
    return Copy(tmp_path / "copy")


def entries(url):
    with engine_of(url) as engine, engine.connect() as connection:
        return [tuple(row) for row in connection.execute(ENTRIES)]


def kinds(url):
    with engine_of(url) as engine, engine.connect() as connection:
        return dict(
            tuple(row) for row in connection.execute(text("SELECT kind, count(*) FROM case_notes GROUP BY kind"))
        )


def test_rows_are_updated_in_batches_and_logged_as_the_revision(noted, copy):
    copy.add_revision(UP, DOWN)
    copy.alembic(noted, "upgrade", "head")

    assert kinds(noted) == {"question": 7, "note": 28}
    # Four transactions with at most ten rows each, each row once.
    assert entries(noted) == [(f"migration:{NEXT}", 35, 35, 4)]

    with engine_of(noted) as engine, engine.connect() as connection:
        whole = contents(connection)["case_notes"]
    copy.alembic(noted, "downgrade", NOW)
    copy.alembic(noted, "upgrade", "head")
    assert kinds(noted) == {"question": 7, "note": 28}
    with engine_of(noted) as engine, engine.connect() as connection:
        assert len(contents(connection)["case_notes"]) == len(whole) == 35


def test_an_interrupted_update_resumes(noted, copy):
    # The 22nd row fails until it is corrected; two batches have been committed before.
    copy.add_revision(UP.replace("'question' ELSE", "(1 / (id <> 22)::int)::text ELSE"), DOWN)
    with engine_of(noted) as engine, engine.begin() as connection:
        connection.execute(text("UPDATE case_notes SET body = 'Q: broken' WHERE id = 22"))
    failed = copy.run(noted, "-m", "alembic", "-c", str(copy.folder / "alembic.ini"), "upgrade", "head")
    assert failed.returncode == 1
    assert "division by zero" in failed.stderr
    assert kinds(noted) == {None: 15, "1": 4, "note": 16}

    with engine_of(noted) as engine, engine.begin() as connection:
        connection.execute(text("UPDATE case_notes SET body = 'corrected' WHERE id = 22"))
    copy.alembic(noted, "upgrade", "head")
    assert kinds(noted) == {"1": 7, "note": 28}
    assert entries(noted)[0][:3] == (f"migration:{NEXT}", 35, 35)


def test_rows_that_still_match_are_an_error(noted, copy):
    copy.add_revision("update_in_batches(op, revision, 'case_notes', set_='body = body', where='id > 0')", "pass")
    failed = copy.run(noted, "-m", "alembic", "-c", str(copy.folder / "alembic.ini"), "upgrade", "head")
    assert failed.returncode == 1
    assert "updated rows still match the condition: id > 0" in failed.stderr


def test_offline_mode_prints_one_statement(noted, copy, tmp_path):
    copy.add_revision(UP, DOWN)
    printed = copy.run(
        noted, "-m", "alembic", "-c", str(copy.folder / "alembic.ini"), "upgrade", f"{NOW}:head", "--sql"
    )
    assert printed.returncode == 0, printed.stderr
    path = tmp_path / "offline.sql"
    path.write_text(printed.stdout, encoding="utf-8")
    psql = [programs_for(noted) / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", path]
    finish(start(*psql, environment=outside(noted), folder=tmp_path))

    assert kinds(noted) == {"question": 7, "note": 28}
    assert entries(noted)[0][:2] == (f"migration:{NEXT}", 35)
