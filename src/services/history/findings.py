"""The result of a verification."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Literal, NamedTuple

FindingKind = Literal[
    "changed", "rehashed", "deleted", "inserted", "back-dated", "post-dated", "swapped", "moved", "erased", "stamp",
    "chain", "signature", "head", "archive", "row", "segments", "table",
]  # fmt: skip
"""Entries: changed to stamp; seals: chain to head; archived months; rows and segments that differ from the log; tables
whose form could hide rows."""


class Batch(NamedTuple):
    """The range of one seal: the entries of a month within a range of transactions."""

    seal_id: int
    month: date
    epoch: int
    low_xid: int
    high_xid: int
    next_xid: int
    entry_count: int
    sealed_at: datetime
    pruned_at: str | None


@dataclass(frozen=True)
class Finding:
    """A difference between stored data and the log or its seals. `str(finding)` is a sentence."""

    kind: FindingKind
    message: str
    entry_id: int | None = None
    seal_id: int | None = None

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


@dataclass
class Report:
    """Counts of what was verified, the findings, and what was not read.

    `not_read` is what could not be read, `left_out` what the caller did not ask for, and the columns that only the
    owner of the database may read.
    """

    entries: int = 0
    unsealed: int = 0
    seals: int = 0
    rows: int = 0
    transcriptions: int = 0
    in_default_partition: int = 0
    findings: list[Finding] = field(default_factory=list)
    not_read: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether there is no finding, and everything was read that was asked for."""
        return not self.findings and not self.not_read

    def lines(self) -> Iterator[str]:
        """Yield the counts, what was not read, and a line for each finding: rare kinds first, which many could hide."""
        counts = f"{self.entries} entries ({self.unsealed} not sealed yet), {self.seals} seals, {self.rows} rows, "
        counts += f"{self.transcriptions} transcriptions: "
        kinds = Counter(finding.kind for finding in self.findings)
        by_kind = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common()[::-1])
        yield counts + (f"{len(self.findings)} findings ({by_kind})" if kinds else "no findings")
        yield from (f"not read: {what}" for what in self.not_read)
        yield from (f"left out: {what}" for what in self.left_out)
        yield from map(str, sorted(self.findings, key=lambda finding: kinds[finding.kind]))

    def __str__(self) -> str:
        return "\n".join(self.lines())
