"""The declarative base: naming convention, types, identity, timestamps.

The server sets ids, timestamps and row versions by identity columns, defaults and triggers, so that they are correct
for SQL written by hand too.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, ClassVar, NamedTuple, get_args

from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    ColumnElement,
    Date,
    DateTime,
    Double,
    FetchedValue,
    ForeignKey,
    Identity,
    Integer,
    LargeBinary,
    MetaData,
    Text,
    event,
    func,
    text,
)
from sqlalchemy import inspect as inspect_mapped
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedColumn, Mapper, declared_attr, mapped_column, relationship
from sqlalchemy.types import TypeDecorator, TypeEngine, UserDefinedType

from src.database.schema import declaration
from src.database.schema.declaration import Protected
from src.database.schema.moments import Moment, require_assigned

NAMING_CONVENTION = {
    "pk": "%(table_name)s_pkey",
    "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "ck": "%(table_name)s_%(constraint_name)s_check",
    "ix": "%(table_name)s_%(column_0_N_name)s_idx",
}

ACTOR = text("public.actor_id()")
"""The acting user, as a server default."""

Timestamp = Moment()
LARGEST_DOCUMENT = 1 << 20
"""The limit of a JSON column that declares none, in bytes as text."""
LARGEST_LIST = 16 << 10
"""The limit of a list of texts that declares none, in bytes as text."""
Json = Annotated[dict[str, Any], mapped_column(JSONB)]

# Marks in `Column.info` (src/database/schema/declaration.py). Neither is sampled by ANALYZE.
SECRET = {declaration.SECRET: True, declaration.UNSAMPLED: True}
UNREADABLE = {**SECRET, declaration.UNREADABLE: True}
PERSONAL = {declaration.PERSONAL: True, declaration.UNSAMPLED: True}
PRIVATE = {declaration.PRIVATE: True, declaration.UNSAMPLED: True}


class ReadAs(NamedTuple):
    """The entry of the access log for loaded rows: its type, and the row that it names, by table and column.

    `entity_column`: the column with the name of that table, for rows of the log.
    """

    type: str
    entity: str
    column: str = "id"
    entity_column: str | None = None


class TransactionId(UserDefinedType[int]):
    """PostgreSQL's xid8: a 64-bit transaction id, which never wraps around."""

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
    __protection__: ClassVar[Protected]
    __plain__: ClassVar[frozenset[str]] = frozenset()
    """The columns with text or JSON that are neither secret nor personal; every other one has a mark."""
    __read_as__: ClassVar[ReadAs | None] = None
    """How the access log names a loaded row; None: loading it needs no entry."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        table = cls.__dict__.get("__table__")
        if table is not None:
            declaration.declare(table, cls.__protection__)
            for column in table.columns:
                if isinstance(column.type, Moment):
                    column.type = Moment(column.name)
                elif isinstance(stored := stored_type(column), Moment):
                    stored.field = column.name
                if declaration.LENGTH in column.info:
                    least, most = column.info[declaration.LENGTH]
                    table.append_constraint(length_limit(column.name, most, least=least))
                readable = readable_limit(column)
                if readable is not None:
                    table.append_constraint(readable)

    def __repr__(self) -> str:
        # Reads the identity from the mapper's state and not from an attribute: repr() must work on detached and expired
        # objects, emit no SQL, and show no secret or personal value.
        state = inspect_mapped(self)
        identity = state.identity if state is not None else None
        return f"<{type(self).__name__} {'new' if identity is None else '/'.join(map(str, identity))}>"


def stored_type(column: ColumnElement[Any]) -> TypeEngine[Any]:
    """Return the type in which a column is stored, without the decorator that reads or writes it otherwise."""
    return column.type.impl_instance if isinstance(column.type, TypeDecorator) else column.type


@event.listens_for(Base, "mapper_configured", propagate=True)
def _check_moments(mapper: Mapper[Any], model: type[Any]) -> None:
    """Refuse times without a time zone where they are assigned, which is where the mistake is."""
    for attribute in mapper.column_attrs:
        if isinstance(stored_type(attribute.columns[0]), Moment):
            event.listen(getattr(model, attribute.key), "set", require_assigned)


class Record(Base):
    """A table with a generated id and the two timestamps."""

    __abstract__ = True
    # Fetches values that triggers and defaults set with RETURNING, on UPDATE too, instead of a query on next access.
    __mapper_args__: Any = {"eager_defaults": True}  # noqa: RUF012 - as in the declarative base

    id: Mapped[int] = mapped_column(Identity(), primary_key=True, sort_order=-100)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now(), sort_order=100)
    updated_at: Mapped[datetime] = mapped_column(
        server_default=func.now(), server_onupdate=FetchedValue(), sort_order=101
    )


class Versioned:
    """Mixin: a row version counted by a trigger, so that lost updates are detected for every client.

    `version_id_generator=False`: a counter of the client would silently overwrite an update in raw SQL.
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


def written(
    *arguments: Any,
    once: bool = False,
    signed: bool = False,
    sampled: bool = True,
    **options: Any,
) -> MappedColumn[Any]:
    """Return a column that sessions may set: on INSERT and UPDATE, or only on INSERT (`once`).

    `signed`: it references a user, and a session may only set it to the actor. The limits (`most`, `least`, `size`) are
    those of `guarded`. `sampled=False`: see `user_text`.
    """
    info = {declaration.WRITTEN: ("INSERT",) if once else ("INSERT", "UPDATE"), declaration.SIGNED: signed}
    return guarded(*arguments, sampled=sampled, info=info | options.pop("info", {}), **options)


