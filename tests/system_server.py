"""Start two servers from the binaries in a folder, run a command with TEST_DATABASE_URL set to them, then stop them.

python tests/system_server.py /usr/lib/postgresql/15/bin -- make test
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from src.database.embedded import EmbeddedServer
from src.database.testing import FAST, ordinary_owner, roomy_memory

# By default a server allows no prepared transactions, and the tests of them would run nowhere.
SETTINGS = {**FAST, "max_prepared_transactions": "4"}


def main() -> int:
    binaries, separator, *command = sys.argv[1:]
    if separator != "--" or not command:
        raise SystemExit(__doc__)
    folder = Path(tempfile.mkdtemp(prefix="sti-system-", dir=roomy_memory()))
    folder.chmod(0o711)
    try:
        with ExitStack() as stack:
            owners = []
            # One server for each of the two workers of `make test`: sealing waits for all transactions of a server.
            for name in ("first", "second"):
                server = EmbeddedServer(folder / name, binaries=Path(binaries), settings=SETTINGS)
                owners.append(ordinary_owner(stack.enter_context(server).url("postgres")))
            urls = " ".join(owner.render_as_string(hide_password=False) for owner in owners)
            environment = {**os.environ, "TEST_DATABASE_URL": urls, "TEST_SERVER_BINARIES": binaries}
            return subprocess.run(command, env=environment, check=False).returncode
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
