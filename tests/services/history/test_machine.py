"""Random changes by every write path, compared with a model: the replay of the log, and snapshots of any time."""

from __future__ import annotations

import random

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from tests.services.history.program import WORK, Program
from tests.services.history.replay import complaints

CHANCE = st.integers(0, 2**32).map(random.Random)
# The examples share a database: each one starts with the state of the one before.
QUICK = settings(
    max_examples=6,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def test_a_random_program_of_500_operations_agrees_with_its_model(db, owner):
    program = Program(db, owner, random.Random(1))
    program.run(500)
    assert complaints(program, snapshots=25) == []
    assert {work.__name__ for work in WORK} <= program.counts.keys()
    assert program.counts["interleaved"] > 5
    assert program.counts["rolled back"] > 5
    assert program.counts["savepoint rolled back"] > 5
    assert len(program.seals) > 3


def test_a_hypothesis_state_machine_agrees_with_its_model(db, owner):
    class Machine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.program = Program(db, owner, random.Random(0))

        @rule(chance=CHANCE, work=st.sampled_from(WORK), times=st.integers(1, 4))
        def work(self, chance, work, times) -> None:
            self.program.chance = chance
            self.program.transaction(times, work)

        @rule(chance=CHANCE)
        def interleave(self, chance) -> None:
            self.program.chance = chance
            self.program.interleave()

        @rule(chance=CHANCE)
        def look(self, chance) -> None:
            self.program.chance = chance
            self.program.record()

        def teardown(self) -> None:
            assert complaints(self.program, snapshots=5) == []

    run_state_machine_as_test(Machine, settings=QUICK)
