"""The embedded server in containers: other pid, IPC and mount namespaces on the same folder; users without a name."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from src.database.embedded import EmbeddedServer, postmaster
from src.errors import ConfigurationError, ServerUnreachable
from tests.database.test_embedded import FAST, ROOT, SYSTEM, WHEEL, base, cluster, copy_of, pid_of, query, wait_until

__all__ = ["base", "cluster"]  # fixtures

# Uses the server until its input ends; prints where the server writes, and a row that it adds.
CLIENT = """
import sys
from pathlib import Path
from sqlalchemy import NullPool, create_engine
from src.database.embedded import EmbeddedServer, server
from src.errors import SpeechError
server.ELSEWHERE_PATIENCE = 1.0
embedded = EmbeddedServer(Path(sys.argv[1]), settings={"fsync": "off"})
try:
    embedded.start()
except SpeechError as error:
    print("refused:", error, flush=True)
    raise SystemExit(3)
with create_engine(embedded.url(), poolclass=NullPool).connect() as connection:
    started = connection.exec_driver_sql("SELECT pg_postmaster_start_time()::text").scalar_one()
print(started, flush=True)
sys.stdin.read()
"""
CONTAINER = ["unshare", "--pid", "--fork", "--mount-proc", "--ipc", "--mount", "--kill-child"]


def can_unshare():
    return (
        shutil.which("unshare")
        and subprocess.run([*CONTAINER, "true"], capture_output=True, check=False).returncode == 0
    )


in_containers = pytest.mark.skipif(not can_unshare(), reason="this user may not create namespaces")
with_own_tmp = pytest.mark.skipif(
    ROOT.is_relative_to("/tmp"), reason="a container with its own /tmp hides this checkout"
)


@contextlib.contextmanager
def container(folder, before=":"):
    """A client in namespaces of its own, after a command of the shell in them."""
    command = [*CONTAINER, "sh", "-c", f'{before} && exec "$@"', "sh", sys.executable, "-c", CLIENT, str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def outside_tmp():
    """A folder outside /tmp, of which containers have their own."""
    folder = Path(tempfile.mkdtemp(prefix="emb-", dir="/var/tmp"))
    folder.chmod(0o755)
    yield folder

    def removed():
        # The processes of a killed container exit one after the other.
        shutil.rmtree(folder, ignore_errors=True)
        return not folder.exists()

    wait_until(removed)


OWN_TMP = "mount -t tmpfs none /tmp"


@in_containers
def test_containers_on_one_volume_share_the_server(base, cluster):
    server = copy_of(cluster, base / "server")
    with container(server.folder) as first:
        started = first.stdout.readline()
        with container(server.folder) as second:
            assert second.stdout.readline() == started
        with server:
            assert query(server.url(), "SELECT pg_postmaster_start_time()::text") == [(started.strip(),)]


@in_containers
@with_own_tmp
def test_a_container_that_cannot_reach_the_server_does_not_open_its_data(outside_tmp, cluster):
    # The path is too long for a socket beside the data.
    server = copy_of(cluster, outside_tmp / ("x" * 100))
    with container(server.folder, OWN_TMP) as first:
        assert first.stdout.readline().startswith("20")
        pid_file = (server.folder / "data" / "postmaster.pid").read_text()
        with container(server.folder, OWN_TMP) as second:
            assert "is open in a server that this process cannot reach" in second.stdout.readline()
        assert (server.folder / "data" / "postmaster.pid").read_text() == pid_file


@in_containers
@with_own_tmp
def test_the_data_of_a_killed_container_can_be_opened_by_another(outside_tmp, cluster):
    server = copy_of(cluster, outside_tmp / ("x" * 100))
    with container(server.folder, OWN_TMP) as first:
        started = first.stdout.readline()
        first.kill()  # with every process in its namespace
        first.wait()
        with container(server.folder, OWN_TMP) as second:
            again = second.stdout.readline()
    assert again.startswith("20")
    assert again != started


def test_backends_of_a_killed_postmaster_keep_the_lock(base, cluster):
    server = copy_of(cluster, base / "server")
    with server:
        query(server.url(), "CREATE FUNCTION busy() RETURNS void LANGUAGE plpgsql AS 'BEGIN LOOP NULL; END LOOP; END'")
        statement = "SELECT pg_backend_pid(), busy()"
        program = "import sys, psycopg2; psycopg2.connect(sys.argv[1]).cursor().execute(sys.argv[2])"
        dsn = f"host={server.socket_directory} user=postgres password={server.password} dbname=postgres"
        with subprocess.Popen([sys.executable, "-c", program, dsn, statement], stderr=subprocess.DEVNULL) as client:
            busy = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT pg_backend_pid%%' AND state = 'active'"
            wait_until(lambda: query(server.url(), busy))
            ((backend,),) = query(server.url(), busy)
            os.kill(pid_of(server), signal.SIGKILL)
            wait_until(lambda: not postmaster.listens(server.socket_directory))
            # Where the other processes of the server are not visible: neither pids nor shared memory show them.
            (server.folder / "data" / "postmaster.pid").unlink()
            held = subprocess.run(["flock", "--nonblock", server.folder / "data" / "PG_VERSION", "true"], check=False)
            assert held.returncode == 1
            os.kill(backend, signal.SIGKILL)
            client.wait()
        server.start()
        assert query(server.url(), "SELECT 1") == [(1,)]


# A removed socket


def test_a_removed_socket_is_repaired(base, cluster):
    server = copy_of(cluster, base / "server")
    with server:
        query(server.url(), "CREATE TABLE kept AS SELECT 1 AS n")
        (server.folder / ".s.PGSQL.5432").unlink()
        server.start()
        assert query(server.url(), "SELECT n FROM kept") == [(1,)]


def test_a_removed_socket_of_a_server_with_other_users_is_one_sentence(base, cluster):
    server = copy_of(cluster, base / "server")
    with server, EmbeddedServer(server.folder, settings=FAST) as other:
        pid = pid_of(server)
        (server.folder / ".s.PGSQL.5432").unlink()
        with pytest.raises(ServerUnreachable, match="was removed while other processes use the server"):
            other.start()
        assert postmaster.has_argument(pid, server._mark)


def test_a_removed_folder_of_the_socket_is_repaired(base, cluster):
    with copy_of(cluster, base / "a b") as server:
        shutil.rmtree(server.socket_directory)
        server.start()
        assert query(server.url(), "SELECT 1") == [(1,)]
    shutil.rmtree(server.socket_directory)


# Paths and users


@pytest.mark.parametrize("name", ["ж 'é\" %s:;,=", "-rf", "x" * 250], ids=["odd", "dash", "long"])
def test_folders_with_odd_names(base, cluster, name):
    parent = base / name / name if len(name) > 100 else base / name
    parent.mkdir(parents=True)
    with copy_of(cluster, parent / name) as server:
        assert query(server.url(), "SELECT 1") == [(1,)]
    if server.socket_directory != server.folder:
        shutil.rmtree(server.socket_directory)


@pytest.mark.parametrize("name", ["line\nbreak", "/".join(["x" * 250] * 4)], ids=["newline", "too long"])
def test_folders_that_postgresql_cannot_use_are_refused(base, name):
    with pytest.raises(ConfigurationError, match="Set EMBEDDED_POSTGRES_DIR to another"):
        EmbeddedServer(base / name, settings=FAST).start()
    assert list(base.iterdir()) == []


def test_a_long_tmpdir_is_not_used_for_the_socket(base, cluster, monkeypatch):
    (base / ("t" * 100)).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(base / ("t" * 100)))
    with copy_of(cluster, base / "a b") as server:
        assert query(server.url(), "SELECT 1") == [(1,)]
    shutil.rmtree(server.socket_directory)


# Locales


@pytest.mark.parametrize("binaries", [WHEEL, SYSTEM], ids=["wheel", "system"])
def test_a_locale_of_icu_where_the_programs_have_it(base, binaries):
    if binaries is None:
        pytest.skip("these server programs are not installed")
    server = EmbeddedServer(base / "server", binaries=binaries, settings=FAST, locale="de-DE")
    try:
        with server:
            assert query(server.url(), "SELECT 'ä' < 'b', lower('ÉЖ'), to_tsvector('simple', 'ÉЖ')") == [
                (True, "éж", "'éж':1")
            ]
    except ServerUnreachable as error:
        if binaries != WHEEL or "cannot be created: ICU is not supported in this build" not in str(error):
            raise


def test_data_without_a_version_is_one_sentence(base, cluster):
    server = copy_of(cluster, base / "server")
    (server.folder / "data" / "PG_VERSION").write_text("")
    with pytest.raises(ConfigurationError, match="does not contain a version"):
        server.start()


NAMELESS = 54321
as_nameless = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="only root can run a program with another uid"
)


def nameless(*command):
    drop = ["setpriv", f"--reuid={NAMELESS}", f"--regid={NAMELESS}", "--clear-groups"]
    return subprocess.run(
        [*drop, *command], cwd=ROOT, input="", capture_output=True, text=True, check=False, timeout=100
    )


@as_nameless
def test_a_user_without_a_name_gets_one_sentence(base):
    os.chown(base, NAMELESS, NAMELESS)
    done = nameless(sys.executable, "-c", CLIENT, str(base / "server"))
    assert done.stdout.startswith(f"refused: The uid {NAMELESS} has no entry in /etc/passwd"), done
    assert not (base / "server" / "data").exists()


@as_nameless
def test_a_user_without_a_name_can_use_existing_data(base, cluster):
    server = copy_of(cluster, base / "server")
    for path in (server.folder, *server.folder.rglob("*")):
        os.chown(path, NAMELESS, NAMELESS, follow_symlinks=False)
    done = nameless(sys.executable, "-c", CLIENT, str(server.folder))
    assert (done.returncode, done.stdout[:2]) == (0, "20"), done
