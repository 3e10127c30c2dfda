"""The form of the files in src/database/sql: checked by `make lint`; `make stamp` updates the first line.

Statements and PL/pgSQL bodies are parsed with PostgreSQL's grammar (pglast). This does not check whether the tables and
columns in a body exist: the suite does, by running the functions on every supported server.

python tests/conventions/sql_form.py [--stamp]
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pglast import ast, parse_plpgsql, parse_sql
from pglast.parser import ParseError
from pglast.visitors import Visitor

from src.database.schema.sql_files import FILES, FOLDER, ROLES, STAMP

PATH_OF_BODIES = "pg_catalog, pg_temp"
GRANTEES = {"sti_app", "sti_wide", "sti_admin", None}  # None is PUBLIC
LONGEST_LINE = 120
# A comment, or a literal with the prefix of its first quote; it may continue on the next line.
_LITERAL = re.compile(r"--[^\n]*|((?:\b(?:E|U&))?)('(?:[^']|'')*'(?:\s*\n\s*'(?:[^']|'')*')*)", re.IGNORECASE)


def digest_of(text: str) -> str:
    """The digest of a file without its first line."""
    return hashlib.sha256(text.partition("\n")[2].encode("utf-8")).hexdigest()[:12]


def stamped(text: str) -> str:
    """The file with the stamp of its content: the next build if the content changed."""
    first, _, rest = text.partition("\n")
    found = STAMP.match(first)
    digest = digest_of(text)
    build = 1 if found is None else int(found[1]) + (found[2] != digest)
    return f"-- build {build} · sha256 {digest}\n{rest}"


def violations(text: str) -> Iterator[str]:
    """Yield the violations of the form of a file."""
    found = STAMP.match(text.partition("\n")[0])
    if found is None or found[2] != digest_of(text):
        yield "the stamp in the first line does not match the content; run: make stamp"
    if not text.partition("\n")[2].startswith("-- "):
        yield "the stamp must be followed by a comment on the subject and the limits of the file"
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) > LONGEST_LINE or line != line.rstrip() or "\t" in line:
            yield f"line {number}: at most {LONGEST_LINE} characters, no tabs, no trailing blanks"
    try:
        statements = [raw.stmt for raw in parse_sql(text)]
    except ParseError as error:
        yield f"cannot be parsed: {error}"
        return
    yield from _order(statements)
    for statement in statements:
        if isinstance(statement, ast.CreateFunctionStmt):
            yield from _function(statement)
    try:
        bodies = parse_plpgsql(text)
    except ParseError as error:
        yield f"a body cannot be parsed: {error}"
        return
    yield from _settings(text, statements, bodies)


def _settings(text: str, statements: list[ast.Node], bodies: Any) -> Iterator[str]:
    """What a setting of the caller would change; tests/security/test_poisoned_connections.py finds other influences.

    A body is read under the settings of the session that first uses it on its connection.
    """
    for found in _LITERAL.finditer(text):
        prefix, content = found[1], found[2]
        if content is not None and (("\\" in content and prefix.upper() != "E") or prefix.upper() == "U&"):
            line = text.count("\n", 0, found.start()) + 1
            yield f"line {line}: write a literal with a backslash as E'', which reads the same under all settings"
    compared = _ComparedWithNull()
    for statement in statements:
        if isinstance(statement, ast.CreateFunctionStmt):
            compared(statement)
            options = {option.defname: option.arg for option in statement.options}
            if options["language"].sval == "sql" and "as" in options:
                compared(parse_sql(options["as"][0].sval))
    for query in _queries(bodies):
        compared(parse_sql(query))
    if compared.found:
        yield "write IS NULL: transform_null_equals changes a comparison with = NULL"


class _ComparedWithNull(Visitor):  # type: ignore[misc] # pglast is not annotated
    found = False

    def visit_A_Expr(self, _: Any, node: ast.A_Expr) -> None:  # noqa: N802 - the name of the node
        sides = (node.lexpr, node.rexpr)
        if node.name[-1].sval == "=" and any(isinstance(side, ast.A_Const) and side.isnull for side in sides):
            self.found = True


def _queries(node: Any) -> Iterator[str]:
    """Yield the statements of PL/pgSQL bodies, with expressions as SELECT."""
    if isinstance(node, list):
        for each in node:
            yield from _queries(each)
    elif isinstance(node, dict):
        if "query" in node and "parseMode" in node:
            query = node["query"]
            if node["parseMode"] == 2:  # an expression
                query = f"SELECT {query}"
            elif node["parseMode"] > 2:  # an assignment
                query = f"SELECT {re.split(r':?=', query, maxsplit=1)[1]}"
            yield query
        for each in node.values():
            yield from _queries(each)


def _order(statements: list[ast.Node]) -> Iterator[str]:
    """Only functions, each followed by its REVOKE and GRANT statements; roles are created in a separate file."""
    current = None
    for statement in statements:
        if isinstance(statement, ast.CreateFunctionStmt):
            if current is not None:
                yield f"{current}: REVOKE ALL … FROM PUBLIC must follow the function"
            current = _name(statement.funcname)
        elif isinstance(statement, ast.GrantStmt):
            (function,) = statement.objects
            name, grantees = _name(function.objname), {role.rolename for role in statement.grantees}
            if statement.is_grant:
                if not grantees <= GRANTEES:
                    yield f"{name}: granted to {sorted(map(str, grantees - GRANTEES))}"
            elif name != current or statement.privileges or grantees != {None}:
                yield f"{name}: REVOKE ALL … FROM PUBLIC must follow the function"
            else:
                current = None
        elif not isinstance(statement, ast.DoStmt):
            yield f"a {type(statement).__name__} is neither a function nor a grant"
    if current is not None:
        yield f"{current}: REVOKE ALL … FROM PUBLIC must follow the function"


def _function(statement: ast.CreateFunctionStmt) -> Iterator[str]:
    name = _name(statement.funcname)
    options = {option.defname: option.arg for option in statement.options}
    settings = {option.arg.name: option.arg for option in statement.options if option.defname == "set"}
    if not statement.replace or not name.startswith("public."):
        yield f"{name}: CREATE OR REPLACE FUNCTION public.{name}"
    if statement.sql_body is not None:
        # A SET clause or SECURITY DEFINER would prevent inlining.
        if settings or "security" in options:
            yield f"{name}: an expression (RETURN …) must have neither SET nor SECURITY DEFINER"
        return
    if _path(settings.get("search_path")) != PATH_OF_BODIES:
        yield f"{name}: needs SET search_path = {PATH_OF_BODIES}, so that callers cannot redirect names"
    if "RETURN QUERY EXECUTE" in options["as"][0].sval and "gin_fuzzy_search_limit" not in settings:
        yield f"{name}: needs SET gin_fuzzy_search_limit = 0, so that callers cannot omit rows of a built query"


def _path(setting: ast.VariableSetStmt | None) -> str | None:
    return None if setting is None else ", ".join(each.val.sval for each in setting.args)


def _name(parts: tuple[ast.String, ...]) -> str:
    return ".".join(part.sval for part in parts)


def main(arguments: list[str]) -> int:
    wrong = 0
    files = {*FOLDER.glob("*.sql")}
    for path in sorted(files):
        text = path.read_text(encoding="utf-8")
        if "--stamp" in arguments:
            path.write_text(stamped(text), encoding="utf-8")
            continue
        for violation in violations(text):
            sys.stdout.write(f"{path.name}: {violation}\n")
            wrong += 1
    for path in sorted(files ^ {ROLES, *(FOLDER / f"{name}.sql" for name in FILES)}):
        sys.stdout.write(f"{path.name}: is not in FILES (src/database/schema/sql_files.py), or does not exist\n")
        wrong += 1
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
