"""What a difference between catalog and code is: a sentence for people, SQL that mends it, or why it is left alone."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What differs."""

    FUNCTION = "function"
    TABLE = "table"
    COLUMN = "column"
    CONSTRAINT = "constraint"
    INDEX = "index"
    PARTITION = "partition"
    STATISTICS = "statistics"
    ROW_SECURITY = "row security"
    POLICY = "policy"
    TRIGGER = "trigger"
    GRANT = "grant"
    SCHEMA = "schema"
    LOGIN = "login"
    KEY = "key"
    EXTENSION = "extension"
    SEED = "seed"
    ROW_TYPE = "activity type"
    REVISION = "revision"


@dataclass(frozen=True)
class Difference:
    """One difference. `mend` is the SQL that removes it; without it `left` says why it is left alone, and what to do.

    `foreign`: an object of somebody else that takes nothing from the protection; it is named, and no fault.
    """

    kind: Kind
    place: str
    sentence: str
    mend: tuple[str, ...] = ()
    left: str = ""
    foreign: bool = False

    def __str__(self) -> str:
        return f"{self.sentence}{f' ({self.left})' if self.left else ''}"
