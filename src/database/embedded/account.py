"""Whose processes the server's are, and the folders made for them.

PostgreSQL refuses to run as root, so root hands it to an unprivileged account that gets folders of its own. The mode
and the owner of a folder that was there before are never touched.
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

PATIENCE = 60.0  # seconds that one step of the server may take

# Of the caller's environment only the search path goes along: PGPORT or PGDATA would misdirect the server, secrets
# would stand in its environment for days, and a translated message could not be recognised.
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
        """Exit code of a program run as this account, out of reach of the terminal's Ctrl-C; waits 60 s at most.

        Raises ServerUnreachable when that time is over, OSError when the program cannot be run.
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
                timeout=PATIENCE + 5,  # pg_ctl has a limit of its own and says more when it reaches that
                check=False,
            ).returncode
        except subprocess.TimeoutExpired as error:
            raise ServerUnreachable(f"{arguments[0]} did not end within {PATIENCE:.0f} s: see the log.") from error

    def can_run(self, *programs: Path) -> bool:
        """Whether this account reaches these programs and all that they load."""
        try:
            return all(self.run([program, "--version"]) == 0 for program in programs)
        except OSError:
            return False

    def can_write(self, folder: Path) -> bool:
        """Whether this account gets into the folder and may make files there."""
        return self.run(["test", "-w", folder, "-a", "-x", folder]) == 0


def server_account(folder: Path) -> Account:
    """The caller itself; for root the system user `postgres` or `nobody`, rather the one that owns the folder already.

    Raises ConfigurationError when neither exists.
    """
    if os.geteuid() != 0:
        return Account(f"number {os.geteuid()}", os.geteuid(), os.getegid())
    users = {entry.pw_name: entry for entry in pwd.getpwall()}
    usable = [Account(name, users[name].pw_uid, users[name].pw_gid) for name in ("postgres", "nobody") if name in users]
    owner = folder.stat().st_uid if folder.exists() else None
    for account in (*(account for account in usable if account.uid == owner), *usable):
        return account
    raise ConfigurationError(
        "PostgreSQL does not run as root and this system has neither a user postgres nor nobody: "
        "add one, run as an ordinary user, or name a running server with POSTGRES_HOST in .env."
    )


def default_folder(project_folder: Path) -> Path:
    """Where the server of a project lives: its own folder; for root one below /var/lib, which the server can reach."""
    if os.geteuid() != 0:
        return project_folder
    return Path("/var/lib/speech-to-information") / digest(project_folder.resolve())


def digest(folder: Path) -> str:
    """A short name that stands for this folder."""
    return hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]


def make_folder(folder: Path, account: Account) -> None:
    """Makes the folder, if it is missing, 0700 and the account's; missing parents become 0755 and the caller's."""
    while missing := [path for path in (folder, *folder.parents) if not path.exists()]:
        top = missing[-1]
        # Made aside and renamed when right: left half-made by a killed process, it would look like somebody's own.
        fresh = Path(tempfile.mkdtemp(prefix=f".{top.name}.", dir=top.parent))
        inner = fresh / folder.relative_to(top)
        inner.mkdir(parents=True, exist_ok=True)
        # With a file in it, no other process that makes the same folder can put its own in this one's place.
        (inner / "README").write_text("Made by speech-to-information for its embedded PostgreSQL server.\n")
        for path in (fresh, *(fresh / parent for parent in inner.relative_to(fresh).parents)):
            path.chmod(0o755)
        inner.chmod(0o700)
        if account.uid != os.geteuid():
            os.chown(inner, account.uid, account.gid)
        try:
            fresh.rename(top)
        except OSError as error:
            shutil.rmtree(fresh)
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise


def refuse_strangers(folder: Path, account: Account) -> None:
    """Raises ConfigurationError unless the folder is a real one that belongs to the account alone."""
    status = folder.lstat()
    if status.st_uid != account.uid or not folder.is_dir() or folder.is_symlink() or status.st_mode & 0o077:
        raise ConfigurationError(
            f"{folder} is not a folder of user {account.name} alone: have its owner remove it, then start again."
        )
