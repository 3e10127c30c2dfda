"""Attack cases 36-40: hostile keys, filters, limits, reasons and documents.

The package has no sort parameter and no filter language; the attack surface is the parameters of the services and the
names that they look up. The numbers are those of the list of attack cases.
"""

from __future__ import annotations

import json
import time
import unicodedata

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError, InvalidRequestError

from src.database import ActivityLog, AudioFile, Case, User
from src.database.connection.actor_tokens import Actor
from src.errors import Forbidden, InvalidInput, NotFound, SpeechError
from src.services import accounts, activity, analyses, cases, search, transcripts, work
from tests.security.population import core, refused

INJECTIONS = (
    "id;drop table cases", "(select password_hash from users)", "pg_sleep(10)", "nosuchcolumn", "username",
    "participants", "password_hash",
    "__class__", "' OR '1'='1", "%", "_", "a%", "\\", "--", "/* x */", "$1", "%(x)s", ":x",
    "\u202eeniacoc", "(a+)+$", "a & | ! (",
)  # fmt: skip


@pytest.mark.parametrize("name", INJECTIONS)
def test_case_36_a_name_is_looked_up_and_never_executed(unchanged, name):
    """As a code, kind, role, language, priority or user: an error without delay, and unchanged tables."""
    start = time.perf_counter()
    with unchanged.db.session(actor="alice") as session:
        case = session.get(Case, unchanged.case_of["alice"])
        for call in (
            lambda: cases.get_case(session, name),
            lambda: accounts.find_user(session, f"{name}!"),
            lambda: cases.open_case(session, title="x", priority=name),
            lambda: cases.add_participant(session, case, "bob", role=name),
            lambda: activity.record(session, name),
            lambda: accounts.create_user(session, username="x", role=name),
            lambda: transcripts.latest(session, AudioFile(id=unchanged.audio_of["alice"]), language=name),
        ):
            with pytest.raises((NotFound, InvalidInput)):
                call()
        assert activity.feed(session, type=name) == []
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize("actor", ["alice", "root"])
def test_case_36_private_columns_cannot_be_used_to_sort_or_filter(shared, actor):
    """The order of hashes would reveal them; more ways to reference the column: test_credentials.py."""
    with core(shared.db, Actor(actor)) as connection:
        for query in (
            "SELECT id FROM users ORDER BY password_hash",
            "SELECT id FROM users ORDER BY users",
            "SELECT id FROM users u WHERE u.password_hash > 'b'",
            "SELECT rank() OVER (ORDER BY password_hash) FROM users",
            "SELECT max(password_hash) FROM users",
            "SELECT id FROM users GROUP BY password_hash, id",
        ):
            assert refused(connection, query), query
    hashed = User.__table__.c.password_hash
    for query in (select(User).order_by(hashed), select(User.id).where(hashed.like("%"))):
        with pytest.raises(Forbidden), shared.db.session(actor=actor) as session:
            session.scalars(query).all()


@pytest.mark.parametrize("key", ["__class__", "password_hash__gt", "metadata", "username; drop"])
def test_case_37_an_unknown_filter_key_finds_nothing(shared, key):
    with shared.db.session(actor="alice") as session:
        try:
            found = session.scalars(select(Case).filter_by(**{key: "x"})).all()
        except InvalidRequestError:
            return
    assert found == [], "an attribute of the class that is not a column equals nothing"


