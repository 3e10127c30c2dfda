"""The cost of importing the package, compared with importing SQLAlchemy's ORM."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from _report import Goal, Row, main

ROOT = Path(__file__).resolve().parents[1]
BASE = "import sqlalchemy.orm"
PROGRAMS = {
    BASE: BASE,
    "import src.database": "import src.database",
    "from src.database import Database, Case": "from src.database import Database, Case",
    "Database and all services": "from src.database import Database; from src.services import accounts, activity,"
    " analyses, cases, recordings, search, transcripts, work",
}


def run(program: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    return (time.perf_counter() - started) * 1000


def startup(quick: bool) -> tuple[Sequence[str], Sequence[Row], Sequence[Goal]]:
    rounds = 3 if quick else 25
    times: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for program in PROGRAMS.values():
        run(program)  # fills the page cache and the bytecode cache
    for _ in range(rounds):
        for name, program in PROGRAMS.items():
            times[name].append(run(program))
    medians = {name: statistics.median(measured) for name, measured in times.items()}
    rows = [(name, medians[name], medians[name] / medians[BASE]) for name in PROGRAMS]
    return ("program", "median ms", "× sqlalchemy.orm"), rows, [
        Goal("import src.database", medians["import src.database"] / medians[BASE], 1.6)
    ]  # fmt: skip


if __name__ == "__main__":
    main(startup, __doc__ or "")
