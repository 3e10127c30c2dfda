"""Values that drivers cannot read are refused in every column, for members and in details of events."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from src.errors import InvalidInput
from src.services import activity, cases, history
from tests.security.unreadable import DOCUMENTS, enqueue

TIMES = ["20000-01-01", "9000-01-01 00:00+00", "0999-12-31 23:59+00", "0044-03-15 BC", "infinity", "-infinity"]
each_document = pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)


@pytest.fixture
def audio(db, make_audio):
    with db.session(actor="alice") as session:
        return make_audio(session, cases.open_case(session, title="Attack"))


def test_no_time_document_date_or_list_of_the_database_is_without_a_check(owner):
    with owner.begin() as connection:
        unlimited = connection.execute(
            text(
                "SELECT c.relname, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
                " JOIN pg_type t ON t.oid = a.atttypid"
                " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND a.attnum > 0"
                " AND NOT a.attisdropped AND c.relname <> ALL (ARRAY['alembic_version', 'case_accesses'])"
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
        "UPDATE case_participants SET expires_at = CAST(:moment AS timestamptz)",
    ):
        with (
            pytest.raises(InvalidInput, match=r"outside its limits|at least one owner"),
            db.session(actor="alice") as s,
        ):
            s.execute(text(statement), {"moment": moment})
    # Other moments of these tables are set by the server.
    with pytest.raises(InvalidInput, match="run_after_range"):
        enqueue(db, audio, "transcribe", run_after=moment)


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


def test_sentences_of_the_log_contain_no_control_or_direction_characters(db):
    title, reason = "\x1b[2Jcase\nroot deleted everything", "\u202egnirts\x07"
    with db.session(actor="alice", reason=reason) as session:
        case = cases.open_case(session, title=title)
        sentences = [str(entry) for entry in activity.feed(session, case=case)]
        sentences += [str(version) for version in history.versions(session, case)]
    assert sentences[0].endswith("case \\x1b[2Jcase\\nroot deleted everything: \\u202egnirts\\x07")
    assert all(sentence.isprintable() for sentence in sentences)
