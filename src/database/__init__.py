"""The database: `Database`, which opens sessions, and the models.

Names are imported on first use (PEP 562), so that a program only loads the modules that it uses.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

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
        CaseStatusMove,
        Language,
        LegalHold,
        PermissionSubject,
        ProcessingJob,
        Sentiment,
        Storage,
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
    "CaseStatusMove",
    "Database",
    "Language",
    "LegalHold",
    "PermissionSubject",
    "ProcessingJob",
    "Sentiment",
    "Storage",
    "StorageObject",
    "Transcription",
    "TranscriptionSegment",
    "TranscriptionSource",
    "User",
    "UserRole",
    "exit_on_error",
    "owner_url",
]


def owner_url() -> URL:
    """Return the URL of the owner of the database from the settings: for the migrations of another service."""
    from src.database.connection.addresses import owner_url as from_settings  # noqa: PLC0415 - loads the settings

    return from_settings()


def exit_on_error(program: str) -> AbstractContextManager[None]:
    """End the program with one sentence on stderr, and an exit code, when the surroundings of this block are wrong.

    For the start of a service: `with exit_on_error("my-service"): db = Database.from_env()`. Errors of this layer and
    of the database end the program (3: something outside is missing or wrong, 1: rejected); others keep their
    traceback.
    """
    from src.database.connection import command_errors  # noqa: PLC0415 - loads the driver

    return command_errors.exit_on_error(program)


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module("src.database.connection.session" if name == "Database" else "src.database.models")
    value = globals()[name] = getattr(module, name)
    return value
