"""Cases 21 to 30, 45 and 46 of the list of attacks, each with a named test and a reference to further tests."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from src.database import Base, Case, CaseNote, Database, Transcription
from src.database.connection.actor_tokens import Actor
from src.database.connection.engine import PoolOptions, make_engine
from src.database.provisioning.comparison import compare
from src.database.provisioning.differences import Kind
from src.database.provisioning.logins import provide_logins
from src.database.provisioning.migrate import downgrade, upgrade
from src.database.schema import sql_files
from src.database.schema.creation import execute
from src.database.schema.revisions import BASELINE
from src.database.testing import logins
from src.errors import Conflict, Forbidden, NotFound
from src.services import activity, cases, history
from src.services.history.archive_checks import check_archives
from src.storage import MemoryStorage
from tests.migrations.conftest import contents, engine_of, finish, outside, programs_for, server_of_our_own, start
from tests.security.population import core
from tests.services.history import tampering
from tests.services.history.conftest import clock_moved, live, remove, revert, snapshot, versions_of

__all__ = ["server_of_our_own"]


@pytest.mark.parametrize("whom", ["alice sti_app", "alice sti_admin", "root sti_admin", "alice NONE"])
@pytest.mark.parametrize("kind", ["UPDATE {} SET created_at = now()", "DELETE FROM {}", "TRUNCATE {}",
                                  "INSERT INTO {} DEFAULT VALUES", "LOCK TABLE {} IN EXCLUSIVE MODE"])  # fmt: skip
def test_case_21_sessions_cannot_write_the_log_its_partitions_or_seals(shared_sealed, whom, kind):
    """See also tests/security/test_log.py. Sessions have no access to the file of the heads."""
    actor, role = whom.split()
    month = f"activity_logs_{datetime.now(UTC):%Y_%m}"
    for table in ("activity_logs", month, "activity_logs_default", "activity_seals", "activity_archives"):
        with (
            core(shared_sealed.db, Actor(actor), role) as connection,
            pytest.raises(DBAPIError) as caught,
            connection.begin_nested(),
        ):
            connection.execute(text(kind.format(f"public.{table}")))
        assert caught.value.orig.pgcode == "42501", table


def test_case_22_sessions_cannot_call_or_attach_functions_of_the_log(shared_sealed):
    """That the owner cannot attach them to other tables: tests/security/test_functions.py."""
    before = shared_sealed.verify().entries
    for attack in ("SELECT public.capture_change()", "SELECT public.write_baseline('cases', 1)",
                   "SELECT public.append_activity('row.insert','insert',1,'bob',1,'cases',1,NULL,'{}',NULL)",
                   "CREATE TEMP TABLE x (id int); CREATE TRIGGER t AFTER INSERT ON x EXECUTE FUNCTION capture_change()",
                   ):  # fmt: skip
        with pytest.raises(DBAPIError) as caught, core(shared_sealed.db, Actor("alice")) as connection:
            connection.execute(text(attack))
        assert caught.value.orig.pgcode in {"42501", "0A000"}, attack
    for kind in ("row.delete", "login.failed"):
        with pytest.raises(DBAPIError), core(shared_sealed.db, Actor("alice")) as connection:
            connection.execute(select(func.public.record_activity(kind, None, None, None, None)))
    assert shared_sealed.verify().entries == before


@pytest.mark.parametrize(("kind", "detail"), [("history.erased", {"entries": [1, 2, 3]}),
                                              ("history.archived", {"month": "2020-01-01"})])  # fmt: skip
def test_case_22_sessions_cannot_log_erasures_or_archiving(sealed, kind, detail):
    with pytest.raises(Exception, match="written by the database"), sealed.db.session(actor="alice") as session:
        activity.record(session, kind, detail=detail)


def test_case_22_malformed_entries_do_not_abort_the_verification(sealed):
    """Written as the owner, since sessions cannot write such entries."""
    forged = text(
        "SELECT append_activity(:kind, 'event', 1, 'x', NULL, NULL, NULL, NULL, CAST(:detail AS jsonb), NULL)"
    )
    with sealed.owner.begin() as connection:
        for kind in ("history.erased", "history.archived"):
            for detail in ({"entries": ["no number"]}, {"entries": 1}, {}, {"entries": {"a": []}, "month": 7}):
                connection.execute(forged, {"kind": kind, "detail": json.dumps(detail)})
    with Session(sealed.owner) as session:
        assert list(check_archives(session, sealed.db.storage)) == []
    assert sealed.verify().ok


def test_case_23_temporary_tables_of_the_same_names_have_no_effect(sealed):
    """See also tests/security/test_pooled_connections.py."""
    with core(sealed.db, Actor("alice")) as connection:
        for name in ("activity_logs", "activity_types", "cases"):
            connection.execute(text(f"CREATE TEMP TABLE {name} (LIKE public.{name}) ON COMMIT DROP"))
        connection.execute(text("SET LOCAL search_path = pg_temp, public"))
        connection.execute(text("UPDATE public.cases SET title = 'captured all the same'"))
        assert connection.scalar(text("SELECT count(*) FROM pg_temp.activity_logs")) == 0
    with sealed.db.session(actor="root") as session:
        session.execute(text("CREATE TEMP TABLE activity_logs (LIKE public.activity_logs) ON COMMIT DROP"))
        session.execute(text("SET LOCAL search_path = pg_temp, public"))
        assert len(history.seal(session, key=sealed.key, heads=sealed.heads)) == 1
    assert sealed.verify().ok


@pytest.mark.parametrize("attack", tampering.ALL, ids=lambda attack: attack.__name__)
def test_case_24_changes_by_the_owner_are_detected(shared_sealed, attack):
    """Random combinations: test_proof.py. A thousand random attacks: tests/torture/history.py."""
    assert (
        tampering.unnoticed(shared_sealed.owner, random.Random(24), [attack], shared_sealed.key, shared_sealed.heads)
        == []
    )


def test_case_24_an_old_backup_differs_from_the_exported_heads(sealed):
    """An old backup is the database without its newest seals and their entries."""
    with tampering.attack_transaction(sealed.owner, random.Random(1)) as (attack, session):
        attack.sql(
            "DELETE FROM activity_logs WHERE transaction_id >= (SELECT low_xid FROM activity_seals WHERE id = 3)"
        )
        attack.sql("DELETE FROM activity_seals WHERE id = 4")
        attack.sql("DELETE FROM activity_seals WHERE id = 3")
        found = history.verify(session, key=sealed.key, heads=sealed.heads, rows=False).findings
    assert [(finding.kind, finding.seal_id) for finding in found] == [("head", 3), ("head", 4)]


def test_case_25_hashes_do_not_depend_on_settings_or_unusual_values(sealed):
    """Numbers, emoji, a megabyte, NUL: test_proof.py. Order of keys: tests/security/test_capture.py."""
    with sealed.db.session(actor="alice") as session:
        for name, value in (("TimeZone", "America/St_Johns"), ("lc_numeric", "C"), ("lc_monetary", "C"),
                            ("DateStyle", "German"), ("extra_float_digits", "0")):  # fmt: skip
            session.execute(text(f"SET LOCAL {name} = '{value}'"))
        session.execute(text("UPDATE cases SET closed_at = now() + interval '1 microsecond', description = :odd"),
                        {"odd": "\u202e\U0001f600 \\u0000 \x7f"})  # fmt: skip
    sealed.seal()
    assert sealed.verify().ok


def test_case_26_savepoints_and_long_transactions_lose_no_entries(sealed):
    """Four writers, prepared transactions, a kill between seal and export: test_proof.py."""
    before = sealed.verify().entries
    with core(sealed.db, Actor("alice")) as slow:
        slow.execute(text("UPDATE cases SET title = 'slow'"))
        for _ in range(3):
            alice = sealed.db.engine.execution_options(actor=Actor("alice"))
            with alice.begin() as connection:
                with connection.begin_nested() as savepoint:
                    connection.execute(text("INSERT INTO case_notes (case_id, body) SELECT id, 'no' FROM cases"))
                    savepoint.rollback()
                connection.execute(text("INSERT INTO case_notes (case_id, body) SELECT id, 'yes' FROM cases"))
        sealed.seal()
    sealed.seal()
    report = sealed.verify()
    assert (report.ok, report.unsealed, report.entries - before) == (True, 0, 4 + 3 * 4)


def test_case_27_every_change_of_a_transaction_is_logged(sealed):
    """Updates, upserts, cascades, triggers, and changes without effect: tests/security/test_capture.py."""
    before = sealed.verify().entries
    with sealed.db.session(actor="alice") as session:
        many = (
            "INSERT INTO case_notes (case_id, body) SELECT min(c.id), n::text FROM cases c, generate_series(1, 5000) n"
        )
        session.execute(text(f"{many} GROUP BY n"))
        session.execute(text("UPDATE case_notes SET body = body"))
    sealed.seal()
    report = sealed.verify()
    assert (report.findings, report.entries - before) == ([], 5000)


def test_case_27_the_id_of_a_row_cannot_change(sealed):
    """As the owner: sessions have no UPDATE privilege on ids."""
    with pytest.raises(DBAPIError, match="the id of a row cannot change"), sealed.owner.begin() as connection:
        connection.execute(text("UPDATE case_notes SET id = id + 1000"))
    assert sealed.verify().findings == []


def test_case_28_a_missing_partition_is_detected(shared_sealed):
    """Archived months and the default partition: test_growth.py."""
    month = f"activity_logs_{datetime.now(UTC):%Y_%m}"
    with tampering.attack_transaction(shared_sealed.owner, random.Random(1)) as (attack, session):
        attack.sql(f"ALTER TABLE activity_logs DETACH PARTITION {month}")
        report = history.verify(session, key=shared_sealed.key, heads=shared_sealed.heads, rows=False)
    assert {finding.kind for finding in report.findings} == {"deleted"}
    assert len(report.findings) == shared_sealed.verify().entries


def test_case_28_a_corrected_clock_causes_no_finding(sealed):
    """A correction within the tolerance; the order of a row's entries is by id."""
    with clock_moved(sealed.owner, timedelta(seconds=30)):
        for _ in live(sealed.db, 1):
            pass
        sealed.seal()
    with sealed.db.session(actor="alice") as session:
        cases.open_case(session, title="after the correction")
    sealed.seal()
    assert sealed.verify().findings == []


