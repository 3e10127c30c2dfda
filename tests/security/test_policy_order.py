"""Rights are asked first: no condition on a hidden row shows in a plan, a counter, a result or an error."""

from __future__ import annotations

import random

import pytest

from src.database.connection.actor_tokens import Actor
from src.database.schema import APP_ROLE, WIDE_ROLE
from tests.security.policy_probes import difference_of, hidden_rows, probes, remains
from tests.security.population import core

PROBES = 150


@pytest.mark.parametrize("role", [APP_ROLE, WIDE_ROLE])
@pytest.mark.parametrize("actor", ["alice", "transcriber", None])
def test_no_condition_on_a_hidden_row_shows_its_result(shared, actor, role):
    seed = random.randrange(2**32)
    with shared.owner.connect() as owner:
        hidden = hidden_rows(owner)
        found = probes(owner, hidden)
    shown = []
    with core(shared.db, Actor(actor), role) as connection:
        for condition, shape in random.Random(seed).sample(found, PROBES):
            difference = difference_of(connection, condition, shape, hidden[condition.table])
            if difference is not None and not remains(condition, shape, role):
                shown.append((condition, shape.name, difference))
    assert not shown, f"{len(shown)} of {PROBES} probes, seed {seed}: {shown}"
