"""A reader of a clone finds every public name with its first sentence."""

from __future__ import annotations

import re

from tests.docs import names
from tests.docs.pages import REFERENCE


def test_the_page_of_names_is_up_to_date():
    assert names.PAGE.read_text(encoding="utf-8") == names.printed(), "run: python tests/docs/names.py --write"


def test_every_name_has_a_sentence():
    rows = re.findall(r"^\| `(\S.*)` \| (.*) \|$", names.printed(), re.MULTILINE)
    assert len(rows) > 150
    assert [name for name, sentence in rows if len(sentence) < 15] == []


def test_every_page_with_names_says_how_to_read_it_in_a_clone():
    for page in REFERENCE.glob("*.md"):
        text = page.read_text(encoding="utf-8")
        if re.search(r"^::: ", text, re.MULTILINE):
            assert "names.md#" in text, page.name
