"""History: what every row was, when, by whom and why; every state had back; all of it provable.

    versions, as_of, diff, revert     reading and going back, for everybody who may see the row
    seal, verify, erase               proof, and the one thing that may ever go, for administrators

How an entry is hashed stands in `src/database/sql/activity_log.sql`, how entries become a chain in `chain.py`.
"""

from src.services.history.chain import SealedEntry, merkle_root, seal_hash
from src.services.history.erasing import erase
from src.services.history.reverting import revert
from src.services.history.seal_keys import SealKey
from src.services.history.sealing import seal
from src.services.history.snapshots import as_of
from src.services.history.tree_heads import HeadFile
from src.services.history.verification import Finding, Report, verify
from src.services.history.versions import Change, Version, diff, versions

__all__ = [
    "Change",
    "Finding",
    "HeadFile",
    "Report",
    "SealKey",
    "SealedEntry",
    "Version",
    "as_of",
    "diff",
    "erase",
    "merkle_root",
    "revert",
    "seal",
    "seal_hash",
    "verify",
    "versions",
]
