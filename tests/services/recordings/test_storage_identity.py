"""The database knows its storages: another place, owner or copy is refused; nothing is called missing or removed."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from src.config import Settings
from src.database import AudioFile, StorageObject
from src.database.connection.engine import PoolOptions, make_engine
from src.errors import ConfigurationError, Quarantined, StorageUnavailable
from src.maintenance import claiming, confirming, sweeping, unknown_objects
from src.maintenance.adopting import adopt
from src.maintenance.fixity_rounds import verify_all
from src.maintenance.served_storages import serve
from src.services import accounts, cases, recordings, work
from src.services.recordings.locating import open_registered
from src.services.recordings.registered import read_register
from src.storage import LocalStorage, MemoryStorage
from src.storage.keys import case_key
from src.storage.marker import MARKER_NAME, read_marker
from tests.services.recordings.conftest import CONTENT, ZERO

COMMAND = "src.database.scripts.storage confirm"


@pytest.fixture
def storage(tmp_path):
    return LocalStorage(tmp_path / "audio")


@pytest.fixture
def claimed(owner, storage):
    """The storage, claimed by the database as `init_db` does it."""
    with Session(owner) as session:
        claiming.claim(session, storage)
    return storage


@pytest.fixture
def recording(claimed, db, case):
    with db.session(actor="alice") as session:
        return recordings.ingest(session, case, CONTENT, name="interview.wav", allow_non_audio=True).id


@pytest.fixture
def reopened(speech_server, owner_url):
    """A function that opens the database as another process would: with no backend in use yet."""
    opened = []

    def reopen(storage, url=owner_url):
        opened.append(speech_server.database(url, storage=storage))
        return opened[-1]

    def close():
        for database in opened:
            database.close()

    reopen.close = close
    yield reopen
    close()


@contextmanager
def owners_session(url):
    engine = make_engine(url, PoolOptions(size=2))
    try:
        with Session(engine) as session:
            yield session
    finally:
        engine.dispose()


@pytest.fixture
def clone(db, owner, owner_url, speech_server, reopened):
    """A function that copies the database as CREATE DATABASE … TEMPLATE does: the same cluster, another oid."""
    name = f"{owner_url.database}_clone"

    @contextmanager
    def copy():
        db.close()
        owner.dispose()
        speech_server.create(name, owner_url.database)
        url = owner_url.set(database=name)
        try:
            with owners_session(url) as session:
                yield url, session
        finally:
            reopened.close()
            speech_server.drop(name)

    return copy


def marker_id(storage):
    return str(read_marker(storage).storage)


def read(database, audio):
    with database.session(actor="alice") as session, recordings.open(session, audio) as file:
        return file.read()


def ingest(database, case, content=b"RIFF new"):
    with database.session(actor="alice") as session:
        return recordings.ingest(session, case, content, allow_non_audio=True).id


def assert_nothing_is_said_or_done(owner, database, storage, case, audio, *ids):
    """Every way in raises ConfigurationError with these ids; the object stays live and unchecked."""
    with owner.connect() as connection:
        before = connection.execute(select(StorageObject.state, StorageObject.last_error)).all()
    attempts = (
        lambda: ingest(database, case),
        lambda: read(database, audio),
        lambda: sweep(owner, storage),
        lambda: verify(owner, storage),
    )
    for attempt in attempts:
        with pytest.raises(ConfigurationError) as raised:
            attempt()
        for each in ids:
            assert each in str(raised.value)
    with owner.connect() as connection:
        assert connection.execute(select(StorageObject.state, StorageObject.last_error)).all() == before


def sweep(owner, storage):
    with Session(owner) as session:
        return sweeping.sweep(session, storage, older_than=ZERO, grace=ZERO)


def verify(owner, storage):
    with Session(owner) as session:
        return [check.outcome for check in verify_all(session, {storage.name: storage}, unchecked_for=ZERO)]


def test_a_recording_refers_to_its_storage(claimed, db, recording, owner):
    with db.session(actor="alice") as session:
        assert session.get(AudioFile, recording).storage_config == {"storage": marker_id(claimed)}
    assert read(db, recording) == CONTENT
    assert verify(owner, claimed) == ["sound"]


def test_an_unmounted_disk_is_not_an_empty_storage(claimed, recording, case, reopened, owner, tmp_path):  # noqa: PLR0917 - fixtures
    expected = marker_id(claimed)
    claimed.root.rename(tmp_path / "unmounted")
    for create in (False, True):  # no mount point, and an empty one
        if create:
            claimed.root.mkdir()
        storage = LocalStorage(claimed.root)
        assert_nothing_is_said_or_done(owner, reopened(storage), storage, case, recording, expected)
        assert not create or list(claimed.root.iterdir()) == []


def test_a_disk_that_disappears_under_a_running_service(claimed, db, recording, case, owner, tmp_path):  # noqa: PLR0917 - fixtures
    assert read(db, recording) == CONTENT
    claimed.root.rename(tmp_path / "unmounted")
    claimed.root.mkdir()
    for attempt in (lambda: ingest(db, case), lambda: read(db, recording), lambda: sweep(owner, claimed)):
        with pytest.raises((ConfigurationError, StorageUnavailable)):
            attempt()
    assert list(claimed.root.iterdir()) == []
    claimed.root.rmdir()
    (tmp_path / "unmounted").rename(claimed.root)
    assert read(db, recording) == CONTENT


def test_a_disk_that_returns_as_another_device_is_recognised(claimed, db, recording, tmp_path):
    """A copy has other inodes, as the same disk mounted again has another device."""
    assert read(db, recording) == CONTENT
    shutil.copytree(claimed.root, tmp_path / "copy")
    shutil.rmtree(claimed.root)
    (tmp_path / "copy").rename(claimed.root)
    assert read(db, recording) == CONTENT


def test_a_removal_that_did_not_happen_is_not_reported(claimed, db, recording, owner, monkeypatch):
    with db.session(actor="alice") as session:
        recordings.delete(session, recording, reason="wrong person")
    remove = LocalStorage.delete

    def unmount_first(storage, key):
        shutil.rmtree(storage.root)
        storage.root.mkdir()
        return remove(LocalStorage(storage.root), key)

    monkeypatch.setattr(LocalStorage, "delete", unmount_first)
    with pytest.raises(ConfigurationError, match="has no marker"):
        sweep(owner, claimed)
    with owner.connect() as connection:
        assert connection.scalars(select(StorageObject.state)).all() == ["deleting"]


@pytest.mark.parametrize("damage", ["deleted", "cut off", "empty", "another format"])
def test_a_damaged_marker(claimed, recording, case, reopened, owner, damage):  # noqa: PLR0917 - fixtures
    expected = marker_id(claimed)
    file = claimed.root / MARKER_NAME
    whole = file.read_bytes()
    file.unlink()
    if damage != "deleted":
        left = {"cut off": whole[:40], "empty": b"", "another format": whole.replace(b'"version": 1', b'"version": 9')}
        file.write_bytes(left[damage])
    storage = LocalStorage(claimed.root)
    ids = [expected] if damage == "deleted" else []
    assert_nothing_is_said_or_done(owner, reopened(storage), storage, case, recording, *ids)
    if damage == "another format":
        return
    with Session(owner) as session:
        known = claiming.registered(session).find(UUID(expected))
        confirming.write_marker_again(session, known, storage)
    assert marker_id(storage) == expected
    assert read(reopened(LocalStorage(claimed.root)), recording) == CONTENT


def test_a_marker_is_not_written_again_where_no_object_is(claimed, recording, owner, tmp_path):
    expected = read_marker(claimed).storage
    claimed.root.rename(tmp_path / "unmounted")
    claimed.root.mkdir()
    with Session(owner) as session:
        known = claiming.registered(session).find(expected)
        with pytest.raises(ConfigurationError, match="has none of the 1 newest objects"):
            confirming.write_marker_again(session, known, LocalStorage(claimed.root))
    assert list(claimed.root.iterdir()) == []


def test_another_folder_needs_to_be_claimed_and_loses_nothing(claimed, recording, case, reopened, owner, tmp_path):  # noqa: PLR0917 - fixtures
    other = LocalStorage(tmp_path / "other")
    database = reopened(other)
    with pytest.raises(ConfigurationError, match=f"is not registered.*{marker_id(claimed)}"):
        ingest(database, case)
    assert not other.root.exists()
    assert read(database, recording) == CONTENT  # where it was registered
    with Session(owner) as session:
        claiming.claim(session, other)
    newer = ingest(database, case)
    with database.session(actor="alice") as session:
        recordings.archive(session, recording, reason="finished")  # stays in the older folder
    assert {info.key for info in other.list()} == {path_of(owner, newer)}
    for audio, content in ((recording, CONTENT), (newer, b"RIFF new")):
        assert read(reopened(LocalStorage(other.root)), audio) == content
    with Session(owner) as session:
        served = serve(session, [other], open_registered=lambda _, known: open_registered(known, None))
        assert sweeping.sweep(session, served, older_than=ZERO).removed_objects == 1
        assert sorted(check.outcome for check in verify_all(session, served, unchecked_for=ZERO)) == ["sound", "sound"]


def path_of(owner, audio):
    with owner.connect() as connection:
        return connection.scalar(select(AudioFile.path).where(AudioFile.id == audio))


def test_a_moved_folder_is_found_by_its_marker(claimed, recording, case, reopened, owner, tmp_path):  # noqa: PLR0917 - fixtures
    moved = LocalStorage(tmp_path / "moved")
    claimed.root.rename(moved.root)
    database = reopened(moved)
    assert read(database, recording) == CONTENT
    assert read(database, ingest(database, case)) == b"RIFF new"
    with Session(owner) as session:
        assert "it was root" in claiming.claim(session, moved)
        assert claiming.registered(session).storages[0].location == moved.location


def test_a_changed_bucket_or_prefix_loses_nothing(owner, owner_url, open_database, s3, moto_url):
    first = s3()
    bucket = f"second-{uuid4()}"
    first._bucket.client.create_bucket(Bucket=bucket)
    changed = s3(bucket=bucket, prefix="")
    with Session(owner) as session:
        claiming.claim(session, first)
    database = open_database(first)
    with database.session(actor="alice") as session:
        case = cases.open_case(session, title="Harbour").id
    old = ingest(database, case, CONTENT)
    settings = Settings(
        audio_storage_type="s3", s3_endpoint_url=moto_url, aws_access_key_id="AKIATEST",
        aws_secret_access_key="hunter2-the-secret-of-s3", s3_bucket=bucket, _env_file=None,
    )  # fmt: skip
    moved = open_database(changed)
    moved.settings = settings
    with pytest.raises(ConfigurationError, match="is not registered") as raised:
        ingest(moved, case)
    assert marker_id(first) in str(raised.value)
    assert list(changed.list()) == []
    assert read(moved, old) == CONTENT
    with Session(owner) as session:
        claiming.claim(session, changed)
    assert read(moved, ingest(moved, case)) == b"RIFF new"
    assert len(list(changed.list())) == 1
    # Another prefix of the first bucket is another place too.
    with pytest.raises(ConfigurationError, match="is not registered"):
        ingest(open_database(s3()), case)


def test_two_databases_that_claim_one_folder_at_the_same_moment(speech_server, storage, monkeypatch):
    """The second one claims between the look of the first one and its marker."""
    with speech_server.copy() as one, speech_server.copy() as two, owners_session(one) as a, owners_session(two) as b:
        write = LocalStorage.write_marker

        def overtaken(backend, content, *, replaces):
            monkeypatch.setattr(LocalStorage, "write_marker", write)
            claiming.claim(b, LocalStorage(storage.root))
            write(backend, content, replaces=replaces)

        monkeypatch.setattr(LocalStorage, "write_marker", overtaken)
        with pytest.raises(ConfigurationError) as raised:
            claiming.claim(a, storage)
        marker = read_marker(storage)
        assert marker.owner == claiming.registered(b).identity
        assert str(marker.owner) in str(raised.value)
        assert str(claiming.registered(a).identity) in str(raised.value)
        assert claiming.registered(a).storages == ()


@pytest.mark.parametrize("step", ["before the marker", "after the marker"])
def test_a_kill_during_a_claim(owner, storage, monkeypatch, step):
    write = LocalStorage.write_marker

    def killed(backend, content, *, replaces):
        if step == "after the marker":
            write(backend, content, replaces=replaces)
        raise KeyboardInterrupt

    monkeypatch.setattr(LocalStorage, "write_marker", killed)
    with pytest.raises(KeyboardInterrupt), Session(owner) as session:
        claiming.claim(session, storage)
    monkeypatch.setattr(LocalStorage, "write_marker", write)
    with Session(owner) as session:
        claiming.claim(session, LocalStorage(storage.root))
        (known,) = claiming.registered(session).storages
        assert known.is_claimed
        assert known.storage == read_marker(storage).storage


def test_a_copy_is_in_quarantine_until_it_is_confirmed(  # noqa: PLR0917 - fixtures
    claimed, recording, case, db, reopened, owner, clone
):
    with db.session(actor="root") as session:
        accounts.create_user(session, username="carol", password="a long enough one")
    with clone() as (url, session):
        copy = reopened(LocalStorage(claimed.root), url)
        assert read(copy, recording) == CONTENT
        for attempt in (
            lambda: ingest(copy, case),
            lambda: archive(copy, recording),
            lambda: delete(copy, recording),
            lambda: claim_job(copy),
            lambda: sign_in(copy),
            lambda: sweeping.sweep(session, LocalStorage(claimed.root), older_than=ZERO, grace=ZERO),
            lambda: claiming.claim(session, LocalStorage(claimed.root)),
        ):
            with pytest.raises(Quarantined, match=COMMAND):
                attempt()
        before = read_marker(claimed).owner
        (known,) = claiming.registered(session).storages
        confirming.confirm(session, [(known, LocalStorage(claimed.root))], leave=False)
        assert read(copy, ingest(copy, case)) == b"RIFF new"
        assert sign_in(copy) == "carol"
        now = read_marker(claimed).owner
        assert now != before

        # The original is the one that is refused now, also a service that was running.
        for database in (db, reopened(LocalStorage(claimed.root))):
            with pytest.raises(ConfigurationError) as raised:
                ingest(database, case)
            assert {str(before), str(now)} <= set(str(raised.value).replace(",", "").split())
            assert read(database, recording) == CONTENT
        with pytest.raises(ConfigurationError, match="belongs to database"):
            sweep(owner, LocalStorage(claimed.root))


def archive(database, audio):
    with database.session(actor="alice") as session:
        recordings.archive(session, audio, reason="finished")


def delete(database, audio):
    with database.session(actor="alice") as session:
        recordings.delete(session, audio, reason="wrong person")


def claim_job(database):
    with database.session(actor="transcriber") as session:
        return work.claim(session, "transcribe", worker="w")


def sign_in(database):
    with database.session() as session:
        return accounts.authenticate(session, "carol", "a long enough one").username


def test_a_copy_that_leaves_the_storages_reads_them_and_gets_its_own(  # noqa: PLR0917 - fixtures
    claimed, recording, case, db, reopened, owner, clone, tmp_path
):
    with clone() as (url, session):
        (known,) = claiming.registered(session).storages
        confirming.confirm(session, [(known, claimed)], leave=True)
        own = LocalStorage(tmp_path / "own")
        claiming.claim(session, own)
        copy = reopened(own, url)
        assert read(copy, recording) == CONTENT
        assert read(copy, ingest(copy, case)) == b"RIFF new"
        with pytest.raises(ConfigurationError, match="may only read it"):
            ingest(reopened(LocalStorage(claimed.root), url), case)
    assert ingest(db, case)
    assert sweep(owner, claimed).failed == {}


def test_a_physical_copy_recognises_itself_by_the_number(claimed, recording, case, db, owner):
    """Restored to an earlier time, or copied as files: identity, cluster and oid are the same; the number is not."""
    sweep(owner, claimed)
    with owner.begin() as connection:
        connection.execute(text("UPDATE storages SET sequence = sequence - 1"))  # as it was before that sweep
        connection.execute(text("UPDATE audio_files SET deleted_at = now() - interval '60 days'"))
    with pytest.raises(Quarantined, match="this is a copy or a restored backup"):
        sweep(owner, claimed)
    assert [info.size for info in claimed.list()] == [len(CONTENT)]
    with pytest.raises(Quarantined, match=COMMAND):  # stored, so that sessions are refused too
        claim_job(db)
    with pytest.raises(Quarantined):
        ingest(db, case)


def test_a_service_notices_the_number_by_itself(claimed, recording, case, db, owner):
    sweep(owner, claimed)
    with owner.begin() as connection:
        connection.execute(text("UPDATE storages SET sequence = sequence - 1"))
    with pytest.raises(Quarantined, match="read-only"):
        ingest(db, case)
    assert len(list(claimed.list())) == 1


def test_what_a_restored_database_has_forgotten_is_offered_and_never_swept(  # noqa: PLR0917 - fixtures
    claimed, recording, case, db, owner, clone
):
    pending = f"cases/{case.id}/00000000-0000-4000-8000-000000000001.wav"
    with db.session(actor="alice") as session:
        storage_id, owner_id = read_marker(claimed).storage, read_marker(claimed).owner
        session.execute(
            text("SELECT public.announce_object(:case, :key, 'local', :storage, :owner)"),
            {"case": case.id, "key": pending, "storage": storage_id, "owner": owner_id},
        )
    with clone() as (_, session):
        # After the snapshot, in the original: one announced object becomes live, and one is new.
        claimed.put(pending, b"RIFF pending")
        newer = path_of(owner, ingest(db, case))
        (known,) = claiming.registered(session).storages
        confirming.confirm(session, [(known, claimed)], leave=False)
        done = sweeping.sweep(session, claimed, older_than=ZERO, grace=ZERO)
        assert (done.offered, done.removed_objects) == ([pending], 0)
        assert unknown_objects.remove_unknown(session, claimed, older_than=ZERO) == []
        listed = {key for _, key in unknown_objects.offered(session, serve(session, [claimed]))}
        assert listed == {newer, pending}

        made = adopt(session, claimed, newer, case.id, username="alice", name="found.wav")
        assert verify_outcomes(session, claimed) == ["sound", "sound"]
        assert session.get(AudioFile, made).name == "found.wav"
        session.rollback()
        assert unknown_objects.remove_unknown(session, claimed, older_than=ZERO, named=[pending]) == [pending]
        assert list(unknown_objects.offered(session, serve(session, [claimed]))) == []
        assert sweeping.sweep(session, claimed, older_than=ZERO, grace=ZERO).offered == []


def verify_outcomes(session, storage):
    return [check.outcome for check in verify_all(session, storage, unchecked_for=ZERO)]


def test_a_backend_that_is_not_described_is_a_finding(claimed, recording, owner, tmp_path):
    other = LocalStorage(tmp_path / "shelf", name="shelf")
    with Session(owner) as session:
        claiming.claim(session, other)
        (sentence,) = sweeping.sweep(session, other).unserved
        assert sentence == (
            f"the storage 'local' ({marker_id(claimed)}) has 1 objects and is not described here, so they were neither"
            " swept nor verified: set AUDIO_STORAGE_MODULES to the module that registers it"
        )


def test_an_unnamed_session_learns_nothing_about_storages(claimed, db):
    with db.session() as session:
        assert read_register(session) is None


def test_the_owner_reads_the_same_register_from_the_tables(clone, claimed, db, owner, reopened):
    with db.session(actor="alice") as session, Session(owner) as owners:
        assert read_register(session) == read_register(owners)
        assert read_register(owners).storages
    with clone() as (url, owners), reopened(claimed, url).session(actor="alice") as session:
        assert read_register(session) == read_register(owners)
        assert COMMAND in read_register(owners).quarantine


def test_reading_the_register_as_the_owner_calls_no_function_of_public(claimed, owner):
    """What `history verify` needs to find archived months: a replaced function cannot lead it elsewhere."""
    with owner.begin() as connection:
        connection.execute(text("DROP FUNCTION public.storage_register() CASCADE"))
        connection.execute(text("DROP FUNCTION public.quarantine_reason() CASCADE"))
    with Session(owner) as session:
        register = read_register(session)
    assert (len(register.storages), register.quarantine) == (1, None)
    assert register.identity is not None


@pytest.mark.parametrize("name", ["nowhere", "MEMORY", "memory", "LOCAL", "Local "])
def test_a_recording_is_not_moved_to_a_backend_that_is_not_claimed(claimed, db, recording, case, owner, name):  # noqa: PLR0917 - fixtures
    marker = read_marker(claimed)
    with owner.connect() as connection:
        before = connection.execute(select(AudioFile.path, AudioFile.storage_type)).all()
    key = case_key(case.id, "wav")
    for place in ((name,), (name, marker.storage, marker.owner), (name, uuid4(), marker.owner)):
        announcing = select(func.public.announce_object(case.id, key, *place))
        refused = pytest.raises(ConfigurationError, match="is not claimed for this database")
        with refused, db.session(actor="alice") as session:
            session.execute(announcing)
    backend = MemoryStorage()
    backend.name = name
    with pytest.raises(ConfigurationError), db.session(actor="alice") as session:
        recordings.move(session, recording, backend)
    with owner.connect() as connection:
        assert connection.execute(select(AudioFile.path, AudioFile.storage_type)).all() == before
        assert connection.scalar(select(func.count()).select_from(StorageObject)) == 1
    assert read(db, recording) == CONTENT
