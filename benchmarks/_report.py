"""The output of every benchmark: a table, then one line per goal, as text or JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

# A benchmark is a script and measures the checkout that contains it.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


@dataclass(frozen=True)
class Goal:
    """A measured ratio and its limit."""

    name: str
    measured: float
    limit: float
    at_most: bool = True

    @property
    def met(self) -> bool:
        return self.measured <= self.limit if self.at_most else self.measured >= self.limit

    def __str__(self) -> str:
        sign = "≤" if self.at_most else "≥"
        return f"{self.name} · {self.measured:.2f} · {sign} {self.limit:g} · {'met' if self.met else 'missed'}"


Row = Sequence[str | float]
Benchmark = Callable[[bool], tuple[Sequence[str], Sequence[Row], Sequence[Goal]]]


def main(benchmark: Benchmark, description: str) -> None:
    """Run a benchmark with the value of `--quick` and print the header, rows and goals that it returns."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="use a small size, to check that it runs")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a goal is missed")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    header, rows, goals = benchmark(options.quick)
    if options.json:
        document = {
            "rows": [dict(zip(header, row, strict=True)) for row in rows],
            "goals": [{"name": g.name, "measured": g.measured, "limit": g.limit, "met": g.met} for g in goals],
        }
        print(json.dumps(document, ensure_ascii=False, indent=2))
    else:
        cells = [[f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row] for row in (header, *rows)]
        widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
        for number, row in enumerate(cells):
            print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |")
            if number == 0:
                print("|" + "|".join("-" * (width + 2) for width in widths) + "|")
        for goal in goals:
            print(goal)
    if options.check and not all(goal.met for goal in goals):
        sys.exit(1)
