"""The attempts of an intruder: one function per kind, random and reproducible by its seed."""

from __future__ import annotations

from collections.abc import Callable

from psycopg2.extensions import connection as Driver  # noqa: N812 - a class with a lower-case name
from sqlalchemy import text

from src.database import Base
from src.database.connection.actor_tokens import Actor
from src.storage import keys
from tests.security.hostile import REFUSED, Intruder, masked
from tests.security.hostile_reading import (
    PRELUDES,
    bypass_db_session,
    column_of,
    create_temporary_objects,
    prepare,
    random_query,
    read,
    read_by_orm,
    read_the_catalog,
    read_with_the_driver,
)
from tests.security.hostile_services import MISSING, call_service, history, search_words
from tests.security.population import CASE_TABLES, backend_of, core, insert_statement, token_for


def call_functions(intruder: Intruder) -> None:
    """Call every function that the application may execute, with ids of the other case and with invalid values."""
    stage = intruder.stage
    name, types = intruder.pick(*stage.functions)
    number = intruder.pick(stage.other, stage.own, intruder.guess("processing_jobs"), intruder.guess("cases"), -1)
    values = {
        "bigint": number,
        "integer": intruder.pick(1, 60, 1000, -1),
        "text": intruder.pick("read", "common", "bobsecret", "english", "owner", "cases", "users", "note", "transcribe",
                              "write", "", "case_notes", "x' OR true --", keys.case_key(stage.other, "wav")),
        "jsonb": intruder.pick("{}", "[]", f'{{"cases": [{stage.other}], "versions": "all"}}',
                               f'[{{"type": "search.made", "case_id": {stage.other}}}]'),
        "text[]": intruder.pick("{transcribe}", "{}", "{analyse,export,common}"),
        "boolean": intruder.pick(True, False),
    }  # fmt: skip
    arguments = ", ".join(f"CAST(:a{index} AS {kind})" for index, kind in enumerate(types))
    with intruder.transaction() as connection:
        prepare(intruder, connection)
        given = {f"a{index}": values.get(kind) for index, kind in enumerate(types)}
        rows = intruder.ask(connection, f"SELECT * FROM public.{name}({arguments})", **given)
        if name == "actor_case_ids" and rows and stage.other in (rows[0][0] or ()):
            intruder.report("the other case is among the actor's cases")
        if name == "actor_case_flags" and rows and (rows[0][0] or [])[stage.other - 1 : stage.other] == [True]:
            intruder.report("the other case has a flag")
        asked = name in {"actor_may_in", "case_of_entries", "storage_usage"} and stage.other in given.values()
        if asked and rows and rows[0][0] not in (False, None):
            intruder.report(f"{name} answers for the other case")
        if name == "search_page":
            intruder.expect_nothing((row[0] in stage.rows["transcription_segments"],) for row in rows or ())


def use_stolen_proof(intruder: Intruder) -> None:
    """Use proofs of the owner of the other case: valid, of another backend, spliced, expired, for another purpose."""
    db, rng = intruder.stage.db, intruder.rng
    with core(db, Actor("bob")) as victim, intruder.transaction() as connection:
        proof = victim.scalar(text("SELECT current_setting('sti.actor')"))
        parts, mine = proof.split("|"), backend_of(connection)
        # An attempt before may have set anything.
        own = [*(connection.scalar(text("SELECT current_setting('sti.actor')")) or "").split("|"), *[""] * 6][:6]
        spliced = [rng.choice(pair) for pair in zip(parts, own, strict=True)]
        # A splice that equals the intruder's own or the victim's proof is not an attack.
        forged = [proof, "|".join(parts[:1] + own[1:]), "|".join([parts[0], str(mine), *parts[2:]]), proof[:-1] + "0",
                  "|".join([*own[:5], parts[5]]),
                  *(["|".join(spliced)] if spliced not in (parts, own) else [])]  # fmt: skip
        begun = [token_for(db, victim, "session", "bob"),
                 token_for(db, connection, "session", "bob", started=-1),
                 token_for(db, connection, "login", "bob")]  # fmt: skip
        begun.append(begun[0].replace(f"|{backend_of(victim)}|", f"|{mine}|"))
        for _ in range(3):
            if rng.random() < 0.5:
                intruder.ask(connection, "SELECT set_config('sti.actor', :p, :l)", p=rng.choice(forged),
                             l=rng.random() < 0.5)  # fmt: skip
            else:
                rows = intruder.ask(connection, "SELECT actor FROM public.begin_actor(:t, 'r', 'q')",
                                    t=rng.choice(begun))  # fmt: skip
                intruder.expect_nothing(rows or ())
            intruder.ask(connection, intruder.pick(*PRELUDES[:4]))
            intruder.ask(connection, random_query(intruder)[0])
        connection.get_transaction().rollback()


