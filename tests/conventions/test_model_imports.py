"""Models import each other for type checkers only: SQLAlchemy resolves relationships by class name."""

from __future__ import annotations

import ast

import pytest

from tests.conventions.sources import FILES, SRC, path_name, tree_of

MODELS = [path for path in FILES if path.parent == SRC / "database" / "models" and path.name != "__init__.py"]
# The base of all look-up tables is inherited, so it is needed at run time.
AT_RUN_TIME = {"src.database.models.lookups"}


def imports_at_run_time(tree: ast.Module) -> set[str]:
    for_checkers = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING"
        for node in ast.walk(branch)
    }
    return {
        str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and id(node) not in for_checkers
    }


@pytest.mark.parametrize("path", MODELS, ids=path_name)
def test_models_do_not_import_each_other_at_run_time(path):
    models = {name for name in imports_at_run_time(tree_of(path)) if name.startswith("src.database.models")}

    assert models <= AT_RUN_TIME


def test_an_import_at_run_time_is_recognised():
    tree = ast.parse(
        "from typing import TYPE_CHECKING\nfrom src.database.models.cases import Case\n"
        "if TYPE_CHECKING:\n    from src.database.models.users import User\n"
    )

    assert imports_at_run_time(tree) == {"typing", "src.database.models.cases"}
