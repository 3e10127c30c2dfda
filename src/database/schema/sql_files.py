"""The functions of the database, read from `src/database/sql`: one file per subject, plain SQL.

No function body is in Python. A file begins with its build and the digest of the rest, `-- build 3 · sha256 …`, updated
by `make stamp`: the build grows with every change, and the database records the sum of all builds of the code that last
applied its functions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from src.errors import NotFound

FOLDER = Path(__file__).resolve().parents[1] / "sql"
ROLES = FOLDER / "roles.sql"
# In the order of creation: names in an expression (RETURN …) are resolved when it is created.
FILES = (
    "revision", "replication", "readable_values_1", "permission_names_1", "permission_names_2", "job_kinds_1", "actor",
    "access", "private_columns", "permission_subjects", "case_access", "permissions_explained", "limits", "locks",
    "rows", "guards", "statuses", "storages", "storage_objects", "activity_log", "log_limits", "capture",
    "transcription_versions", "restore", "seals", "unsealed", "search_text_1", "search_query", "search", "sign_in",
    "jobs",
)  # fmt: skip

_FUNCTION = re.compile(
    r"^(?P<definition>CREATE OR REPLACE FUNCTION (?P<signature>public\.\w+\(.*?\))\s+RETURNS\b.*?;)\n"
    r"(?P<rights>REVOKE ALL ON FUNCTION .*?;)(?=\n\n|\n*\Z)",
    re.MULTILINE | re.DOTALL,
)
_GRANTED = re.compile(r"^GRANT EXECUTE ON FUNCTION .*?\sTO ([^;]+);", re.MULTILINE | re.DOTALL)
STAMP = re.compile(r"-- build (\d+) · sha256 ([0-9a-f]{12})\Z")
_LITERAL = re.compile(r"\bRETURN\s+(E?'(?:[^']|'')*'(?:\s*\n\s*'(?:[^']|'')*')*)(?:::\w+)?;\Z")
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(\\))")


@dataclass(frozen=True)
class Function:
    """A function in `public`: only its owner and the roles in `callers` may execute it.

    `definition` is the CREATE statement, `rights` are its REVOKE and GRANT statements.
    """

    file: str
    signature: str
    definition: str
    rights: str
    callers: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.signature.partition("(")[0].removeprefix("public.")

    @property
    def arguments(self) -> tuple[str, ...]:
        """The types of its arguments."""
        listed = self.signature.partition("(")[2].removesuffix(")")
        return tuple(" ".join(argument.split(" DEFAULT ")[0].split()[1:]) for argument in listed.split(",") if argument)

    @property
    def identity(self) -> str:
        """The signature for DROP and GRANT: argument types only."""
        return f"public.{self.name}({', '.join(self.arguments)})"

    @property
    def is_fixed(self) -> bool:
        """Whether indexes, generated columns or CHECKs call it: changes then need a revision and a new name."""
        return re.search(r"_\d+\Z", self.file) is not None

    def create(self) -> str:
        return f"{self.definition}\n{self.rights}"

    def drop(self) -> str:
        return f"DROP FUNCTION IF EXISTS {self.identity} CASCADE;"


@cache
def functions() -> tuple[Function, ...]:
    """Return all functions in the order of their creation."""
    return tuple(function for file in FILES for function in _functions_of(file))


def roles() -> str:
    """Return the statements that create the group roles."""
    return ROLES.read_text(encoding="utf-8")


@cache
def build() -> int:
    """Return the build of all files together."""
    return sum(build_of(path) for path in (ROLES, *(FOLDER / f"{name}.sql" for name in FILES)))


def build_of(path: Path) -> int:
    """Return the build in the first line of a file. Raises NotFound without one."""
    found = STAMP.match(path.read_text(encoding="utf-8").partition("\n")[0])
    if found is None:
        raise NotFound(f"{path.name}: the first line has no build; run: make stamp")
    return int(found[1])


@cache
def constant(name: str) -> str:
    """Return the value of a function of the database whose body is one literal. Raises NotFound otherwise."""
    definition = next(function.definition for function in functions() if function.name == name)
    found = _LITERAL.search(definition)
    if found is None:
        raise NotFound(f"{name}() returns no literal.")
    text = "".join(re.findall(r"'((?:[^']|'')*)'", found[1])).replace("''", "'")
    if not found[1].startswith("E"):
        return text
    return _ESCAPE.sub(lambda escape: escape[3] or chr(int(escape[1] or escape[2], 16)), text)


def _functions_of(file: str) -> list[Function]:
    text = (FOLDER / f"{file}.sql").read_text(encoding="utf-8")
    return [
        Function(
            file,
            re.sub(r"\s+", " ", found["signature"]).replace("( ", "("),
            found["definition"],
            found["rights"],
            tuple(role for granted in _GRANTED.findall(found["rights"]) for role in granted.split(", ")),
        )
        for found in _FUNCTION.finditer(text)
    ]
