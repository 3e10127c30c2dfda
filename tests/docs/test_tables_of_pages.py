"""Tables of the documentation list what the code has: columns, codes, extras."""

from __future__ import annotations

import re
import tomllib
from importlib import import_module
from typing import get_args

from sqlalchemy import inspect, select

import src.database
import src.errors
from src.database import web
from tests.conventions.sources import ROOT
from tests.docs.pages import DOCS, REFERENCE

DATABASE = (REFERENCE / "database.md").read_text(encoding="utf-8")


def rows(text: str) -> list[list[str]]:
    """The cells of every row of tables in which the first cell is code."""
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line.startswith("| `")
    ]


def words(cell: str) -> set[str]:
    return set(re.findall(r"`([\w-]+)`", cell))


def test_the_columns_are_those_of_the_models():
    columns = rows(DATABASE.split("## Models")[1].split("## Codes")[0])

    assert len(columns) > 4
    for model, cells in columns:
        known = set(inspect(getattr(src.database, model.strip("`"))).all_orm_descriptors.keys())
        assert words(cells) - known == set(), model


def test_the_codes_are_those_of_a_new_database(db):
    listed = {model.strip("`"): cells for model, cells in rows(DATABASE.split("## Codes")[1].split("## Types")[0])}

    with db.session(actor="alice") as session:
        for name in ("CaseStatus", "CasePriority", "AudioStatus", "Sentiment", "UserRole"):
            model = getattr(src.database, name)
            assert words(listed.pop(name)) == set(session.scalars(select(model.code))), name
        count = len(session.scalars(select(src.database.Language.code)).all())
    assert f"{count} of them" in listed.pop("Language")
    assert listed == {}


def test_the_types_of_arguments_have_the_listed_values():
    listed = rows(DATABASE.split("## Types of arguments")[1])

    assert len(listed) > 8
    for name, module, cells in listed:
        values = get_args(getattr(import_module(module.strip("`")), name.strip("`")))
        assert words(cells) == set(values), name


def test_the_extras_are_those_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    listed = {cells[0].strip("`") for cells in rows((DOCS / "quickstart.md").read_text(encoding="utf-8"))}

    assert listed == set(project["optional-dependencies"])


def test_the_statuses_of_errors_are_those_of_the_module_for_web_services():
    """In the reference of errors and in the guide, both by hand."""
    for page in (REFERENCE / "errors.md", DOCS / "how-to" / "web-api.md"):
        stated = 0
        for first, second, *_ in rows(page.read_text(encoding="utf-8")):
            status = re.match(r"[1-5]\d\d", second.strip("| "))
            for name in re.findall(r"`(\w+)`", first):
                kind = getattr(src.errors, name, None)
                if status and isinstance(kind, type):
                    assert web.status_of(kind("x")) == int(status[0]), (page.name, name)
                    stated += 1
        assert stated > 5, page
