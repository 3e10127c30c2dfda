"""What every torture takes and says: a seed, a number of rounds, its findings, and exit code 1 when there are any."""

from __future__ import annotations

import argparse
import random
import secrets
import sys
from collections.abc import Callable


def main(torture: Callable[[random.Random, int], list[str]], description: str, *, rounds: int) -> None:
    """Run a torture with `--seed` and `--rounds`; it returns a sentence for each finding."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32), help="repeat a run")
    parser.add_argument("--rounds", type=int, default=rounds, help="how often (%(default)s)")
    options = parser.parse_args()
    print(f"seed {options.seed}, {options.rounds} rounds", flush=True)
    findings = torture(random.Random(options.seed), options.rounds)
    for finding in findings:
        print(f"FINDING {finding}")
    print(f"{options.rounds} rounds, {len(findings)} findings, seed {options.seed}")
    sys.exit(1 if findings else 0)
