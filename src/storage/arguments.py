"""Checks of arguments that all backends share."""

from __future__ import annotations

import re
from collections.abc import Collection

from src.errors import IntegrityFailure, InvalidInput

_CONTENT_TYPE = re.compile(r"[\w!#$&^.+-]{1,127}/[\w!#$&^.+-]{1,127}(?:; ?[\w-]{1,40}=[\w.,+-]{1,100})*", re.ASCII)


def checked_size(size: int | None) -> int | None:
    """Return `size`. Raises InvalidInput when it is negative."""
    if size is not None and size < 0:
        raise InvalidInput(
            f"size: {size} bytes; at least 0. Omit it when it is unknown.", field="size", value=size, limit=0
        )
    return size


def checked_window(offset: int, length: int | None) -> tuple[int, int | None]:
    """Return both. Raises InvalidInput when one is negative."""
    if offset < 0 or (length is not None and length < 0):
        raise InvalidInput(
            f"offset: {offset}, length: {length}; both must be at least 0.", field="offset", value=offset, limit=0
        )
    return offset, length


def checked_choice(parameter: str, value: object, choices: Collection[str]) -> None:
    """Raise InvalidInput that lists the choices unless `value` is one of them."""
    if value not in choices:
        raise InvalidInput(
            f"{parameter}: {value!a:.80}; pass one of {', '.join(map(repr, choices))}.", field=parameter, value=value
        )


def checked_content_type(content_type: str | None) -> str | None:
    """Return `content_type`. Raises InvalidInput when it is not a MIME type, which could add headers of its own."""
    if content_type is not None and not _CONTENT_TYPE.fullmatch(content_type):
        raise InvalidInput(
            f"content_type: {content_type!a:.80}; pass a MIME type such as audio/flac.",
            field="content_type",
            value=content_type,
        )
    return content_type


def size_mismatch(key: str, received: int, size: int) -> IntegrityFailure:
    """The error for a source that does not hold the `size` bytes that the caller announced."""
    held = f"holds {received:,}" if received < size else "holds more"
    return IntegrityFailure(f"size: {size:,} bytes were announced for {key}, its source {held}; nothing was stored.")