def test_case_28_a_row_changed_before_and_after_a_clock_correction_causes_no_finding(sealed, case):
    with clock_moved(sealed.owner, timedelta(seconds=30)), sealed.db.session(actor="alice") as session:
        session.get(Case, case.id).title = "ahead"
    with sealed.db.session(actor="alice") as session:
        session.get(Case, case.id).title = "corrected"
    assert sealed.verify().findings == []


def test_case_29_erased_payloads_are_removed_and_seals_still_verify(sealed):
    """Erasing in archives: test_growth.py."""
    with sealed.db.session(actor="alice", reason="erase me") as session:
        case = cases.open_case(session, title="Xenophon", description="Xenophon")
        cases.add_note(session, case, "Xenophon")
        session.flush()
        session.delete(case)
    sealed.seal()
    with sealed.db.session(actor="root") as session:
        hold = cases.place_hold(session, session.get(Case, 1), reason="order")
        assert history.erase(session, case=case.id, reason="a request") > 3
    with pytest.raises(Conflict), sealed.db.session(actor="root") as session:
        history.erase(session, case=hold.case_id, reason="a request")
    sealed.seal()
    report = sealed.verify()
    assert report.findings == []
    with sealed.owner.connect() as connection:
        for table in Base.metadata.tables:
            query = text(f"SELECT count(*) FROM public.{table} t WHERE t::text LIKE '%Xenophon%'")
            assert connection.scalar(query) == 0, table
    with sealed.db.session(actor="root") as session:
        (entry,) = activity.feed(session, type="history.erased")
    assert (entry.actor, entry.reason) == ("root", "a request")


