"""History: versions of every row with time, actor and reason; earlier states; verification of the log.

    versions, as_of, diff, revert     read and restore earlier states; for every actor who may see the row
    seal, unsealed, verify, erase     seal and verify the log, erase payloads; for administrators

The hash of an entry is defined in `src/database/sql/activity_log.sql`, the chain of seals in `chain.py`.
"""

from src.services.history.chain import SealedEntry, merkle_root, seal_hash
from src.services.history.erasing import erase
from src.services.history.reverting import revert
from src.services.history.seal_keys import SealKey
from src.services.history.sealing import seal
from src.services.history.snapshots import as_of
from src.services.history.tree_heads import HeadFile
from src.services.history.unsealed import Blocker, Unsealed, unsealed
from src.services.history.verification import Finding, Report, verify
from src.services.history.versions import Change, Version, diff, versions

__all__ = [
    "Blocker",
    "Change",
    "Finding",
    "HeadFile",
    "Report",
    "SealKey",
    "SealedEntry",
    "Unsealed",
    "Version",
    "as_of",
    "diff",
    "erase",
    "merkle_root",
    "revert",
    "seal",
    "seal_hash",
    "unsealed",
    "verify",
    "versions",
]
