"""The command line of every torture test: seed, number of rounds, findings, and exit code 1 if there are findings."""

from __future__ import annotations

import argparse
import random
import secrets
import sys
from collections.abc import Callable


def main(torture: Callable[[random.Random, int], list[str]], description: str, *, rounds: int) -> None:
    """Run a torture test with `--seed` and `--rounds`; it returns a message for each finding."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32), help="the seed of a run to repeat")
    parser.add_argument("--rounds", type=int, default=rounds, help="number of rounds (%(default)s)")
    options = parser.parse_args()
    print(f"seed {options.seed}, {options.rounds} rounds", flush=True)
    findings = torture(random.Random(options.seed), options.rounds)
    for finding in findings:
        print(f"FINDING {finding}")
    print(f"{options.rounds} rounds, {len(findings)} findings, seed {options.seed}")
    sys.exit(1 if findings else 0)
