"""Keys of objects: generated, matched as a whole, the same on every backend.

`cases/{case_id}/{uuid}.{ext}` and `archive/{audio_id}/{uuid}.{ext}` for recordings, `history/{yyyymm}/{uuid}.gz` for
months of the log and `heads/{seal_id}/{uuid}.json` for the heads of its seals. File names given by users never become
part of a key; only their extension does, from an allow list. So an object has one spelling on any file system.
"""

from __future__ import annotations

import re
from datetime import date
from uuid import uuid4

from src.errors import InvalidKey

UNKNOWN_EXTENSION = "bin"
LARGEST_ID = 2**63 - 1  # what a PostgreSQL bigint holds

_AUDIO = (
    "3g2|3gp|aac|ac3|aif|aifc|aiff|amr|asf|au|awb|caf|flac|m4a|m4b|mka|mkv|mov|mp2|mp3|mp4|oga|ogg|opus|snd|spx|w64|"
    "wav|webm|wma|wv"
)
_ID = "[1-9][0-9]{0,18}"
_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_AREAS = {"cases": f"{_AUDIO}|{UNKNOWN_EXTENSION}", "archive": f"{_AUDIO}|{UNKNOWN_EXTENSION}", "history": "gz",
          "heads": "json"}  # fmt: skip
AREAS = tuple(sorted(_AREAS))  # what keys begin with, in the order of keys
_KEY = re.compile("|".join(f"{area}/(?P<{area}>{_ID})/{_UUID}\\.(?:{kinds})" for area, kinds in _AREAS.items()))
_PREFIX = re.compile(f"(?:{'|'.join(_AREAS)})(?:/({_ID}))?")
_SHOWN = 80  # characters of a refused text that its error message repeats


def case_key(case_id: int, extension: str) -> str:
    """A fresh key for a recording of that case; no two calls return the same. Raises InvalidKey."""
    return validate(f"cases/{case_id}/{uuid4()}.{extension}")


def archive_key(audio_id: int, extension: str) -> str:
    """A fresh key for an archived recording; no two calls return the same. Raises InvalidKey."""
    return validate(f"archive/{audio_id}/{uuid4()}.{extension}")


def history_key(month: date) -> str:
    """A fresh key for a month of the activity log; no two calls return the same."""
    return validate(f"history/{month:%Y%m}/{uuid4()}.gz")


def head_key(seal_id: int) -> str:
    """A fresh key for the head of a seal; no two calls return the same. Raises InvalidKey."""
    return validate(f"heads/{seal_id}/{uuid4()}.json")


def extension_of(file_name: str) -> str:
    """The extension of that name in lower case when it is a known one of audio, else `bin`; never raises.

    For people who inspect the storage; no code derives the type of the bytes from it.
    """
    _, dot, extension = file_name.rpartition(".")
    # Exact and ASCII: the lower case of the Kelvin sign is a k, which must not count as an extension.
    known = dot and extension.isascii() and re.fullmatch(_AUDIO, extension.lower())
    return extension.lower() if known else UNKNOWN_EXTENSION


def is_valid(key: object) -> bool:
    """Whether this is, character by character, a key that this module makes."""
    # fullmatch: `match` with `$` would let a newline at the end through.
    found = _KEY.fullmatch(key) if isinstance(key, str) else None
    return found is not None and int(found[found.lastgroup or 0]) <= LARGEST_ID


def validate(key: str) -> str:
    """Return the key unchanged. Raises InvalidKey for anything that `is_valid` refuses; touches no storage."""
    if not is_valid(key):
        raise InvalidKey(
            f"{_shown(key)} is not a storage key; make one with case_key() or archive_key(), "
            "and keep the name that a person gave in a column."
        )
    return key


def is_prefix(text: object) -> bool:
    """Whether this is `cases`, `archive`, `history`, `heads`, or one of them with a slash and an id, as keys begin."""
    found = _PREFIX.fullmatch(text) if isinstance(text, str) else None
    return found is not None and int(found[1] or 0) <= LARGEST_ID


def validate_prefix(prefix: str) -> str:
    """Return the prefix without the slash at its end. Raises InvalidKey unless it is empty or whole components."""
    bare = prefix.removesuffix("/") if isinstance(prefix, str) else prefix
    if prefix != "" and not is_prefix(bare):
        raise InvalidKey(
            f"{_shown(prefix)} is not a prefix of storage keys; pass 'cases', 'archive', 'cases/ID' or 'archive/ID'."
        )
    return bare


def _shown(text: object) -> str:
    # ascii() also disarms escape sequences and lone surrogates, which would break the log that prints the message.
    shown = ascii(text)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
