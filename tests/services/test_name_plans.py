"""Searches for names use their indexes, for members of few and of many cases: EXPLAIN of the query that is executed."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import text

from src.database.provisioning.extensions import create_name_indexes
from src.services import cases, search

QUERY = text("SELECT search_rows_query(:entity, :pattern, CAST(:filters AS jsonb), CAST(:scope AS integer[]))")
INDEXES = {
    "cases": {"few": {"cases_pkey"}, "many": {"cases_title_trgm_idx", "cases_case_code_trgm_idx",
                                                 "cases_title_lower_idx", "cases_case_code_excl"}},
    "audio_files": {"few": {"audio_files_case_id_created_at_idx", "audio_files_case_id_sha256_idx",
                            "audio_files_case_id_path_key", "audio_files_case_id_id_key"},
                    "many": {"audio_files_name_trgm_idx", "audio_files_name_lower_idx"}},
}  # fmt: skip


@pytest.fixture(scope="module")
def stage(module_database):
    """alice participates in 4,000 cases with a recording each, bob in one of them."""
    shared = module_database
    shared.renew()
    with shared.owner.begin() as connection:
        if not create_name_indexes(connection):
            pytest.skip("pg_trgm is not installed")
        connection.execute(
            text("""
            INSERT INTO cases (title, opened_by_id)
            SELECT 'case ' || md5(n::text), u.id FROM generate_series(1, 4000) n, users u WHERE u.username = 'alice';
            INSERT INTO storage_objects (case_id, key, backend, state)
            SELECT c.id, 'cases/' || c.id, 'local', 'pending' FROM cases c;
            INSERT INTO audio_files (case_id, name, path, size_bytes, sha256, uploaded_by_id)
            SELECT c.id, 'recording ' || md5(c.id::text), 'cases/' || c.id, 1, repeat('0', 64), c.opened_by_id
              FROM cases c;
            INSERT INTO case_participants (case_id, user_id, role)
            SELECT min(c.id), u.id, 'viewer' FROM cases c, users u WHERE u.username = 'bob' GROUP BY u.id;
            """)
        )
    with shared.owner.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE cases, audio_files"))
    return shared


def plan(stage, actor, entity, pattern):
    """The plan of the query that `search_rows` executes for this actor, with its settings."""
    with stage.database.session(actor=actor) as session:
        scope = session.scalar(text("SELECT actor_case_ids()"))
    with stage.owner.begin() as connection:
        # The settings of the function are those of its query.
        settings = connection.scalar(text("SELECT proconfig FROM pg_proc WHERE proname = 'search_rows'"))
        for name, value in (setting.split("=", 1) for setting in settings):
            connection.execute(text("SELECT set_config(:name, :value, true)"), {"name": name, "value": value})
        values = {"entity": entity, "pattern": pattern, "filters": '{"max_rows": 51}', "scope": scope}
        query = connection.scalar(text(str(QUERY).replace("search_rows_query", "public.search_rows_query")), values)
        lines = connection.exec_driver_sql(f"EXPLAIN {query}", execution_options={"no_parameters": True})
        return "\n".join(lines.scalars())


@pytest.mark.parametrize("entity", INDEXES)
@pytest.mark.parametrize("pattern", ["*{}*", "{}*"], ids=["part", "prefix"])
@pytest.mark.parametrize("who", [("bob", "few"), ("alice", "many")], ids=str)
def test_a_search_for_a_name_reads_an_index(stage, who, entity, pattern):
    actor, size = who
    word = {"cases": "case a1b2", "audio_files": "recording a1b2"}[entity]
    found = plan(stage, actor, entity, pattern.format(word))
    used = set(re.findall(r"(?:Index (?:Only )?Scan (?:Backward )?using|Bitmap Index Scan on) (\w+)", found))
    assert used, found
    assert used <= INDEXES[entity][size], found
    assert "Seq Scan" not in found, found


def test_the_service_executes_this_query(stage):
    with stage.database.session(actor="bob") as session:
        found = search.cases(session, "case *")
        assert (found.total, len(list(found))) == (1, 1)
        assert search.recordings(session, "recording*").total == 1
    with stage.database.session(actor="alice") as session:
        assert search.cases(session, "case *").total == 4000
        title = cases.get_case(session, next(iter(search.cases(session, "case *"))).case_code).title
        assert search.cases(session, title[5:15]).total == 1
