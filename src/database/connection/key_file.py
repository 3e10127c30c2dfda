"""The key file: the logins and the signing key of a program that serves sessions, readable by its owner only."""

from __future__ import annotations

import json
import os
import stat
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from src.database.connection.actor_tokens import SigningKey
from src.database.schema.objects import ADMIN_ROLE, MEMBER_ROLES
from src.errors import ConfigurationError


@dataclass(frozen=True)
class KeyFile:
    """The logins that serve sessions of members and of administrators, their passwords, and the key that signs actors.

    A program that serves members only may have a file without `admin_login` and `admin_password`.
    """

    login: str
    password: str = field(repr=False)
    signing_key: SigningKey
    admin_login: str | None = None
    admin_password: str = field(default="", repr=False)

    @property
    def roles_of_logins(self) -> dict[str, tuple[str, ...]]:
        """The roles that the sessions of each login may take."""
        administrators = {} if self.admin_login is None else {self.admin_login: (ADMIN_ROLE,)}
        return {self.login: MEMBER_ROLES, **administrators}

    @classmethod
    def load(cls, path: Path) -> KeyFile | None:
        """Return the content of the file; None when it does not exist.

        Raises ConfigurationError when other users may read the file, or when it is damaged.
        """
        try:
            # Non-blocking, since opening a pipe would block forever; a pipe is rejected below.
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigurationError(
                f"The key file {path} cannot be read ({error.strerror}); run as the user who ran init_db."
            ) from error
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            os.close(descriptor)
            raise ConfigurationError(
                f"The key file {path} is not a regular file; set KEY_FILE to the file that init_db wrote."
            )
        with os.fdopen(descriptor, encoding="utf-8") as file:
            if stat.S_IMODE(mode) & 0o077:
                raise ConfigurationError(f"The key file {path} is readable by other users. Run: chmod 600 {path}")
            try:
                document: dict[str, Any] = json.load(file)
                return cls(
                    login=str(document["login"]),
                    password=str(document["password"]),
                    signing_key=SigningKey.decode(int(document["key_id"]), str(document["key"])),
                    admin_login=document.get("admin_login"),
                    admin_password=str(document.get("admin_password", "")),
                )
            except (ValueError, KeyError, TypeError, RecursionError, ConfigurationError) as error:
                raise ConfigurationError(
                    f"The key file {path} is damaged. Restore it, or move it away and run init_db --reset-login."
                ) from error

    def save(self, path: Path) -> None:
        """Write the file atomically: after a crash it is either the old or the new one."""
        document = {
            "login": self.login,
            "password": self.password,
            **(
                {"admin_login": self.admin_login, "admin_password": self.admin_password}
                if self.admin_login is not None
                else {}
            ),
            "key_id": self.signing_key.id,
            "key": self.signing_key.encode(),
        }
        temporary: Path | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # An unpredictable name, created with O_EXCL and mode 0600: symbolic links are not followed.
            descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
            temporary = Path(name)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(document, file, indent=2)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            if temporary is not None:
                temporary.unlink(missing_ok=True)
            raise ConfigurationError(
                f"The key file {path} cannot be written ({error.strerror}); set KEY_FILE to a writable path."
            ) from error
