"""The tables, one file per subject.

    users ──< case_participants >── cases ──< audio_files ──< transcriptions ──< transcription_segments
      │                               │            │                │      └───< transcription_sources
    user_roles                        │            ├──< processing_jobs
    (parent role)                     │            ├──< analysis_results >── (the transcription version it read)
                                      │            └─── storage_objects (the bytes, by key)
                                      ├──< case_notes
                                      └──< legal_holds            activity_logs, activity_seals, activity_archives

Glossary

- A *case* contains everything else; users who do not participate in it see none of it. Every table below a case has
  `case_id`, and composite foreign keys keep children and parents in the same case.
- An *audio file* is a recording: facts about it and the key of its bytes. The bytes are a *storage object*, which has
  a row of its own from before the first byte is written until after the last one is gone. It lies in a *storage*, a
  folder or a bucket with a marker, which the database knows.
- A *transcription* is one version of what was said in a recording, in one language; it is never edited: a correction
  is a new version. The newest version and the *accepted* one may differ.
- An *analysis result* is one version of an analysis of a recording, with the transcription that it is based on.
- A *processing job* is work on a recording; its worker may read the case while it holds the lease.
- The *activity log* has an entry for every event: row changes written by triggers, and what users and programs did.
"""

from src.database.base import Base
from src.database.models.activity_log import ActivityArchive, ActivityLog, ActivitySeal, ActivityType
from src.database.models.analyses import AnalysisResult, Sentiment
from src.database.models.audio_files import AudioFile, AudioStatus, StorageObject
from src.database.models.case_access import CaseAccess, CaseAccessChange
from src.database.models.cases import (
    Case,
    CaseNote,
    CaseParticipant,
    CasePriority,
    CaseStatus,
    CaseStatusMove,
    LegalHold,
)
from src.database.models.jobs import ProcessingJob
from src.database.models.limits import LogOverflow, NameLock  # noqa: F401 - registers tables that no session reads
from src.database.models.permission_subjects import PermissionSubject
from src.database.models.protected_tables import ProtectedTable
from src.database.models.storages import DatabaseIdentity, Storage
from src.database.models.transcriptions import Language, Transcription, TranscriptionSegment, TranscriptionSource
from src.database.models.users import ActorKey, LoginThrottle, User, UserRole
from src.database.schema.creation import protect

# create_all() installs policies and triggers too: tables without them would be unprotected.
protect(Base.metadata)

__all__ = [
    "ActivityArchive",
    "ActivityLog",
    "ActivitySeal",
    "ActivityType",
    "ActorKey",
    "AnalysisResult",
    "AudioFile",
    "AudioStatus",
    "Base",
    "Case",
    "CaseAccess",
    "CaseAccessChange",
    "CaseNote",
    "CaseParticipant",
    "CasePriority",
    "CaseStatus",
    "CaseStatusMove",
    "DatabaseIdentity",
    "Language",
    "LegalHold",
    "LoginThrottle",
    "PermissionSubject",
    "ProcessingJob",
    "ProtectedTable",
    "Sentiment",
    "Storage",
    "StorageObject",
    "Transcription",
    "TranscriptionSegment",
    "TranscriptionSource",
    "User",
    "UserRole",
]