@pytest.mark.parametrize("query", [
    "%", "_", "(a+)+$" * 100, "&", "!", "a & ", "<->", ":*", "'", "\\", '"', "\u202eterces", "\u200f", "é" * 1000,
    "😀" * 900,
    "OR", "- -", "()" * 500, " ", "",
])  # fmt: skip
def test_case_37_no_query_breaks_search_or_finds_more(shared, query):
    """Wildcards, catastrophic expressions, tsquery syntax, direction marks; arbitrary text: test_transcripts.py."""
    start = time.perf_counter()
    with shared.db.session(actor="alice") as session:
        assert {hit.case_id for hit in search.transcripts(session, query)} <= {shared.case_of["alice"]}
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize("value", ["a\0b", "\ud800", "x\udfff"])
def test_case_37_a_nul_or_an_unpaired_surrogate_raises_invalid_input(unchanged, value):
    calls = (
        lambda s: search.transcripts(s, value),
        lambda s: cases.get_case(s, value),
        lambda s: accounts.find_user(s, value),
        lambda s: cases.open_case(s, title=value),
        lambda s: cases.add_note(s, s.get(Case, unchanged.case_of["alice"]), value),
        lambda s: activity.feed(s, type=value),
        lambda s: activity.record(s, "note", detail={"said": value}),
        lambda s: work.claim(s, value),
    )
    for number, call in enumerate(calls):
        actor = "transcriber" if number == len(calls) - 1 else "alice"
        with pytest.raises(InvalidInput), unchanged.db.session(actor=actor) as session:
            call(session)


def test_case_37_a_query_of_a_megabyte_is_rejected(shared):
    with shared.db.session(actor="alice") as session:
        for query in ("x" * 1_000_000, "x " * 501, "\u202e" * 1001):
            with pytest.raises(InvalidInput, match="1000"):
                search.transcripts(session, query)
        with pytest.raises(NotFound):
            cases.get_case(session, "x" * 1_000_000)


@pytest.mark.parametrize("limit", [-1, 0, 10**12, 2**63, float("nan"), float("inf"), "10; --", None, [1]])
def test_case_38_an_invalid_limit_is_rejected_before_any_query(shared, limit):
    with shared.db.session(actor="alice") as session:
        for ask in (lambda: activity.feed(session, limit=limit), lambda: search.transcripts(session, "x", limit=limit)):
            with pytest.raises((InvalidInput, TypeError)):
                ask()
    with pytest.raises((InvalidInput, TypeError)), shared.db.session(actor="transcriber") as session:
        work.claim(session, "transcribe", lease_seconds=limit)


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**30])
def test_case_38_a_number_out_of_range_raises_our_own_error(shared, number):
    for ask in (
        lambda s: s.execute(text("SELECT id FROM cases ORDER BY id OFFSET CAST(:n AS bigint)"), {"n": number}),
        lambda s: s.execute(
            text("SELECT * FROM search_page('x', jsonb_build_object('cases', ARRAY[CAST(:n AS bigint)]))"),
            {"n": number},
        ),
        lambda s: activity.record(s, "note", case=number),
    ):
        with pytest.raises((InvalidInput, NotFound)), shared.db.session(actor="alice") as session:
            ask(session)


def test_case_38_a_cursor_of_another_session_does_not_exist(shared):
    """Cursors belong to a transaction: a foreign or invented name is unknown."""
    with core(shared.db, Actor("bob")) as other, core(shared.db, Actor("alice")) as connection:
        other.execute(text("DECLARE page CURSOR FOR SELECT * FROM cases"))
        for name in ("page", '"page; --"', "held"):
            with pytest.raises(DBAPIError, match="does not exist"), connection.begin_nested():
                connection.execute(text(f"FETCH ALL FROM {name}"))


REASONS = (
    "O'Brien said \"so\"", "line one\nactor=root did: delete\r\n", "tab\tbell\x07 escape\x1b[31m", "理由 😀 \u202e",
    "'; DROP",
    "%s %(x)s :x $1 {0} \\", "x" * 2000,
)  # fmt: skip


@pytest.mark.parametrize("reason", REASONS)
def test_case_39_a_reason_is_stored_unchanged_and_injects_nothing(lasting, reason):
    with lasting.db.session(actor="alice", reason=reason, request_id="R'4\"7%s") as session:
        session.execute(text("UPDATE cases SET description = description || '.'"))
    with lasting.owner.connect() as connection:
        newest = connection.execute(select(ActivityLog.actor, ActivityLog.reason, ActivityLog.request_id).order_by(
            ActivityLog.id.desc()).limit(1)).one()  # fmt: skip
    assert tuple(newest) == ("alice", reason, "R'4\"7%s")


