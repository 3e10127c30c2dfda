"""Values that drivers cannot read, and tables as from before the CHECKs against them."""

from __future__ import annotations

from sqlalchemy import text

DOCUMENTS = {
    "5000 digits": '{"a": ' + "9" * 5000 + "}",
    "309 digits and a fraction, which is infinite in Python": '{"a": [' + "9" * 309 + ".5]}",
    "a small text of 5001 digits": '{"a": 1e5000}',
    "5000 decimal places": '{"a": 0.' + "3" * 5000 + "}",
    "a negative number": '{"a": -1e400}',
    "2000 lists": '{"a": ' + "[" * 2000 + "]" * 2000 + "}",
    "2000 objects": '{"a": ' * 2000 + "1" + "}" * 2000,
}


def drop_checks(owner, *tables):
    """As in a database from before the CHECKs."""
    with owner.begin() as connection:
        for table, name in connection.execute(
            text(
                "SELECT conrelid::regclass::text, conname FROM pg_constraint WHERE contype = 'c'"
                " AND conrelid = ANY (CAST(:tables AS regclass[])) AND conname ~ '_(range|readable)_check$'"
            ),
            {"tables": list(tables)},
        ).all():
            connection.execute(text(f"ALTER TABLE {table} DROP CONSTRAINT {name}"))


def restore_checks(owner, table, *columns):
    """As after a migration that does not check the stored rows."""
    with owner.begin() as connection:
        for column, rule in columns:
            connection.execute(
                text(f"ALTER TABLE {table} ADD CONSTRAINT {table}_{column}_again_check CHECK ({rule}) NOT VALID")
            )


def enqueue(db, audio, kind, **columns):
    with db.session(actor="alice") as session:
        names = "".join(f", {name}" for name in columns)
        values = "".join(f", :{name}" for name in columns)
        return session.scalar(
            text(
                f"INSERT INTO processing_jobs (case_id, audio_file_id, kind{names})"
                f" VALUES (:case, :audio, :kind{values}) RETURNING id"
            ),
            {"case": audio.case_id, "audio": audio.id, "kind": kind, **columns},
        )
