"""Storage of the bytes of recordings: one contract, several backends. Independent of the database and of cases."""

from src.storage.contract import Capabilities, ObjectInfo, StorageBackend, SweepReport, UrlMethod, Usage
from src.storage.keys import archive_key, case_key, extension_of
from src.storage.local import LocalStorage
from src.storage.marker import MarkedBackend
from src.storage.memory import FaultStep, MemoryStorage
from src.storage.registry import open_backend, register_backend
from src.storage.s3 import Encryption, S3Storage

__all__ = [
    "Capabilities",
    "Encryption",
    "FaultStep",
    "LocalStorage",
    "MarkedBackend",
    "MemoryStorage",
    "ObjectInfo",
    "S3Storage",
    "StorageBackend",
    "SweepReport",
    "UrlMethod",
    "Usage",
    "archive_key",
    "case_key",
    "extension_of",
    "open_backend",
    "register_backend",
]