@pytest.mark.parametrize("values", [
    {"reason": "x" * 1_000_000}, {"reason": "\0"}, {"reason": "\ud800"}, {"request_id": "one\ntwo"},
    {"request_id": "x" * 1_000_000}, {"request_id": "\x1b[31m"}, {"request_id": "\u202e"}, {"actor": "alice\nroot"},
    {"actor": "x" * 1_000_000},
])  # fmt: skip
def test_case_39_values_with_line_breaks_or_controls_are_rejected(shared, values, caplog):
    with pytest.raises(InvalidInput), shared.db.session(**{"actor": "alice", **values}):
        pytest.fail("the session opened")
    assert caplog.text == ""


@pytest.mark.parametrize("name", ["O'Brien", 'Robert"); DROP TABLE users', "%s", "a\\b", "名前", ":name", "$$", "null"])
def test_case_39_a_name_with_quotes_is_stored_as_a_name(lasting, name):
    with lasting.db.session(actor="root") as session:
        accounts.create_user(session, username=name)
    with lasting.db.session(actor=name, reason="because") as session:
        case = cases.open_case(session, title=f"Of {name}")
        assert session.scalar(text("SELECT actor_name()")) == name
        assert session.scalars(select(Case.id)).all() == [case.id]
        assert {entry.actor for entry in activity.feed(session, changes=True)} == {name}


def nested(depth):
    document = {}
    for _ in range(depth):
        document = {"a": document}
    return document


def test_case_40_ten_thousand_keys_and_odd_names_are_stored_unchanged(lasting):
    wide = {f"key {number}": number for number in range(10_000)}
    deep = nested(31)  # the limit is 32 levels
    composed, decomposed = unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é")
    lookalikes = {composed: 1, decomposed: 2, "A": 3, "a": 4, "": 5, "__proto__": {"x": 1}}
    with lasting.db.session(actor="alice") as session:
        audio = session.get(AudioFile, lasting.audio_of["alice"])
        stored = [analyses.add(session, audio, details=details).id for details in (wide, deep, lookalikes)]
    with lasting.db.session(actor="alice") as session:
        assert [session.get(analyses.AnalysisResult, number).details for number in stored] == [wide, deep, lookalikes]
        logged = session.scalar(
            text("SELECT new -> 'details' FROM activity_logs WHERE entity = 'analysis_results' AND entity_id = :id"
                 " AND operation = 'insert'"), {"id": stored[2]}
        )  # fmt: skip
    assert logged == lookalikes


@pytest.mark.parametrize("document", [
    {"x": float("nan")}, {"x": float("inf")}, {"x": "\0"}, {"x": "\ud800"}, {"\0": 1}, {"x": b"bytes"}, {"x": {1, 2}},
], ids=repr)  # fmt: skip
def test_case_40_values_that_are_not_json_raise_invalid_input(unchanged, document):
    with pytest.raises(InvalidInput), unchanged.db.session(actor="alice") as session:
        analyses.add(session, session.get(AudioFile, unchanged.audio_of["alice"]), details=document)


@pytest.mark.parametrize("raw", [False, True])
def test_case_40_a_document_that_is_too_deep_raises_an_error(unchanged, raw):
    with pytest.raises(SpeechError), unchanged.db.session(actor="alice") as session:
        if raw:
            document = '{"a":' * 50_000 + "1" + "}" * 50_000
            session.execute(
                text("SELECT record_activity('note', NULL, NULL, NULL, CAST(:d AS jsonb))"), {"d": document}
            )
        else:
            analyses.add(session, session.get(AudioFile, unchanged.audio_of["alice"]), details=nested(50_000))


def test_case_40_the_last_of_equal_keys_is_kept(lasting):
    """1 and "1" are the same key in JSON; of duplicate keys, the last one is kept, as in other JSON parsers."""
    with lasting.db.session(actor="alice") as session:
        audio = session.get(AudioFile, lasting.audio_of["alice"])
        stored = analyses.add(session, audio, details={1: "number", "1": "text"}).id
    with lasting.db.session(actor="alice") as session:
        assert session.get(analyses.AnalysisResult, stored).details == {"1": "text"}
        assert session.scalar(text('SELECT \'{"a": 1, "a": 2}\'::jsonb')) == json.loads('{"a": 1, "a": 2}')
