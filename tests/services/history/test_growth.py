"""Partitions, archived months, erasure in archives; and the scripts of operators and auditors."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from src.errors import Conflict, IntegrityFailure, InvalidInput
from src.maintenance.log_archives import read_lines, write_month
from src.maintenance.retention import archive_month, erase_archived, forget_replaced
from src.services import history
from src.services.history.archive_checks import check_archives
from tests.services.history.conftest import clock_moved, live

ROOT = Path(__file__).resolve().parents[3]
VERIFIER = ROOT / "examples" / "verify_export.py"


def months_ago(count: int) -> date:
    first = datetime.now(UTC).date().replace(day=1)
    for _ in range(count):
        first = (first - timedelta(days=1)).replace(day=1)
    return first


def to_month(month: date) -> timedelta:
    return datetime(month.year, month.month, 12, tzinfo=UTC) - datetime.now(UTC)


@pytest.fixture
def aged(sealed):
    """Entries in two older months, not sealed; the seals of the fixture `sealed` are deleted."""
    with sealed.owner.begin() as connection:
        for statement in ("ALTER TABLE activity_seals DISABLE TRIGGER USER", "DELETE FROM activity_seals",
                          "ALTER TABLE activity_seals ENABLE TRIGGER USER",
                          "ALTER TABLE activity_seals ENABLE ALWAYS TRIGGER guard_seal"):  # fmt: skip
            connection.execute(text(statement))
    sealed.heads.path.unlink()
    for count in (3, 2):
        with clock_moved(sealed.owner, to_month(months_ago(count))):
            for _ in live(sealed.db, 1):
                pass
    return sealed


def run_as_owner(sealed, function, *arguments):
    with Session(sealed.owner) as session, session.begin():
        return function(session, *arguments)


def create_partitions(sealed) -> int:
    with sealed.owner.begin() as connection:
        return connection.scalar(text("SELECT empty_default_partition()"))


def test_partitions_are_created_in_advance_and_only_once(owner):
    with owner.begin() as connection:
        connection.execute(text(f"DROP TABLE activity_logs_{months_ago(0):%Y_%m}"))
        created = [connection.scalar(text("SELECT ensure_activity_partitions(5)")) for _ in range(2)]
    assert created == [3, 0]


def test_entries_in_the_default_partition_are_reported_and_moved(aged):
    report = aged.verify()
    assert report.ok
    assert report.in_default_partition > 20
    assert create_partitions(aged) == report.in_default_partition
    assert create_partitions(aged) == 0
    assert aged.verify().in_default_partition == 0
    assert len(aged.seal()) == 3, "a seal for each month"
    assert aged.verify().ok


def test_an_unfinished_unsealed_or_unpartitioned_month_is_not_archived(aged):
    storage = aged.db.storage
    with pytest.raises(Conflict, match="does not exist"):
        run_as_owner(aged, archive_month, storage, months_ago(3))
    create_partitions(aged)
    with pytest.raises(Conflict, match="of them sealed"):
        run_as_owner(aged, archive_month, storage, months_ago(3))
    with pytest.raises(Conflict, match="not over"):
        run_as_owner(aged, archive_month, storage, months_ago(0))
    with pytest.raises(InvalidInput, match="first day"):
        run_as_owner(aged, archive_month, storage, months_ago(3) + timedelta(days=1))


@pytest.fixture
def archived(aged):
    """The two oldest months are archived; the log entry of the first archiving is in the second month."""
    create_partitions(aged)
    with clock_moved(aged.owner, to_month(months_ago(1))):
        aged.seal()
        run_as_owner(aged, archive_month, aged.db.storage, months_ago(3))
        create_partitions(aged)
        aged.seal()
    run_as_owner(aged, archive_month, aged.db.storage, months_ago(2))
    aged.seal()
    return aged


def findings_in_archives(sealed) -> list[str]:
    return run_as_owner(sealed, lambda session: [str(f) for f in check_archives(session, sealed.db.storage)])


def test_database_and_archives_verify_after_months_were_archived(archived):
    assert archived.verify(rows=False).findings == []
    assert findings_in_archives(archived) == []
    with archived.owner.connect() as connection:
        left = connection.scalars(text("SELECT count(*) FROM activity_logs WHERE created_at < :at"),
                                  {"at": months_ago(1)}).one()  # fmt: skip
    assert left == 0
    # Archive also the month with the log entry of the first archiving.
    run_as_owner(archived, archive_month, archived.db.storage, months_ago(1))
    assert archived.verify(rows=False).findings == []
    assert findings_in_archives(archived) == []


def test_rows_whose_last_entry_was_archived_cause_no_finding(archived):
    assert archived.verify().findings == []


def test_missing_and_changed_archives_are_detected(archived):
    storage = archived.db.storage
    with archived.owner.connect() as connection:
        first, second = connection.scalars(text("SELECT storage_key FROM activity_archives ORDER BY month"))
    whole = storage.get(first).read()
    storage.delete(first)
    assert "missing in the storage" in findings_in_archives(archived)[0]
    storage.put(first, whole[:-9])
    storage.delete(second)
    found = findings_in_archives(archived)
    assert [("does not match its sha256" in one, "missing in the storage" in one) for one in found] == [
        (True, False), (False, True)]  # fmt: skip
    with archived.owner.begin() as connection:
        connection.execute(text("DELETE FROM activity_archives WHERE storage_key = :key"), {"key": second})
    assert [str(f) for f in archived.verify(rows=False).findings] == [
        f"archive: the entries of {months_ago(2):%Y-%m} are missing and not archived"
    ]


def test_erasing_includes_archives_and_seals_still_verify(archived):
    with archived.db.session(actor="root") as session:
        case = session.scalar(text("SELECT max(id) FROM cases"))
    emptied = run_as_owner(archived, lambda s: erase_archived(s, archived.db.storage, case_id=case))
    assert emptied > 10
    assert run_as_owner(archived, forget_replaced, archived.db.storage) == 1
    with archived.owner.connect() as connection:
        keys = connection.scalars(text("SELECT storage_key FROM activity_archives")).all()
    lines = [line for key in keys for line in read_lines(archived.db.storage.get(key)) if "entry" in line]
    assert all(line["payload"] is None for line in lines if json.loads(line["head"])[5] == case)
    assert any(line["payload"] is not None for line in lines)
    assert findings_in_archives(archived) == []
    assert archived.verify(rows=False).findings == []


def test_a_damaged_archive_raises_integrity_failure(tmp_path):
    whole = gzip.compress(b'{"format": "speech-to-information/history", "version": 1}\n' * 50)
    for damaged in (b"", b"no gzip", whole[:-5], whole[:20] + b"\xff" * 20 + whole[40:], gzip.compress(b"[]\n"),
                    gzip.compress(b'{"format": "x"}\n'), gzip.compress(b"\xff\n")):  # fmt: skip
        if damaged:
            with pytest.raises(IntegrityFailure):
                list(read_lines(io.BytesIO(damaged)))


@pytest.fixture
def exported(shared_sealed, tmp_path) -> Path:
    target = tmp_path / "month.gz"
    with target.open("wb") as file:
        run_as_owner(shared_sealed, write_month, months_ago(0), file)
    return target


def audit(*arguments) -> tuple[int, str]:
    done = subprocess.run([sys.executable, "-I", VERIFIER, *arguments], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


def damage(exported: Path, change) -> Path:
    lines = [json.loads(line) for line in gzip.decompress(exported.read_bytes()).splitlines()]
    lines = change(lines) or lines
    damaged = exported.with_suffix(".damaged.gz")
    damaged.write_bytes(gzip.compress(b"".join(json.dumps(line).encode() + b"\n" for line in lines)))
    return damaged


def test_an_export_is_verified_without_this_package(shared_sealed, exported):
    public, heads = shared_sealed.heads.path.parent / "seal.pem.pub", shared_sealed.heads.path
    code, output = audit(exported, "--key", public, "--heads", heads)
    assert (code, "no findings; 0 entries not sealed yet" in output) == (0, True), output
    other = history.SealKey.create(exported.parent / "other.pem")
    assert other.fingerprint != shared_sealed.key.fingerprint
    code, output = audit(exported, "--key", exported.parent / "other.pem.pub")
    assert (code, output.count("the signature does not verify with the key")) == (1, 4)
    other_heads = exported.parent / "other.jsonl"
    other_heads.write_text(shared_sealed.heads.path.read_text().replace('"seal_hash": "', '"seal_hash": "00'))
    assert audit(exported, "--heads", other_heads)[1].count("differs from the exported head") == 4
    assert audit(exported.parent / "none.gz")[0] == 2
    assert audit()[0] == 2
    assert audit(exported, "--key", exported.parent / "none.pem")[0] == 2
    again = exported.with_suffix(".again")
    with again.open("wb") as file:
        run_as_owner(shared_sealed, write_month, months_ago(0), file)
    assert again.read_bytes() == exported.read_bytes(), "the same month gives the same bytes"


def entry(lines, which=5):
    return [line for line in lines if "entry" in line][which]


def seal(lines, which=1):
    return [line for line in lines if "seal" in line][which]


DAMAGES = {
    "says another thing": (
        lambda ls: entry(ls).update(payload='{"new": 1, "old": null}'),
        "does not match payload_hash",
    ),
    "other salt": (lambda ls: entry(ls).update(salt="00"), "does not match payload_hash"),
    "other head": (lambda ls: entry(ls).update(head=entry(ls, 6)["head"]), "do not match leaf_hash"),
    "other number": (lambda ls: entry(ls).update(entry=999_999), "contains the id of another entry"),
    "other leaf": (lambda ls: entry(ls).update(leaf_hash="00" * 32), "do not match the root"),
    "entry gone": (lambda ls: ls.remove(entry(ls)), "the header declares"),
    "entry twice": (lambda ls: [*ls, entry(ls)], "or duplicates"),
    "seal changed": (lambda ls: seal(ls).update(sealed_at_us=1), "do not match seal_hash"),
    "root changed": (lambda ls: seal(ls).update(root="00" * 32), "do not match the root"),
    "count changed": (lambda ls: seal(ls).update(entry_count=1), "entry_count is 1"),
    "chain broken": (lambda ls: seal(ls).update(previous_hash="00" * 32), "previous_hash does not match"),
    "another format": (lambda ls: ls[0].update(version=2), "not an exported month"),
    "nothing": (lambda ls: [ls[1:1]], "damaged"),
    "a key is missing": (lambda ls: entry(ls).pop("head"), "damaged"),
    "another type": (lambda ls: seal(ls).update(low_xid="x"), "damaged"),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_export_is_detected(exported, kind):
    change, words = DAMAGES[kind]
    code, output = audit(damage(exported, lambda lines: change(lines) if isinstance(change(lines), list) else None))
    assert (code, words in output) == (1, True), output


def test_a_truncated_or_invalid_gzip_file_is_a_finding(exported, tmp_path):
    whole = exported.read_bytes()
    for content in (whole[:-9], b"no gzip", whole[:300] + bytes(50) + whole[350:]):
        damaged = tmp_path / "damaged"
        damaged.write_bytes(content)
        code, output = audit(damaged)
        assert (code, "damaged" in output) == (1, True), output


def test_operators_seal_verify_export_and_erase(sealed, command, tmp_path):
    for _ in live(sealed.db, 1):
        pass
    assert command("seal") == (0, "sealed: 1\n")
    assert [head.id for head in sealed.heads.read()] == [1, 2, 3, 4, 5]
    assert list((tmp_path / "audio" / "heads").rglob("*.json")), "the head is also in the storage"
    code, output = command("verify")
    assert (code, "no findings" in output) == (0, True), output
    month = f"{months_ago(0):%Y-%m}"
    assert command("export", month, "out.gz")[0] == 0
    assert audit(tmp_path / "out.gz", "--key", tmp_path / "seal.pem.pub", "--heads", sealed.heads.path)[0] == 0
    assert command("export", "November", "new.gz")[0] == 1
    assert command("archive", month)[0] == 1
    assert command("nonsense")[0] == 2
    code, output = command("erase", "--case", "1", "--reason", "asked for")
    assert (code, output.startswith("erased: ")) == (0, True), output
    assert command("erase", "--user", "nobody", "--reason", "whom?")[0] == 1
    assert command("verify")[0] == 0


def test_operators_see_findings_and_write_baselines_of_uncaptured_rows(sealed, command):
    with sealed.owner.begin() as connection:
        connection.execute(text("ALTER TABLE case_notes DISABLE TRIGGER USER"))
        connection.execute(
            text(
                "INSERT INTO case_notes (case_id, author_id, body) SELECT case_id, author_id, 'unseen' FROM case_notes"
            )
        )
        connection.execute(text("ALTER TABLE case_notes ENABLE ALWAYS TRIGGER capture"))
    code, output = command("verify")
    assert (code, output.count("has no log entry; if it existed before capture began")) == (1, 4), output
    assert command("baseline") == (0, "baselines: 4, digests: 0\n")
    assert command("baseline") == (0, "baselines: 0, digests: 0\n")
    assert command("verify")[0] == 0


def test_an_export_contains_the_hashed_texts_in_spite_of_overloads(sealed, tmp_path):
    with sealed.owner.begin() as connection:
        connection.execute(text("CREATE FUNCTION public.jsonb_build_object(text, jsonb, text, jsonb) RETURNS jsonb"
                                " LANGUAGE sql RETURN '{}'\\:\\:jsonb"))  # fmt: skip
    target = tmp_path / "month.gz"
    with target.open("wb") as file:
        run_as_owner(sealed, write_month, months_ago(0), file)
    assert audit(target)[0] == 0
    assert sealed.verify().findings == []


def test_the_files_of_archived_months_are_verified_with_the_storage(archived):
    """The command and the API read the same: here the storage is passed, a session of the database knows its own."""
    options = {"storage": archived.db.storage, "rows": False}
    assert archived.verify(**options).findings == []
    assert archived.verify(rows=False).not_read == [
        f"the archive of {months_ago(count):%Y-%m}, without a storage" for count in (3, 2)
    ]
    with archived.owner.connect() as connection:
        first = connection.scalar(text("SELECT min(storage_key) FROM activity_archives"))
    archived.db.storage.delete(first)
    for found in (archived.verify(**options).findings, verify_as_root(archived)):
        assert ["missing in the storage" in str(finding) for finding in found] == [True]


def verify_as_root(sealed):
    with sealed.db.session(actor="root") as session:
        return history.verify(session, key=sealed.key, heads=sealed.heads, rows=False).findings


def test_an_event_deleted_under_a_forged_pruning_is_named(sealed):
    with sealed.owner.begin() as connection:
        connection.execute(text("ALTER TABLE activity_seals DISABLE TRIGGER USER"))
        connection.execute(text("ALTER TABLE activity_logs DISABLE TRIGGER USER"))
        connection.execute(text("UPDATE activity_seals SET pruned_at = now()"))
        connection.execute(
            text("INSERT INTO activity_archives (month, storage_key, storage_type, size_bytes, sha256, entry_count)"
                 " SELECT month, 'history/forged', 'memory', 1, repeat('0', 64), sum(entry_count) FROM activity_seals"
                 " GROUP BY month")
        )  # fmt: skip
        victim = connection.scalar(text("DELETE FROM activity_logs WHERE id = (SELECT max(id) FROM activity_logs"
                                        " WHERE operation = 'event') RETURNING id"))  # fmt: skip
    for found in (sealed.verify(rows=False).findings, verify_as_root(sealed)):
        assert ("deleted", victim) in {(finding.kind, finding.entry_id) for finding in found}
