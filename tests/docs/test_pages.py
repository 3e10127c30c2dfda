"""Links and anchors of the documentation resolve, every page is in the site, and the licences are those installed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conventions import licences
from tests.conventions.sources import ROOT

PAGES = sorted((ROOT / "docs").rglob("*.md"))
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *PAGES]


def without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


def anchors(page: Path) -> set[str]:
    """The anchors of the headings of a page, as GitHub and MkDocs make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def links(page: Path) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text(encoding="utf-8")))


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_and_anchor_resolves(page):
    broken = []
    for link in links(page):
        if link.startswith(("https://", "http://")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)

    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_page_is_in_the_navigation(page):
    assert f" {page.relative_to(ROOT / 'docs').as_posix()}\n" in (ROOT / "mkdocs.yml").read_text(encoding="utf-8")


def test_every_page_of_the_site_is_linked_from_the_readme_or_its_index():
    linked = {
        (page.parent / link.partition("#")[0]).resolve()
        for page in (ROOT / "README.md", *(ROOT / "docs").rglob("index.md"))
        for link in links(page)
    }

    assert [page.name for page in PAGES if page not in linked and page.parent.name != "decisions"] == []


def test_the_licences_of_direct_dependencies_are_those_installed():
    page = licences.PAGE.read_text(encoding="utf-8")
    rows = {name: f"| {name} | {licences.licence_of(name)} | direct |" for name in licences.direct()}

    assert [row for row in rows.values() if row not in page] == [], "run: python tests/conventions/licences.py --write"


@pytest.mark.parametrize("name", sorted(licences.installed(licences.direct())))
def test_every_dependency_has_a_licence(name):
    assert licences.licence_of(name) != "unknown"
