"""The Content-Disposition header that names a download (RFC 6266, RFC 5987, RFC 8187)."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote

_MAX_BYTES = 255  # the limit of file systems, far below the limit of servers for a header
_ATTR_CHARS = "!#$&+-.^_`|~"  # not percent-encoded (RFC 8187)
# They reverse or hide adjacent characters: "gpj.exe" would be displayed as "exe.jpg".
_INVISIBLE = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
_EXTENSION_ONLY = re.compile(r"[._ ]*?((?:\.[A-Za-z0-9]{1,10})?)", re.ASCII)
_SEPARATORS = re.compile(r'[/\\:*?"<>|%]')


def content_disposition(filename: str | None) -> str:
    """`attachment` with `filename` and `filename*`; ASCII without line breaks; never raises.

    Path separators, quotes, wildcards, control characters and direction marks become `_`; a long name is cut at the
    end of its stem; a name without other characters is omitted. `attachment` keeps browsers from displaying the object
    as a page of the server.
    """
    name = _sanitized(filename or "")
    if not name.strip("._ "):
        return "attachment"
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    # Decomposition can restore replaced characters: a fullwidth slash becomes a slash.
    plain = _SEPARATORS.sub("_", plain)
    if match := _EXTENSION_ONLY.fullmatch(plain):
        plain = f"recording{match[1]}"
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe=_ATTR_CHARS)}"


def _sanitized(text: str) -> str:
    # An unpaired surrogate has no UTF-8 encoding.
    text = text.encode("utf-8", "replace").decode("utf-8")
    text = "".join("_" if unicodedata.category(character) in {"Cc", "Zl", "Zp"} else character for character in text)
    text = _SEPARATORS.sub("_", _INVISIBLE.sub("_", text)).strip()
    stem, dot, extension = text.rpartition(".")
    if not dot or len(extension) > 10:
        stem, dot, extension = text, "", ""
    stem_bytes = _MAX_BYTES - len(f"{dot}{extension}".encode())
    return stem.encode()[:stem_bytes].decode("utf-8", "ignore") + dot + extension
