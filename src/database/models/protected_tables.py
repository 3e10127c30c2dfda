"""Tables of services that are protected like those of this package."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped

from src.database.base import Record, guarded
from src.database.schema import CLOSED


class ProtectedTable(Record):
    """A table that a service made in its own Alembic history, and what it declared with `protect_table`."""

    __tablename__ = "protected_tables"
    __protection__ = replace(CLOSED, keeps_roles=True)
    __plain__ = frozenset({"name", "declaration"})

    name: Mapped[str] = guarded(most=63, least=1, unique=True)
    declaration: Mapped[dict[str, Any]] = guarded(JSONB, size=1 << 20, comment="the arguments of protect_table")
