"""Arrows between the rooms point one way: a module imports from its own floor and from those below it."""

from __future__ import annotations

import pytest

from tests.house.sources import FILES, MODULES, imports_of, module_name, path_name

# From the ground up. A module stands on the floor of the longest prefix that it begins with.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("src.errors",),
    ("src.config", "src.database.permissions"),
    ("src.database.schema",),
    ("src.storage", "src.formats", "src.database.base", "src.database.seeds",
     "src.database.embedded"),
    ("src.database.models", "src.database.actor", "src.database.keys", "src.database.failures",
     "src.database.refusals"),
    ("src.database.door",),
    ("src.database.engine",),
    ("src.database.migrate", "src.database.provision", "src.database.seeding", "src.database.bootstrap"),
    ("src.database.provisioning",),
    ("src.database.session", "src.database"),
    ("src.services",),
    ("src.maintenance",),
    ("src.database.scripts", "src.database.testing"),
)  # fmt: skip

# Beyond the floors: rooms that must not know each other although one stands lower. Importer → never.
STRANGERS = {
    "src.storage": ("src.config", "src.database", "src.services"),
    "src.formats": ("src.config", "src.database", "src.services", "src.storage"),
    "src.database.base": ("src.config", "src.storage"),
    "src.database.schema": ("src.config", "src.storage", "src.database.base"),
    "src.database.embedded": ("src.config", "src.storage", "src.database.base", "src.database.schema"),
    "src.database.models": ("src.config", "src.storage", "src.database.engine", "src.database.actor"),
    "src.services": ("src.config", "src.database.engine", "src.database.bootstrap", "src.database.embedded"),
}

KNOW_BYTES_AND_ROWS = (
    "src.services.recordings",
    "src.maintenance",
    "src.database.testing",
    "src.database.scripts",  # name the storage of the settings
)

# Settings are read at the rim; everything else takes plain arguments.
READ_SETTINGS = ("src.database.bootstrap", "src.database.session", "src.database.scripts", "src.maintenance")


def belongs(module: str, room: str) -> bool:
    return module == room or module.startswith(f"{room}.")


def floor(module: str) -> int:
    standing = [(len(room), level) for level, rooms in enumerate(FLOORS) for room in rooms if belongs(module, room)]
    assert standing, f"{module} stands on no floor; give it one in FLOORS"
    return max(standing)[1]


def ours(path) -> set[str]:
    return {name for name in imports_of(path) if belongs(name, "src") and name not in {"src", module_name(path)}}


@pytest.mark.parametrize("path", FILES, ids=path_name)
def test_arrows_point_down(path):
    module = module_name(path)
    if module == "src":
        assert ours(path) == set()
        return
    upwards = sorted(other for other in ours(path) if floor(other) > floor(module))
    strange = sorted(
        other
        for room, strangers in STRANGERS.items()
        for other in ours(path)
        if belongs(module, room) and any(belongs(other, stranger) for stranger in strangers)
    )

    assert upwards == [], "imports from a floor above"
    assert strange == [], "imports from a room that it must not know"


def test_every_floor_is_there_or_is_still_to_be_built():
    known = {room for rooms in FLOORS for room in rooms}
    built = {room for room in known if any(belongs(module, room) for module in MODULES)}

    assert known == built


def test_only_recordings_and_maintenance_know_bytes_and_rows():
    knowing = {
        module_name(path)
        for path in FILES
        if any(belongs(name, "src.storage") for name in ours(path))
        and any(belongs(name, "src.database") for name in ours(path))
    }

    assert {module for module in knowing if not any(belongs(module, room) for room in KNOW_BYTES_AND_ROWS)} == set()
    assert any(belongs(module, "src.services.recordings") for module in knowing)


def test_nobody_imports_a_script():
    guilty = [
        path_name(path)
        for path in FILES
        if any(belongs(name, "src.database.scripts") for name in ours(path))
        and not belongs(module_name(path), "src.database.scripts")
    ]

    assert guilty == []


def test_settings_are_read_at_the_rim():
    readers = {module_name(path) for path in FILES if "src.config" in ours(path)}

    assert {module for module in readers if not any(belongs(module, room) for room in READ_SETTINGS)} == set()


def test_imports_inside_functions_and_for_type_checkers_count(tmp_path, monkeypatch):
    path = tmp_path / "module.py"
    path.write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from src.config import Settings\n"
        "def f():\n    from src.database import models, Database\n    import src.errors\n",
        encoding="utf-8",
    )

    assert imports_of(path) == {"typing", "src.config", "src.database", "src.database.models", "src.errors"}
