"""Seal entries of completed transactions: append signed seals to the chain, and export their heads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, date
from typing import Any

from sqlalchemy import cast, func, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from src.database.connection.session import database_of
from src.database.models import ActivitySeal
from src.services.history.chain import (
    READABLE_TIME,
    SealedEntry,
    SealFields,
    merkle_root,
    microseconds,
    pack,
    seal_hash,
)
from src.services.history.seal_keys import SealKey
from src.services.history.tree_heads import HeadFile

# Ordered by id, the order of the leaves; one query serves all months of a batch.
_ENTRIES = text(f"""
    SELECT l.id, l.leaf_hash, (pg_catalog.date_trunc('month', {READABLE_TIME} AT TIME ZONE 'UTC'))::date
      FROM public.activity_logs l
     WHERE l.epoch = :epoch AND l.transaction_id::text::bigint >= :low AND l.transaction_id::text::bigint < :high
     ORDER BY l.id
""")  # noqa: S608 - a constant expression


def seal(session: Session, *, key: SealKey | None = None, heads: HeadFile | None = None) -> list[ActivitySeal]:
    """Seal all unsealed entries of completed transactions; return the new seals, oldest first.

    Commits in a separate transaction, independent of this session, and then appends the heads to `heads`: in this
    order, so that the file never lists a seal that does not exist. Entries of running transactions are sealed by a
    later call; `unsealed` names what they wait for. Without a key the seals are chained but not signed. Administrators
    only: raises Forbidden for other actors.
    """
    with database_of(session).side_session(session) as side:
        sealed = seal_in(side, key=key)
    if heads is not None:
        export_heads(session, heads)
    return sealed


def seal_in(session: Session, *, key: SealKey | None = None) -> list[ActivitySeal]:
    """Seal in the transaction of this session, of an administrator or the owner, without exporting heads."""
    batches = session.execute(text("SELECT * FROM public.begin_seal()")).all()
    newest = session.scalars(select(ActivitySeal).order_by(ActivitySeal.id.desc()).limit(1)).one_or_none()
    previous_id, previous_hash = (newest.id, newest.seal_hash) if newest is not None else (None, None)
    created = []
    for epoch, low, high, next_xid, sealed_at in batches:
        entries = session.execute(_ENTRIES, {"epoch": epoch, "low": str(low), "high": str(high)})
        for month, sealed in _by_month(entries):
            fields = SealFields(
                id=(previous_id or 0) + 1,
                previous_id=previous_id,
                month=month,
                epoch=epoch,
                low_xid=int(low),
                high_xid=int(high),
                next_xid=int(next_xid),
                entry_count=len(sealed),
                sealed_at=sealed_at,
            )
            root = merkle_root([entry.leaf_hash for entry in sealed])
            linked = seal_hash(fields, root, previous_hash)
            document = {
                **json.loads(json.dumps(fields._asdict(), default=str)),
                "sealed_at": sealed_at.astimezone(UTC).isoformat(),
                "root": root.hex(),
                "seal_hash": linked.hex(),
                "signature": key.sign(linked).hex() if key is not None else None,
                "signing_key": key.fingerprint if key is not None else None,
            }
            session.execute(select(func.public.append_seal(cast(document, JSONB), pack(sealed))))
            previous_id, previous_hash = fields.id, linked
            created.append(fields.id)
    return list(session.scalars(select(ActivitySeal).where(ActivitySeal.id.in_(created)).order_by(ActivitySeal.id)))


def export_heads(session: Session, heads: HeadFile) -> int:
    """Append the heads of all seals that are not in the file yet; return how many."""
    known = heads.read()
    newest = known[-1].id if known else 0
    missing = session.scalars(select(ActivitySeal).where(ActivitySeal.id > newest).order_by(ActivitySeal.id)).all()
    heads.append([head_of(found) for found in missing])
    return len(missing)


def head_of(sealed: ActivitySeal) -> dict[str, object]:
    """Return the exported fields of a seal."""
    return {
        "seal": sealed.id,
        "seal_hash": sealed.seal_hash.hex(),
        "sealed_at_us": microseconds(sealed.created_at),
        "entries": sealed.entry_count,
        "signature": sealed.signature.hex() if sealed.signature is not None else None,
        "signing_key": sealed.signing_key,
    }


def fields_of(sealed: ActivitySeal) -> SealFields:
    """Return the fields of a seal that its hash covers."""
    return SealFields(
        id=sealed.id,
        previous_id=sealed.previous_id,
        month=sealed.month,
        epoch=sealed.epoch,
        low_xid=sealed.low_xid,
        high_xid=sealed.high_xid,
        next_xid=sealed.next_xid,
        entry_count=sealed.entry_count,
        sealed_at=sealed.created_at,
    )


def _by_month(entries: Iterable[Any]) -> Iterator[tuple[date, list[SealedEntry]]]:
    months: dict[date, list[SealedEntry]] = {}
    for entry_id, leaf, month in entries:
        months.setdefault(month, []).append(SealedEntry(entry_id, bytes(leaf)))
    yield from sorted(months.items())
