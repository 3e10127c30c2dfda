"""What every table shares: the naming convention, the types, an identity, two timestamps. Nothing else.

Everything that a client could forget is the server's work: ids, timestamps and row versions are set by identity
columns, defaults and triggers, so that SQL written by hand is right too.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, ClassVar

from sqlalchemy import BigInteger, CheckConstraint, Double, FetchedValue, Identity, LargeBinary, MetaData, Text, func
from sqlalchemy import inspect as inspect_mapped
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.orm import DeclarativeBase, Mapped, declared_attr, mapped_column
from sqlalchemy.types import UserDefinedType

NAMING_CONVENTION = {
    "pk": "%(table_name)s_pkey",
    "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "ck": "%(table_name)s_%(constraint_name)s_check",
    "ix": "%(table_name)s_%(column_0_N_name)s_idx",
}

Timestamp = TIMESTAMP(timezone=True)
Json = Annotated[dict[str, Any], mapped_column(JSONB)]

# Marks a column whose value never appears in a repr, a log, an error, an export or the history.
SENSITIVE = {"sensitive": True}


class TransactionId(UserDefinedType[int]):
    """PostgreSQL's xid8: the number of a transaction, 64 bits wide, so that it never wraps."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "xid8"

    def result_processor(self, dialect: Any, coltype: Any) -> Any:  # noqa: ARG002 - SQLAlchemy's signature
        return lambda value: None if value is None else int(value)


class Base(DeclarativeBase):
    """The declarative base of all tables."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        int: BigInteger,
        float: Double,
        str: Text,
        bytes: LargeBinary,
        datetime: Timestamp,
        dict[str, Any]: JSONB,
    }

    def __repr__(self) -> str:
        # The identity is read from the mapper's state and never from an attribute: a repr must work on a detached and
        # expired object, must not emit SQL, and must not show a value that may be sensitive.
        state = inspect_mapped(self)
        identity = state.identity if state is not None else None
        return f"<{type(self).__name__} {'new' if identity is None else '/'.join(map(str, identity))}>"


class Record(Base):
    """A table with a machine-made id and the two timestamps that every table has."""

    __abstract__ = True
    # RETURNING brings back what triggers and defaults set, on UPDATE too, instead of a second query on next access.
    __mapper_args__: Any = {"eager_defaults": True}  # noqa: RUF012 - the declarative base declares it so

    id: Mapped[int] = mapped_column(Identity(), primary_key=True, sort_order=-100)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now(), sort_order=100)
    updated_at: Mapped[datetime] = mapped_column(
        server_default=func.now(), server_onupdate=FetchedValue(), sort_order=101
    )


class Versioned:
    """Mixin: a row version counted by a trigger, so that a lost update is refused whoever wrote in between.

    `version_id_generator=False`: a counter kept by the client silently overwrote a raw SQL update.
    """

    row_version: Mapped[int] = mapped_column(
        server_default="1", server_onupdate=FetchedValue(), sort_order=102, comment="counted by a trigger"
    )

    @declared_attr.directive
    def __mapper_args__(cls) -> dict[str, Any]:  # noqa: N805 - declared_attr calls it with the class
        return versioned_by(cls)


def versioned_by(versioned: Any) -> dict[str, Any]:
    """Return the mapper arguments of a class with a `row_version`."""
    return {"version_id_col": versioned.row_version, "version_id_generator": False, "eager_defaults": True}


def length_limit(column: str, most: int, *, least: int = 0) -> CheckConstraint:
    """Return a named CHECK that keeps a text column between `least` and `most` characters."""
    low = f"char_length({column}) >= {least} AND " if least else ""
    return CheckConstraint(f"{low}char_length({column}) <= {most}", name=f"{column}_length")


def one_of(column: str, *values: str) -> CheckConstraint:
    """Return a named CHECK that admits only these values: text and CHECK, since enums are not leakproof."""
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=f"{column}_known")
