"""Every relative link of the documentation leads to a file, and to a heading where it names one."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml

from tests.conventions.sources import ROOT
from tests.docs.pages import DOCS, HOW_TO, PAGES, README, anchors, links

NAV = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_a_link_leads_somewhere(page):
    for link in links(page):
        if link.startswith(("https://", "http://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / unquote(path)).resolve() if path else page
        assert target.exists(), f"{link} leads nowhere"
        assert target.is_relative_to(ROOT), link
        if anchor:
            assert anchor in anchors(target), f"{link}: {named(target)} has the anchors {sorted(anchors(target))}"


@pytest.mark.parametrize("page", [page for page in PAGES if page.is_relative_to(DOCS)], ids=named)
def test_a_page_links_to_pages_of_the_site_only(page):
    local = [link.partition("#")[0] for link in links(page) if "://" not in link]
    outside = [link for link in local if link and not (page.parent / link).resolve().is_relative_to(DOCS)]

    assert outside == []


def test_the_readme_leads_to_every_guide_and_every_page_of_the_first_level():
    linked = {(ROOT / link.partition("#")[0]).resolve() for link in links(README) if "://" not in link}
    wanted = {*HOW_TO.glob("*.md"), *DOCS.glob("*.md"), *(DOCS / "explanation").glob("*.md")} - {DOCS / "changelog.md"}

    assert wanted - linked == set()


def test_the_home_page_leads_to_every_guide():
    linked = {(DOCS / link.partition("#")[0]).resolve() for link in links(DOCS / "index.md")}

    assert set(HOW_TO.glob("*.md")) - linked == set()


def test_every_page_is_in_the_navigation():
    def pages(entry):
        for value in entry.values() if isinstance(entry, dict) else entry if isinstance(entry, list) else ():
            yield from pages(value)
        if isinstance(entry, str):
            yield entry

    navigation = yaml.load(NAV, yaml.SafeLoader)["nav"]

    assert sorted(pages(navigation)) == sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))