def write(intruder: Intruder) -> None:
    """Commit changes aimed at rows of the other case; run changes of all rows and roll them back."""
    stage, table = intruder.stage, intruder.pick(*CASE_TABLES)
    case, guess, other = column_of(table), intruder.guess(table), intruder.stage.other
    column = intruder.pick(*(c.name for c in Base.metadata.tables[table].columns if c.computed is None))
    with intruder.transaction() as connection:
        prepare(intruder, connection)
        aimed = (
            f"UPDATE public.{table} SET {column} = {column} WHERE {case} = {other}",
            f"UPDATE public.{table} SET {column} = DEFAULT WHERE id = {guess} AND {case} = {other}",
            f"UPDATE public.{table} SET {case} = {stage.own} WHERE {case} = {other}",
            f"DELETE FROM public.{table} WHERE {case} = {other}",
            f"DELETE FROM public.{table} t USING public.users u WHERE t.{case} = {other}",
            f"UPDATE public.{table} t SET {column} = t.{column} FROM public.users u WHERE t.{case} = {other}",
            f"UPDATE public.{table} SET {case} = {other}",
            f"INSERT INTO public.{table} ({case}) VALUES ({other})",
            f"TRUNCATE public.{table} CASCADE",
            f"MERGE INTO public.{table} t USING (VALUES ({other})) v (c) ON t.{case} = v.c WHEN MATCHED THEN DELETE",
        )
        if intruder.rng.random() < 0.25:
            statement, values = insert_statement(table, stage.forged[table])
            result = intruder.ask(connection, statement.text, **values)
        else:
            result = intruder.ask(connection, intruder.pick(*aimed))
        if result is not None and result[0][0] != 0 and table != "storage_objects":
            intruder.report(f"wrote into {table} of the other case")
        locked = intruder.ask(connection, f"SELECT id FROM public.{table} WHERE {case} = {other}"
                              f" FOR {intruder.pick('UPDATE', 'KEY SHARE', 'NO KEY UPDATE NOWAIT')}")  # fmt: skip
        intruder.expect_nothing(locked or ())
    with intruder.transaction() as connection:
        visible = intruder.ask(connection, f"SELECT count(*) FROM public.{table}")
        changed = intruder.ask(connection, intruder.pick(f"DELETE FROM public.{table}",
                               f"UPDATE public.{table} SET {column} = {column}"))  # fmt: skip
        if visible and changed and changed[0][0] > visible[0][0]:
            intruder.report(f"reached {changed[0][0]} rows of {table} and sees {visible[0][0]}")
        connection.get_transaction().rollback()