def test_case_30_boundaries_of_snapshots_and_permission_to_revert(db, case, note):
    """Parents, columns, concurrent changes, open transactions: test_past.py and test_going_back.py."""
    first, tick = versions_of(db, case)[-1], timedelta(microseconds=1)
    with pytest.raises(NotFound):
        snapshot(db, Case, case.id, first.at - tick)
    assert snapshot(db, Case, case.id, first.at).title == "T0"
    remove(db, note)
    with pytest.raises(NotFound):
        snapshot(db, CaseNote, note.id, versions_of(db, note)[0].at)
    with db.session(actor="alice") as session:
        cases.add_participant(session, case, "bob", role="viewer")
    with pytest.raises(Forbidden):
        revert(db, (Case, case.id), first, actor="bob")


def test_case_45_downgrade_and_upgrade_keep_every_entry(sealed):
    """Downgrade to the baseline revision and upgrade again."""
    sealed.db.close()
    before = versions_of(sealed.db, (Case, 1))
    sealed.db.close()
    sealed.owner.dispose()
    downgrade(sealed.owner.url, BASELINE)
    upgrade(sealed.owner.url)
    with sealed.owner.connect() as connection:
        assert compare(connection) == []
    assert [v.values for v in versions_of(sealed.db, (Case, 1))] == [v.values for v in before]
    assert sealed.verify().findings == []
    for _ in live(sealed.db, 1):
        pass
    assert sealed.seal() == [5]
    assert sealed.verify().ok


