"""A month of the log as a file, which contains the hashed texts verbatim and can be verified without this package.

Gzip-compressed JSON lines: a header, one line for each entry in the order of ids, one line for each seal of the month:

    {"format": "speech-to-information/history", "version": 1, "month": "2026-11", "entries": 1234}
    {"entry": 17, "head": "[17, …]", "payload": "{…}", "salt": "…", "payload_hash": "…", "leaf_hash": "…"}
    {"seal": 3, "previous_id": 2, "previous_hash": "…", "month": "2026-11-01", "epoch": …, …, "signature": "…"}

`head` and `payload` are the hashed texts: leaf_hash = sha256(0x00 ‖ head ‖ payload_hash), payload_hash = sha256(salt ‖
payload). For an erased entry payload and salt are null. `examples/verify_export.py` verifies such a file with only
Python's standard library and openssl.
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import IO, Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from src.database.models import ActivitySeal
from src.services.history.archived_months import FORMAT, VERSION, read_lines
from src.services.history.chain import microseconds
from src.services.recordings.audit import log_as_owner

__all__ = ["FORMAT", "VERSION", "MonthExport", "export_month", "read_lines", "without_payloads", "write_month"]

# Qualified: an overload in public with better matching arguments must not write another text into the archive.
_ENTRIES = text("""
    SELECT l.id,
           pg_catalog.jsonb_build_array(l.id, (extract(epoch FROM l.created_at) * 1000000)::bigint, l.activity_type_id,
               l.actor_id, l.actor, l.case_id, l.entity, l.entity_id, l.operation, l.reason, l.request_id,
               l.transaction_id::text, l.epoch, l.schema_revision)::text,
           CASE WHEN l.salt IS NOT NULL THEN pg_catalog.jsonb_build_object('new', l.new, 'old', l.old)::text END,
           pg_catalog.encode(l.salt, 'hex'), pg_catalog.encode(l.payload_hash, 'hex'),
           pg_catalog.encode(l.leaf_hash, 'hex')
      FROM public.activity_logs l
     WHERE l.created_at >= (CAST(:month AS date)::timestamp AT TIME ZONE 'UTC')
       AND l.created_at < ((CAST(:month AS date) + interval '1 month') AT TIME ZONE 'UTC')
     ORDER BY l.id
""")
# Cases that are marked, themselves or by a recording, also when they are deleted.
_SENSITIVE = text("""
    SELECT c.id::bigint FROM public.cases c WHERE c.is_sensitive
     UNION SELECT a.case_id::bigint FROM public.audio_files a WHERE a.is_sensitive
     UNION SELECT l.case_id FROM public.activity_logs l
            WHERE l.entity IN ('cases', 'audio_files') AND l.operation = 'delete' AND l.case_id IS NOT NULL
              AND l.old ->> 'is_sensitive' = 'true'
""")
_OF_CASES = text("""
    SELECT l.id, l.case_id FROM public.activity_logs l
     WHERE l.case_id = ANY (CAST(:cases AS bigint[])) AND l.salt IS NOT NULL
       AND l.created_at >= (CAST(:month AS date)::timestamp AT TIME ZONE 'UTC')
       AND l.created_at < ((CAST(:month AS date) + interval '1 month') AT TIME ZONE 'UTC')
""")
_NAMES = ("entry", "head", "payload", "salt", "payload_hash", "leaf_hash")


@dataclass(frozen=True)
class MonthExport:
    """What an export of a month has: its entries, and how many of them without their content."""

    entries: int
    withheld: int

    def __str__(self) -> str:
        left_out = f", {self.withheld} of sensitive cases without their content" if self.withheld else ""
        return f"{self.entries}{left_out}"


def export_month(session: Session, month: date, target: IO[bytes], *, include_sensitive: bool = False) -> MonthExport:
    """Write a month of the log for a reader outside, in a session of the owner, and log the export.

    Entries of sensitive cases, and of cases with a sensitive recording, are written without their content, like erased
    ones: they can be verified all the same. With `include_sensitive` they are complete, and the log of each of these
    cases says so.
    """
    sensitive = set(session.scalars(_SENSITIVE))
    packed = io.BytesIO() if sensitive and not include_sensitive else target
    count = write_month(session, month, packed)
    withheld: set[int] = set()
    if packed is not target:
        in_month = session.execute(_OF_CASES, {"month": month, "cases": list(sensitive)})
        withheld = {entry for entry, _ in in_month}
        packed.seek(0)
        target.write(without_payloads(read_lines(packed), withheld))
    detail = {"name": f"the log of {month:%Y-%m}", "format": FORMAT, "entries": count, "withheld": len(withheld)}
    log_as_owner(session, "export.made", detail=detail)
    if include_sensitive:
        for case_id in sorted(
            {case for _, case in session.execute(_OF_CASES, {"month": month, "cases": list(sensitive)})}
        ):
            log_as_owner(session, "export.made", case_id=case_id, detail=detail)
    return MonthExport(count, len(withheld))


def write_month(session: Session, month: date, target: IO[bytes]) -> int:
    """Write a month of the log, compressed; return its number of entries. The output is deterministic."""
    count: int = session.scalars(
        text(
            "SELECT count(*) FROM public.activity_logs l"
            " WHERE l.created_at >= (CAST(:month AS date)::timestamp AT TIME ZONE 'UTC')"
            " AND l.created_at < ((CAST(:month AS date) + interval '1 month') AT TIME ZONE 'UTC')"
        ),
        {"month": month},
    ).one()
    head = {"format": FORMAT, "version": VERSION, "month": f"{month:%Y-%m}", "entries": count}
    entries = session.execute(_ENTRIES.execution_options(yield_per=2_000), {"month": month})
    lines = (dict(zip(_NAMES, row, strict=True)) for row in entries)
    _write(target, [head], lines, _seal_lines(session, month))
    return count


def without_payloads(lines: Iterable[dict[str, Any]], entries: set[int]) -> bytes:
    """Return a copy of the file without the payloads of these entries."""
    redacted = ({**line, "payload": None, "salt": None} if line.get("entry") in entries else line for line in lines)
    target = io.BytesIO()
    _write(target, redacted)
    return target.getvalue()


def _write(target: IO[bytes], *parts: Iterable[dict[str, Any]]) -> None:
    # No time and name in the gzip header, which makes the output deterministic.
    with gzip.GzipFile(fileobj=target, mode="wb", filename="", mtime=0) as packed:
        for part in parts:
            for line in part:
                packed.write(json.dumps(line, ensure_ascii=False).encode("utf-8") + b"\n")


def _seal_lines(session: Session, month: date) -> Iterator[dict[str, Any]]:
    hashes: dict[int, bytes] = {}
    for seal in session.scalars(select(ActivitySeal).order_by(ActivitySeal.id)):
        hashes[seal.id] = bytes(seal.seal_hash)
        if seal.month == month:
            previous = hashes.get(seal.previous_id or 0)
            yield {
                "seal": seal.id,
                "previous_id": seal.previous_id,
                "previous_hash": previous.hex() if previous is not None else None,
                "month": seal.month.isoformat(),
                "epoch": seal.epoch,
                "low_xid": seal.low_xid,
                "high_xid": seal.high_xid,
                "next_xid": seal.next_xid,
                "entry_count": seal.entry_count,
                "root": bytes(seal.root).hex(),
                "sealed_at_us": microseconds(seal.created_at),
                "seal_hash": bytes(seal.seal_hash).hex(),
                "signature": bytes(seal.signature).hex() if seal.signature is not None else None,
                "signing_key": seal.signing_key,
            }
