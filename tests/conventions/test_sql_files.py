"""The form of the SQL files, and the detection of violations."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("pglast", reason="pglast, which parses SQL as PostgreSQL does, is not installed")

from src.database.schema import functions
from src.database.schema.sql_files import FOLDER, build, constant
from tests.conventions.sources import FILES, path_name
from tests.conventions.sql_form import stamped, violations

SQL = sorted(FOLDER.glob("*.sql"))
WHOLE = (FOLDER / "rows.sql").read_text(encoding="utf-8")

VIOLATIONS = {
    "another body": ("NEW.updated_at := now();", "NEW.updated_at := NULL;", "make stamp"),
    "no header": ("-- Values that", "\n-- Values that", "followed by a comment"),
    "a long line": ("-- Values that", f"-- {'x' * 120}\n-- Values", "at most 120"),
    "an invalid statement": ("RETURNS trigger", "RETURN trigger", "cannot be parsed"),
    "an invalid body": ("NEW.created_at := OLD", "NEW.created_at = = OLD", "a body cannot"),
    "a function without REVOKE": ("REVOKE ALL ON FUNCTION public.touch_row() FROM PUBLIC;", "", "touch_row: REVOKE"),
    "a grant to another role": ("TO sti_app, sti_wide, sti_admin;", "TO postgres;", "granted to ['postgres']"),
    "a function that is not replaced": ("CREATE OR REPLACE FUNCTION public.touch", "CREATE FUNCTION public.touch",
                                        "CREATE OR REPLACE"),
    "no search_path": ("SET search_path = pg_catalog, pg_temp", "", "SET search_path"),
    "a backslash": ("'unknown lookup", r"'\ unknown lookup", "as E''"),
    "Unicode escapes": ("'C-'", "U&'C-'", "as E''"),
    "a comparison with NULL": ("IF lookup = 'languages'", "IF lookup = NULL", "IS NULL"),
    "an assigned comparison with NULL": ("NEW.updated_at := now()", "NEW.updated_at := NULL = 1", "IS NULL"),
    "a built query": ("RETURN NEW;", "RETURN QUERY EXECUTE 'SELECT 1';", "gin_fuzzy_search_limit"),
    "a table": ("REVOKE ALL ON FUNCTION public.code_id", "CREATE TABLE t (); REVOKE ALL ON FUNCTION public.code_id",
                "neither a function nor a grant"),
}  # fmt: skip


@pytest.mark.parametrize("path", SQL, ids=lambda path: path.stem)
def test_a_file_has_no_violations(path):
    assert list(violations(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("name", VIOLATIONS)
def test_a_violation_is_reported(name):
    old, new, message = VIOLATIONS[name]
    assert old in WHOLE
    assert any(message in violation for violation in violations(WHOLE.replace(old, new, 1)))


def test_the_build_grows_only_with_a_changed_content():
    assert stamped(WHOLE) == WHOLE
    changed = stamped(f"{WHOLE}-- more\n")
    builds = [int(re.match(r"-- build (\d+)", text)[1]) for text in (WHOLE, changed)]
    assert builds[1] == builds[0] + 1
    assert build() >= len(SQL)


def test_no_function_body_is_a_python_string():
    found = [
        path_name(path) for path in FILES if re.search(r"LANGUAGE (plpgsql|sql)\b", path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_a_function_is_read_with_its_arguments_and_callers():
    found = {function.name: function for function in functions()}

    assert len(found) == len(functions())
    assert found["place_recording"].identity == "public.place_recording(bigint, text, text, text, boolean, text)"
    assert found["place_recording"].callers == ("sti_app", "sti_wide", "sti_admin")
    assert found["actor_id"].identity == "public.actor_id()"
    assert found["begin_actor"].callers == ("PUBLIC",)
    assert found["mint_actor"].callers == ()
    assert {function.file for function in functions() if function.is_fixed} == {
        "job_kinds_1", "permission_names_1", "permission_names_2", "readable_values_1", "search_text_1",
    }  # fmt: skip


def test_constants_are_what_the_database_returns(shared_constants):
    assert shared_constants == {name: constant(name) for name in shared_constants}


@pytest.fixture
def shared_constants(owner):
    names = ["search_unspaced_1", "search_accents_1", "search_silent_1", "search_letter_1", "search_half_space_1",
             "search_quotes", "search_spaces", "search_term_pattern"]  # fmt: skip
    with owner.connect() as connection:
        return {name: connection.exec_driver_sql(f"SELECT public.{name}()").scalar() for name in names}
