"""Rights are asked first: no condition on a hidden row shows in a plan, a counter, a result or an error."""

from __future__ import annotations

import random
from contextlib import nullcontext
from itertools import product

import pytest

from src.database.connection.actor_tokens import Actor
from src.database.schema import APP_ROLE, WIDE_ROLE
from tests.security.policy_probes import difference_of, hidden_rows, probes, remains
from tests.security.population import core, wide

PROBES = 150


@pytest.mark.parametrize(
    ("actor", "role"),
    [
        *product(("alice", "transcriber", None), (APP_ROLE, WIDE_ROLE)),
        ("alice, who is wide", WIDE_ROLE),
    ],
)
def test_no_condition_on_a_hidden_row_shows_its_result(shared, actor, role):
    seed = random.randrange(2**32)
    with shared.owner.connect() as owner:
        hidden = hidden_rows(owner)
        found = probes(owner, hidden)
    shown = []
    name, _, is_wide = (actor or "").partition(", ")
    with (
        wide(shared.owner, name) if is_wide else nullcontext(),
        core(shared.db, Actor(name or None), role) as connection,
    ):
        for condition, shape in random.Random(seed).sample(found, PROBES):
            difference = difference_of(connection, condition, shape, hidden[condition.table])
            if difference is not None and not remains(condition, shape, is_wide=bool(is_wide)):
                shown.append((condition, shape.name, difference))
    assert not shown, f"{len(shown)} of {PROBES} probes, seed {seed}: {shown}"
