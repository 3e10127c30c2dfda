"""The sealer: finished entries become a signed link of the chain, and its head leaves the database."""

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
from src.services.history.chain import SealedEntry, SealFields, merkle_root, microseconds, pack, seal_hash
from src.services.history.seal_keys import SealKey
from src.services.history.tree_heads import HeadFile

# Entries are read in the order of their ids, so that months may be cut out of one stream.
_ENTRIES = text("""
    SELECT l.id, l.leaf_hash, (date_trunc('month', l.created_at AT TIME ZONE 'UTC'))::date
      FROM public.activity_logs l
     WHERE l.epoch = :epoch AND l.transaction_id >= CAST(:low AS xid8) AND l.transaction_id < CAST(:high AS xid8)
     ORDER BY l.id
""")


def seal(session: Session, *, key: SealKey | None = None, heads: HeadFile | None = None) -> list[ActivitySeal]:
    """Seal everything that is finished and not sealed yet; return the new seals, oldest first.

    Commits on its own, whatever becomes of the session, and then appends the heads to `heads`: in this order, so that
    the file never names a seal that does not exist. Transactions that are still running are left for the next time.
    Without a key the seals are chained but not signed. Administrators only: raises Forbidden for anybody else.
    """
    with database_of(session).side_session(session) as side:
        sealed = seal_in(side, key=key)
    if heads is not None:
        export_heads(session, heads)
    return sealed


def seal_in(session: Session, *, key: SealKey | None = None) -> list[ActivitySeal]:
    """Seal in the transaction of this session, an administrator's or the owner's; nothing is exported."""
    batches = session.execute(text("SELECT * FROM public.begin_seal()")).all()
    newest = session.scalars(select(ActivitySeal).order_by(ActivitySeal.id.desc()).limit(1)).one_or_none()
    previous_id, previous_hash = (newest.id, newest.seal_hash) if newest is not None else (None, None)
    made = []
    for epoch, low, high, upcoming, sealed_at in batches:
        entries = session.execute(_ENTRIES, {"epoch": epoch, "low": str(low), "high": str(high)})
        for month, sealed in _by_month(entries):
            fields = SealFields(
                id=(previous_id or 0) + 1,
                previous_id=previous_id,
                month=month,
                epoch=epoch,
                low_xid=int(low),
                high_xid=int(high),
                next_xid=int(upcoming),
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
            made.append(fields.id)
    return list(session.scalars(select(ActivitySeal).where(ActivitySeal.id.in_(made)).order_by(ActivitySeal.id)))


def export_heads(session: Session, heads: HeadFile) -> int:
    """Append to the file all seals that it does not name yet; return how many there were."""
    known = heads.read()
    newest = known[-1].id if known else 0
    missing = session.scalars(select(ActivitySeal).where(ActivitySeal.id > newest).order_by(ActivitySeal.id)).all()
    heads.append([head_of(found) for found in missing])
    return len(missing)


def head_of(sealed: ActivitySeal) -> dict[str, object]:
    """Return a seal as it is exported."""
    return {
        "seal": sealed.id,
        "seal_hash": sealed.seal_hash.hex(),
        "sealed_at_us": microseconds(sealed.created_at),
        "entries": sealed.entry_count,
        "signature": sealed.signature.hex() if sealed.signature is not None else None,
        "signing_key": sealed.signing_key,
    }


def fields_of(sealed: ActivitySeal) -> SealFields:
    """Return what a seal says, as its hash takes it."""
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
    for number, leaf, month in entries:
        months.setdefault(month, []).append(SealedEntry(number, bytes(leaf)))
    yield from sorted(months.items())
