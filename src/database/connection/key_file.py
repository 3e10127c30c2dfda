"""The key file: what a program needs to serve sessions, kept outside SQL's reach, readable by its owner only."""

from __future__ import annotations

import json
import os
import stat
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from src.database.connection.actor_tokens import SigningKey
from src.errors import ConfigurationError


@dataclass(frozen=True)
class KeyFile:
    """The login that serves sessions, its password, and the key that signs actors."""

    login: str
    password: str = field(repr=False)
    signing_key: SigningKey

    @classmethod
    def load(cls, path: Path) -> KeyFile | None:
        """Return what the file holds, None when there is none.

        Raises ConfigurationError when others may read it or when it is damaged.
        """
        try:
            # Not blocking, since a pipe would keep us here for ever; it is refused below.
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
            raise ConfigurationError(f"The key file {path} is no file; set KEY_FILE to the file that init_db wrote.")
        with os.fdopen(descriptor, encoding="utf-8") as file:
            if stat.S_IMODE(mode) & 0o077:
                raise ConfigurationError(f"The key file {path} is readable by others. Run: chmod 600 {path}")
            try:
                document: dict[str, Any] = json.load(file)
                return cls(
                    login=str(document["login"]),
                    password=str(document["password"]),
                    signing_key=SigningKey.decode(int(document["key_id"]), str(document["key"])),
                )
            except (ValueError, KeyError, TypeError, RecursionError, ConfigurationError) as error:
                raise ConfigurationError(
                    f"The key file {path} is damaged. Restore it, or move it away and run init_db --reset-login."
                ) from error

    def save(self, path: Path) -> None:
        """Write the file so that after a kill at any moment it is the old one or the new one, whole."""
        document = {
            "login": self.login,
            "password": self.password,
            "key_id": self.signing_key.id,
            "key": self.signing_key.encode(),
        }
        temporary: Path | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # A name that nobody can know in advance, made with O_EXCL and mode 0600: no link is followed.
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
                f"The key file {path} cannot be written ({error.strerror}); set KEY_FILE to a place that can."
            ) from error
