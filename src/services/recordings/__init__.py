"""Recordings: the one room where bytes and rows meet, in a written order.

Storing: the object is announced in a transaction of its own, its bytes are made durable under a lock that the sweep
must get, and then the caller's transaction adds the recording and with it turns the object live. Archiving, restoring
and moving: the same with a verified copy, and the switch of the path queues the old object. So a committed recording
has its bytes, and whatever a kill or a rollback leaves behind has a row that a sweep finds. No file effect hangs on a
session event: these lose committed files when a SAVEPOINT is released.
"""

from src.database.models import AudioFile
from src.services.recordings.checking import Check, verify
from src.services.recordings.ingesting import ingest
from src.services.recordings.keeping import archive, delete, move, restore
from src.services.recordings.places import Stored, backend_of, keep_backend, storage_of, usage
from src.services.recordings.reading import listing, open, url  # noqa: A004 - the verb of the contract
from src.services.recordings.receiving import Received, Source, UploadAddress, Uploaded, receive, upload_url
from src.services.recordings.sweeping import Sweep, remove_unknown, sweep, unknown_objects

__all__ = [
    "AudioFile",
    "Check",
    "Received",
    "Source",
    "Stored",
    "Sweep",
    "UploadAddress",
    "Uploaded",
    "archive",
    "backend_of",
    "delete",
    "ingest",
    "keep_backend",
    "listing",
    "move",
    "open",
    "receive",
    "remove_unknown",
    "restore",
    "storage_of",
    "sweep",
    "unknown_objects",
    "upload_url",
    "url",
    "usage",
    "verify",
]
