"""Name filters of `alembic revision --autogenerate`: for the history of this layer and for that of a service."""

from __future__ import annotations

from typing import Any

from src.database.models import Base
from src.database.provisioning.extensions import NAME_INDEXES


def include_layer_name(name: str | None, kind: str, parents: Any) -> bool:  # noqa: ARG001 - Alembic's signature
    """Include the tables of this layer, except indexes that need an extension: init_db creates those."""
    if kind == "table":
        return name in Base.metadata.tables
    return kind != "index" or name not in NAME_INDEXES


def include_service_name(name: str | None, kind: str, parents: Any) -> bool:
    """Include all tables outside this layer: `include_name=` for the env.py of a service."""
    table = name if kind == "table" else parents.get("table_name")
    return table not in Base.metadata.tables and not str(table).startswith(("activity_logs_", "alembic_version"))


def include_service_object(item: Any, name: str | None, kind: str, reflected: bool, compare_to: Any) -> bool:  # noqa: ARG001 - Alembic's signature
    """Exclude foreign keys that reference this layer: `include_object=` for the env.py of a service.

    The metadata of the service does not contain the referenced tables.
    """
    if kind != "foreign_key_constraint":
        return True
    return not any(element.target_fullname.split(".")[-2] in Base.metadata.tables for element in item.elements)
