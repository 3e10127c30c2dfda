"""protection.sql is the SQL derived from the declarations, so that changed privileges are reviewed."""

from __future__ import annotations

from tests.provisioning.golden import FILE, objection, printed


def test_the_file_matches_the_models():
    assert FILE.read_text(encoding="utf-8") == printed(), "run: make golden, and review the difference"


def test_a_change_needs_a_revision_or_a_build():
    recorded = "-- revision 1001, declarations of build 1\n\nGRANT a"

    assert objection(recorded, recorded) is None
    assert objection(recorded, recorded.replace("GRANT a", "GRANT b")) is not None
    assert objection(recorded, "-- revision 1001, declarations of build 2\n\nGRANT b") is None
    assert objection(recorded, "-- revision 1002, declarations of build 1\n\nGRANT b") is None
    assert objection(recorded, "-- revision 1001, declarations of build 0\n\nGRANT b") is not None


def test_secret_columns_and_tables_are_not_granted():
    text = FILE.read_text(encoding="utf-8")

    assert "password_hash" not in "".join(line for line in text.splitlines() if line.startswith("GRANT"))
    assert "actor_keys" not in "".join(line for line in text.splitlines() if "GRANT" in line or "POLICY" in line)
