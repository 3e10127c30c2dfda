"""The site is built without a warning, and is complete without a network."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.conventions.sources import ROOT

pytest.importorskip("mkdocs", reason="mkdocs is not installed")
pytest.importorskip("mkdocstrings_handlers.python", reason="mkdocstrings is not installed")
LOADED = re.compile(
    r"""<(?:script|img|iframe)[^>]*\ssrc="?(https?:[^">\s]+)|<link[^>]*rel="?stylesheet[^>]*href="?(https?:[^">\s]+)"""
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120, env=environment,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    return folder


def test_every_page_is_built(site):
    pages = {page.relative_to(ROOT / "docs").with_suffix(".html").as_posix() for page in (ROOT / "docs").rglob("*.md")}

    assert pages <= {page.relative_to(site).as_posix() for page in site.rglob("*.html")}


def test_no_page_loads_anything_from_another_host(site):
    loaded = {match for page in site.rglob("*.html") for match in LOADED.findall(page.read_text(encoding="utf-8"))}

    assert loaded == set()


def test_a_function_is_shown_with_signature_docstring_and_example(site):
    page = (site / "reference" / "cases.html").read_text(encoding="utf-8")

    assert 'id="src.services.cases.open_case"' in page
    assert "case_code" in page
    assert "Raises" in page
    assert "Harbour interviews" in page
