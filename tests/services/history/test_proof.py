"""Sealing and verification: every entry is sealed once, and every later change is detected and classified."""

from __future__ import annotations

import random
import threading

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from src.database.connection.actor_tokens import Actor
from src.errors import ConfigurationError, Forbidden
from src.services import history
from src.services.history import HeadFile, SealKey
from tests.services.history import tampering
from tests.services.history.conftest import live

SETTINGS = {
    "TimeZone": "Asia/Kathmandu",
    "DateStyle": "SQL, DMY",
    "bytea_output": "escape",
    "IntervalStyle": "iso_8601",
    "extra_float_digits": "-15",
}


def test_an_unchanged_database_has_no_findings(shared_sealed):
    report = shared_sealed.verify()
    assert report.findings == []
    assert (report.seals, report.unsealed) == (4, 0)
    assert report.entries > 50
    assert report.rows > 20
    assert report.transcriptions == 4
    assert str(report).endswith("no findings")


@pytest.mark.parametrize("attack", tampering.ALL, ids=lambda attack: attack.__name__)
@pytest.mark.parametrize("seed", range(2))
def test_each_tampering_is_detected_and_classified(shared_sealed, attack, seed):
    assert (
        tampering.unnoticed(shared_sealed.owner, random.Random(seed), [attack], shared_sealed.key, shared_sealed.heads)
        == []
    )


@pytest.mark.parametrize("seed", range(4))
def test_200_random_combined_tamperings_are_detected(shared_sealed, seed):
    chance, done, missed = random.Random(seed), 0, []
    while done < 50:
        # Not combined: an erased entry cannot be compared with its row.
        kind = chance.choice([tampering.ON_ENTRIES, tampering.ON_ENTRIES, tampering.ON_ROWS])
        together = chance.sample(kind, chance.randint(1, 4))
        missed += tampering.unnoticed(shared_sealed.owner, chance, together, shared_sealed.key, shared_sealed.heads)
        done += len(together)
    assert missed == []


def test_a_forged_chain_fails_against_key_and_heads(shared_sealed, tmp_path):
    other = SealKey.create(tmp_path / "other.pem")
    with tampering.attack_transaction(shared_sealed.owner, random.Random(1)) as (attack, session):
        tampering.change_and_rehash(attack)
        attack.sql("ALTER TABLE activity_seals DROP CONSTRAINT activity_seals_previous_id_fkey")
        attack.sql("DELETE FROM activity_seals")
        assert len(history.sealing.seal_in(session, key=other)) == 1
        renamed = HeadFile(tmp_path / "other.jsonl")
        history.sealing.export_heads(session, renamed)
        attacker_view = history.verify(session, key=other, heads=renamed, rows=False)
        with_key = history.verify(session, key=shared_sealed.key, heads=renamed, rows=False)
        with_heads = history.verify(session, key=other, heads=shared_sealed.heads, rows=False)
    assert attacker_view.ok, "only the key and the exported heads reveal the forgery"
    assert [finding.kind for finding in with_key.findings] == ["signature"]
    assert [(finding.kind, finding.seal_id) for finding in with_heads.findings] == [("head", n) for n in (1, 2, 3, 4)]


def test_verifying_without_key_or_heads_is_a_finding(shared_sealed, tmp_path):
    with Session(shared_sealed.owner) as session:
        assert sorted(finding.kind for finding in history.verify(session).findings) == ["head", "signature"]
        with_key = history.verify(session, key=shared_sealed.key).findings
        with_heads = history.verify(session, heads=shared_sealed.heads).findings
        missing_file = history.verify(session, key=shared_sealed.key, heads=HeadFile(tmp_path / "none")).findings
    assert [finding.kind for finding in with_key] == ["head"]
    assert [finding.kind for finding in with_heads] == ["signature"]
    assert ["contains no heads" in str(finding) for finding in missing_file] == [True]


def test_missing_newest_seals_are_detected_only_with_the_heads(shared_sealed):
    with tampering.attack_transaction(shared_sealed.owner, random.Random(1)) as (attack, session):
        tampering.drop_the_newest_seals(attack)
        without = history.verify(session, key=shared_sealed.key, rows=False)
    assert ["no exported heads" in str(finding) for finding in without.findings] == [True]


