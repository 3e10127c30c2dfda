"""Search returns only what the actor may read: hits, totals, ranks, snippets, names, suggestions and errors."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from src.database import Base
from src.database.connection.actor_tokens import Actor
from src.services import activity, search
from tests.security.population import case_column, core

KINDS = ("cases", "audio_files", "case_notes", "analysis_results")
QUERIES = ("common", "common OR bobsecret", "bobsecret", "*", "CASE", "wav", "%", "a")


@pytest.mark.parametrize("name", ["alice", "bob"])
def test_every_way_of_searching_stays_in_the_own_case(shared, name):
    own, other = shared.case_of[name], shared.case_of[shared.other(name)]
    with shared.db.session(actor=name, required=False) as session:
        for versions in ("newest", "accepted", "all"):
            page = search.transcripts(session, f"common OR {name}secret OR {shared.other(name)}secret",
                                      versions=versions, include_flagged=True)  # fmt: skip
            assert {hit.case_id for hit in page} <= {own}
            assert page.total == len(page)
        assert search.transcripts(session, "common", cases=[own, other]).total == 1
        assert search.transcripts(session, "common", case=other).total == 0
        assert search.suggest(session, shared.other(name)) == search.suggest(session, "common", case=other) == []
        assert search.suggest(session, name) == [f"{name}secret"]
        for query in QUERIES:
            found = search.everything(session, query)
            rows = [row for kind, row in found if kind != "case"]
            assert {row.case_id for row in rows} | {case.id for case in found.cases} <= {own}
            assert found.total == len(list(found))
            assert shared.other(name) not in str([vars(row) for _, row in found if hasattr(row, "__dict__")])


@pytest.mark.parametrize("name", ["alice", "bob"])
def test_the_search_functions_return_only_ids_of_the_own_case(shared, name):
    own, other = shared.case_of[name], shared.case_of[shared.other(name)]
    chosen = [None, [other], [own, other], [], [-1], [own] * 500]
    with shared.db.session(actor=name, required=False) as session:
        for cases in chosen:
            filters = json.dumps({"max_rows": 1001} | ({} if cases is None else {"cases": cases}))
            for kind in KINDS:
                for query in QUERIES:
                    rows = session.execute(text("SELECT * FROM search_rows(:k, :q, CAST(:f AS jsonb))"),
                                           {"k": kind, "q": query, "f": filters}).all()  # fmt: skip
                    assert {row.row_id for row in rows} <= shared.rows_of(name, kind)
                    assert all(row.total == len(rows) for row in rows)
            rows = session.execute(text("SELECT * FROM search_page('common', CAST(:f AS jsonb))"), {"f": filters}).all()
            assert {row.segment_id for row in rows} <= shared.rows_of(name, "transcription_segments")
            assert all(row.total == len(rows) for row in rows)


@pytest.mark.parametrize("nobody", ["none", "unknown", "inactive"])
def test_sessions_without_an_active_actor_find_nothing(shared, nobody):
    name = {"none": None, "unknown": "mallory", "inactive": "dormant"}[nobody]
    with core(shared.db, Actor(name)) as connection:
        for kind in (*KINDS, "users"):
            assert connection.execute(text(f"SELECT * FROM search_rows('{kind}', '*', NULL)")).all() == []
        assert connection.execute(text("SELECT * FROM search_page('common', NULL)")).all() == []


HOSTILE = [
    "[]", '"x"', "5", "null", '{"cases": {}}', '{"cases": "1"}', '{"cases": [null]}', '{"cases": ["1) OR (true"]}',
    '{"max_rows": -5}', '{"max_rows": "x"}', '{"max_rows": 99999999999}', '{"recording": "1 OR true"}',
    '{"speaker": "x\' OR true --"}', '{"speaker": "\\\\\' OR true --"}',
    '{"order": "time", "after": ["now()", 1, 1, 1]}', '{"after": []}', '{"after": [1]}',
    '{"versions": "x"}', '{"flagged": "maybe"}', '{"from_ms": 1e400}', '{"min_confidence": "NaN"}',
    '{"recorded_from": "infinity"}', '{"order": "time", "after": ["2026-01-01) OR (true", 1, 1, 1]}',
]  # fmt: skip


@pytest.mark.parametrize("filters", HOSTILE)
def test_no_filter_shows_or_reveals_rows_of_other_cases(shared, filters):
    """An error or an answer, which must be equal for a foreign case and for a missing one."""
    own = shared.rows_of("alice", "transcription_segments") | shared.rows_of("alice", "case_notes")
    codes = []
    for other in (shared.case_of["bob"], 987_654_321):
        for call in (
            f"SELECT segment_id FROM search_page('common bobsecret', CAST(:f AS jsonb) || '{{\"cases\": [{other}]}}')",
            "SELECT segment_id FROM search_page('common OR bobsecret', CAST(:f AS jsonb))",
            "SELECT row_id FROM search_rows('case_notes', 'common OR bobsecret', CAST(:f AS jsonb))",
        ):
            rows, code = answer(shared, call, filters)
            assert rows <= own
            assert code[:2] in {"", "22"}, "an invalid value is allowed, invalid SQL is not"
            codes.append(code)
    assert codes[: len(codes) // 2] == codes[len(codes) // 2 :]


def answer(shared, call, filters):
    """Return the ids that a call finds, and its SQLSTATE, '' for success."""
    with core(shared.db, Actor("alice")) as connection:
        try:
            with connection.begin_nested():
                return {row[0] for row in connection.execute(text(call), {"f": filters})}, ""
        except DBAPIError as error:
            return set(), error.orig.pgcode


def test_search_queries_are_logged_and_invisible_to_others(lasting):
    with lasting.db.session(actor="alice") as session:
        search.suggest(session, "harbourish")
        search.everything(session, "lighthouse", case=lasting.case_of["alice"])
    with lasting.db.session(actor="alice") as session:
        noted = [entry.detail["query"] for entry in activity.feed(session, type="search.made")]
        assert {"harbourish*", "lighthouse"} <= set(noted)
    with lasting.db.session(actor="bob") as session:
        assert "lighthouse" not in str(activity.feed(session, type="search.made"))


def test_every_searched_table_belongs_to_a_case():
    assert [kind for kind in KINDS if case_column(Base.metadata.tables[kind]) is None] == []
