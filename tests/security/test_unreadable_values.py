"""Values that drivers cannot read: refused in every column, and survived by every reader where they exist already."""

from __future__ import annotations

import logging

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from src.database import ActivityLog, ProcessingJob
from src.errors import InvalidInput
from src.services import activity, cases, work

TIMES = ["20000-01-01", "9000-01-01 00:00+00", "0999-12-31 23:59+00", "0044-03-15 BC", "infinity", "-infinity"]
DOCUMENTS = {
    "5000 digits": '{"a": ' + "9" * 5000 + "}",
    "309 digits and a fraction, which is infinite in Python": '{"a": [' + "9" * 309 + ".5]}",
    "a small text of 5001 digits": '{"a": 1e5000}',
    "5000 decimal places": '{"a": 0.' + "3" * 5000 + "}",
    "a negative number": '{"a": -1e400}',
    "2000 lists": '{"a": ' + "[" * 2000 + "]" * 2000 + "}",
    "2000 objects": '{"a": ' * 2000 + "1" + "}" * 2000,
}
each_document = pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)


@pytest.fixture
def audio(db, make_audio):
    with db.session(actor="alice") as session:
        return make_audio(session, cases.open_case(session, title="Attack"))


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


def test_no_time_document_date_or_list_of_the_database_is_without_a_check(owner):
    with owner.begin() as connection:
        unlimited = connection.execute(
            text(
                "SELECT c.relname, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
                " JOIN pg_type t ON t.oid = a.atttypid"
                " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND a.attnum > 0"
                " AND NOT a.attisdropped AND c.relname <> 'alembic_version'"
                " AND (t.typcategory IN ('D', 'T', 'A', 'R') OR t.typname IN ('json', 'jsonb', 'numeric'))"
                " AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'c'"
                " AND k.convalidated AND a.attnum = ANY (k.conkey)"
                " AND pg_get_constraintdef(k.oid) ~ 'readable_(time|date|json)_1|array_ndims')"
            )
        ).all()
    assert unlimited == []


@pytest.mark.parametrize("moment", TIMES)
def test_a_member_stores_no_time_that_clients_cannot_read(db, audio, moment):
    for statement in (
        "UPDATE audio_files SET recorded_at = CAST(:moment AS timestamptz)",
        "UPDATE audio_files SET processed_at = CAST(:moment AS timestamptz)",
        "UPDATE cases SET closed_at = CAST(:moment AS timestamptz)",
        "UPDATE case_participants SET expires_at = CAST(:moment AS timestamptz)",
    ):
        with (
            pytest.raises(InvalidInput, match=r"outside its limits|at least one owner"),
            db.session(actor="alice") as s,
        ):
            s.execute(text(statement), {"moment": moment})
    for column in ("run_after", "started_at", "finished_at"):
        with pytest.raises(InvalidInput, match=f"{column}_range"):
            enqueue(db, audio, "transcribe", **{column: moment})


@each_document
def test_a_member_stores_no_document_that_clients_cannot_read(db, audio, document):
    for column in ("payload", "result"):
        with pytest.raises(InvalidInput, match=f"{column}_readable"):
            enqueue(db, audio, "transcribe", **{column: document})
    with pytest.raises(InvalidInput, match="details_readable"), db.session(actor="alice") as session:
        session.execute(
            text("INSERT INTO analysis_results (case_id, audio_file_id, version, details) VALUES (:case, :id, 1, :d)"),
            {"case": audio.case_id, "id": audio.id, "d": document},
        )


@each_document
def test_a_member_records_no_detail_that_clients_cannot_read(db, audio, document):
    with pytest.raises(InvalidInput, match="64 KiB, nested deeper"), db.session(actor="alice") as session:
        session.execute(
            text("SELECT record_activity('case.opened', :case, NULL, NULL, CAST(:detail AS jsonb))"),
            {"case": audio.case_id, "detail": document},
        )
    with pytest.raises(InvalidInput, match="64 KiB, nested deeper"), db.session(actor="alice") as session:
        session.execute(
            text("SELECT record_reads(jsonb_build_array(jsonb_build_object('type', 'search.made',"
                 " 'detail', CAST(:detail AS jsonb))))"),
            {"detail": document},
        )  # fmt: skip


def test_a_detail_is_limited_in_size_too(db):
    with pytest.raises(InvalidInput, match="64 KiB"), db.session(actor="alice") as session:
        activity.record(session, "case.opened", detail={"note": "x" * 65_536})


