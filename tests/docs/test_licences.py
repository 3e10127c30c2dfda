"""docs/compatibility.md states the licence of every dependency as the installed packages declare it."""

from __future__ import annotations

from tests.docs.licences import PAGE, TABLE, table


def test_the_table_of_licences_is_up_to_date():
    written = TABLE.search(PAGE.read_text(encoding="utf-8"))

    assert written is not None
    assert written[0] == table(), "run: python tests/docs/licences.py --write"


def test_every_package_declares_a_licence():
    rows = [line.split(" | ") for line in table().splitlines() if line.startswith("| ")][1:]

    assert [row[0] for row in rows if not row[1].strip()] == []
