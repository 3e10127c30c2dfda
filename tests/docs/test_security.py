"""The threat model names tests, and they exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_test_that_the_threat_model_names_exists():
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs/security.md").read_text(encoding="utf-8")))
    written = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert len(named) > 50
    assert named - written == set()


def test_every_case_of_the_table_names_a_test_file_that_exists():
    cases = [
        line for line in (ROOT / "docs/trust.md").read_text(encoding="utf-8").splitlines() if line.startswith("| ")
    ]
    cases = [line for line in cases if not line.startswith("| situation")]
    assert len(cases) > 100
    for line in cases:
        named = re.findall(r"`((?:tests|src)/[\w/]+\.py)`", line.rsplit(" | ", 1)[-1])
        assert named or "security.md" in line, line
        assert [name for name in named if not (ROOT / name).is_file()] == [], line
