"""Validate arguments of callers: codes, objects of earlier sessions, texts."""

from __future__ import annotations

from typing import Any, TypeVar, get_args

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from src.database.base import Record
from src.database.models import Language
from src.database.models.lookups import Lookup
from src.errors import InvalidInput, NotFound

L = TypeVar("L", bound=Lookup)
R = TypeVar("R", bound=Record)


def in_session(session: Session, thing: R) -> R:
    """Return this session's object for one that may belong to an earlier session: its changes are then flushed.

    Raises NotFound when the row is deleted or the actor may not see it.
    """
    found = session.get(type(thing), thing.id)
    if found is None:
        raise NotFound(f"{type(thing).__name__} {thing.id} does not exist, or you may not see it.")
    return found


def id_of(model: type[Record], row: Record | int | None) -> int:
    """Return the id of a row that a caller passed as an object or as its id.

    Raises InvalidInput for anything else, another model's row and an object without an id included.
    """
    value = row.id if isinstance(row, model) else row
    if isinstance(value, bool) or not isinstance(value, int):
        what = f"{type(row).__name__} without an id" if isinstance(row, model) else f"{type(row).__name__}"
        raise InvalidInput(f"{model.__name__}: pass a row or its id, not {what}.", field=model.__name__)
    return value


def row_of(model: type[R], row: R | int) -> R:
    """Return a row that a caller passed as an object, or for an id an object that has only that id.

    Such an object is never added to a session: `in_session` loads the row, other uses need its id only.
    """
    return row if isinstance(row, model) else model(id=id_of(model, row))


def require_choice(value: object, choices: Any, field: str) -> None:
    """Raise InvalidInput with the choices when a value is not one of a `Literal` type."""
    known = get_args(choices)
    if value not in known:
        raise InvalidInput(
            f"{field}: {value!r}; pass one of {', '.join(map(repr, known))}.", field=field, value=value, limit=known
        )


def by_code(session: Session, table: type[L], code: str | L, field: str) -> L:
    """Return the row of a look-up table with this code, or the given row; `field` is the parameter of the caller.

    Raises InvalidInput, which lists the active codes.
    """
    if isinstance(code, table):
        return in_session(session, code)
    if not isinstance(code, str):
        raise InvalidInput(
            f"{field}: pass a code of {table.__tablename__} or a row, not {type(code).__name__}.", field=field
        )
    found = session.scalars(select(table).where(table.code == code)).one_or_none()
    if found is None:
        known = ", ".join(session.scalars(select(table.code).where(table.is_active).order_by(table.id)))
        raise InvalidInput(
            f"{field}: {code!r} is not a code of {table.__tablename__}; use one of: {known or 'none (run init_db)'}.",
            field=field,
            value=code,
            limit=known or None,
        )
    return found


def language_by_code(session: Session, code: str) -> Language:
    """Return the language of a BCP 47 tag; `pt-BR` falls back to `pt` when it has no row.

    Raises InvalidInput when neither exists.
    """
    tag = code.strip().replace("_", "-")
    candidates = [tag.lower(), tag.partition("-")[0].lower()]
    query = select(Language).where(Language.is_active, func.lower(Language.code).in_(candidates))
    rows = {row.code.lower(): row for row in session.scalars(query)}
    for candidate in candidates:
        if candidate in rows:
            return rows[candidate]
    raise InvalidInput(
        f"language: {code!r} is unknown; give a BCP 47 code such as en, pt-BR or zh (table languages).",
        field="language",
        value=code,
    )


def validate_text(value: str, place: str) -> str:
    """Return the text if the database can store it. Raises InvalidInput, which names the place, otherwise."""
    if not isinstance(value, str):
        raise InvalidInput(f"{place}: {type(value).__name__} is not text.", field=place)
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise InvalidInput(
            f"{place}: the text contains a NUL character or an unpaired surrogate; remove it.", field=place
        )
    return value