def test_case_46_a_restored_dump_verifies_and_is_sealed_in_a_new_cluster(
    sealed, speech_server, server_of_our_own, tmp_path
):
    source = sealed.owner.url
    for _ in live(sealed.db, 1):
        pass
    sealed.db.close()
    binaries = programs_for(source)
    file = tmp_path / "backup.dump"
    finish(start(binaries / "pg_dump", "-Fc", "-f", file, environment=outside(source), folder=tmp_path))
    with engine_of(server_of_our_own) as engine, engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql("CREATE DATABASE restored")
    target = server_of_our_own.set(database="restored")
    with engine_of(target) as engine, engine.begin() as connection:
        execute(connection, sql_files.roles())
    restore = [binaries / "pg_restore", "--exit-on-error", "--dbname", "restored", file]
    finish(start(*restore, environment=outside(target), folder=tmp_path))
    with sealed.owner.connect() as connection:
        rows = contents(connection)
    owner = make_engine(target, PoolOptions(size=2))
    with owner.begin() as connection:
        assert contents(connection) == rows, "an entry is missing or duplicated"
        # A dump has no statistics targets of the indexes of constraints; init_db sets them.
        assert [found for found in compare(connection) if found.kind != Kind.STATISTICS] == []
        keys = provide_logins(connection, tmp_path / "new.json", *logins("restored"))
    with Session(owner) as session:
        report = history.verify(session, key=sealed.key, heads=sealed.heads)
    assert report.findings == []
    assert report.unsealed > 0, "entries that were not sealed when the dump was made"

    serving = target.set(username=keys.login, password=keys.password)
    admin_url = target.set(username=keys.admin_login, password=keys.admin_password)
    with Database(serving, signing_key=keys.signing_key, admin_url=admin_url, storage=MemoryStorage()) as db:
        with db.session(actor="alice") as session:
            assert history.versions(session, (Case, 1))[-1].operation == "insert"
            transcription = session.scalars(select(Transcription.id)).first()
            assert history.as_of(session, Transcription, transcription, datetime.now(UTC)).version == 1
        for _ in live(db, 1):
            with db.session(actor="root") as session:
                seals = history.seal(session, key=sealed.key, heads=sealed.heads)
        assert [seal.id for seal in seals] == [5, 6]
        assert len({seal.epoch for seal in seals}) == 2, "one epoch of the dump, one of the new cluster"
        with Session(owner) as session:
            report = history.verify(session, key=sealed.key, heads=sealed.heads)
        assert (report.findings, report.unsealed) == ([], 0)
        with owner.begin() as connection:
            connection.execute(text("ALTER TABLE activity_logs DISABLE TRIGGER USER"))
            victims = connection.scalars(text("DELETE FROM activity_logs WHERE id % 20 = 0 RETURNING id")).all()
        with Session(owner) as session:
            found = history.verify(session, key=sealed.key, heads=sealed.heads, rows=False).findings
        assert {(finding.kind, finding.entry_id) for finding in found} == {("deleted", victim) for victim in victims}
    owner.dispose()


def test_case_46_sealing_continues_after_a_seal_in_another_cluster(sealed):
    """Simulates a seal in another cluster: its seal of this epoch ends at the highest transaction id."""
    with sealed.owner.begin() as connection:
        original = [connection.scalar(text(f"SELECT pg_get_functiondef('public.{name}'::regproc)"))
                 for name in ("begin_seal", "append_seal")]  # fmt: skip
        for definition in original:
            other_cluster = definition.replace("SELECT system_identifier FROM pg_control_system()", "SELECT 7::bigint")
            assert other_cluster != definition
            connection.exec_driver_sql(other_cluster.replace("%", "%%"))
    for _ in live(sealed.db, 1):
        sealed.seal()
    with sealed.owner.begin() as connection:
        for definition in original:
            connection.exec_driver_sql(definition.replace("%", "%%"))
    for _ in live(sealed.db, 1):
        sealed.seal()
    report = sealed.verify()
    assert (report.findings, report.unsealed) == ([], 0)
