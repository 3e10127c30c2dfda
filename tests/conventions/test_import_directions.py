"""Imports point one way: a module imports from its own layer and from those below it."""

from __future__ import annotations

import pytest

from tests.conventions.sources import FILES, MODULES, imports_of, module_name, path_name

# From the lowest up. A module belongs to the layer of the longest prefix that its name begins with.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("src.errors",),
    ("src.config", "src.audio", "src.storage", "src.formats"),
    ("src.database.schema", "src.database.embedded"),
    ("src.database.base",),
    ("src.database.models",),
    ("src.database.connection",),
    ("src.database",),
    ("src.database.provisioning",),
    ("src.services",),
    ("src.maintenance",),
    ("src.database.scripts", "src.database.testing"),
)

# Beyond the layers: packages that must not know each other although one is lower. Importer → never.
FORBIDDEN = {
    "src.audio": ("src.config", "src.storage", "src.formats"),
    "src.storage": ("src.config", "src.audio", "src.formats"),
    "src.formats": ("src.config", "src.audio", "src.storage"),
    "src.database.base": ("src.config", "src.storage"),
    "src.database.schema": ("src.config", "src.storage", "src.database.embedded"),
    "src.database.embedded": ("src.config", "src.storage", "src.database.schema"),
    "src.database.models": ("src.config", "src.storage", "src.database.embedded"),
    "src.database.connection": ("src.audio", "src.storage", "src.formats"),
    "src.database.provisioning": ("src.audio", "src.storage", "src.formats"),
    "src.services": ("src.config", "src.database.connection.engine", "src.database.connection.addresses",
                     "src.database.embedded", "src.database.provisioning"),
}  # fmt: skip

KNOW_STORAGE_AND_DATABASE = (
    "src.services.recordings",
    "src.maintenance",
    "src.database.testing",
    "src.database.scripts",  # name the storage of the settings
)

# Settings are read at the rim; everything else takes plain arguments.
READ_SETTINGS = (
    "src.database.connection.addresses",
    "src.database.connection.session",
    "src.database.scripts",
    "src.maintenance",
)


def belongs(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def layer(module: str) -> int:
    layers = [
        (len(package), level)
        for level, packages in enumerate(LAYERS)
        for package in packages
        if belongs(module, package)
    ]
    assert layers, f"{module} belongs to no layer; name one in LAYERS"
    return max(layers)[1]


def ours(path) -> set[str]:
    return {name for name in imports_of(path) if belongs(name, "src") and name not in {"src", module_name(path)}}


@pytest.mark.parametrize("path", FILES, ids=path_name)
def test_imports_point_down(path):
    module = module_name(path)
    if module == "src":
        assert ours(path) == set()
        return
    upwards = sorted(other for other in ours(path) if layer(other) > layer(module))
    unknown = sorted(
        other
        for package, forbidden in FORBIDDEN.items()
        for other in ours(path)
        if belongs(module, package) and any(belongs(other, each) for each in forbidden)
    )

    assert upwards == [], "imports from a layer above"
    assert unknown == [], "imports from a package that it must not know"


def test_every_layer_exists():
    known = {package for packages in LAYERS for package in packages}
    built = {package for package in known if any(belongs(module, package) for module in MODULES)}

    assert known == built


def test_only_recordings_and_maintenance_know_storage_and_database():
    knowing = {
        module_name(path)
        for path in FILES
        if any(belongs(name, "src.storage") for name in ours(path))
        and any(belongs(name, "src.database") for name in ours(path))
    }

    assert {
        module for module in knowing if not any(belongs(module, package) for package in KNOW_STORAGE_AND_DATABASE)
    } == set()
    assert any(belongs(module, "src.services.recordings") for module in knowing)


def test_nobody_imports_a_script():
    guilty = [
        path_name(path)
        for path in FILES
        if any(belongs(name, "src.database.scripts") for name in ours(path))
        and not belongs(module_name(path), "src.database.scripts")
    ]

    assert guilty == []


def test_settings_are_read_at_the_edge():
    readers = {module_name(path) for path in FILES if "src.config" in ours(path)}

    assert {module for module in readers if not any(belongs(module, package) for package in READ_SETTINGS)} == set()


def test_imports_inside_functions_and_for_type_checkers_count(tmp_path, monkeypatch):
    path = tmp_path / "module.py"
    path.write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from src.config import Settings\n"
        "def f():\n    from src.database import models, Database\n    import src.errors\n",
        encoding="utf-8",
    )

    assert imports_of(path) == {"typing", "src.config", "src.database", "src.database.models", "src.errors"}
