"""Import directions: a module imports only from its own layer and from lower ones."""

from __future__ import annotations

import pytest

from tests.conventions.sources import FILES, MODULES, imports_of, module_name, path_name

# From the lowest to the highest. A module belongs to the layer with the longest matching prefix.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("src.errors",),
    ("src.dot_env", "src.setting_names"),
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

# In addition to the layers: forbidden imports from lower layers. Importer → forbidden.
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

IMPORT_STORAGE_AND_DATABASE = (
    "src.services.recordings",
    "src.maintenance",
    "src.database.testing",
    "src.database.scripts",  # open the storage of the settings
)

# Only these read settings; all other modules take plain arguments.
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
    assert layers, f"{module} is in no layer; add it to LAYERS"
    return max(layers)[1]


def own_imports(path) -> set[str]:
    return {name for name in imports_of(path) if belongs(name, "src") and name not in {"src", module_name(path)}}


@pytest.mark.parametrize("path", FILES, ids=path_name)
def test_imports_point_down(path):
    module = module_name(path)
    if module == "src":
        assert own_imports(path) == set()
        return
    upwards = sorted(other for other in own_imports(path) if layer(other) > layer(module))
    disallowed = sorted(
        other
        for package, forbidden in FORBIDDEN.items()
        for other in own_imports(path)
        if belongs(module, package) and any(belongs(other, each) for each in forbidden)
    )

    assert upwards == [], "imports from a higher layer"
    assert disallowed == [], "imports from a forbidden package"


def test_every_layer_exists():
    listed = {package for packages in LAYERS for package in packages}
    existing = {package for package in listed if any(belongs(module, package) for module in MODULES)}

    assert listed == existing


def test_only_recordings_and_maintenance_import_storage_and_database():
    importers = {
        module_name(path)
        for path in FILES
        if any(belongs(name, "src.storage") for name in own_imports(path))
        and any(belongs(name, "src.database") for name in own_imports(path))
    }

    assert {
        module for module in importers if not any(belongs(module, package) for package in IMPORT_STORAGE_AND_DATABASE)
    } == set()
    assert any(belongs(module, "src.services.recordings") for module in importers)


def test_scripts_are_not_imported():
    importers = [
        path_name(path)
        for path in FILES
        if any(belongs(name, "src.database.scripts") for name in own_imports(path))
        and not belongs(module_name(path), "src.database.scripts")
    ]

    assert importers == []


def test_only_listed_modules_read_settings():
    readers = {module_name(path) for path in FILES if "src.config" in own_imports(path)}

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
