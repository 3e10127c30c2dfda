"""Recordings: the one package where bytes and rows meet, in a fixed order.

Storing: the object is announced in a transaction of its own; its bytes are made durable under a lock that a sweep
needs too; then the caller's transaction adds the recording and with it turns the object live. Archiving, restoring and
moving do the same with a verified copy, and the switch of the path queues the old object for removal. So a committed
recording has its bytes, and whatever a kill or a rollback leaves behind has a row that a sweep finds. No file operation
depends on session events: with these, committed files are lost when a SAVEPOINT is released.
"""

from src.database.models import AudioFile
from src.services.recordings.context import backend_of, check_storage, keep_backend, storage_of
from src.services.recordings.fixity import Check, verify
from src.services.recordings.ingestion import OnDuplicate, ingest
from src.services.recordings.lifecycle import archive, delete, mark_sensitive, move, restore, unmark_sensitive
from src.services.recordings.locations import StorageUsage, storage_usage
from src.services.recordings.playback import list_recordings, open, url  # noqa: A004 - a public name of design.md
from src.services.recordings.source_files import Source
from src.services.recordings.streaming import Ranged, stream
from src.services.recordings.uploads import Received, UploadAddress, Uploaded, receive, upload_url

__all__ = [
    "AudioFile",
    "Check",
    "OnDuplicate",
    "Ranged",
    "Received",
    "Source",
    "StorageUsage",
    "UploadAddress",
    "Uploaded",
    "archive",
    "backend_of",
    "check_storage",
    "delete",
    "ingest",
    "keep_backend",
    "list_recordings",
    "mark_sensitive",
    "move",
    "open",
    "receive",
    "restore",
    "storage_of",
    "storage_usage",
    "stream",
    "unmark_sensitive",
    "upload_url",
    "url",
    "verify",
]
