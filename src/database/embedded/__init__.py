"""A PostgreSQL of our own, for when no server is configured (Linux).

`EmbeddedServer` runs one server in one folder for all processes that use it: the first starts it, the last stops it.

    folder/
    ├── data/         the cluster, made once; `kill -9` at any moment leaves what the next start repairs
    ├── password      of the superuser, random, mode 0600
    ├── server.log    what the server says; never the values of a statement
    ├── users.lock    held shared by every process that uses the server, exclusively by the one that stops it
    ├── start.lock    held by the one that makes or starts the cluster
    └── programs-…/   as root, a copy of the server's programs when its account cannot reach them
"""

from __future__ import annotations

from src.database.embedded.account import default_folder
from src.database.embedded.programs import find_binaries
from src.database.embedded.server import EmbeddedServer

__all__ = ["EmbeddedServer", "default_folder", "find_binaries"]
