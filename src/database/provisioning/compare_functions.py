"""Compare functions: definition, owner, EXECUTE privileges."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection

from src.database.provisioning.catalog import Catalog
from src.database.provisioning.compare_objects import compare_objects
from src.database.provisioning.compare_rights import role_name
from src.database.provisioning.differences import Difference, Kind
from src.database.schema import Function, functions

_TYPES = {"timestamptz": "timestamp with time zone", "int": "integer"}
# Created by record_schema: their bodies contain the recorded values.
_RECORDED = {"schema_revision()", "schema_build()", "schema_oldest_code()"}


def compare_functions(connection: Connection, present: Catalog, expected: Catalog) -> Iterator[Difference]:
    known = {_as_catalog_says(function): function for function in functions()}
    for identity, function in known.items():
        found = present.functions.get(identity)
        create = (f"SET LOCAL check_function_bodies = off;\n{function.create()}",)
        if found is None:
            yield Difference(Kind.FUNCTION, identity, f"the function {function.name} is missing", create)
            continue
        declared = expected.functions.get(identity)
        if declared is None or found.definition != declared.definition:
            yield Difference(Kind.FUNCTION, identity, f"the function {function.name} differs from this version", create)
        if not found.has_owner_of_tables:
            yield Difference(
                Kind.FUNCTION,
                identity,
                f"the function {function.name} does not belong to the owner of the tables",
                left=f"as an administrator: ALTER FUNCTION {function.identity} OWNER TO the owner of the tables",
            )
        yield from _callers(function, found.callers)
    for identity in sorted(present.functions.keys() - known.keys() - _RECORDED):
        if present.functions[identity].is_definer:
            yield Difference(
                Kind.FUNCTION,
                identity,
                f"the function {identity} is SECURITY DEFINER and unknown to this version",
                left=f"this layer does not call it; unless it is intended: DROP FUNCTION public.{identity}",
            )
    definers = {identity for identity, function in present.functions.items() if function.is_definer}
    yield from compare_objects(connection, known.keys() | _RECORDED | definers)
    for identity in sorted(_RECORDED - present.functions.keys()):
        yield Difference(Kind.REVISION, identity, f"the function {identity} is missing", left="init_db creates it")


def _as_catalog_says(function: Function) -> str:
    """Return the identity of a function with the type names of the catalog."""
    return f"{function.name}({', '.join(_TYPES.get(each, each) for each in function.arguments)})"


def _callers(function: Function, present: frozenset[str]) -> Iterator[Difference]:
    for extra in sorted(present - set(function.callers)):
        yield Difference(
            Kind.GRANT,
            function.identity,
            f"{extra} may execute the function {function.name}",
            (f"REVOKE ALL ON FUNCTION {function.identity} FROM {role_name(extra)};",),
        )
    if missing := sorted(set(function.callers) - present):
        yield Difference(
            Kind.GRANT,
            function.identity,
            f"{', '.join(missing)} may not execute the function {function.name}",
            (f"GRANT EXECUTE ON FUNCTION {function.identity} TO {', '.join(missing)};",),
        )
