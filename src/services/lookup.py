"""Finding the row that a code names, with an error that lists what there is."""

from __future__ import annotations

from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from src.database.models import Language
from src.database.models.lookups import Lookup
from src.errors import InvalidInput

L = TypeVar("L", bound=Lookup)


def by_code(session: Session, table: type[L], code: str) -> L:
    """Return the row of a look-up table with this code. Raises InvalidInput that lists the codes there are."""
    found = session.scalars(select(table).where(table.code == code)).one_or_none()
    if found is None:
        known = ", ".join(session.scalars(select(table.code).where(table.is_active).order_by(table.id)))
        raise InvalidInput(f"{table.__tablename__} has no {code!r}; there are: {known or 'none (run init_db)'}.")
    return found


def language_by_code(session: Session, code: str) -> Language:
    """Return the language of a BCP 47 tag; `pt-BR` is found as `pt` where it has no row of its own.

    Raises InvalidInput when there is neither.
    """
    tag = code.strip().replace("_", "-")
    candidates = [tag.lower(), tag.partition("-")[0].lower()]
    rows = {row.code.lower(): row for row in session.scalars(select(Language).where(Language.is_active))}
    for candidate in candidates:
        if candidate in rows:
            return rows[candidate]
    raise InvalidInput(f"There is no language {code!r}; give a BCP 47 code such as en, pt-BR or zh (table languages).")
