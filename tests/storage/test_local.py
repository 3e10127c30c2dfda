"""Local storage beyond the contract: durability, modes, layout, error messages."""

import errno
import hashlib
import io
import os
import stat
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from src.errors import IntegrityFailure, NoSpace, ObjectExists, ObjectNotFound, StorageUnavailable
from src.storage import LocalStorage, archive_key, case_key
from src.storage.atomic_file import INCOMPLETE, NamedFile

REPOSITORY = Path(__file__).resolve().parents[2]


def test_the_first_use_creates_the_root_and_the_constructor_does_not(tmp_path):
    root = tmp_path / "deep" / "er" / "audio"
    storage = LocalStorage(root)
    assert not root.parent.parent.exists()
    assert list(storage.list()) == []
    assert stat.S_IMODE(root.stat().st_mode) == 0o750 & ~_umask()


def test_layout_and_modes(local):
    case, archived = case_key(12, "flac"), archive_key(7, "mp3")
    for key in (case, archived):
        local.put(key, b"speech")
        path = local.root / key
        assert path.read_bytes() == b"speech"
        assert stat.S_IMODE(path.stat().st_mode) == 0o440
        assert path.stat().st_nlink == 1
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o750 & ~_umask()
    assert {path.name for path in local.root.iterdir()} <= {"cases", "archive", INCOMPLETE}


def test_modes_of_existing_folders_do_not_change(tmp_path, local):
    local.root.mkdir()
    (local.root / "cases").mkdir()
    for folder in (local.root, local.root / "cases"):
        folder.chmod(0o755)
    local.put(case_key(1, "wav"), b"x")
    assert [stat.S_IMODE(path.stat().st_mode) for path in (local.root, local.root / "cases")] == [0o755, 0o755]


def test_the_file_and_changed_folders_are_synced_in_order(local, monkeypatch):
    synced = []
    real = os.fsync

    def fsync(descriptor):
        synced.append(os.fstat(descriptor).st_ino)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    published = []
    link = os.link

    def linking(*names, **options):
        published.append(len(synced))
        link(*names, **options)

    monkeypatch.setattr(os, "link", linking)
    key = case_key(1, "wav")
    local.put(key, b"speech")
    path = local.root / key
    inode = {name: p.stat().st_ino for name, p in _chain(local.root, path).items()}
    assert {inode["outer"], inode["root"], inode["cases"]} <= set(synced[: published[-1]])
    assert inode["file"] in synced[: published[-1]]
    assert synced[published[-1] :] == [inode["folder"]]

    synced.clear()
    published.clear()
    local.put(case_key(1, "wav"), b"second in the same folder")
    assert synced[-1] == inode["folder"]
    synced.clear()
    local.delete(key)
    assert synced == [inode["folder"]]


def test_a_copy_shares_no_inode_and_is_read_back(local, monkeypatch):
    source, target = case_key(1, "wav"), archive_key(1, "wav")
    local.put(source, b"speech" * 1000)
    local.copy(source, target)
    assert (local.root / source).stat().st_ino != (local.root / target).stat().st_ino

    real = os.pread
    monkeypatch.setattr(os, "pread", lambda descriptor, count, at: real(descriptor, count, at).replace(b"s", b"z"))
    with pytest.raises(IntegrityFailure, match="read back"):
        local.copy(source, archive_key(2, "wav"))
    assert [info.key for info in local.list("archive")] == [target]


def test_a_known_size_beyond_the_free_space_is_rejected_before_the_first_read(local, monkeypatch):
    # Reserving would fill the disk for other programs before it fails.
    monkeypatch.setattr(os, "posix_fallocate", lambda *_: pytest.fail("space was reserved"))
    source = io.BytesIO(b"x")
    with pytest.raises(NoSpace, match=str(local.root)):
        local.put(case_key(1, "wav"), source, size=2**60)
    assert source.tell() == 0
    assert list(local.list()) == []


