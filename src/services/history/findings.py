"""The result of a verification."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

FindingKind = Literal[
    "changed", "rehashed", "deleted", "inserted", "back-dated", "swapped", "moved", "erased",
    "chain", "signature", "head", "archive", "row", "segments",
]  # fmt: skip
"""Entries: changed to erased; seals: chain to head; archived months; rows and segments that differ from the log."""


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
    """Counts of what was verified, and the findings."""

    entries: int = 0
    unsealed: int = 0
    seals: int = 0
    rows: int = 0
    transcriptions: int = 0
    in_default_partition: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether the list of findings is empty."""
        return not self.findings

    def __str__(self) -> str:
        counts = f"{self.entries} entries ({self.unsealed} not sealed yet), {self.seals} seals, {self.rows} rows, "
        counts += f"{self.transcriptions} transcriptions: "
        if self.ok:
            return counts + "no findings"
        return counts + f"{len(self.findings)} findings\n" + "\n".join(map(str, self.findings))