@pytest.mark.parametrize(
    ("document", "is_readable"),
    [
        ("[" * 32 + "]" * 32, True),
        ("[" * 34 + "]" * 34, False),
        ("9" * 308, True),
        ("1" + "0" * 308, False),
        ("-1" + "0" * 308, False),
        ("0." + "3" * 400, True),
        ("0." + "3" * 401, False),
        ('"' + "3" * 5000 + '"', True),
        ("[4.9406564584124654e-324, 2.2250738585072014e-308, 1.7976931348623157e307]", True),
        ('["' + "é" * 700 + '", 1e400]', False),
        ('["' + "x" * 980 + '"]', True),
        ('["' + "x" * 1001 + '"]', False),
    ],
)
def test_limits_of_documents(owner, document, is_readable):
    with owner.connect() as connection:
        size = 1000 if '"x' in document else 1 << 20
        found = connection.scalar(
            text("SELECT readable_json_1(CAST(:d AS jsonb), :size)"), {"d": document, "size": size}
        )
    assert found is is_readable


@pytest.mark.parametrize("offset", range(0, 600, 7))
def test_a_long_number_is_found_at_every_position(owner, offset):
    with owner.connect() as connection:
        query = text("SELECT readable_json_1(jsonb_build_array(repeat('x', :offset), CAST(:n AS numeric)), 10000)")
        assert connection.scalar(query, {"offset": offset, "n": "9" * 309}) is False
        assert connection.scalar(query, {"offset": offset, "n": "9" * 308}) is True


@pytest.mark.parametrize("flags", ["{{a,b},{c,d}}", "{" + ",".join(["a" * 1000] * 17) + "}"])
def test_lists_of_flags_are_flat_and_limited(owner, audio, flags):
    with pytest.raises(DBAPIError, match="flags_readable"), owner.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO transcription_segments (case_id, transcription_id, position, text, flags)"
                " VALUES (:case, 1, 0, 'x', CAST(:flags AS text[]))"
            ),
            {"case": audio.case_id, "flags": flags},
        )


@pytest.mark.parametrize("score", ["NaN", "Infinity", "-Infinity"])
def test_scores_are_numbers(db, audio, score):
    with pytest.raises(InvalidInput, match="sentiment_score_range"), db.session(actor="alice") as session:
        session.execute(
            text(
                "INSERT INTO analysis_results (case_id, audio_file_id, version, sentiment_score)"
                " VALUES (:case, :id, 1, CAST(:score AS float8))"
            ),
            {"case": audio.case_id, "id": audio.id, "score": score},
        )


@pytest.mark.parametrize(
    "columns",
    [{"priority": 2**63 - 1}, {"priority": -(2**63)}, {"max_attempts": 2**63 - 1}, {"max_attempts": 0}],
)
def test_numbers_of_jobs_are_limited(db, audio, columns):
    with pytest.raises(InvalidInput, match=r"priority_range|attempts_range"):
        enqueue(db, audio, "transcribe", **columns)


BAD_JOBS = {
    "payload": {"payload": '{"a": ' + "9" * 5000 + "}"},
    "payload, nested": {"payload": '{"a": ' + "[" * 2000 + "]" * 2000 + "}"},
    "result": {"result": '{"a": ' + "9" * 5000 + "}"},
    "run_after": {"run_after": "0044-03-15 BC"},
    "run_after, infinite": {"run_after": "-infinity"},
    "started_at": {"started_at": "20000-01-01"},
}


@pytest.mark.parametrize("checks", ["none", "not valid"])
@pytest.mark.parametrize("columns", BAD_JOBS.values(), ids=BAD_JOBS)
def test_a_job_that_cannot_be_read_fails_and_the_next_one_is_claimed(db, audio, owner, columns, checks):
    drop_checks(owner, "processing_jobs")
    bad = enqueue(db, audio, "poison", priority=9, **columns)
    good = enqueue(db, audio, "transcribe")
    column = next(iter(columns))
    if checks == "not valid":
        function = "readable_json_1({}, 1048576)" if column in {"payload", "result"} else "readable_time_1({})"
        restore_checks(owner, "processing_jobs", (column, function.format(column)))

    with db.session(actor="transcriber") as session:
        assert work.claim(session, "poison", "transcribe").id == good
        assert work.claim(session, "poison", "transcribe") is None
    with db.session(actor="alice") as session:
        state, message = session.execute(
            select(ProcessingJob.state, ProcessingJob.error_message).where(ProcessingJob.id == bad)
        ).one()
        assert state == "failed"
        assert column in message
    with db.session(actor="root") as session:
        (failed,) = [entry for entry in activity.feed(session, type="job.failed") if entry.entity_id == bad]
        assert column in failed.detail["error"]


@pytest.fixture
def other(db, make_audio):
    with db.session(actor="alice") as session:
        return make_audio(session, cases.open_case(session, title="Other"))


