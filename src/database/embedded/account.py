"""The account that runs the server, and the folders created for it.

PostgreSQL refuses to run as root, so root runs it as an unprivileged account with separate folders. The mode and the
owner of existing folders are never changed.
"""

from __future__ import annotations

import errno
import hashlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from src.errors import ConfigurationError, ServerUnreachable

LONGEST_PATH = 900  # bytes: MAXPGPATH of PostgreSQL, 1024, without the longest path below the folder
PATIENCE = 60.0  # timeout of one step of the server, in seconds

# The environment of the server: that of the caller could contain PGPORT or PGDATA, secrets, which would stay in it for
# days, and a locale with translated messages, which could not be recognised.
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C"}


@dataclass(frozen=True)
class Account:
    """The system user that owns and runs the server."""

    name: str
    uid: int
    gid: int

    def run(
        self,
        arguments: Sequence[str | Path],
        *,
        folder: Path = Path("/"),
        output: IO[bytes] | int = subprocess.DEVNULL,
        pass_fds: Sequence[int] = (),
    ) -> int:
        """Run a program as this account, in a new session without Ctrl-C; return its exit code.

        Raises ServerUnreachable after 65 s, OSError when the program cannot be run.
        """
        switch = os.geteuid() != self.uid
        try:
            return subprocess.run(
                arguments,
                cwd=folder,
                env=ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=self.uid if switch else None,
                group=self.gid if switch else None,
                extra_groups=[] if switch else None,
                pass_fds=pass_fds,
                timeout=PATIENCE + 5,  # longer than the timeout of pg_ctl, whose message is more precise
                check=False,
            ).returncode
        except subprocess.TimeoutExpired as error:
            raise ServerUnreachable(f"{arguments[0]} did not exit within {PATIENCE:.0f} s; see the log.") from error

    def can_run(self, *programs: Path) -> bool:
        """Whether this account can run these programs, with all libraries that they load."""
        try:
            return all(self.run([program, "--version"]) == 0 for program in programs)
        except OSError:
            return False

    def can_write(self, folder: Path) -> bool:
        """Whether this account can enter the folder and create files in it."""
        return self.run(["test", "-w", folder, "-a", "-x", folder]) == 0


def server_account(folder: Path) -> Account:
    """Return the caller; for root, the system user `postgres` or `nobody`, preferably the owner of the folder.

    Raises ConfigurationError when neither exists.
    """
    if os.geteuid() != 0:
        return Account(f"with uid {os.geteuid()}", os.geteuid(), os.getegid())
    users = {entry.pw_name: entry for entry in pwd.getpwall()}
    usable = [Account(name, users[name].pw_uid, users[name].pw_gid) for name in ("postgres", "nobody") if name in users]
    owner = folder.stat().st_uid if folder.exists() else None
    for account in (*(account for account in usable if account.uid == owner), *usable):
        return account
    raise ConfigurationError(
        "PostgreSQL does not run as root, and this system has neither a user postgres nor nobody. "
        "Add one, run as an ordinary user, or set POSTGRES_HOST in .env to a running server."
    )


def require_name(account: Account) -> None:
    """Raise ConfigurationError for an account without a name: `initdb` does not run without one."""
    try:
        pwd.getpwuid(account.uid)
    except KeyError as error:
        raise ConfigurationError(
            f"The uid {account.uid} has no entry in /etc/passwd, without which PostgreSQL creates no data. Add one (for"
            f" example: echo 'speech:x:{account.uid}:{account.gid}::/:/sbin/nologin' >> /etc/passwd), run as a user"
            " with one, or set POSTGRES_HOST in .env to a running server."
        ) from error


def default_folder(project_folder: Path) -> Path:
    """Return the folder of a project's server: in the project; for root below /var/lib, which the server can access."""
    if os.geteuid() != 0:
        return project_folder
    return Path("/var/lib/speech-to-information") / digest(project_folder.resolve())


def digest(folder: Path) -> str:
    """Return a short identifier of this folder."""
    return hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]


def require_usable_path(folder: Path) -> None:
    """Raise ConfigurationError for a path that the server cannot use: it is a line of its pid file."""
    name = str(folder)
    if len(os.fsencode(folder)) > LONGEST_PATH or any(ord(character) < 32 for character in name):
        raise ConfigurationError(
            f"The path {name!r} has control characters or more than {LONGEST_PATH} bytes, which the embedded server"
            " cannot use. Set EMBEDDED_POSTGRES_DIR to another folder."
        )


def make_folder(folder: Path, account: Account) -> None:
    """Create a missing folder, mode 0700, owned by the account; missing parents are 0755 and owned by the caller."""
    while missing := [path for path in (folder, *folder.parents) if not path.exists()]:
        top = missing[-1]
        # Created under a temporary name and renamed when complete, so that a crash leaves no incomplete folder.
        temporary = Path(tempfile.mkdtemp(prefix=f".{top.name}.", dir=top.parent))
        inner = temporary / folder.relative_to(top)
        inner.mkdir(parents=True, exist_ok=True)
        # A folder that is not empty cannot be replaced by the rename of a concurrent process.
        (inner / "README").write_text("Created by speech-to-information for its embedded PostgreSQL server.\n")
        for path in (temporary, *(temporary / parent for parent in inner.relative_to(temporary).parents)):
            path.chmod(0o755)
        inner.chmod(0o700)
        if account.uid != os.geteuid():
            os.chown(inner, account.uid, account.gid)
        try:
            temporary.rename(top)
        except OSError as error:
            shutil.rmtree(temporary)
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise


def refuse_strangers(folder: Path, account: Account) -> None:
    """Raise ConfigurationError unless the folder is a real one, owned by the account and closed to other users."""
    status = folder.lstat()
    if status.st_uid != account.uid or not folder.is_dir() or folder.is_symlink() or status.st_mode & 0o077:
        raise ConfigurationError(
            f"{folder} is not a private folder of user {account.name}: ask its owner to remove it, then start again."
        )
