"""The embedded PostgreSQL server, used when no server is configured (Linux).

`EmbeddedServer` runs one server in one folder for all processes that use it: the first starts it, the last stops it.

    folder/
    ├── data/         the cluster, created once; the next start recovers from `kill -9` at any moment
    ├── password      of the superuser, random, mode 0600
    ├── server.log    the log of the server, without values of statements
    ├── users.lock    held shared by every process that uses the server, exclusively by the one that stops it
    ├── start.lock    held by the process that creates or starts the cluster
    └── programs-…/   as root, a copy of the server programs if the account of the server cannot access them
"""

from __future__ import annotations

from src.database.embedded.account import default_folder
from src.database.embedded.programs import find_binaries
from src.database.embedded.server import EmbeddedServer

__all__ = ["EmbeddedServer", "default_folder", "find_binaries"]
