"""The database: `Database` opens sessions, the models are what they hold.

The names are loaded on first use (PEP 562): a program that only wants one room does not pay for the whole house.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy import URL

    from src.database.connection.session import Database
    from src.database.models import (
        ActivityArchive,
        ActivityLog,
        ActivitySeal,
        ActivityType,
        AnalysisResult,
        AudioFile,
        AudioStatus,
        Base,
        Case,
        CaseNote,
        CaseParticipant,
        CasePriority,
        CaseStatus,
        Language,
        LegalHold,
        ProcessingJob,
        Sentiment,
        StorageObject,
        Transcription,
        TranscriptionSegment,
        TranscriptionSource,
        User,
        UserRole,
    )

__all__ = [
    "ActivityArchive",
    "ActivityLog",
    "ActivitySeal",
    "ActivityType",
    "AnalysisResult",
    "AudioFile",
    "AudioStatus",
    "Base",
    "Case",
    "CaseNote",
    "CaseParticipant",
    "CasePriority",
    "CaseStatus",
    "Database",
    "Language",
    "LegalHold",
    "ProcessingJob",
    "Sentiment",
    "StorageObject",
    "Transcription",
    "TranscriptionSegment",
    "TranscriptionSource",
    "User",
    "UserRole",
    "owner_url",
]


def owner_url() -> URL:
    """Return the URL of the database's owner, by the settings: for the migrations of a service beside this layer."""
    from src.database.connection.addresses import owner_url as by_settings  # noqa: PLC0415 - settings are for those who migrate

    return by_settings()


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = import_module("src.database.connection.session" if name == "Database" else "src.database.models")
    value = globals()[name] = getattr(home, name)
    return value
