"""Details of analyses: JSON, validated against registered schemas."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from src.errors import InvalidInput, PackageMissing
from src.services.parameters import validate_text

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

LONGEST_NAME = 200
_schemas: dict[str, tuple[str, Validator]] = {}


def register_schema(name: str, schema: Mapping[str, Any]) -> None:
    """Register a JSON Schema (2020-12) in this process under a name that ends in its version, such as `topics/1`.

    Call it at program start, in every process that adds analyses. The schema of a name never changes: registering the
    same schema again has no effect, a different schema needs another name. References to other documents are not
    followed. Raises InvalidInput for an invalid schema or a name that is taken, PackageMissing without `jsonschema`.
    """
    try:
        from jsonschema import Draft202012Validator  # noqa: PLC0415 - takes 0.1 s, only when it is used
        from jsonschema.exceptions import SchemaError  # noqa: PLC0415 - the same
        from referencing import Registry  # noqa: PLC0415 - the same
    except ImportError as error:
        raise PackageMissing(
            "Schemas need the Python package jsonschema; install it with: pip install 'speech-to-information[schemas]'."
        ) from error
    if not validate_text(name, "name") or len(name) > LONGEST_NAME:
        raise InvalidInput(f"name: {len(name)} characters; give 1 to {LONGEST_NAME}.", field="name", limit=LONGEST_NAME)
    try:
        content = json.dumps(schema, sort_keys=True)
        Draft202012Validator.check_schema(json.loads(content))
    except (SchemaError, TypeError, ValueError, RecursionError) as error:
        message = error.message if isinstance(error, SchemaError) else error
        raise InvalidInput(
            f"schema: {name!r} is not a valid JSON Schema: {message!s:.200}.", field="schema", value=name
        ) from error
    if name in _schemas and _schemas[name][0] != content:
        raise InvalidInput(
            f"name: {name!r} is registered for a different schema; use another name.", field="name", value=name
        )
    # An empty registry: by default a reference would be fetched from the network.
    _schemas[name] = content, Draft202012Validator(json.loads(content), registry=Registry())


def checked(details: Mapping[str, Any] | None, schema: str | None) -> dict[str, Any]:
    """Return the details as they are stored. Raises InvalidInput, which names the path of an invalid value."""
    if details is not None and not isinstance(details, Mapping):
        raise InvalidInput(f"details: {type(details).__name__} is not a mapping; give a dict.", field="details")
    try:
        plain = _plain(dict(details or {}), "details")
        if schema is not None:
            _require(plain, schema)
    except RecursionError as error:
        raise InvalidInput("details: nested too deeply to be stored as JSON; flatten them.", field="details") from error
    return dict(plain)


def _require(details: dict[str, Any], schema: str) -> None:
    if schema not in _schemas:
        known = ", ".join(sorted(_schemas)) or "none"
        raise InvalidInput(
            f"schema: {schema!r:.210} is not registered (register_schema); registered are: {known}.",
            field="schema",
            value=schema,
        )
    from jsonschema.exceptions import best_match  # noqa: PLC0415 - installed, since a schema is registered
    from referencing.exceptions import Unresolvable  # noqa: PLC0415 - the same

    try:
        error = best_match(_schemas[schema][1].iter_errors(details))
    except Unresolvable as unresolvable:
        raise InvalidInput(
            f"schema: {schema!r} has an unresolvable reference ({unresolvable.ref}); include its target in the schema.",
            field="schema",
            value=schema,
        ) from unresolvable
    if error is not None:
        place = error.json_path.replace("$", "details", 1)
        # The validator quotes the value, and details are personal.
        problem = error.message.replace(repr(error.instance), "the value", 1)
        raise InvalidInput(f"{place}: {problem:.200} (schema {schema}).", field=place)


def _plain(value: Any, place: str) -> Any:
    if isinstance(value, str):
        return validate_text(value, place)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidInput(f"{place}: {value!r} is not a JSON number; leave it out.", field=place, value=value)
        return value
    if isinstance(value, Mapping):
        return {_key(key, place): _plain(item, f"{place}.{key!s:.60}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{place}[{index}]") for index, item in enumerate(value)]
    raise InvalidInput(
        f"{place}: {type(value).__name__} is not a JSON type; convert it to text or a number.", field=place
    )


def _key(key: Any, place: str) -> str:
    if isinstance(key, bool) or not isinstance(key, str | int):
        raise InvalidInput(f"{place}: {key!r:.60} is not a valid JSON key; give text.", field=place, value=key)
    return validate_text(str(key), f"{place}, a key")
