"""The file `.env`: where it is looked for, and strict reading of it.

A line that another reader would skip or cut is an error here: a setting that is lost silently points elsewhere.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from dotenv.parser import Binding, parse_stream

from src.errors import ConfigurationError

VARIABLE = "SPEECH_ENV_FILE"
# A folder with one of these is that of a project: `.env` belongs there.
_PROJECT = (".git", "pyproject.toml", "alembic.ini")
_CHECKOUT = Path(__file__).absolute().parents[1]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|URL")
_TYPOGRAPHIC = "“”„‘’‚«»"


@dataclass(frozen=True)
class Entry:
    """The value of a variable, and the line on which it is."""

    value: str
    line: int


def find(environment: Mapping[str, str]) -> Path | None:
    """Return the path of `.env`; None when there is none.

    It is the file that SPEECH_ENV_FILE names, or that of the current folder, of a folder above it in the same project
    (up to the one with `.git`, `pyproject.toml` or `alembic.ini`), or of the checkout that this code runs from. A file
    above the current folder has to belong to this user or to root. Raises ConfigurationError when SPEECH_ENV_FILE names
    no file.
    """
    named = environment.get(VARIABLE)
    if named:
        path = Path(named).absolute()
        if not path.is_file():
            raise ConfigurationError(f"{VARIABLE} names {path}, which is not a file; correct it or unset it.")
        return path
    here = Path.cwd()
    above = [] if _is_project(here) else _above(here)
    checkout = [_CHECKOUT] if (_CHECKOUT / "alembic.ini").is_file() else []
    for folder in (here, *above, *checkout):
        path = folder / ".env"
        if _exists(path) and (folder == here or path.lstat().st_uid in (os.geteuid(), 0)):
            return path
    return None


def _above(folder: Path) -> list[Path]:
    """Return the folders between this one and that of its project, included; an empty list outside of a project."""
    for number, parent in enumerate(folder.parents, start=1):
        if _is_project(parent):
            return list(folder.parents)[:number]
    return []


def _is_project(folder: Path) -> bool:
    return any(_exists(folder / name) for name in _PROJECT)


def _exists(path: Path) -> bool:
    # A symbolic link to nothing exists: reading it is an error, not the same as no file.
    return os.path.lexists(path)


def read(path: Path, settings: Collection[str]) -> dict[str, Entry]:
    """Return the variables of the file by name, as written; `settings` are the names of this layer, in capitals.

    Raises ConfigurationError, which names file and line and never a value, for a line that is not `NAME=value`, a name
    given twice with different values, and a value of this layer that would be read as something else than it looks.
    """
    entries: dict[str, Entry] = {}
    for binding in parse_stream(io.StringIO(_text(path))):
        raw = binding.original.string
        line = binding.original.line + raw[: len(raw) - len(raw.lstrip())].count("\n")
        if binding.error or (binding.key is not None and (binding.value is None or not _NAME.fullmatch(binding.key))):
            raise ConfigurationError(
                f"{path}, line {line}: not of the form NAME=value, or a quote is not closed; correct the line."
            )
        if binding.key is None or binding.value is None:
            continue
        if binding.key.upper() in settings:
            problem = _problem(binding)
            if problem:
                raise ConfigurationError(f"{path}, line {line}: {binding.key}: {problem}.")
        elif any(
            re.search(rf"^\s*(export\s+)?{name}\s*[=:]", binding.value, re.MULTILINE | re.IGNORECASE)
            for name in settings
        ):
            raise ConfigurationError(
                f"{path}, line {line}: the value of {binding.key} contains lines with settings; close its quote."
            )
        before = entries.get(binding.key.upper())
        if before is not None and before.value != binding.value and binding.key.upper() in settings:
            raise ConfigurationError(
                f"{path}: {binding.key} has different values on line {before.line} and line {line}; remove one."
            )
        entries[binding.key.upper()] = Entry(binding.value, line)
    return entries


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"The file {path} is not UTF-8 text; save it as UTF-8.") from error
    except OSError as error:
        raise ConfigurationError(
            f"The file {path} cannot be read ({error.strerror}); make it readable for this user."
        ) from error


def _problem(binding: Binding) -> str | None:
    """Return what is wrong with the value of a setting, if anything."""
    value = binding.value or ""
    written = binding.original.string.partition("=")[2].strip()
    quoted = written[:1] in {"'", '"'}
    secret = _SECRET.search((binding.key or "").upper()) is not None
    found = {
        "the value has several lines; close its quote": "\n" in value or "\r" in value,
        "the value contains a control character; remove it": re.search(r"[\x00-\x1f\x7f]", value),
        "the value begins with a typographic quote; use ' or \"": value[:1] in set(_TYPOGRAPHIC),
        "variables such as ${NAME} are not replaced; write the value itself, or put it into single quotes": (
            "${" in value and not written.startswith("'")
        ),
        "a quote is closed that was not opened; put the whole value into quotes": (
            not quoted and value[-1:] in {"'", '"'}
        ),
        "the value ends before ' #', which begins a comment; put the value into single quotes": (
            not quoted and written != value and secret
        ),
    }
    return next((sentence for sentence, is_so in found.items() if is_so), None)
