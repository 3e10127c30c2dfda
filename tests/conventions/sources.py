"""The source files of the layer as syntax trees, and their imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src"
FILES = sorted(SRC.rglob("*.py"))


def path_name(path: Path) -> str:
    """The path relative to the checkout: src/database/connection/session.py."""
    return path.relative_to(ROOT).as_posix()


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports_of(path: Path) -> set[str]:
    """All imported modules of a file: at the top, inside functions, and for type checkers only."""
    found: set[str] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path_name(path)}:{node.lineno}: imports are absolute"
            assert node.module is not None
            # Both `from package import module` and `from module import name` count as an import of the module.
            named = {f"{node.module}.{alias.name}" for alias in node.names}
            submodules = named & MODULES.keys()
            found |= submodules
            if submodules != named:
                found.add(node.module)
    return found


def calls_of(path: Path) -> Iterator[tuple[ast.Call, str]]:
    """Every call with the called name, the last part of a dotted name."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute):
                yield node, node.func.attr
            elif isinstance(node.func, ast.Name):
                yield node, node.func.id
