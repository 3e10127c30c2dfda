"""Recordings: the one room where bytes and rows meet, in a written order.

Storing: the object is announced in a transaction of its own, its bytes are made durable under a lock that the sweep
must get, and then the caller's transaction adds the recording and with it turns the object live. Archiving, restoring
and moving: the same with a verified copy, and the switch of the path queues the old object. So a committed recording
has its bytes, and whatever a kill or a rollback leaves behind has a row that a sweep finds. No file effect hangs on a
session event: these lose committed files when a SAVEPOINT is released.
"""

from src.database.models import AudioFile
from src.services.recordings.fixity import Check, verify
from src.services.recordings.ingestion import ingest
from src.services.recordings.lifecycle import archive, delete, move, restore
from src.services.recordings.locations import Stored, backend_of, keep_backend, storage_of, storage_usage
from src.services.recordings.playback import list_recordings, open, url  # noqa: A004 - the verb of the contract
from src.services.recordings.uploads import Received, Source, UploadAddress, Uploaded, receive, upload_url

__all__ = [
    "AudioFile",
    "Check",
    "Received",
    "Source",
    "Stored",
    "UploadAddress",
    "Uploaded",
    "archive",
    "backend_of",
    "delete",
    "ingest",
    "keep_backend",
    "list_recordings",
    "move",
    "open",
    "receive",
    "restore",
    "storage_of",
    "storage_usage",
    "upload_url",
    "url",
    "verify",
]