def probe_constraints(intruder: Intruder) -> None:
    """Probe foreign keys and unique keys: the answers for a missing and a forbidden parent must be equal."""
    own, other = intruder.stage.own, intruder.stage.other
    table, statement = intruder.pick(
        ("audio_files", "INSERT INTO processing_jobs (case_id, audio_file_id, kind) VALUES ({case}, {id}, 'probe')"),
        ("audio_files", ("INSERT INTO transcriptions (case_id, audio_file_id, language_id, version, content)"
                         " VALUES ({case}, {id}, 1, 77, 'x')")),
        ("audio_files", "INSERT INTO analysis_results (case_id, audio_file_id, version) VALUES ({case}, {id}, 77)"),
        ("transcriptions", ("INSERT INTO transcription_segments (case_id, transcription_id, position, text)"
                            " VALUES ({case}, {id}, 77, 'x')")),
        ("transcriptions", ("INSERT INTO transcription_sources (case_id, transcription_id, dialect, sha256, content)"
                            " VALUES ({case}, {id}, 'x', repeat('0', 64), '')")),
        ("cases", "INSERT INTO case_notes (case_id, body) VALUES ({id}, 'x')"),
        ("cases", "INSERT INTO legal_holds (case_id, reason) VALUES ({id}, 'x') ON CONFLICT DO NOTHING"),
        ("cases", "INSERT INTO case_participants (case_id, user_id, role) VALUES ({id}, 1, 'viewer')"),
        ("case_notes", "UPDATE case_notes SET body = 'x' WHERE id = {id}"),
        ("case_participants", "DELETE FROM case_participants WHERE id = {id}"),
        ("processing_jobs", "SELECT complete_job({id}, 1, '{{}}')"),
        ("processing_jobs", "SELECT extend_lease({id}, 1, 60)"),
        ("processing_jobs", "SELECT fail_job({id}, 1, 'x', true, 0)"),
        ("processing_jobs", "SELECT give_back_job({id}, 1, 'x', 0)"),
        ("audio_files", "SELECT place_recording({id}, 'x', 'y', 'memory', false, NULL)"),
        ("audio_files", "SELECT mark_deleted({id}, true)"),
        ("audio_files", "SELECT note_check({id}, 'x', 'lost')"),
        ("cases", "SELECT record_activity('note', {id}, NULL, NULL, '{{}}')"),
        ("audio_files", "SELECT record_activity('note', NULL, 'audio_files', {id}, '{{}}') > 0"),
        ("cases", "SELECT actor_may_in({id}, 'read')"),
        ("cases", "SELECT case_of_entries('cases', {id})"),
        ("cases", "SELECT * FROM storage_usage({id}::integer)"),
    )  # fmt: skip
    case = intruder.pick(own, other)
    answers = []
    for number in (intruder.guess(table), MISSING):
        sql = statement.format(case=MISSING if case == other and number == MISSING else case, id=number)
        with intruder.transaction() as connection:
            try:
                with connection.begin_nested():
                    result = connection.execute(text(sql))
                    answers.append(str(result.all() if result.returns_rows else result.rowcount))
            except REFUSED as error:
                intruder.check(error)
                answers.append(masked(str(error)))
            connection.get_transaction().rollback()
    if answers[0] != answers[1]:
        intruder.report(f"distinguishes forbidden from missing: {answers}")


def use_channels(intruder: Intruder) -> None:
    """Use what sessions share besides tables: LISTEN, NOTIFY, advisory locks, large objects."""
    with intruder.transaction() as connection:
        driver: Driver = connection.connection.dbapi_connection
        for statement in (
            intruder.pick("LISTEN cases", "LISTEN activity", "NOTIFY cases, 'x'", "SELECT pg_notify('cases', 'x')"),
            f"SELECT pg_try_advisory_xact_lock(hashtextextended('transcription {intruder.guess('audio_files')} 1', 0))",
            "SELECT * FROM pg_locks WHERE locktype = 'advisory'",
            intruder.pick("SELECT lo_from_bytea(0, 'mine')", "SELECT lo_get(oid) FROM pg_largeobject_metadata"),
            "SELECT * FROM pg_notification_queue_usage()",
        ):
            intruder.ask(connection, statement)
        driver.poll()
        intruder.check(*(f"{notice.channel} {notice.payload}" for notice in driver.notifies))
        driver.notifies.clear()
        connection.get_transaction().rollback()


KINDS: tuple[Callable[[Intruder], None], ...] = (
    read,
    read_with_the_driver,
    read_by_orm,
    create_temporary_objects,
    call_functions,
    read_the_catalog,
    use_stolen_proof,
    write,
    probe_constraints,
    bypass_db_session,
    use_channels,
    call_service,
    history,
    search_words,
)


def attempt(intruder: Intruder, kinds: tuple[Callable[[Intruder], None], ...] = KINDS) -> str:
    """Run one random attempt of these kinds and return its kind; findings are appended to `intruder.findings`."""
    kind = intruder.pick(*kinds)
    intruder.doing = kind.__name__
    try:
        kind(intruder)
    except REFUSED as error:
        intruder.check(error)
    return kind.__name__
