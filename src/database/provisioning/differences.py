"""A difference between catalog and code: a sentence, and the SQL to repair it or the reason why it is kept."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """The kind of object that differs."""

    FUNCTION = "function"
    TABLE = "table"
    COLUMN = "column"
    CONSTRAINT = "constraint"
    INDEX = "index"
    PARTITION = "partition"
    STATISTICS = "statistics"
    ROW_SECURITY = "row security"
    POLICY = "policy"
    VIEW = "view"
    TRIGGER = "trigger"
    GRANT = "grant"
    SCHEMA = "schema"
    LOGIN = "login"
    KEY = "key"
    EXTENSION = "extension"
    SEED = "seed"
    ROW_TYPE = "activity type"
    ROW = "row"
    REVISION = "revision"
    OBJECT = "object"


@dataclass(frozen=True)
class Difference:
    """One difference. `mend` is the SQL to repair it; without it `left` is the reason why it is kept, and what to do.

    `foreign`: an object outside this layer that does not weaken the protection; it is reported, but is not a fault.
    """

    kind: Kind
    place: str
    sentence: str
    mend: tuple[str, ...] = ()
    left: str = ""
    foreign: bool = False

    def __str__(self) -> str:
        return f"{self.sentence}{f' ({self.left})' if self.left else ''}"
