"""What src imports is required by name: a package that another one happens to bring may be gone with its next release."""

from __future__ import annotations

import ast
import re
import sys
from importlib.metadata import packages_distributions, requires

from tests.conventions.sources import ROOT

REQUIRED = {
    re.match(r"[\w.-]+", line)[0].lower().replace("_", "-")
    for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    if line.strip() and not line.startswith(("#", "-"))
}
# For type checkers only.
STUBS = {"_typeshed"}


def brought() -> set[str]:
    """What the installed release of a required package requires itself, without an extra: boto3 brings botocore."""
    found = set()
    for package in REQUIRED:
        for needed in requires(package) or ():
            if "extra ==" not in needed:
                found.add(normal(re.match(r"[\w.-]+", needed)[0]))
    return found


def normal(name: str) -> str:
    return name.lower().replace("_", "-")


def test_every_package_that_src_imports_is_in_the_requirements():
    distributions = packages_distributions()
    missing, known = set(), REQUIRED | brought()
    for path in sorted([*(ROOT / "src").rglob("*.py"), *(ROOT / "alembic").rglob("*.py")]):
        for name in imported(ast.parse(path.read_text(encoding="utf-8"))):
            of = {normal(each) for each in distributions.get(name, [name])}
            if name not in {*sys.stdlib_module_names, *STUBS, "src"} and not of & known:
                missing.add(f"{path.relative_to(ROOT)} imports {name}, of {sorted(of)}")
    assert missing == set()


def imported(tree: ast.Module) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(str(node.module).partition(".")[0])
    return names