@pytest.mark.parametrize(
    ("call", "errno_value", "error"),
    [
        ("write", errno.ENOSPC, NoSpace),
        ("write", errno.EDQUOT, NoSpace),
        ("write", errno.EIO, StorageUnavailable),
        ("fsync", errno.ENOSPC, NoSpace),
        ("fsync", errno.EIO, StorageUnavailable),
        ("posix_fallocate", errno.ENOSPC, NoSpace),
        ("mkdir", errno.EROFS, StorageUnavailable),
        ("link", errno.EACCES, StorageUnavailable),
        ("link", errno.EPERM, StorageUnavailable),
        ("fchmod", errno.EIO, StorageUnavailable),
    ],
)
def test_errors_of_the_system_are_translated_and_leave_nothing(local, monkeypatch, call, errno_value, error):
    local.usage()
    monkeypatch.setattr("src.storage.local._RESERVED_FROM_BYTES", 1)

    def fail(*_arguments, **_options):
        raise OSError(errno_value, os.strerror(errno_value))

    with monkeypatch.context() as patched:
        patched.setattr(os, call, fail)
        with pytest.raises(error) as caught:
            local.put(case_key(1, "wav"), b"speech", size=6)
    assert str(local.root) in str(caught.value)
    assert isinstance(caught.value.__cause__, OSError)
    assert list(local.list()) == []
    assert local.sweep_incomplete(timedelta(0)).found == 0


def test_an_error_of_the_source_is_raised_unchanged(local):
    def read(_size):
        raise PermissionError(errno.EACCES, "of the source")

    with pytest.raises(PermissionError, match="of the source"):
        local.put(case_key(1, "wav"), SimpleNamespace(read=read))