@pytest.mark.parametrize("way", ["administrator", "owner"])
def test_verification_does_not_depend_on_settings_of_the_session(sealed, way):
    floats = ("0.1::float8 + 0.2::float8", "-0.0::float8", "3e-308::float8", "1.0::float8")
    with sealed.db.session(actor="alice") as session:
        case, audio = session.execute(text("SELECT case_id, id FROM audio_files LIMIT 1")).one()
        for name, value in SETTINGS.items():
            session.execute(text(f"SET LOCAL {name} = '{value}'"))
        for number, value in enumerate(floats):
            session.execute(
                text(f"INSERT INTO analysis_results (case_id, audio_file_id, version, sentiment_score, details)"
                     f" VALUES ({case}, {audio}, {number + 9}, {value} * 0.5, CAST(:details AS jsonb))"),
                {"details": '{"b": 1.10, "a": 1.1, "NaN": "NaN", "z": -0.0, "e": 1e300, "😀": "\\u2028 \\\\ \\""}'},
            )  # fmt: skip
        session.execute(
            text("INSERT INTO case_notes (case_id, body) VALUES (:case, repeat('ü😀', 50000))"), {"case": case}
        )
        session.execute(text("UPDATE cases SET description = '' WHERE id = :case"), {"case": case})
    sealed.seal()
    if way == "owner":
        with sealed.owner.begin() as connection:
            for name, value in SETTINGS.items():
                connection.execute(text(f"ALTER DATABASE {sealed.owner.url.database} SET {name} = '{value}'"))
        sealed.owner.dispose()
        report = sealed.verify()
    else:
        with sealed.db.session(actor="root") as session:
            for name, value in SETTINGS.items():
                session.execute(text(f"SET LOCAL {name} = '{value}'"))
            report = history.verify(session, key=sealed.key, heads=sealed.heads)
            assert session.scalar(text("SHOW TimeZone")) == "Asia/Kathmandu", "verify changed a setting of the session"
    assert report.findings == []


def test_a_payload_of_a_megabyte_is_sealed_and_nul_is_rejected(sealed):
    with sealed.db.session(actor="alice") as session:
        audio = session.execute(text("SELECT case_id, id FROM audio_files LIMIT 1")).one()
        details = f'{{"text": "{"ü" * 1_000_000}"}}'
        session.execute(
            text("INSERT INTO analysis_results (case_id, audio_file_id, version, details)"
                 " VALUES (:case, :audio, 99, CAST(:details AS jsonb))"),
            {"case": audio.case_id, "audio": audio.id, "details": details},
        )  # fmt: skip
        with pytest.raises(DBAPIError), session.begin_nested():
            session.execute(text("""UPDATE analysis_results SET details = CAST('{"x": "\\u0000"}' AS jsonb)"""))
    sealed.seal()
    assert sealed.verify().ok


def sealed_ids(sealed) -> list[int]:
    with sealed.db.session(actor="root") as session:
        found = session.execute(text("SELECT leaves FROM activity_seals ORDER BY id")).scalars()
        return [entry.id for leaves in found for entry in history.chain.unpack(bytes(leaves))]


def all_ids(sealed) -> list[int]:
    with sealed.owner.connect() as connection:
        return list(connection.scalars(text("SELECT id FROM activity_logs ORDER BY id")))


def test_entries_of_four_concurrent_writers_are_sealed_once_and_verify(sealed):
    stop, failures = threading.Event(), []

    def write() -> None:
        try:
            while not stop.is_set():
                alice = sealed.db.engine.execution_options(actor=Actor("alice"))
                with alice.begin() as session:
                    session.execute(text("INSERT INTO case_notes (case_id, body) SELECT min(id), 'x' FROM cases"))
                    with session.begin_nested() as savepoint:
                        session.execute(text("INSERT INTO case_notes (case_id, body) SELECT min(id), 'no' FROM cases"))
                        savepoint.rollback()
                    with session.begin_nested():
                        session.execute(text("INSERT INTO case_notes (case_id, body) SELECT min(id), 'y' FROM cases"))
        except DBAPIError as error:
            failures.append(error)

    writers = [threading.Thread(target=write) for _ in range(4)]
    for writer in writers:
        writer.start()
    try:
        reports = [sealed.seal() and sealed.verify() for _ in range(12)]
    finally:
        stop.set()
        for writer in writers:
            writer.join(30)
    sealed.seal()
    assert failures == []
    assert [finding for report in reports if report for finding in report.findings] == []
    ids = sealed_ids(sealed)
    assert len(ids) == len(set(ids))
    assert sorted(ids) == all_ids(sealed)
    assert sealed.verify().findings == []