@pytest.mark.parametrize(
    "damage", [("recorded_at", True), ("recorded_at", False), ("created_at", True)], ids=lambda damage: str(damage)
)
def test_a_job_of_a_recording_that_cannot_be_read_fails(db, audio, other, owner, damage):
    column, has_checks = damage
    enqueue(db, audio, "transcribe", priority=9)
    good = enqueue(db, other, "transcribe")
    drop_checks(owner, "audio_files")
    with owner.begin() as connection:
        connection.execute(text("ALTER TABLE audio_files DISABLE TRIGGER touch"))
        connection.execute(text(f"UPDATE audio_files SET {column} = '20000-01-01' WHERE id = :id"), {"id": audio.id})
        connection.execute(text("ALTER TABLE audio_files ENABLE TRIGGER touch"))
    if has_checks:
        restore_checks(owner, "audio_files", (column, f"readable_time_1({column})"))

    with db.session(actor="transcriber") as session:
        assert work.claim(session, "transcribe").id == good
    with db.session(actor="alice") as session:
        messages = session.scalars(select(ProcessingJob.error_message).where(ProcessingJob.state == "failed")).all()
        assert len(messages) == 1
        assert f"audio_files.{column}" in messages[0]


def test_an_expired_job_that_cannot_be_read_does_not_stop_claims(db, audio, owner):
    drop_checks(owner, "processing_jobs")
    bad = enqueue(db, audio, "transcribe", payload=DOCUMENTS["5000 digits"], max_attempts=1)
    good = enqueue(db, audio, "analyse")
    with owner.begin() as connection:
        connection.execute(
            text(
                "UPDATE processing_jobs SET state = 'running', attempts = 1, lease = 1, leased_by_id = 1,"
                " lease_expires_at = now() - interval '1 second' WHERE id = :id"
            ),
            {"id": bad},
        )
    restore_checks(owner, "processing_jobs", ("payload", "readable_json_1(payload, 1048576)"))

    with db.session(actor="transcriber") as session:
        assert work.claim(session, "transcribe", "analyse").id == good
    with owner.connect() as connection:
        state = connection.scalar(text("SELECT state FROM processing_jobs WHERE id = :id"), {"id": bad})
    assert state == "failed"


def test_counters_at_the_limit_of_bigint_do_not_stop_claims(db, audio, owner):
    bad = enqueue(db, audio, "transcribe", priority=9)
    good = enqueue(db, audio, "analyse")
    with owner.begin() as connection:
        connection.execute(text("UPDATE processing_jobs SET lease = 9223372036854775807 WHERE id = :id"), {"id": bad})

    with db.session(actor="transcriber") as session:
        assert work.claim(session, "transcribe", "analyse").id == good
    with db.session(actor="alice") as session:
        failed = session.get(ProcessingJob, bad)
        assert (failed.state, "out of range" in failed.error_message) == ("failed", True)


@pytest.mark.parametrize("seconds", [None, -(2**31), 2**31 - 1])
def test_leases_and_delays_of_any_number_are_accepted(db, audio, seconds):
    enqueue(db, audio, "transcribe")
    with db.session(actor="transcriber") as session:
        claimed = session.scalar(text("SELECT claim_job('{transcribe}', NULL, CAST(:s AS integer))"), {"s": seconds})
        lease = session.scalar(text("SELECT lease FROM processing_jobs WHERE id = :id"), {"id": claimed})
        if seconds == 2**31 - 1:
            failing = text("SELECT fail_job(:id, :lease, NULL, true, CAST(:s AS integer))")
            assert session.scalar(failing, {"id": claimed, "lease": lease, "s": seconds}) == "queued"
    with db.session(actor="alice") as session:
        assert session.get(ProcessingJob, claimed) is not None


def test_the_feed_names_an_entry_that_cannot_be_read_and_shows_the_others(db, audio, owner, caplog):
    drop_checks(owner, "activity_logs")
    with db.session(actor="alice") as session:
        before = activity.record(session, "case.opened", case=audio.case_id, detail={"title": "before"})
    with owner.begin() as connection:
        bad = connection.scalar(
            text(
                "SELECT append_activity('case.opened', 'event', NULL, 'mallory', CAST(:case AS bigint), NULL, NULL,"
                " NULL, CAST(:detail AS jsonb), NULL)"
            ),
            {"case": audio.case_id, "detail": DOCUMENTS["2000 lists"]},
        )
    with db.session(actor="alice") as session:
        after = activity.record(session, "case.opened", case=audio.case_id, detail={"title": "after"})
    with db.session(actor="root") as session, caplog.at_level(logging.WARNING):
        entries = activity.feed(session, type="case.opened")
        assert [entry.id for entry in entries][-3:] == [before, bad, after]
        assert entries[-2].detail == {
            "unreadable": f"activity_logs {bad} has a value that cannot be read: new; correct it as the owner"
        }
        assert "cannot be read" in str(entries[-2])
    assert f"activity_logs {bad} has a value that cannot be read: new" in caplog.text
    with owner.connect() as connection:
        assert connection.scalar(select(ActivityLog.id).where(ActivityLog.id == bad)) == bad
