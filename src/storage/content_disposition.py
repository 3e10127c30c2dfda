"""The Content-Disposition header that names a download (RFC 6266, RFC 5987, RFC 8187)."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote

_MOST_BYTES = 255  # what file systems take, and a fraction of what servers take in one header
_ATTR_CHARS = "!#$&+-.^_`|~"  # RFC 8187: these need no encoding
# They reverse or hide the characters around them: "gpj.exe" would be shown as "exe.jpg".
_INVISIBLE = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
_BARE = re.compile(r"[._ ]*?((?:\.[A-Za-z0-9]{1,10})?)", re.ASCII)
_SEPARATORS = re.compile(r'[/\\:*?"<>|%]')


def content_disposition(filename: str | None) -> str:
    """`attachment` with that name in both forms that clients know; never raises, and is ASCII without line breaks.

    Separators of folders, quotes, wildcards, control characters and direction marks become `_`, a name that is too
    long loses the end of its stem, and a name of which nothing is left is not sent. The bytes are never shown as a
    page of the server that hands them out, whatever they claim to be.
    """
    name = _harmless(filename or "")
    if not name.strip("._ "):
        return "attachment"
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    # Decomposition may bring back what was replaced: a fullwidth slash turns into a slash.
    plain = _SEPARATORS.sub("_", plain)
    if bare := _BARE.fullmatch(plain):
        plain = f"recording{bare[1]}"
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe=_ATTR_CHARS)}"


def _harmless(text: str) -> str:
    # Half a surrogate pair has no UTF-8.
    text = text.encode("utf-8", "replace").decode("utf-8")
    text = "".join("_" if unicodedata.category(sign) in {"Cc", "Zl", "Zp"} else sign for sign in text)
    text = _SEPARATORS.sub("_", _INVISIBLE.sub("_", text)).strip()
    stem, dot, extension = text.rpartition(".")
    if not dot or len(extension) > 10:
        stem, dot, extension = text, "", ""
    room = _MOST_BYTES - len(f"{dot}{extension}".encode())
    return stem.encode()[:room].decode("utf-8", "ignore") + dot + extension
