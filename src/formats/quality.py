"""Quality flags of segments, from the measures of the recogniser and from the text.

docs/formats.md lists each rule with its source and threshold. A flag never removes content.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from src.formats.languages import differ
from src.formats.packed_segments import Segments
from src.formats.segments import Reading, Word

# The defaults of Whisper's own decoder, beyond which it treats its result as failed.
NO_SPEECH_PROBABILITY = 0.6
LEAST_LOGPROB = -1.0
MOST_COMPRESSION = 2.4
# As likely wrong as right; faster-whisper uses the same threshold for the language.
LEAST_CONFIDENCE = 0.5
LEAST_LANGUAGE_PROBABILITY = 0.5
# More repetitions in a row than this are a loop of the decoder rather than a repeated answer.
LONGEST_RUN = 3
# Shorter texts always compress badly, longer ones always well: Whisper measures windows of 30 seconds.
MEASURED_BYTES = range(60, 700)

LONGEST_PHRASE = 120

SILENT = re.compile(r"[\[(*♪♫\s]*(blank_audio|blank audio|silence|music|no speech|no audio)?[\])*♪♫\s]*", re.IGNORECASE)
# Phrases that Whisper hallucinates in silence, learned from the credits of subtitled films. They count only in segments
# that other measures make doubtful.
LEARNED = re.compile(
    r"thank(s| you)( so much| very much)? for (watching|listening|viewing)|thank you|please subscribe|"
    r".*amara\.org.*|subtitles by .*|untertitel.* (von|des|der|im auftrag) .*|sous-titr.* (par|de) .*|"
    r"ご(視聴|清聴)ありがとうございました|(謝謝|谢谢)(大家)?(觀看|观看|收看)|字幕.*提供.*|请不吝点赞.*|"
    r"시청해\s?주셔서 감사합니다|продолжение следует|субтитры .*|"
    r"спасибо за (просмотр|внимание)|شكراً? (للمشاهدة|على المشاهدة)|"
    r"merci d'avoir regardé.*|gracias por ver.*|obrigado por assistir|vielen dank fürs zuschauen|teşekkürler",
    re.IGNORECASE,
)


def doubt(reading: Reading, raw: Mapping[str, Any], text: str, confidence: float | None, words: Sequence[Word]) -> None:
    """Set the flags of a segment from the measures of its recogniser and from its text."""
    silence = reading.number(raw.get("no_speech_prob"), "measure", "")
    logprob = reading.number(raw.get("avg_logprob"), "measure", "")
    compression = reading.number(raw.get("compression_ratio"), "measure", "")
    known = [word.confidence for word in words if word.confidence is not None]
    if confidence is None and known:
        confidence = sum(known) / len(known)
    unsure = (logprob is not None and logprob < LEAST_LOGPROB) or (
        confidence is not None and confidence < LEAST_CONFIDENCE
    )
    bare = text.strip()
    if not bare:
        reading.flag("empty")
    elif len(bare) <= LONGEST_PHRASE and SILENT.fullmatch(bare):
        reading.flag("no_speech")
    if silence is not None and silence > NO_SPEECH_PROBABILITY and (logprob is None or logprob <= LEAST_LOGPROB):
        reading.flag("no_speech")
    doubtful = unsure or (silence or 0) > NO_SPEECH_PROBABILITY
    if doubtful and len(bare) <= LONGEST_PHRASE and LEARNED.fullmatch(bare.rstrip(" .!。！")):
        reading.flag("no_speech")
    if unsure:
        reading.flag("low_confidence")
    if compression is None:
        compression = _compression(bare)
    if compression > MOST_COMPRESSION:
        reading.flag("repetition")


def judged(segments: Segments, language: str | None, probability: float | None, expected: str | None) -> None:
    """Add, in place, the flags that need several segments or the language: repetition and wrong language."""
    start = 0
    for said, run in groupby(map(_bare, segments.texts())):
        end = start + sum(1 for _ in run)
        if said and end - start > LONGEST_RUN:
            for index in range(start + 1, end):  # the first occurrence is not flagged
                segments.flag(index, "repetition")
        start = end
    guessed = probability is not None and probability < LEAST_LANGUAGE_PROBABILITY
    if guessed or differ(language, expected):
        for index in range(len(segments)):
            segments.flag(index, "wrong_language")


def _bare(text: str) -> str:
    return text.strip().rstrip(".!?。").lower()


def _compression(text: str) -> float:
    content = text.encode("utf-8")
    return len(content) / len(zlib.compress(content)) if len(content) in MEASURED_BYTES else 0.0
