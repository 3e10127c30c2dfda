"""Other file storage libraries: each function returns a callable that puts a copy of `source` into `folder`.

Returns None if the library is not installed. Measured for comparison only: Django's FileSystemStorage, obstore (Rust's
object_store) and fsspec.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType


def django(folder: Path, source: Path) -> Callable[[], object] | None:
    module = _optional("django.core.files.storage")
    if module is None:
        return None
    settings = importlib.import_module("django.conf").settings
    if not settings.configured:
        settings.configure()
    file_of = importlib.import_module("django.core.files").File
    target = module.FileSystemStorage(location=folder / "django")

    def save() -> None:
        with source.open("rb") as stream:
            target.save(f"{time.monotonic_ns()}.wav", file_of(stream))

    return save


def obstore(folder: Path, source: Path) -> Callable[[], object] | None:
    module = _optional("obstore")
    if module is None:
        return None
    (folder / "obstore").mkdir()
    target = importlib.import_module("obstore.store").LocalStore(folder / "obstore")
    return lambda: module.put(target, f"{time.monotonic_ns()}.wav", source)


def fsspec(folder: Path, source: Path) -> Callable[[], object] | None:
    module = _optional("fsspec")
    if module is None:
        return None
    target = module.filesystem("file", auto_mkdir=True)
    return lambda: target.put_file(str(source), str(folder / "fsspec" / f"{time.monotonic_ns()}.wav"))


def _optional(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return None
