"""Sessions without an actor, with an unknown or an inactive one can neither read nor write."""

from __future__ import annotations

import io
import logging

import pytest
from sqlalchemy import func, select, text

from src.database import Case, Database
from src.database.connection.actor_tokens import Actor, SigningKey
from src.errors import Forbidden, InvalidInput, NotFound, NotSignedIn, SpeechError
from src.services import accounts, activity, analyses, cases, recordings, search, transcripts, work
from tests.security.population import (
    ALL_TABLES,
    HIDDEN_TABLES,
    MODELS,
    NOBODIES,
    backend_of,
    core,
    insert_statement,
    rows_written_by,
)

# Tables with columns that the role may not select: `*` would raise an error instead of returning no rows.
READABLE = {"users": "id, username, full_name"}
nobodies = pytest.mark.parametrize("name", NOBODIES.values(), ids=NOBODIES)


@nobodies
def test_every_table_is_empty_for_every_way_of_reading(shared, name):
    with core(shared.db, Actor(name)) as connection:
        driver = connection.connection.dbapi_connection
        for table in ALL_TABLES:
            columns = READABLE.get(table, "*")
            if table in HIDDEN_TABLES:
                with pytest.raises(Exception, match="permission denied"), connection.begin_nested():
                    connection.execute(text(f"SELECT * FROM {table}"))
                continue
            assert connection.scalar(text(f"SELECT count(*) FROM {table}")) == 0, table
            assert connection.scalar(text(f"SELECT EXISTS (SELECT FROM public.{table})")) is False, table
            assert connection.execute(select(MODELS[table].id)).all() == [], table
            streamed = connection.execute(
                text(f"SELECT {columns} FROM {table}"), execution_options={"stream_results": True}
            )
            assert streamed.fetchall() == [], table
            with driver.cursor(name="server_side") as cursor:
                cursor.execute(f"SELECT {columns} FROM {table}")
                assert cursor.fetchall() == [], table
            copied = io.StringIO()
            with driver.cursor() as cursor:
                cursor.copy_expert(f"COPY (SELECT {columns} FROM {table}) TO STDOUT", copied)
                if table not in READABLE:
                    cursor.copy_expert(f"COPY public.{table} TO STDOUT", copied)
            assert copied.getvalue() == "", table


@nobodies
def test_the_orm_finds_nothing(shared, name):
    with shared.db.session(actor=name, required=False) as session:
        for table, model in MODELS.items():
            if table not in HIDDEN_TABLES:
                assert session.scalars(select(model)).all() == [], table
        assert session.get(Case, shared.case_of["alice"]) is None


@nobodies
def test_every_insert_is_rejected(unchanged, name):
    rows = rows_written_by(unchanged, "alice", unchanged.case_of["alice"])
    assert set(rows) == set(ALL_TABLES)
    for table, values in rows.items():
        with (
            pytest.raises((Forbidden, SpeechError)) as caught,
            unchanged.db.session(actor=name, required=False) as session,
        ):
            session.execute(*insert_statement(table, values))
        # Rejected for lack of permission, not for invalid values; except that an object must be announced first.
        refused_earlier = table == "audio_files" and "path_fkey" in str(caught.value)
        assert isinstance(caught.value, Forbidden) or refused_earlier, (table, caught.value)


@nobodies
def test_updates_and_deletes_affect_no_rows(unchanged, name):
    for table in ALL_TABLES:
        for statement in (f"UPDATE {table} SET id = id", f"DELETE FROM {table}", f"TRUNCATE {table} CASCADE"):
            try:
                with unchanged.db.session(actor=name, required=False) as session:
                    assert session.execute(text(statement)).rowcount == 0, statement
            except Forbidden:
                continue


@nobodies
def test_writes_allowed_by_a_grant_affect_no_rows(unchanged, name):
    with unchanged.db.session(actor=name, required=False) as session:
        assert session.execute(text("UPDATE cases SET title = 'x'")).rowcount == 0
        assert session.execute(text("DELETE FROM cases")).rowcount == 0
        assert session.execute(text("UPDATE users SET full_name = 'x'")).rowcount == 0
        assert session.execute(text("SELECT id FROM cases FOR UPDATE")).all() == []


