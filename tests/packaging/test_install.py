"""The layer as an installed package: with pip, used outside a checkout."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config

from src.database.connection.engine import make_engine
from src.database.schema import head

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 300  # seconds: an isolated build downloads its tools
NO_NETWORK = ("Could not find a version", "No matching distribution", "Connection", "Temporary failure")

SERVICE = """\
from src.database import Database
from src.services import search


def first(db: Database, words: str) -> str:
    with db.session(actor="alice") as session:
        return search.transcripts(session, words)[0].snippet
"""

SESSION = """\
from src.database import Database
from src.services import cases

with Database.from_env() as db, db.session(actor="root") as session:
    print(cases.open_case(session, title="Without a checkout").case_code)
"""

SERVICE_TEST = """\
from service import first
from src.database.testing import speech_database, speech_server
from src.services import cases, recordings, transcripts
from src.services.transcripts import Segment


def test_first(speech_database, tone):
    with speech_database.session(actor="alice") as session:
        audio = recordings.ingest(session, cases.open_case(session, title="Harbour"), tone, language="en")
        transcripts.add(session, audio, [Segment("the harbor was empty")])
    assert first(speech_database, "harbors") == "the [harbor] was empty"
"""

SERVICE_CONFTEST = """\
import io
import wave

import pytest