def test_entries_of_a_long_transaction_are_sealed_after_its_end(sealed):
    with sealed.db.session(actor="alice") as slow:
        slow.execute(text("INSERT INTO case_notes (case_id, body) SELECT min(id), 'slow' FROM cases"))
        with sealed.db.session(actor="alice") as quick:
            quick.execute(text("INSERT INTO case_notes (case_id, body) SELECT min(id), 'quick' FROM cases"))
        before = all_ids(sealed)
        assert sealed.seal() == []
        assert sealed.verify().unsealed == 1
    assert len(sealed.seal()) == 1
    assert sealed.seal() == [], "an entry was sealed twice"
    assert sorted(sealed_ids(sealed)) == all_ids(sealed)
    assert len(before) == len(all_ids(sealed)) - 1
    assert sealed.verify().ok


def test_entries_of_a_prepared_transaction_are_sealed_after_commit(sealed):
    with sealed.owner.connect() as connection:
        if connection.scalar(text("SHOW max_prepared_transactions")) == "0":
            pytest.skip("the server allows no prepared transactions (max_prepared_transactions = 0)")
    with sealed.owner.connect() as connection:
        prepared = connection.begin_twophase("history")
        connection.execute(text("UPDATE cases SET title = 'prepared'"))
        prepared.prepare()
        assert sealed.seal() == []
        prepared.commit()
    assert len(sealed.seal()) == 1
    assert sealed.verify().ok


def test_concurrent_sealers_are_serialized(sealed):
    for _ in live(sealed.db, 1):
        pass
    created: list[int] = []
    sealers = [threading.Thread(target=lambda: created.extend(sealed.seal())) for _ in range(4)]
    for sealer in sealers:
        sealer.start()
    for sealer in sealers:
        sealer.join(30)
    assert created == [5]
    assert sealed.verify().ok


def test_the_next_seal_repairs_an_interrupted_export(sealed):
    for _ in live(sealed.db, 1):
        pass
    with sealed.db.session(actor="root") as session:
        history.seal(session, key=sealed.key)
    with sealed.heads.path.open("a") as file:
        file.write('{"seal": 5, "seal_ha')
    assert [head.id for head in sealed.heads.read()] == [1, 2, 3, 4]
    for _ in live(sealed.db, 1):
        pass
    assert sealed.seal() == [6]
    assert [head.id for head in sealed.heads.read()] == [1, 2, 3, 4, 5, 6]
    assert sealed.verify().ok


def test_an_erasure_during_the_verification_causes_no_finding(sealed):
    with sealed.db.session(actor="root") as session:
        case = session.scalar(text("SELECT min(id) FROM cases"))
    erased = []

    def erase_first(connection, cursor, statement, *_) -> None:
        if "l.leaf_hash, l.updated_at" in statement and not erased:
            erased.append(0)
            with sealed.db.session(actor="root") as session:
                erased.append(history.erase(session, case=case, reason="asked for"))

    event.listen(sealed.owner, "before_cursor_execute", erase_first)
    report = sealed.verify()
    event.remove(sealed.owner, "before_cursor_execute", erase_first)
    assert erased[1] > 0
    assert report.findings == []


def test_only_administrators_seal_verify_and_erase(shared_sealed):
    with pytest.raises(Forbidden), shared_sealed.db.session(actor="alice") as session:
        history.seal(session)
    with pytest.raises(Forbidden), shared_sealed.db.session(actor="alice") as session:
        history.verify(session)
    with pytest.raises(Forbidden), shared_sealed.db.session(actor="alice") as session:
        history.erase(session, case=1, reason="no")


def test_a_seal_key_is_created_once_with_mode_0600_and_validated_on_load(tmp_path):
    path = tmp_path / "seal.pem"
    key = SealKey.create(path)
    public = SealKey.load(tmp_path / "seal.pem.pub")
    assert path.stat().st_mode & 0o777 == 0o600
    assert SealKey.load(path).fingerprint == public.fingerprint == key.fingerprint
    assert public.verifies(key.sign(b"x"), b"x")
    assert not public.verifies(key.sign(b"x"), b"y")
    assert "private=" not in repr(key)
    assert SealKey.load(tmp_path / "none.pem") is None
    with pytest.raises(ConfigurationError, match="only the public key"):
        public.sign(b"x")
    with pytest.raises(ConfigurationError, match="Cannot write the seal key"):
        SealKey.create(path)
    path.chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        SealKey.load(path)
    path.write_bytes(b"nonsense")
    with pytest.raises(ConfigurationError, match="damaged"):
        SealKey.load(path)


def test_a_malformed_heads_file_is_rejected_and_a_missing_one_is_empty(tmp_path):
    heads = HeadFile(tmp_path / "new" / "heads.jsonl")
    assert heads.read() == []
    heads.append([{"seal": 1, "seal_hash": "00"}])
    assert heads.path.stat().st_mode & 0o777 == 0o600
    heads.path.write_text('{"seal": 1}\n')
    with pytest.raises(ConfigurationError, match="Line 1"):
        heads.read()
