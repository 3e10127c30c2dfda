"""Rights are asked first: no condition on a hidden row shows in a plan, a counter, a result or an error."""

from __future__ import annotations

import random

import pytest
from sqlalchemy import text

from src.database.connection.actor_tokens import Actor
from src.database.schema import APP_ROLE, WIDE_ROLE
from tests.security.policy_probes import REMAINING, difference_of, probes
from tests.security.population import CASE_TABLES, core

PROBES = 700


@pytest.fixture(scope="module")
def hidden(shared):
    """The id of a row of Bob's case in each table."""
    with shared.owner.connect() as connection:
        return {
            table: connection.scalar(
                text(f"SELECT min(id) FROM {table} WHERE {'id' if table == 'cases' else 'case_id'} = :case"),
                {"case": shared.case_of["bob"]},
            )
            for table in CASE_TABLES
        }


@pytest.mark.parametrize("role", [APP_ROLE, WIDE_ROLE])
@pytest.mark.parametrize("actor", ["alice", "transcriber", None])
def test_no_condition_on_a_hidden_row_shows_its_result(shared, hidden, actor, role):
    seed = random.randrange(2**32)
    with shared.owner.connect() as owner:
        found = probes(owner, hidden, shared.case_of.get(actor))
    found_out = []
    with core(shared.db, Actor(actor), role) as connection:
        for condition, shape in random.Random(seed).sample(found, PROBES):
            answer = difference_of(connection, condition, shape, hidden[condition.table])
            if answer is not None and (condition.kind, shape.name) not in REMAINING:
                found_out.append((condition, shape.name, answer))
    assert found_out == [], f"{len(found_out)} of {PROBES} probes, seed {seed}"
