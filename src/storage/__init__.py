"""The bytes of recordings: one contract, several places. It never hears of cases, people or the database."""

from src.storage.contract import Capabilities, ObjectInfo, StorageBackend, SweepReport, Usage
from src.storage.keys import archive_key, case_key, extension_of
from src.storage.local import LocalStorage
from src.storage.memory import MemoryStorage
from src.storage.registry import open_backend, register_backend
from src.storage.s3 import S3Storage

__all__ = [
    "Capabilities",
    "LocalStorage",
    "MemoryStorage",
    "ObjectInfo",
    "S3Storage",
    "StorageBackend",
    "SweepReport",
    "Usage",
    "archive_key",
    "case_key",
    "extension_of",
    "open_backend",
    "register_backend",
]
