"""The how-to guides do what they say: the code of each page, one block after the other, in a database of its own."""

from __future__ import annotations

import re

import pytest

from tests.conventions.sources import ROOT
from tests.docs.conftest import whisper_result

GUIDES = sorted(path for path in (ROOT / "docs" / "how-to").glob("*.md") if path.name != "index.md")
# What a page prints, or leaves in its names.
PRINTED = {
    "search-page": ["60000 B At the <mark>harbour</mark>.", "The <mark>masters</mark> count boats [inaudible]."],
    "correct-transcripts": ["alice accepted version"],
    "bulk-load": ["2500"],
    "holds-and-deletion": ["legal hold"],
    "permissions": ["write"],
    "web-api": ["(200, ", "WEBVTT", "(404, "],
    "uploads": ["local storage"],
}


def blocks(page) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.own_database
@pytest.mark.parametrize("page", [page for page in GUIDES if blocks(page)], ids=lambda page: page.stem)
def test_the_code_of_a_guide_runs(page, names, capsys):
    for block in blocks(page):
        exec(compile(block, page.name, "exec"), names)

    output = capsys.readouterr().out
    assert [words for words in PRINTED.get(page.stem, []) if words not in output] == []
    if page.stem == "import-results":
        assert names["spoken"] == {"A": 1000, "B": 500}
        assert names["original"] == whisper_result("ABA").encode()


def test_every_guide_has_code():
    assert [page.name for page in GUIDES if "```py" not in page.read_text(encoding="utf-8")] == []


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_the_readme_links_every_guide(page):
    assert f"(docs/how-to/{page.name})" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"({page.name})" in (page.parent / "index.md").read_text(encoding="utf-8")