@nobodies
def test_services_raise_forbidden_with_a_clear_message(unchanged, name, tone):
    sentence = "no actor" if name is None else "No active user is named"
    with unchanged.db.session(actor="alice") as session:
        case = session.get(Case, unchanged.case_of["alice"])
        audio = session.get(MODELS["audio_files"], unchanged.audio_of["alice"])
        alice = accounts.find_user(session, "alice")
        hold = session.scalars(select(MODELS["legal_holds"])).one()
        # Loading one would be a read of alice, in the access log.
        first = session.scalars(select(MODELS["transcriptions"].id).limit(1)).one()
        transcription = MODELS["transcriptions"](id=first)
    calls = {
        "open_case": lambda s: cases.open_case(s, title="x"),
        "close": lambda s: cases.close(s, case),
        "add_participant": lambda s: cases.add_participant(s, case, alice),
        "remove_participant": lambda s: cases.remove_participant(s, case, alice),
        "add_note": lambda s: cases.add_note(s, case, "x"),
        "place_hold": lambda s: cases.place_hold(s, case, reason="x"),
        "release_hold": lambda s: cases.release_hold(s, hold, reason="x"),
        "ingest": lambda s: recordings.ingest(s, case, tone, name="a.wav"),
        "open": lambda s: recordings.open(s, audio),
        "add": lambda s: transcripts.add(s, audio, []),
        "accept": lambda s: transcripts.accept(s, transcription),
        "analyse": lambda s: analyses.add(s, audio, summary="x"),
        "enqueue": lambda s: work.enqueue(s, audio, kind="transcribe"),
        "search": lambda s: search.transcripts(s, "common"),
        "create_user": lambda s: accounts.create_user(s, username="x"),
        "change_password": lambda s: accounts.change_password(s, alice, "a new password"),
    }
    for called, call in calls.items():
        with pytest.raises(Forbidden) as caught, unchanged.db.session(actor=name, required=False) as session:
            call(session)
        assert sentence in str(caught.value), (called, str(caught.value))
    with unchanged.db.session(actor=name, required=False) as session:
        assert activity.feed(session, changes=True) == []
        assert transcripts.latest(session, audio) is None
        with pytest.raises(NotFound):
            cases.get_case(session, "CASE-ALICE")


@pytest.mark.parametrize("name", ["mallory", "dormant"])
def test_an_unknown_or_inactive_actor_is_logged_as_a_warning(shared, name, caplog):
    with (
        caplog.at_level(logging.WARNING, logger="src.database"),
        shared.db.session(actor=name, required=False) as session,
    ):
        session.execute(select(1))
    assert [record.getMessage() for record in caplog.records] == [
        (
            f"No active user is named {name!r}; correct the name, or ask an administrator to create the user."
            " This session reads no rows."
        )
    ]


@pytest.mark.parametrize("name", [name for name in NOBODIES.values() if name is not None])
def test_a_session_for_an_unknown_or_inactive_actor_is_refused(shared, name):
    with pytest.raises(NotSignedIn, match="No active user is named") as caught, shared.db.session(actor=name):
        pytest.fail("the session opened")
    assert repr(name) in str(caught.value)
    with pytest.raises(NotSignedIn):
        shared.db.run(lambda session: pytest.fail("the session opened"), actor=name)


def test_a_key_of_another_database_is_named(shared):
    key = SigningKey.generate(shared.db.signing_key.id)
    with (
        Database(shared.db.engine.url, signing_key=key) as stranger,
        pytest.raises(NotSignedIn, match=r"does not know the signing key .*KEY_FILE") as caught,
        stranger.session(actor="alice"),
    ):
        pytest.fail("the session opened")
    assert str(shared.db.engine.url.database) in str(caught.value)


def test_a_session_without_an_actor_logs_no_warning(shared, caplog):
    with caplog.at_level(logging.WARNING, logger="src.database"), shared.db.session() as session:
        session.execute(select(1))
    assert not caplog.records


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"actor": "a\x00b"}, "actor"),
        ({"actor": "alice\nbob"}, "actor"),
        ({"actor": "x" * 65}, "actor"),
        ({"actor": 7}, "actor"),
        ({"actor": "\ud800"}, "actor"),
        ({"actor": "alice", "reason": "x" * 2001}, "reason"),
        ({"actor": "alice", "reason": "a\x00"}, "reason"),
        ({"actor": "alice", "request_id": "one\ntwo"}, "request_id"),
        ({"actor": "alice", "request_id": "x" * 201}, "request_id"),
    ],
)
def test_invalid_actors_reasons_and_request_ids_are_rejected_before_a_transaction(shared, values, word):
    with pytest.raises(InvalidInput, match=word), shared.db.session(**values):
        pytest.fail("the session opened")


def test_a_name_with_the_token_separator_is_rejected_and_the_connection_stays_usable(shared):
    with pytest.raises(InvalidInput, match="'\\|'"), shared.db.session(actor="1|2") as session:
        session.execute(select(1))
    with shared.db.session(actor="alice") as session:
        assert len(session.scalars(select(Case)).all()) == 1


def test_a_deactivated_user_loses_access_in_a_running_transaction(populated):
    with populated.db.session(actor="alice") as session:
        assert session.scalar(select(func.count()).select_from(Case)) == 1
        with populated.owner.begin() as connection:
            connection.execute(text("UPDATE users SET is_active = false WHERE username = 'alice'"))
        assert session.scalar(select(func.count()).select_from(Case)) == 0
        assert backend_of(session)