def user_text(most: int, *arguments: Any, **options: Any) -> MappedColumn[Any]:
    """Return a `written` column for text of a case, of at most `most` characters: `personal`.

    ANALYZE does not sample it. For leakproof comparisons such as `=` and `<` of text, the estimates of EXPLAIN use the
    samples of all cases, hidden rows included: repeated queries such as `title < 'm'` would reveal titles.
    """
    return written(*arguments, most=most, info=PERSONAL | options.pop("info", {}), **options)


def moment(**options: Any) -> MappedColumn[Any]:
    """Return a `written` column with a moment that decides something: sessions set it, and the server says which."""
    return written(info={declaration.STAMPED: True}, **options)


def administered(*arguments: Any, **options: Any) -> MappedColumn[Any]:
    """Return a column that only administrators may change."""
    return guarded(*arguments, info={declaration.ADMINISTERED: True} | options.pop("info", {}), **options)


def guarded(
    *arguments: Any,
    sampled: bool = True,
    most: int | None = None,
    least: int = 0,
    size: int | None = None,
    size_applies: str = "",
    **options: Any,
) -> MappedColumn[Any]:
    """Return a column that no session may set, with the marks of `written`.

    `most` and `least` limit the length of a text in characters, `size` that of a JSON document or of a list of texts in
    bytes; `size_applies` restricts the latter to some rows.
    """
    info = {declaration.UNSAMPLED: not sampled, **options.pop("info", {})}
    if most is not None:
        info[declaration.LENGTH] = (least, most)
    if size is not None:
        info[declaration.SIZE] = size
    if size_applies:
        info[declaration.SIZE_APPLIES] = size_applies
    return mapped_column(*arguments, info=info, **options)


def case_key() -> MappedColumn[Any]:
    """Return the `case_id` of a table directly below a case."""
    return written(Integer, ForeignKey("cases.id", ondelete="CASCADE"), once=True)


def acting_user(*, once: bool = True) -> MappedColumn[Any]:
    """Return a column that names the acting user: set by default when the row is added, or by a later change."""
    user = ForeignKey("users.id", ondelete="RESTRICT")
    return written(user, once=True, signed=True, server_default=ACTOR) if once else written(user, signed=True)


def children(back_populates: str) -> Any:
    """Return the collection of rows that the database deletes with their parent; loaded only when a query asks."""
    return relationship(
        back_populates=back_populates, lazy="raise_on_sql", passive_deletes=True, cascade="save-update, merge, delete"
    )


def sha256_form(column: str = "sha256") -> CheckConstraint:
    """Return a named CHECK that admits a SHA-256 in lowercase hexadecimal."""
    return CheckConstraint(f"{column} ~ '^[0-9a-f]{{64}}$'", name=f"{column}_form")


def not_negative(column: str) -> CheckConstraint:
    """Return a named CHECK that refuses numbers below zero."""
    return CheckConstraint(f"{column} >= 0", name=f"{column}_positive")


def length_limit(column: str, most: int, *, least: int = 0) -> CheckConstraint:
    """Return a named CHECK that limits a text column to `least` to `most` characters."""
    low = f"char_length({column}) >= {least} AND " if least else ""
    return CheckConstraint(f"{low}char_length({column}) <= {most}", name=f"{column}_length")


def readable_limit(column: Column[Any]) -> CheckConstraint | None:
    """Return the named CHECK that keeps the values of a column readable for every client; None if all of them are.

    PostgreSQL stores times and JSON that drivers cannot read: see src/database/sql/readable_values_1.sql.
    """
    name, size = column.name, column.info.get(declaration.SIZE)
    if isinstance(stored_type(column), DateTime):
        return CheckConstraint(f"public.readable_time_1({name})", name=f"{name}_range")
    if isinstance(column.type, Date):
        return CheckConstraint(f"public.readable_date_1({name})", name=f"{name}_range")
    if isinstance(column.type, JSON):
        rule = f"public.readable_json_1({name}, {size or LARGEST_DOCUMENT})"
        rows = column.info.get(declaration.SIZE_APPLIES)
        return CheckConstraint(f"NOT ({rows}) OR {rule}" if rows else rule, name=f"{name}_readable")
    if isinstance(column.type, ARRAY) and not column.info.get(declaration.COMPUTED):
        # One dimension: PostgreSQL has no type for it, and drivers read others as lists of lists.
        rule = f"array_ndims({name}) = 1 AND octet_length({name}::text) <= {size or LARGEST_LIST}"
        return CheckConstraint(f"cardinality({name}) = 0 OR {rule}", name=f"{name}_readable")
    return None


def one_of(column: str, literal: Any) -> CheckConstraint:
    """Return a named CHECK that admits the values of a `Literal`: not a PostgreSQL enum, which is not leakproof."""
    listed = ", ".join(f"'{value}'" for value in get_args(literal))
    return CheckConstraint(f"{column} IN ({listed})", name=f"{column}_known")
