"""Finding cases, recordings and people by a part of their names, without regard to case."""

from __future__ import annotations

from typing import Any, TypeVar

from sqlalchemy import cast, func, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session
from sqlalchemy.types import BigInteger, Float

from src.database.base import Record
from src.database.connection.session import actor_of
from src.database.models import AudioFile, Case, User
from src.errors import InvalidInput
from src.services.lookup import validate_text
from src.services.search.filters import number
from src.services.search.pages import Page, read_cursor, require_limit, write_cursor

R = TypeVar("R", bound=Record)
LONGEST_PATTERN = 200


def cases(session: Session, pattern: str, *, limit: int = 50, after: str | None = None) -> Page[Case]:
    """Find cases by a part of their code or title, newest first.

    In `pattern` * stands for any characters and ? for one; a pattern with one of these is the whole name, without them
    a part of it. Only what the actor may see is found. Raises InvalidInput for a pattern or cursor that cannot be.
    """
    return _named(session, Case, pattern, {}, limit=limit, after=after)


def recordings(
    session: Session, pattern: str, *, case: Case | int | None = None, limit: int = 50, after: str | None = None
) -> Page[AudioFile]:
    """Find recordings by a part of the name that they came with; see `cases` for patterns."""
    asked = {} if case is None else {"cases": [number(case, "case")]}
    return _named(session, AudioFile, pattern, asked, limit=limit, after=after)


def users(session: Session, pattern: str, *, limit: int = 50, after: str | None = None) -> Page[User]:
    """Find users by a part of their user name or full name; see `cases` for patterns."""
    return _named(session, User, pattern, {}, limit=limit, after=after)


def _named(
    session: Session, model: type[R], pattern: str, asked: dict[str, Any], *, limit: int, after: str | None
) -> Page[R]:
    actor_of(session)
    if not validate_text(pattern, "pattern").strip() or len(pattern) > LONGEST_PATTERN:
        raise InvalidInput(f"A pattern has from 1 to {LONGEST_PATTERN} characters.")
    return found_rows(session, model, pattern.strip(), asked, limit=require_limit(limit), after=after)


def found_rows(
    session: Session, model: type[R], wanted: str, asked: dict[str, Any], *, limit: int, after: str | None = None
) -> Page[R]:
    """Return a page of the rows that `search_rows` finds, read again under row security."""
    question = (model.__tablename__, wanted, asked)
    cursor = read_cursor(question, after, (int,))
    narrowed = asked | {"max_rows": limit + 1} | ({"after": cursor.keys[0]} if cursor else {})
    found = (
        func.public.search_rows(model.__tablename__, wanted, cast(narrowed, JSONB))
        .table_valued("row_id", "rank", "total")
        .render_derived()
    )
    rows = session.execute(
        select(model, cast(found.c.total, BigInteger))
        .join(found, cast(found.c.row_id, BigInteger) == model.id)
        .order_by(cast(found.c.rank, Float).desc(), model.id.desc())
    ).all()
    total = cursor.total if cursor else rows[0][1] if rows else 0
    page = [row[0] for row in rows[:limit]]
    following = write_cursor(question, total, (page[-1].id,)) if len(rows) > limit else None
    return Page(page, total=total, next=following)
