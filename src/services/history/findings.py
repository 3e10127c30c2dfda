"""What a verification found."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Finding:
    """Something that is not as it was written. `str(finding)` is a sentence.

    `kind` is one of: changed, rehashed, deleted, inserted, back-dated, swapped, moved, erased (entries); chain,
    signature, head (seals); archive (months that left); row, segments (what the log says beside what is there).
    """

    kind: str
    message: str
    entry_id: int | None = None
    seal_id: int | None = None

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


@dataclass
class Report:
    """How much was recomputed, and what did not fit."""

    entries: int = 0
    unsealed: int = 0
    seals: int = 0
    rows: int = 0
    transcriptions: int = 0
    in_default_partition: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether everything is as it was written."""
        return not self.findings

    def __str__(self) -> str:
        told = f"{self.entries} entries ({self.unsealed} not sealed yet), {self.seals} seals, {self.rows} rows, "
        told += f"{self.transcriptions} transcriptions: "
        if self.ok:
            return told + "all as it was written"
        return told + f"{len(self.findings)} findings\n" + "\n".join(map(str, self.findings))
