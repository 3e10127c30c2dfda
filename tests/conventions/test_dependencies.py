"""What src imports is required, or brought by what is required, and not by a tool that only developers install."""

from __future__ import annotations

import ast
import re
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires, version

from tests.conventions.sources import ROOT

REQUIRED = {
    re.match(r"[\w.-]+", line)[0].lower().replace("_", "-")
    for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    if line.strip() and not line.startswith(("#", "-"))
}
# For type checkers only.
STUBS = {"_typeshed"}


def brought() -> set[str]:
    """What the installed releases of required packages require, without extras: boto3 brings botocore, which brings
    urllib3.
    """
    found, new = set(), set(REQUIRED)
    while new:
        found |= new
        needed = {each for package in new if is_installed(package) for each in requires(package) or ()}
        new = {normal(re.match(r"[\w.-]+", each)[0]) for each in needed if "extra ==" not in each} - found
    return found


def is_installed(package: str) -> bool:
    try:
        return bool(version(package))
    except PackageNotFoundError:  # for another platform or version of Python
        return False


def normal(name: str) -> str:
    return name.lower().replace("_", "-")


def test_every_package_that_src_imports_is_in_the_requirements():
    distributions = packages_distributions()
    missing, known = set(), brought()
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