def test_a_system_without_o_tmpfile_gets_named_files_automatically(tmp_path, monkeypatch):
    storage = LocalStorage(tmp_path / "audio")
    assert storage.probe().notes == ()
    real = os.open

    def open_without_tmpfile(path, flags, *rest, **options):
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "not supported")
        return real(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", open_without_tmpfile)
    key = case_key(1, "wav")
    storage.put(key, b"speech")
    assert (storage.root / key).read_bytes() == b"speech"
    assert INCOMPLETE in storage.probe().notes[0]
    assert list((storage.root / INCOMPLETE).iterdir()) == []


def test_a_sweep_removes_files_of_dead_writers_only(tmp_path):
    storage = LocalStorage(tmp_path / "audio", use_tmpfile=False)
    storage.probe()
    incomplete = storage.root / INCOMPLETE
    (incomplete / ("0" * 32)).write_bytes(bytes(5000))
    (incomplete / "notes of the operator").write_bytes(b"mine")
    descriptor = os.open(incomplete, os.O_RDONLY)
    live = NamedFile(descriptor)
    try:
        assert storage.sweep_incomplete(timedelta(hours=1)).found == 0
        dry = storage.sweep_incomplete(timedelta(0), dry_run=True)
        assert (dry.found, dry.removed, dry.found_bytes) == (1, 0, 5000)
        report = storage.sweep_incomplete(timedelta(0))
        assert (report.found, report.removed, report.found_bytes) == (1, 1, 5000)
        left = {path.name for path in incomplete.iterdir()}
        assert len(left) == 2
        assert "notes of the operator" in left
    finally:
        live.close()
        os.close(descriptor)
    assert [path.name for path in incomplete.iterdir()] == ["notes of the operator"]


def test_a_sweep_of_a_second_name_keeps_the_object(tmp_path):
    storage = LocalStorage(tmp_path / "audio", use_tmpfile=False)
    key = case_key(1, "wav")
    storage.put(key, b"speech")
    os.link(storage.root / key, storage.root / INCOMPLETE / ("a" * 32))
    report = storage.sweep_incomplete(timedelta(0))
    assert (report.removed, report.found_bytes) == (1, 0)
    assert storage.get(key).read() == b"speech"


def test_files_that_are_not_objects_are_not_listed(local):
    key = case_key(1, "wav")
    local.put(key, b"x")
    (local.root / "cases" / ".gitkeep").touch()
    (local.root / "cases" / "1" / "readme.txt").touch()
    (local.root / "cases" / "not a case").mkdir()
    (local.root / "lost+found").mkdir()
    assert [info.key for info in local.list()] == [key]


def test_a_missing_root_is_an_error(local):
    key = case_key(1, "wav")
    local.put(key, b"x")
    local.root.rename(local.root.with_name("unmounted"))
    for verb in (local.get, local.head, local.delete, lambda _key: list(local.list())):
        with pytest.raises(StorageUnavailable, match=str(local.root)):
            verb(key)
    with pytest.raises(StorageUnavailable):
        local.put(case_key(1, "wav"), b"would be hidden when the disk is mounted again")
    assert not local.root.exists()


def test_another_device_at_the_root_is_rejected(local, monkeypatch):
    local.put(case_key(1, "wav"), b"x")
    monkeypatch.setattr(local._tree, "_device", -1)
    with pytest.raises(StorageUnavailable, match="another device"):
        local.put(case_key(1, "wav"), b"x")


def test_a_deleted_object_stays_readable_through_open_streams(local):
    key = case_key(1, "wav")
    local.put(key, b"speech")
    with local.get(key) as stream:
        local.delete(key)
        assert stream.read() == b"speech"
    with pytest.raises(ObjectNotFound):
        local.get(key)


def test_only_a_stream_of_a_whole_object_has_a_descriptor(local):
    key = case_key(1, "wav")
    local.put(key, b"speech")
    with local.get(key) as whole, local.get(key, offset=1) as part:
        assert os.fstat(whole.fileno()).st_size == 6
        with pytest.raises(io.UnsupportedOperation):
            part.fileno()


def test_no_descriptor_leaks(local):
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        key = case_key(1, "wav")
        local.put(key, b"x")
        local.get(key).close()
        local.head(key)
        with pytest.raises(ObjectExists):
            local.put(key, b"x")
        with pytest.raises(ObjectNotFound):
            local.get(case_key(2, "wav"))
        next(local.list())
        local.probe()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_root_without_write_permission_is_named(tmp_path):
    """Root can write every folder, so the child drops its privileges first."""
    program = """
import os, sys
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
from src.errors import StorageUnavailable
from src.storage import LocalStorage, case_key
try:
    LocalStorage('.').put(case_key(1, 'wav'), b'x')
except StorageUnavailable as error:
    print(error)
"""
    # Modules are imported before the privileges are dropped: other users may not be able to read the tree.
    program = program.replace("if os.geteuid", "import src.storage, hashlib, _strptime\nif os.geteuid")
    root = tmp_path / "audio"
    root.mkdir(mode=0o555)
    opened = _make_searchable(tmp_path)
    try:
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        for path, mode in opened:
            path.chmod(mode)
    assert done.stderr == ""
    assert f"{root} cannot be used (Permission denied)" in done.stdout
    assert "AUDIO_STORAGE_ROOT" in done.stdout


def test_a_full_device(tmp_path):
    """A file system of 1 MiB, mounted in a separate mount namespace."""
    program = """
import io, os, sys
from src.errors import NoSpace
from src.storage import LocalStorage, case_key
for use_tmpfile in (True, False):
    storage = LocalStorage(sys.argv[1], use_tmpfile=use_tmpfile)
    kept = case_key(1, 'wav')
    storage.put(kept, bytes(100_000))
    for size in (2_000_000, None):
        source = io.BytesIO(bytes(2_000_000))
        try:
            storage.put(case_key(1, 'wav'), source, size=size)
        except NoSpace:
            print(size, source.tell() == 0, [info.key for info in storage.list()] == [kept])
    storage.delete(kept)
"""
    mounted = 'mount -t tmpfs -o size=1m none "$1" || exit 77; shift; exec "$@"'
    try:
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", mounted, "sh", tmp_path, sys.executable, "-c", program, tmp_path],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("unshare(1) is not installed")
    if done.returncode in (1, 77) and "Traceback" not in done.stderr:
        pytest.skip(f"cannot mount a file system: {done.stderr.strip()}")
    assert done.stderr == ""
    assert done.stdout == "2000000 True True\nNone False True\n" * 2


DATA = hashlib.shake_256(b"window").digest(600_000)
POSITIONS = st.one_of(st.integers(0, 20), st.integers(0, 700_000), st.integers(599_990, 600_010))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    offset=POSITIONS,
    length=st.one_of(st.none(), POSITIONS),
    moves=st.lists(st.tuples(POSITIONS, st.integers(-1, 300_000)), max_size=4),
)
def test_a_window_reads_like_a_slice(tmp_path, offset, length, moves):
    storage = LocalStorage(tmp_path / "audio")
    keys = [info.key for info in storage.list()]
    key = keys[0] if keys else storage.put(case_key(1, "wav"), DATA).key
    expected = io.BytesIO(DATA[offset:] if length is None else DATA[offset : offset + length])
    with storage.get(key, offset=offset, length=length) as stream:
        for position, count in moves:
            assert stream.seek(position) == expected.seek(position)
            assert stream.read(count) == expected.read(count)
            assert stream.tell() == expected.tell()
        assert stream.seek(0) == expected.seek(0)
        assert stream.read() == expected.read()


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _chain(root, path):
    return {"outer": root.parent, "root": root, "cases": root / "cases", "folder": path.parent, "file": path}


def _make_searchable(path):
    """Make the folders above `path` searchable for all users; return the folders and their previous modes."""
    changed = []
    for folder in (path, *path.parents):
        mode = stat.S_IMODE(folder.stat().st_mode)
        if not mode & stat.S_IXOTH:
            changed.append((folder, mode))
            folder.chmod(mode | stat.S_IXOTH)
    return changed
