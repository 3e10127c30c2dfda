"""The activity log: append-only entries, their types, the seals that prove them, and archived months."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from typing import Any, Literal

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, Integer, Text, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, foreign, mapped_column, relationship

from src.database.base import (
    PERSONAL,
    Base,
    ReadAs,
    Record,
    TransactionId,
    administered,
    guarded,
    not_negative,
    one_of,
    sha256_form,
)
from src.database.models.lookups import Lookup
from src.database.schema import LOOKUP, Protected, Trigger

# Written by triggers and SECURITY DEFINER functions only, read by administrators.
_RECORDS = Protected(
    case=None, administrators="read", captured=False, restorable=None, held=False, in_snapshot=False
)  # fmt: skip

_IS_BUILT_IN = "OLD.code ~ '^(row|history|schema)[.]'"
_BUILT_IN = ("the database itself writes entries of this type",)

# Row images are limited by the columns of their tables. A second limit here would make it impossible to change or
# delete a row from before the limits, or one that the owner wrote without them.
_IS_EVENT = "operation = 'event'"
# Room for the list of all entries of a month that were erased; sessions record at most 64 KiB (activity_log.sql).
LARGEST_DETAIL = 64 << 20

Operation = Literal["insert", "update", "delete", "baseline", "event"]


class ActivityType(Lookup):
    """Type of a log entry: row changes, sign-ins, reads, file operations, jobs."""

    __tablename__ = "activity_types"
    __protection__ = replace(
        LOOKUP,
        triggers=(
            Trigger("keep_type", "BEFORE DELETE", "refuse_change", _BUILT_IN, when=_IS_BUILT_IN),
            Trigger(
                "keep_type_code",
                "BEFORE UPDATE OF code",
                "refuse_change",
                _BUILT_IN,
                when=f"{_IS_BUILT_IN} AND OLD.code <> NEW.code",
            ),
        ),
    )

    __plain__ = Lookup.__plain__ | {"category"}

    category: Mapped[str] = administered(server_default="change", comment="change, access, file, work, people")


class ActivityLog(Base):
    """One log entry. Written by triggers and SECURITY DEFINER functions only; never changed, never deleted.

    Without foreign keys: an entry outlives the row that it is about, and concurrent writers must not block each other
    on a row of activity_types. Partitioned by month; with a DEFAULT partition, so that a missing month fails no write.
    """

    __tablename__ = "activity_logs"
    __protection__ = replace(
        _RECORDS,
        case="case_id",
        insert=None,
        update=None,
        delete=None,
        # Members read the entries of their cases, and their own entries without a case.
        also_visible="(case_id IS NULL AND ((SELECT public.actor_key()))[actor_id] IS NOT NULL)",
        also_indexed="(case_id IS NULL AND actor_id = (SELECT public.actor_id()))",
        touched=False,
        triggers=(Trigger("refuse_change", "BEFORE UPDATE OR DELETE", "guard_entry"),),
    )
    __table_args__ = (
        one_of("operation", Operation),
        Index("activity_logs_case_id_created_at_idx", "case_id", "created_at", "id"),
        Index("activity_logs_case_id_entity_idx", "case_id", "entity", "entity_id", "created_at", "id"),
        Index("activity_logs_entity_idx", text("(entity || '')"), "entity_id", "created_at", "id"),
        Index("activity_logs_actor_id_idx", text("(actor_id + 0)"), "created_at", "id"),
        # Read by sealing.
        Index("activity_logs_transaction_id_idx", text("(transaction_id::text::bigint)")),
        {"postgresql_partition_by": "RANGE (created_at)"},
    )
    __plain__ = frozenset(
        {"actor", "entity", "operation", "request_id", "schema_revision", "salt", "payload_hash", "leaf_hash"}
    )
    __read_as__ = ReadAs("history.read", "activity_logs", "entity_id", "entity")

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp(), primary_key=True)
    updated_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp(), comment="always created_at")
    activity_type_id: Mapped[int]
    # An integer, since the policy for SELECT uses it as a subscript.
    actor_id: Mapped[int | None] = mapped_column(Integer, comment="null: the owner of the database, not a session")
    actor: Mapped[str] = guarded(sampled=False, comment="user name at that time")
    case_id: Mapped[int | None] = mapped_column(Integer)
    entity: Mapped[str | None] = guarded(sampled=False, comment="the table")
    entity_id: Mapped[int | None]
    operation: Mapped[Operation] = mapped_column(Text)
    old: Mapped[dict[str, Any] | None] = guarded(
        JSONB(none_as_null=True),
        info=PERSONAL,
        size=LARGEST_DETAIL,
        size_applies=_IS_EVENT,
        comment="changed columns, as before",
    )
    new: Mapped[dict[str, Any] | None] = guarded(
        JSONB(none_as_null=True),
        info=PERSONAL,
        size=LARGEST_DETAIL,
        size_applies=_IS_EVENT,
        comment="the whole row, or an event's detail",
    )
    reason: Mapped[str | None] = guarded(most=2000, info=PERSONAL)
    request_id: Mapped[str | None] = guarded(most=200, sampled=False)
    transaction_id: Mapped[int] = mapped_column(TransactionId)
    epoch: Mapped[int] = mapped_column(
        comment="system identifier of the cluster; transaction ids are unique within one"
    )
    schema_revision: Mapped[str]
    salt: Mapped[bytes | None] = mapped_column(deferred=True)
    payload_hash: Mapped[bytes] = mapped_column(deferred=True)
    leaf_hash: Mapped[bytes] = mapped_column(deferred=True)

    activity_type: Mapped[ActivityType] = relationship(
        primaryjoin=lambda: foreign(ActivityLog.activity_type_id) == ActivityType.id, viewonly=True, lazy="joined"
    )


class ActivitySeal(Record):
    """A hash over a batch of finished transactions of one month, chained to the seal before it and signed.

    Never changed and never deleted, except that `pruned_at` is set once. `leaves` lists what was sealed, so that a
    verification can name the entries that differ: 40 bytes for each entry in the order of their ids, the id (8 bytes,
    big-endian) and the leaf hash.
    """

    __tablename__ = "activity_seals"
    __protection__ = replace(
        _RECORDS,
        triggers=(
            Trigger("guard_seal", "BEFORE UPDATE OR DELETE", "guard_seal"),
            Trigger("refuse_truncate", "BEFORE TRUNCATE", "refuse_change", ("seals are final",), each="STATEMENT"),
        ),
    )
    __table_args__ = (
        UniqueConstraint("previous_id"),
        not_negative("entry_count"),
        CheckConstraint("low_xid <= high_xid", name="xid_order"),
        CheckConstraint("month = date_trunc('month', month::timestamp)::date", name="month_first_day"),
    )
    __plain__ = frozenset({"root", "leaves", "seal_hash", "signature", "signing_key", "details"})

    previous_id: Mapped[int | None] = mapped_column(ForeignKey("activity_seals.id", ondelete="RESTRICT"))
    month: Mapped[date]
    epoch: Mapped[int]
    low_xid: Mapped[int] = mapped_column(TransactionId, comment="no entry of the batch has an earlier transaction")
    high_xid: Mapped[int] = mapped_column(TransactionId, comment="first transaction after the batch")
    entry_count: Mapped[int]
    next_xid: Mapped[int] = mapped_column(
        TransactionId, server_default=text("'0'::xid8"), comment="first transaction id not yet assigned at sealing"
    )
    root: Mapped[bytes] = mapped_column(comment="Merkle root over the leaf hashes")
    leaves: Mapped[bytes] = mapped_column(
        deferred=True, server_default=text("''::bytea"), comment="id (8 bytes) and leaf hash (32) of each entry"
    )
    seal_hash: Mapped[bytes] = mapped_column(comment="over the previous seal_hash and the fields of this seal")
    signature: Mapped[bytes | None]
    signing_key: Mapped[str | None] = guarded(most=200, comment="fingerprint of the signing key")
    pruned_at: Mapped[datetime | None] = mapped_column(comment="when the entries were moved to the archive")
    details: Mapped[dict[str, Any]] = guarded(JSONB, size=1 << 20, server_default=text("'{}'::jsonb"))


class ActivityArchive(Record):
    """A month of the log moved to the storage: the key and the hash of its file."""

    __tablename__ = "activity_archives"
    __protection__ = _RECORDS
    __table_args__ = (
        sha256_form(),
        CheckConstraint("size_bytes >= 0 AND entry_count >= 0", name="counts_positive"),
        CheckConstraint("month = date_trunc('month', month::timestamp)::date", name="month_first_day"),
        Index("activity_archives_month_idx", "month"),
        Index("activity_archives_storage_id_idx", "storage_id"),
    )
    __plain__ = frozenset({"storage_key", "storage_type", "sha256"})

    month: Mapped[date]
    storage_key: Mapped[str] = guarded(most=1024, least=1, unique=True)
    storage_type: Mapped[str] = guarded(most=64, least=1, comment="name of the storage backend")
    storage_id: Mapped[int | None] = mapped_column(ForeignKey("storages.id", ondelete="RESTRICT"))
    size_bytes: Mapped[int]
    sha256: Mapped[str] = mapped_column(comment="of the compressed file")
    entry_count: Mapped[int]
