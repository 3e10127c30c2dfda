"""Each property of an index, a constraint, a column or a table is compared, and the reports say how to repair it."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from src.database.connection.engine import PoolOptions, make_engine
from src.database.provisioning.apply import apply
from src.database.provisioning.comparison import compare
from src.database.provisioning.extensions import create_extensions, create_name_indexes, unused_statistics
from src.database.schema.creation import execute
from tests.provisioning.details import DETAILS, OF_OTHERS


def test_every_property_is_reported_and_repaired_as_reported(owner):
    with owner.begin() as connection:
        for damage in DETAILS.values():
            execute(connection, damage.statement)
    with owner.connect() as connection:
        reported = [str(one) for one in compare(connection)]
    missed = [name for name, damage in DETAILS.items() if not any(damage.named in one for one in reported)]
    assert not missed, (missed, reported)

    left = apply(owner)
    with owner.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for one in left:
            for statement in one.left.partition("by hand: ")[2].split("; "):
                execute(connection, statement)
    assert [str(one) for one in apply(owner)] == []


@pytest.mark.parametrize("name", OF_OTHERS)
def test_what_belongs_to_others_is_reported(whole, name):
    with whole.connect() as connection:
        execute(connection, OF_OTHERS[name].statement)
        reported = [str(one) for one in compare(connection)]
        connection.rollback()
    assert any(OF_OTHERS[name].named in one for one in reported), reported


def test_an_index_of_name_search_has_its_operator_class(whole):
    with whole.connect() as connection:
        if not create_extensions(connection, "")["pg_trgm"]:
            pytest.skip("the server does not have pg_trgm")
        create_name_indexes(connection)
        assert compare(connection) == []
        execute(
            connection, "DROP INDEX cases_title_trgm_idx; CREATE INDEX cases_title_trgm_idx ON cases (lower(title))"
        )
        execute(connection, "ALTER INDEX cases_title_trgm_idx ALTER COLUMN 1 SET STATISTICS 0")
        reported = [str(one) for one in compare(connection)]
        connection.rollback()
    assert len(reported) == 1
    assert "USING btree (lower(title)), not CREATE INDEX cases_title_trgm_idx" in reported[0]


def test_foreign_keys_with_disabled_triggers_are_reported(owner, speech_server):
    administrator = make_engine(speech_server.maintenance.set(database=owner.url.database), PoolOptions(size=1))
    with administrator.connect() as connection:
        if not connection.scalar(text("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")):
            pytest.skip("only an administrator of the server can disable them")
        execute(connection, "ALTER TABLE case_notes DISABLE TRIGGER ALL")
        reported = [str(one) for one in compare(connection)]
        connection.rollback()
    administrator.dispose()
    assert any(one.startswith("foreign keys of case_notes are not enforced") for one in reported), reported


def test_statistics_of_statements_that_nobody_reads_are_named_and_not_required(whole):
    with whole.connect() as connection:
        loaded = connection.scalar(text("SELECT current_setting('pg_stat_statements.max', true) IS NOT NULL"))
        present = connection.scalar(text("SELECT count(*) FROM pg_extension WHERE extname = 'pg_stat_statements'"))
        sentence = unused_statistics(connection)
        assert (sentence is not None) == (loaded and not present)
        assert compare(connection) == []
