"""Formats of recognisers: bytes or objects in, plain values out. Knows no database."""

from __future__ import annotations

import json
import re
from typing import Any

from src.errors import InvalidInput
from src.formats import amazon, subtitles, whisper
from src.formats.values import Parsed, Segment, Word, named

__all__ = ["Parsed", "Segment", "Word", "detect", "parse"]


def detect(source: bytes | dict[str, Any]) -> str:
    """Return the dialect: whisper, verbose-json, whisperx, whisper-timestamped, amazon-batch, amazon-call-analytics,
    webvtt or srt. Raises InvalidInput for others.
    """
    if isinstance(source, bytes):
        if re.match(rb"(\xef\xbb\xbf)?WEBVTT(\s|$)", source):
            return "webvtt"
        if re.match(rb"(\xef\xbb\xbf)?\s*(\d+[ \t]*\r?\n)?[ \t]*\d+:\d\d:\d\d[.,]\d{3}[ \t]*-->", source):
            return "srt"
    document = _document(source)
    if isinstance(document.get("Transcript"), list):
        return "amazon-call-analytics"
    if isinstance(document.get("results"), dict):
        return "amazon-batch"
    return _whisper_dialect(document)


def parse(source: bytes | dict[str, Any]) -> Parsed:
    """Read a result in whichever dialect it is. Raises InvalidInput that names the place."""
    dialect = detect(source)
    if isinstance(source, bytes) and dialect in {"webvtt", "srt"}:
        return subtitles.parse(source, dialect)
    document = _document(source)
    if dialect == "amazon-call-analytics":
        return amazon.parse_call_analytics(document)
    if dialect == "amazon-batch":
        return amazon.parse_batch(document)
    return whisper.parse(document, dialect)


def _whisper_dialect(document: dict[str, Any]) -> str:
    segments = document.get("segments")
    if not isinstance(segments, list) and not isinstance(document.get("text"), str):
        raise InvalidInput("No known transcript format: there is neither a list of segments nor a text.")
    listed = [item for item in segments if isinstance(item, dict)] if isinstance(segments, list) else []
    words = [w for item in listed for w in item.get("words") or () if isinstance(w, dict)] if _iterable(listed) else []
    if "word_segments" in document or any("score" in word for word in words):
        return "whisperx"
    if any("confidence" in item for item in listed) or any("confidence" in word for word in words):
        return "whisper-timestamped"
    if "words" in document or "task" in document or "duration" in document:
        return "verbose-json"
    return "whisper"


def _iterable(segments: list[dict[str, Any]]) -> bool:
    return all(isinstance(item.get("words"), list | None) for item in segments)


def _document(source: bytes | dict[str, Any]) -> dict[str, Any]:
    if isinstance(source, dict):
        return source
    try:
        return named(json.loads(source.decode("utf-8-sig")), "the result")
    except InvalidInput:
        raise
    except (ValueError, RecursionError) as error:
        raise InvalidInput(
            "These bytes are no JSON in UTF-8 that can be read; give the recogniser's output."
        ) from error
