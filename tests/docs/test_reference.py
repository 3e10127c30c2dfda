"""The reference documents every public function, and each of its examples runs as it stands there."""

from __future__ import annotations

import inspect
import re
from importlib import import_module

import pytest

import src.database
from src import errors, formats, storage
from src.database.connection import addresses
from src.storage import StorageBackend
from tests.docs.pages import REFERENCE, documented, examples
from tests.docs.prepared import IMPORTED, MODULES, run

pytestmark = pytest.mark.shared_database

EXAMPLES = list(examples())
LONGEST = 5  # lines of an example, without blank ones
# They look at what the whole database holds, change its schema, or claim from the one queue.
ALONE = ("history.seal", "history.verify", "history.erase", "work.", "schema.", "storage.", "recordings.move")
# Names that the how-to guides and other pages explain, for those who bring their own tables.
SCHEMA = (
    "record_columns",
    "protect_table",
    "unprotect_table",
    "register_permissions",
    "unregister_permissions",
    "update_in_batches",
)

# What the examples of a page find prepared beside the names that they mention.
PREPARED = {"analyses": "analysis", "bulk": "note", "recordings": "audio", "search": "first", "storage": "key",
            "transcripts": "second"}  # fmt: skip


def public(module) -> dict[str, object]:
    """The names that a module offers: those of `__all__`, or what it defines without an underscore."""
    names = getattr(module, "__all__", None) or [
        name
        for name, thing in vars(module).items()
        if not name.startswith("_")
        and getattr(thing, "__module__", None) == module.__name__
        and (inspect.isfunction(thing) or inspect.isclass(thing))
    ]
    return {f"{module.__name__}.{name}": getattr(module, name) for name in names}


def methods(owner: type, prefix: str) -> list[str]:
    return [
        f"{prefix}.{name}"
        for name, thing in vars(owner).items()
        if not name.startswith("_") and (inspect.isfunction(thing) or isinstance(thing, classmethod | property))
    ]


def needing_an_example() -> list[str]:
    functions = [
        name
        for module in (*MODULES, storage, formats)
        for name, thing in public(module).items()
        if inspect.isfunction(thing)
    ]
    return [
        *functions,
        "src.database.Database",
        *methods(src.database.Database, "src.database.Database"),
        "src.database.owner_url",
        *methods(StorageBackend, "src.storage.StorageBackend"),
        "src.storage.LocalStorage", "src.storage.MemoryStorage", "src.storage.S3Storage",
        *(f"src.storage.MemoryStorage.{name}" for name in ("fail", "clear_faults", "corrupt")),
        *(f"src.database.schema.{name}" for name in SCHEMA),
    ]  # fmt: skip


@pytest.mark.parametrize("name", needing_an_example())
def test_a_public_function_has_an_example(name):
    codes = [example.code for example in EXAMPLES if example.name == name]

    assert codes, f"{name} needs `::: {name}` and an example in docs/reference"
    assert re.search(rf"\b{name.rpartition('.')[2]}\b", codes[0]), "the example does not use it"
    assert max(sum(1 for line in code.splitlines() if line.strip()) for code in codes) <= LONGEST


@pytest.mark.parametrize(
    "example",
    [
        pytest.param(
            example,
            id=str(example),
            marks=[pytest.mark.own_database] if any(f".{name}" in example.name for name in ALONE) else [],
        )
        for example in EXAMPLES
    ],
)
def test_an_example_runs(example, prepared, monkeypatch):
    if "from_env" in example.code or example.code.startswith("from src.database import Database\n"):
        use(prepared.db, monkeypatch)
    if "owner_url" in example.code:
        monkeypatch.setattr(addresses, "owner_url", lambda: prepared.db.engine.url)

    if example.name in {"src.services.recordings.url", "src.services.recordings.upload_url"}:
        prepared.db.storage = prepared.s3

    names = IMPORTED | prepared.names(example.code, *PREPARED.get(example.page.stem, "").split())
    if "schema" in example.name:
        names |= names_of_schema()
    run(example.code, names, f"{example.page.name}: {example.name}")


def use(db, monkeypatch):
    """Let `Database.from_env` return the database of the test."""
    monkeypatch.setattr(src.database.Database, "from_env", classmethod(lambda _cls, _settings=None: db))


def names_of_schema() -> dict[str, object]:
    schema = import_module("src.database.schema")
    sqlalchemy = import_module("sqlalchemy")
    return {name: getattr(schema, name) for name in SCHEMA} | {
        name: getattr(sqlalchemy, name) for name in ("Column", "ForeignKey", "Integer", "Text")
    }


def test_the_reference_names_everything_that_is_exported():
    everything = "".join(page.read_text(encoding="utf-8") for page in REFERENCE.glob("*.md"))
    exported = [name for module in (*MODULES, storage, formats, src.database) for name in public(module)]
    missing = [
        name
        for name in exported
        if f"::: {name}\n" not in everything
        and f"`{name.rpartition('.')[2]}`" not in everything
        and f"`{'.'.join(name.split('.')[-2:])}`" not in everything
    ]

    assert missing == []


def test_the_reference_names_nothing_that_is_not_there():
    for name in documented():
        thing, parts = import_module("src"), name.split(".")[1:]
        for index, part in enumerate(parts):
            if not hasattr(thing, part):
                import_module(".".join(["src", *parts[: index + 1]]))
            thing = getattr(thing, part)


def test_the_tree_of_errors_is_complete():
    tree = (REFERENCE / "errors.md").read_text(encoding="utf-8").split("```")[1]
    classes = [name for name, thing in vars(errors).items() if inspect.isclass(thing)]

    assert [name for name in classes if f"{name}" not in tree.split()] == []
