"""Run a command with TEST_DATABASE_URL pointing to a server started from the binaries in a folder, then stop it.

python tests/system_server.py /usr/lib/postgresql/15/bin -- make test
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from src.database.embedded import EmbeddedServer
from src.database.testing import FAST, ordinary_owner


def main() -> int:
    binaries, separator, *command = sys.argv[1:]
    if separator != "--" or not command:
        raise SystemExit(__doc__)
    folder = Path(tempfile.mkdtemp(prefix="sti-system-"))
    folder.chmod(0o711)
    try:
        with EmbeddedServer(folder / "postgres", binaries=Path(binaries), settings=FAST) as server:
            owner = ordinary_owner(server.url("postgres"))
            environment = {**os.environ, "TEST_DATABASE_URL": owner.render_as_string(hide_password=False)}
            environment["TEST_SERVER_BINARIES"] = binaries
            return subprocess.run(command, env=environment, check=False).returncode
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