@pytest.fixture
def tone():
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(8000))
    return buffer.getvalue()
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the checkout, since builds of pip leave files in it."""
    copy = tmp_path_factory.mktemp("checkout")
    for folder in ("src", "tests", "alembic", "examples"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "alembic.ini", "README.md"):
        shutil.copy(ROOT / file, copy)
    return copy


@pytest.fixture(scope="module")
def wheel(checkout, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--wheel-dir", folder, checkout)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module", params=["wheel", "editable"])
def python(request, tmp_path_factory):
    """The interpreter of an environment with the layer: installed as a wheel, or editable from the checkout."""
    folder = tmp_path_factory.mktemp(request.param)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    # The dependencies come from the environment of this test, without downloads.
    paths = [path for path in sys.path if path.endswith("-packages")]
    own = next(folder.glob("lib/python*/site-packages"))
    (own / "dependencies.pth").write_text("\n".join(paths))
    if request.param == "wheel":
        pip("install", request.getfixturevalue("wheel"), python=python)
    else:
        pip("install", "--editable", request.getfixturevalue("checkout"), python=python)
    return python


@pytest.fixture
def service(tmp_path):
    """Another service in a separate folder."""
    (tmp_path / "service.py").write_text(SERVICE)
    (tmp_path / "test_service.py").write_text(SERVICE_TEST)
    (tmp_path / "conftest.py").write_text(SERVICE_CONFTEST)
    return tmp_path


@pytest.fixture
def operator(speech_server, tmp_path):
    """A function that runs a program in an empty folder, with the settings of a database without a schema."""
    try:
        with speech_server.empty() as url:
            settings = {
                "DATABASE_URL": url.render_as_string(hide_password=False),
                "KEY_FILE": os.fspath(tmp_path / "keys.json"),
                "AUDIO_STORAGE_ROOT": os.fspath(tmp_path / "audio"),
                "ADMIN_PASSWORD": "correct horse battery",
            }
            yield partial(run, folder=tmp_path, **settings)
    finally:
        engine = make_engine(speech_server.owner.set(database=speech_server.maintenance.database))
        with engine.begin() as connection:
            connection.exec_driver_sql(f"DROP ROLE IF EXISTS {url.database}_app")
        engine.dispose()


@pytest.fixture
def ini(python, checkout, tmp_path):
    """A configuration of Alembic in the folder of the operator with the location of the migrations."""
    installed = any(python.parents[1].glob("lib/python*/site-packages/src"))
    location = "src.database:migrations" if installed else checkout / "alembic"
    (tmp_path / "alembic.ini").write_text(f"[alembic]\nscript_location = {location}\n")


def contents(wheel):
    """The files of a wheel with their bytes, without those that the build generates."""
    with zipfile.ZipFile(wheel) as opened:
        return {name: opened.read(name) for name in opened.namelist() if ".dist-info/" not in name}


def pip(action, *arguments, python=sys.executable):
    """Run pip without dependencies, with the build tools of this environment if hatchling is installed."""
    try:
        isolated = not version("hatchling")
    except PackageNotFoundError:
        isolated = True
    quiet = ("--quiet", "--disable-pip-version-check", "--no-input", "--retries", "1")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, action, *quiet, "--no-deps",
         *(() if isolated else ("--no-build-isolation",)), *arguments],
        capture_output=True, text=True, check=False, timeout=PATIENCE,
    )  # fmt: skip
    if done.returncode and any(words in done.stderr for words in NO_NETWORK):
        pytest.skip("hatchling is not installed and cannot be downloaded")
    assert done.returncode == 0, done.stderr


def run(python, *arguments, folder, **variables):
    # The environment must not reference the checkout.
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH") if name in os.environ}
    return subprocess.run(
        [python, *arguments],
        cwd=folder,
        env={**kept, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


def test_the_wheel_contains_all_modules_and_nothing_else(wheel):
    source = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "src").rglob("*")
        if path.suffix in {".py", ".sql"} and "__pycache__" not in path.parts
    }
    migrations = {
        f"src/database/migrations/{path.relative_to(ROOT / 'alembic').as_posix()}"
        for path in (ROOT / "alembic").rglob("*.*")
        if path.suffix in {".py", ".mako"}
    }

    assert contents(wheel).keys() == source | migrations | {"src/py.typed"}


def test_the_source_archive_builds_the_same_wheel_and_contains_no_secrets(checkout, wheel, tmp_path):
    pytest.importorskip("hatchling", reason="hatchling is not installed, and pip cannot build source archives")
    used = tmp_path / "used"
    shutil.copytree(checkout, used)
    excluded = (
        ".env", "storage/keys/key.json", "storage/audio/cases/1.wav", ".venv/secret.py",
        "alembic/__pycache__/env.cpython-311.pyc", "alembic/versions/__pycache__/1001.cpython-311.pyc",
        "src/__pycache__/config.cpython-311.pyc",
    )  # fmt: skip
    for name in excluded:
        (used / name).parent.mkdir(parents=True, exist_ok=True)
        (used / name).write_text("secret")
    done = run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", tmp_path, folder=used)
    assert done.returncode == 0, done.stderr
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as source:
        archived = {name.partition("/")[2] for name in source.getnames()}
    pip("wheel", "--wheel-dir", tmp_path, archive)
    (rebuilt,) = tmp_path.glob("*.whl")

    assert archived.isdisjoint(excluded)
    assert {"alembic.ini", "pyproject.toml", "README.md"} <= archived
    assert contents(rebuilt) == contents(wheel)


def test_an_editable_install_has_no_second_copy_of_the_migrations(checkout, tmp_path):
    pip("install", "--editable", checkout, "--target", tmp_path)
    installed = {path.name for path in tmp_path.iterdir() if path.suffix != ".dist-info"}

    assert installed == {"_speech_to_information.pth"}
    assert (tmp_path / "_speech_to_information.pth").read_text() == os.fspath(checkout)


def test_an_operator_without_a_checkout_migrates_and_checks(python, operator):
    ready = operator(python, "-m", "src.database.scripts.init_db", "--admin", "root")
    assert ready.returncode == 0, ready.stderr
    checked = operator(python, "-m", "src.database.scripts.init_db", "--check")
    assert checked.stdout == "the database is ready\n", checked.stdout + checked.stderr
    opened = operator(python, "-c", SESSION)
    assert opened.stdout == "C-000001\n", opened.stderr


def test_alembic_works_with_an_ini_of_two_lines(python, operator, ini):
    """In another folder than that of the migrations; an editable install uses those of its checkout."""

    def alembic(*arguments):
        done = operator(python, "-W", "error", "-m", "alembic", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    printed = io.StringIO()
    command.upgrade(Config(os.fspath(ROOT / "alembic.ini"), output_buffer=printed), "head", sql=True)

    assert alembic("current") == ""
    alembic("upgrade", "head")
    assert alembic("current", "--check-heads") == f"{head()} (head)\n"
    assert alembic("check") == "No new upgrade operations detected.\n"
    assert alembic("upgrade", "head", "--sql") == printed.getvalue()


def test_the_installed_package_is_imported(python, service):
    code = "import src.database, src.services.work, pathlib; print(pathlib.Path(src.__file__).parent)"
    done = run(python, "-c", code, folder=service)

    assert done.returncode == 0, done.stderr
    assert not Path(done.stdout.strip()).is_relative_to(ROOT)
    assert (Path(done.stdout.strip()) / "py.typed").is_file()


def test_a_service_can_use_the_database_fixture(python, service):
    done = run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", folder=service)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_a_service_is_type_checked_against_the_package(python, service):
    pytest.importorskip("mypy", reason="mypy is not installed")
    wrong = service / "wrong.py"
    wrong.write_text(SERVICE.replace("words)[0].snippet", "words)[0].start_ms"))
    command = ["-m", "mypy", "--strict", "--cache-dir", service / "cache"]

    done = run(python, *command, "service.py", folder=service)
    refused = run(python, *command, "wrong.py", folder=service)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "Incompatible return value type" in refused.stdout
