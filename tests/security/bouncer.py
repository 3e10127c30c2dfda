"""A PgBouncer in front of the test server: transaction mode, few server connections, a unix socket."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2
from sqlalchemy import URL

from src.database.embedded.account import Account, server_account

PORT = 6432
# Debian installs it in a directory that only root's PATH contains.
PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")


class Bouncer:
    """A running PgBouncer; sessions use it through `url`. `restart` drops every connection, like a crash."""

    def __init__(
        self, serving: URL, others: tuple[URL, ...], folder: Path, account: Account, options: dict[str, object]
    ) -> None:
        where = {"host": folder.as_posix(), "port": str(PORT)}
        self.url = URL.create(
            serving.drivername, serving.username, serving.password, database=serving.database, query=where
        )
        self._folder, self._account = folder, account
        settings = {
            "listen_port": PORT,
            "unix_socket_dir": folder,
            "auth_type": "scram-sha-256",
            "auth_file": folder / "userlist.txt",
            "pool_mode": "transaction",
            "stats_users": serving.username,
            "log_connections": 0,
            "log_disconnections": 0,
            "log_stats": 0,
            **options,
        }
        host, port = serving.host or serving.query["host"], serving.port or serving.query.get("port", 5432)
        self._write("userlist.txt", "".join(f'"{url.username}" "{url.password}"\n' for url in (serving, *others)))
        lines = (f"{name} = {value}\n" for name, value in settings.items())
        self._write("pgbouncer.ini", f"[databases]\n* = host={host} port={port}\n[pgbouncer]\n{''.join(lines)}")
        self._process = self._start()

    def restart(self) -> None:
        self.kill()
        self._process = self._start()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._process.stderr.close()

    def queries(self) -> int:
        """Return the number of queries of this database that it has forwarded."""
        console = psycopg2.connect(
            host=self._folder.as_posix(),
            port=PORT,
            user=self.url.username,
            password=self.url.password,
            dbname="pgbouncer",
        )
        try:
            console.autocommit = True
            with console.cursor() as cursor:
                cursor.execute("SHOW STATS_TOTALS")
                names = [column.name for column in cursor.description]
                rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        finally:
            console.close()
        return sum(row["query_count"] for row in rows if row["database"] == self.url.database)

    def _start(self) -> subprocess.Popen[str]:
        other = os.geteuid() != self._account.uid  # PgBouncer does not run as root
        process = subprocess.Popen(
            [str(PROGRAM), str(self._folder / "pgbouncer.ini")],
            stderr=subprocess.PIPE,
            text=True,
            user=self._account.uid if other else None,
            group=self._account.gid if other else None,
            extra_groups=[] if other else None,
        )
        said = []
        for line in process.stderr:
            said.append(line)
            if "process up" in line:
                return process
        process.wait()
        raise AssertionError(f"PgBouncer did not start: {''.join(said)}")

    def _write(self, name: str, content: str) -> None:
        path = self._folder / name
        path.touch(mode=0o600)
        path.write_text(content)
        if os.geteuid() != self._account.uid:
            os.chown(path, self._account.uid, self._account.gid)


@contextmanager
def running_bouncer(serving: URL, *others: URL, **options: object) -> Iterator[Bouncer]:
    """Yield a PgBouncer for the logins and the server of these URLs, with `options` as additional settings."""
    # Not below pytest's directory: the path of a socket has at most 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="sti-bouncer-"))
    account = server_account(folder)
    try:
        if os.geteuid() != account.uid:
            os.chown(folder, account.uid, account.gid)
        bouncer = Bouncer(serving, others, folder, account, options)
        try:
            yield bouncer
        finally:
            bouncer.kill()
    finally:
        shutil.rmtree(folder)
