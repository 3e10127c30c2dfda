"""What every role of PostgreSQL may do and no policy prevents: large objects and default privileges. It is detected."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from src.database.connection.engine import PoolOptions, make_engine
from src.database.provisioning.comparison import compare
from src.database.schema.objects import MEMBER_ROLES
from src.maintenance.initialisation import burnt_case_ids

ATTEMPTS = {
    "SELECT lo_from_bytea(0, 'secret')": "sti_app has stored 1 large objects",
    "RESET ROLE; SELECT lo_create(0)": "{login} has stored 1 large objects",
    "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC": "gives PUBLIC privileges on all its new tables",
    "ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO sti_admin": "sti_app gives sti_admin privileges on all",
    "ALTER DEFAULT PRIVILEGES GRANT USAGE ON TYPES TO sti_wide": "gives sti_wide privileges on all its new types",
    "ALTER DEFAULT PRIVILEGES GRANT CREATE ON SCHEMAS TO sti_wide": "gives sti_wide privileges on all its new schemas",
    "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE ON SEQUENCES TO sti_wide": "on all its new sequences",
}


@pytest.mark.parametrize("statement", ATTEMPTS)
def test_what_no_policy_prevents_is_named_and_removed(populated, speech_server, statement):
    with populated.db.session(actor="alice") as session:
        session.execute(text(statement))
    served = {populated.db.engine.url.username: MEMBER_ROLES}
    superuser = make_engine(speech_server.maintenance.set(database=populated.owner.url.database), PoolOptions(size=1))
    for engine in (populated.owner, superuser):
        with engine.begin() as connection:
            differences = compare(connection, served)
            assert len(differences) == 1, [str(each) for each in differences]
            (found,) = differences
            assert ATTEMPTS[statement].format(login=populated.db.engine.url.username) in found.sentence
            assert found.mend or "as a superuser: " in found.left
            for mend in found.mend:
                connection.execute(text(mend))
        with engine.connect() as connection:
            assert compare(connection, served) == ([] if found.mend else [found])
            if found.mend:
                break
    superuser.dispose()


def test_case_ids_that_are_used_up_without_cases_are_named(populated):
    """A refused INSERT takes an id too, and the sets of readable cases grow with the largest id."""
    with populated.owner.connect() as connection:
        assert burnt_case_ids(connection) == []
    burn = (
        "INSERT INTO cases (title, case_code) SELECT 'x', 'CASE-ALICE' FROM generate_series(1, 300)"
        " ON CONFLICT DO NOTHING"
    )
    with populated.db.session(actor="alice") as session:
        session.execute(text(burn))
    with populated.owner.connect() as connection:
        (found,) = burnt_case_ids(connection, most=200)
        assert "belong to no case" in found
        assert burnt_case_ids(connection) == []
