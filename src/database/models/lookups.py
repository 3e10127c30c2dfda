"""Base of the look-up tables: a code for programs, a name for people."""

from __future__ import annotations

from typing import Any

from sqlalchemy import CheckConstraint, text
from sqlalchemy.orm import Mapped, declared_attr, mapped_column

from src.database.base import Record, administered, length_limit
from src.database.schema import LOOKUP


class Lookup(Record):
    """A small table of named values, keyed by `code`, seeded by init_db, extended by operators."""

    __abstract__ = True
    __protection__ = LOOKUP
    __plain__ = frozenset({"code", "name", "description", "seed_fingerprint"})

    code: Mapped[str] = administered(unique=True)
    name: Mapped[str] = administered()
    description: Mapped[str] = administered(server_default="")
    is_active: Mapped[bool] = administered(server_default=text("true"), comment="offered for new rows")
    # Hash of what init_db wrote: a row that differs from it was changed by an operator and is left alone.
    seed_fingerprint: Mapped[str | None] = mapped_column(
        deferred=True, comment="hash of the seed; null: not a seed of init_db"
    )

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Any, ...]:  # noqa: N805 - declared_attr calls it with the class
        return Lookup.constraints()

    @staticmethod
    def constraints() -> tuple[Any, ...]:
        """Return the constraints of every look-up table."""
        return (
            length_limit("code", 64, least=1),
            CheckConstraint("code ~ '^[A-Za-z0-9][A-Za-z0-9._-]*$'", name="code_form"),
            length_limit("name", 200, least=1),
            length_limit("description", 2000),
        )
