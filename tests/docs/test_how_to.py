"""The code of the how-to guides, the quickstart and the README runs: one block after the other, in a database."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest

from src.database import ProcessingJob
from src.errors import StorageUnavailable
from src.services import accounts, cases, work
from tests.docs.pages import DOCS, HOW_TO, README, blocks
from tests.docs.prepared import run, whisper_result
from tests.docs.test_reference import use

# What a guide expects in addition to the names that it mentions.
PREPARED = {
    "correct-transcripts": "audio",
    "export": "first",
    "search": "first",
}
STORAGES = {"browser-uploads": "s3", "testing": "storage"}
PAGES = sorted(path.stem for path in HOW_TO.glob("*.md"))


@pytest.fixture
def carry_out(prepared, monkeypatch):
    """Runs the code of a page; returns its names."""

    def carry_out(page: Path) -> dict[str, object]:
        use(prepared.db, monkeypatch)
        code = blocks(page)
        names = prepared.names("\n".join(code), *PREPARED.get(page.stem, "").split())
        if page.stem in STORAGES:
            prepared.db.storage = getattr(prepared, STORAGES[page.stem])
        for number, block in enumerate(code, 1):
            if page.stem == "browser-uploads" and "Uploaded(answer" in block:
                put(names["answer"], Path("interview.flac").read_bytes())
            run(block, names, f"{page.name}, block {number}")
        return names

    return carry_out


def put(answer, content):
    request = urllib.request.Request(answer["url"], content, answer["headers"], method="PUT")
    urllib.request.urlopen(request).close()


@pytest.mark.parametrize("page", [README, DOCS / "quickstart.md"], ids=["readme", "quickstart"])
def test_the_code_of_the_first_pages_runs(page, carry_out, db, monkeypatch):
    with db.session(actor="root") as session:
        # These pages create the users that other tests find.
        for name in ("alice", "transcriber"):
            accounts.find_user(session, name).username = f"other_{name}"
        accounts.create_user(session, username="NAME", role="admin")

    carry_out(page)


@pytest.mark.parametrize("page", [DOCS / "formats.md", DOCS / "reference" / "settings.md"], ids=["formats", "settings"])
def test_the_code_of_a_page_of_the_reference_runs(page, carry_out):
    assert blocks(page)

    carry_out(page)


@pytest.mark.parametrize("page", PAGES)
def test_the_code_of_a_guide_runs(page, carry_out):
    assert blocks(HOW_TO / f"{page}.md") or page == "own-tables"  # tests/provisioning/test_services.py runs that one

    carry_out(HOW_TO / f"{page}.md")


def test_the_guide_to_search_marks_what_was_found(carry_out, capsys):
    carry_out(HOW_TO / "search.md")

    printed = capsys.readouterr().out
    assert "60000 B At the <mark>harbour</mark>." in printed
    assert "The <mark>masters</mark> count boats [inaudible]." in printed


def test_the_guide_to_corrections_shows_who_accepted(carry_out, capsys):
    carry_out(HOW_TO / "correct-transcripts.md")

    assert "alice accepted version 2 of" in capsys.readouterr().out


def test_the_guide_to_imports_counts_what_was_spoken(carry_out):
    assert carry_out(HOW_TO / "import-results.md")["spoken"] == {"A": 1000, "B": 500}


def test_the_guide_to_exports_returns_the_imported_bytes(carry_out):
    assert carry_out(HOW_TO / "export.md")["original"] == whisper_result("BBB", "harbour").encode()


def test_an_outage_costs_the_worker_of_the_guide_no_attempt(carry_out, db, make_audio):
    names = carry_out(HOW_TO / "pipeline-worker.md")

    def unreachable(*_):
        raise StorageUnavailable("the storage does not answer")

    names["recognise"] = unreachable
    with db.session(actor="alice") as session:
        job = work.enqueue(session, make_audio(session, cases.open_case(session, title="Quay")), "transcribe")
    with pytest.raises(StorageUnavailable):
        names["run_once"](db)
    with db.session(actor="alice") as session:
        stored = session.get(ProcessingJob, job.id)
        assert (stored.state, stored.attempts, stored.lease) == ("queued", 0, 1)


def test_the_tests_of_the_guide_to_tests_pass(carry_out, db):
    names = carry_out(HOW_TO / "testing.md")
    tests = [thing for name, thing in names.items() if name.startswith("test_")]

    assert len(tests) == 3
    for test in tests:
        test(db)
