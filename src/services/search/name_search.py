"""Search for cases, recordings and users by a part of their names, ignoring case."""

from __future__ import annotations

from typing import Any, TypeVar

from sqlalchemy import cast, func, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session
from sqlalchemy.types import BigInteger, Float

from src.database.base import Record
from src.database.connection.access_log import notes_itself
from src.database.connection.session import actor_of
from src.database.models import AudioFile, Case, User
from src.errors import InvalidInput
from src.services import activity
from src.services.parameters import validate_text
from src.services.search.filters import row_id
from src.services.search.pagination import Page, read_cursor, require_limit, write_cursor

R = TypeVar("R", bound=Record)
LONGEST_PATTERN = 200


def cases(session: Session, pattern: str, *, limit: int = 50, after: str | None = None) -> Page[Case]:
    """Find cases by a part of their code or title, newest first.

    In `pattern`, * matches any characters and ? one. A pattern with a wildcard matches the whole name, without one any
    part of it. Finds only rows that the actor may see. Raises InvalidInput for an invalid pattern or cursor.
    """
    return _named(session, Case, pattern, {}, limit=limit, after=after)


def recordings(
    session: Session, pattern: str, *, case: Case | int | None = None, limit: int = 50, after: str | None = None
) -> Page[AudioFile]:
    """Find recordings by a part of their original file name; see `cases` for patterns."""
    asked = {} if case is None else {"cases": [row_id(case, "case")]}
    return _named(session, AudioFile, pattern, asked, limit=limit, after=after)


def users(session: Session, pattern: str, *, limit: int = 50, after: str | None = None) -> Page[User]:
    """Find users by a part of their user name or full name; see `cases` for patterns."""
    return _named(session, User, pattern, {}, limit=limit, after=after)


def _named(
    session: Session, model: type[R], pattern: str, asked: dict[str, Any], *, limit: int, after: str | None
) -> Page[R]:
    actor_of(session)
    if not validate_text(pattern, "pattern").strip() or len(pattern) > LONGEST_PATTERN:
        raise InvalidInput(
            f"pattern: {len(pattern)} characters; give 1 to {LONGEST_PATTERN}.", field="pattern", limit=LONGEST_PATTERN
        )
    page = found_rows(session, model, pattern.strip(), asked, limit=require_limit(limit), after=after)
    case_id = asked["cases"][0] if "cases" in asked else None
    detail = {"query": pattern.strip(), "in": model.__tablename__, "hits": len(page)}
    activity.note_read(session, "search.made", case=case_id, detail=detail)
    return page


@notes_itself
def found_rows(
    session: Session, model: type[R], pattern: str, asked: dict[str, Any], *, limit: int, after: str | None = None
) -> Page[R]:
    """Return a page of the rows whose ids `search_rows` returns, read under row security; the caller notes it."""
    search = (model.__tablename__, pattern, asked)
    cursor = read_cursor(search, after, (int,))
    narrowed = asked | {"max_rows": limit + 1} | ({"after": cursor.keys[0]} if cursor else {})
    found = (
        func.public.search_rows(model.__tablename__, pattern, cast(narrowed, JSONB))
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
    following = write_cursor(search, total, (page[-1].id,)) if len(rows) > limit else None
    return Page(page, total=total, next=following)
