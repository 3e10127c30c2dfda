"""The reference has every public function with an example of one to five lines, and the examples run."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import pytest

from tests.conventions.sources import ROOT

PAGES = sorted((ROOT / "docs" / "reference").glob("*.md"))
SERVICES = (
    "accounts",
    "activity",
    "analyses",
    "bulk",
    "cases",
    "history",
    "recordings",
    "search",
    "transcripts",
    "work",
)
# The chain's own arithmetic, for verifiers: documented with the form of exports.
WITHOUT_EXAMPLE = {"src.services.history.seal_hash"}


def sections(page: Path) -> dict[str, list[str]]:
    """Each object that a page documents, and the code of its examples."""
    found: dict[str, list[str]] = {}
    for part in re.split(r"^::: ", page.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        name, _, rest = part.partition("\n")
        found[name.strip()] = re.findall(r"^```python\n(.*?)^```", rest, re.MULTILINE | re.DOTALL)
    return found


def actor_of_page(page: Path) -> str | None:
    found = re.search(r'db\.session\(actor="(\w+)"\) as session`', page.read_text(encoding="utf-8"))
    return found[1] if found else None


def public_functions() -> set[str]:
    found = set()
    for name in SERVICES:
        module = importlib.import_module(f"src.services.{name}")
        names = getattr(module, "__all__", None) or [
            each for each, value in vars(module).items()
            if inspect.isfunction(value) and value.__module__ == module.__name__ and not each.startswith("_")
        ]  # fmt: skip
        found |= {f"src.services.{name}.{each}" for each in names if inspect.isfunction(getattr(module, each))}
    for name in ("src.storage", "src.formats"):
        module = importlib.import_module(name)
        found |= {f"{name}.{each}" for each in module.__all__ if inspect.isfunction(getattr(module, each))}
    return found


def test_every_public_function_has_an_example_of_one_to_five_lines():
    examples = {name: code for page in PAGES for name, code in sections(page).items()}

    assert {name for name in public_functions() if not examples.get(name)} == WITHOUT_EXAMPLE
    long = {
        name: len([line for line in code.splitlines() if line.strip()])
        for name, codes in examples.items()
        for code in codes
    }
    assert {name: lines for name, lines in long.items() if not 1 <= lines <= 5} == {}


def test_the_reference_documents_what_exists():
    for page in PAGES:
        for name in sections(page):
            module, _, attribute = name.rpartition(".")
            if name == "src.errors":
                continue
            assert hasattr(importlib.import_module(module), attribute), f"{page.name}: {name}"


@pytest.mark.own_database
@pytest.mark.parametrize("page", [page for page in PAGES if actor_of_page(page)], ids=lambda page: page.stem)
def test_the_examples_of_a_page_run(page, names, capsys):
    ran = 0
    for name, codes in sections(page).items():
        for code in codes:
            with names["db"].session(actor=actor_of_page(page)) as session:
                exec(compile(code, f"{page.name}: {name}", "exec"), {**names, "session": session})
            ran += 1

    assert ran >= 3
