"""The storages that this database knows, and who this database is.

Written by maintenance only (src/maintenance/storages.py); sessions read what they need through functions
(src/database/sql/storages.sql).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from src.database.base import Record, guarded, not_negative
from src.database.schema import CLOSED, Protected


class Storage(Record):
    """A place with a marker: a folder, or a bucket and prefix. Recordings refer to it by its id.

    `name` is that of the backend, which several storages may have: a changed bucket is another storage of `s3`.
    """

    __tablename__ = "storages"
    # Administrators may look; members get what they need from functions.
    __protection__ = Protected(
        case=None, administrators="read", captured=False, restorable=None, held=False, in_snapshot=False
    )
    __table_args__ = (
        not_negative("sequence"),
        CheckConstraint("jsonb_typeof(location) = 'object'", name="location_object"),
        # A backend without markers has one storage.
        Index("storages_unmarked_key", "name", unique=True, postgresql_where=text("NOT is_marked")),
    )

    __plain__ = frozenset({"name", "location"})

    name: Mapped[str] = guarded(most=64, least=1, comment="name of the storage backend")
    storage: Mapped[UUID] = mapped_column(Uuid, unique=True, comment="id in the marker")
    location: Mapped[dict[str, Any]] = guarded(
        JSONB, size=16 << 10, server_default=text("'{}'::jsonb"), comment="options that open it; never a credential"
    )
    is_marked: Mapped[bool] = mapped_column(
        server_default=text("true"), comment="false: the backend cannot keep a marker"
    )
    is_owned: Mapped[bool] = mapped_column(
        server_default=text("true"), comment="false: left to the database that this one is a copy of"
    )
    claimed_at: Mapped[datetime | None] = mapped_column(comment="when its marker was written; null until then")
    sequence: Mapped[int] = mapped_column(
        server_default="0", comment="raised here and in the marker; a smaller one than the marker's is a copy"
    )


class DatabaseIdentity(Record):
    """Who this database is: one row, made by `init_db`. A restored or copied database differs from what it says."""

    __tablename__ = "database_identities"
    __protection__ = CLOSED
    __table_args__ = (CheckConstraint("id = 1", name="single_row"),)

    __plain__ = frozenset({"quarantine"})

    identity: Mapped[UUID] = mapped_column(Uuid, comment="id of this database in the markers of its storages")
    system_identifier: Mapped[int] = mapped_column(comment="of the cluster in which it was confirmed")
    database_oid: Mapped[int] = mapped_column(comment="of the database in that cluster")
    confirmed_at: Mapped[datetime]
    quarantine: Mapped[str | None] = guarded(most=2000, comment="why a marker shows that this is a copy")
    restored_at: Mapped[datetime | None] = mapped_column(comment="when a copy was last confirmed as the owner")
    snapshot_at: Mapped[datetime | None] = mapped_column(comment="the last object that the copy knew was announced")
