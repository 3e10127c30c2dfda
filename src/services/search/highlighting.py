"""Highlighting of matches: by PostgreSQL's stemmers, mapped to the original text.

`ts_headline` supports neither folded accents nor scripts without spaces. Therefore it also marks a folded text, whose
marks are mapped back to the original text here; terms in scripts without spaces are matched here. If neither marks
anything, the words whose lexemes match the index are marked.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache

from src.database.schema.sql_files import constant

MARKS = ("[", "]")
WIDTH = 160
# For a longer text only a fragment near its beginning is marked: marking a whole book takes about a second.
LONGEST = 20_000
BEGINNING = 400_000
# Words are matched one by one up to this position.
SPELLED = 4_000

# Character classes, shared with the functions in src/database/sql.
_UNSPACED_SIGNS, _ACCENT_SIGNS = constant("search_unspaced_1"), constant("search_accents_1")
_LETTER = constant("search_letter_1")

# Control characters. A text that contains them itself is marked with a sign in their place, so it cannot forge marks.
_OPEN, _CLOSE = "\x02", "\x03"
_REPLACED = dict.fromkeys(map(ord, (_OPEN, _CLOSE)), "\ufffd")
# The same in SQL, for the text that `ts_headline` marks.
UNMARKED = "translate({}, E'\\x02\\x03', E'\\ufffd\\ufffd')"
WHOLE = f"HighlightAll=true, StartSel={_OPEN}, StopSel={_CLOSE}"
PART = f"StartSel={_OPEN}, StopSel={_CLOSE}, MaxWords=30, MinWords=10"
_UNSPACED = re.compile(f"[{_UNSPACED_SIGNS}]+")
_ACCENTS = re.compile(f"[{_ACCENT_SIGNS}]+")
_SILENT = dict.fromkeys(map(ord, constant("search_silent_1")))
_LETTERS = str.maketrans("ØøŁłĐđĦħıÐð/", "OoLlDdHhiDd ") | {
    ord(letter): plain
    for letter, plain in zip("ßẞæÆœŒþÞ", ("ss", "SS", "ae", "AE", "oe", "OE", "th", "TH"), strict=True)
}
_GLUE = re.compile(rf"({_LETTER}{{2}})\.(?={_LETTER}{{2}})")
_HALF_SPACE = re.compile(constant("search_half_space_1"))
# Characters that NFKC composes: parts of a Hangul syllable, a letter and its accents, half-width kana and their marks.
_CLUSTER = re.compile(
    rf"[\u1100-\u115f]+[\u1160-\u11a7]*[\u11a8-\u11ff]*|.[{_ACCENT_SIGNS}\u3099\u309a\uff9e\uff9f]*", re.DOTALL
)
_JOINED = re.compile(f"[{_ACCENT_SIGNS}\u1100-\u11ff\u3099\u309a\uff9e\uff9f]")
_SIGNS = dict.fromkeys(map(ord, constant("search_quotes")), '"') | dict.fromkeys(
    map(ord, constant("search_spaces")), " "
)
_EDGES = re.compile(r"^[\W_]+|[\W_]+$")
_PARTS = re.compile(constant("search_term_pattern"))

Span = tuple[int, int]


def snippet(text: str, marked: str, folded: str | None, words: Sequence[str] | None, runs: Sequence[str]) -> str:
    """Return the text around the first match, with the marks that `bracketed` and `pieces` convert."""
    if len(text) > LONGEST:
        return marked
    text = text.translate(_REPLACED)
    spans = marked_spans(text, marked, folded, words, runs)
    if spans is None:
        return marked
    return _cut(text, spans)


def bracketed(marked: str) -> str:
    """Return a marked text with brackets around matches."""
    return marked.replace(_OPEN, MARKS[0]).replace(_CLOSE, MARKS[1])


def pieces(marked: str) -> list[tuple[str, bool]]:
    """Return a marked text in pieces, each with whether it is a match."""
    found, matched = [], False
    for part in re.split(f"([{_OPEN}{_CLOSE}])", marked):
        if part in (_OPEN, _CLOSE):
            matched = part == _OPEN
        elif part:
            found.append((part, matched))
    return found


def marked_spans(
    text: str, marked: str, folded: str | None, words: Sequence[str] | None, runs: Sequence[str]
) -> list[Span] | None:
    """Return the spans of a text that matched, in order; None when `marked` is a marked form of another text.

    `marked` is the text with marks, `folded` the same without accents and with spaces in place of scripts without
    spaces; `words` are the matching words, `runs` the terms in scripts without spaces.
    """
    text = text.translate(_REPLACED)
    spans = _marked_spans(marked, text, range(len(text) + 1))
    if spans is None:
        return None
    for word in words or ():
        core = _EDGES.sub("", word)
        spans += [m.span() for m in re.finditer(rf"(?<!\w){re.escape(core)}(?!\w)", text) if core]
    if folded is not None or runs:
        plain, places = fold(text)
        if folded is not None:
            spans += _marked_spans(folded, _UNSPACED.sub(lambda run: " " * len(run[0]), plain), places) or []
        for run in runs:
            spans += [(places[m.start()], places[m.end()]) for m in re.finditer(re.escape(run), plain)]
    return _joined(spans)


def count_spaced_words(query: str) -> int:
    """Return the number of words of a query, without those in scripts without spaces."""
    return sum(any(map(str.isalnum, part)) for part in _UNSPACED.sub(" ", fold(query)[0]).split())


def parts(query: str) -> list[tuple[str, str]]:
    """Return the words and phrases of a query, split as `search_query` splits them, as (minus sign or "", term)."""
    return [(minus, phrase or word) for minus, phrase, word in _PARTS.findall(query.translate(_SIGNS))]


def unspaced_runs(query: str) -> list[str]:
    """Return the terms of a query in scripts without spaces, folded."""
    terms = " ".join(part for minus, part in parts(query) if not minus)
    return [match[0] for match in _UNSPACED.finditer(fold(terms)[0])]


def fold(text: str) -> tuple[str, list[int]]:
    """Return the text without width, accents and silent signs, and the original index of each character and the end."""
    if text.isascii():
        return _unglued(text.replace("/", " ")), list(range(len(text) + 1))
    spaced = _unglued(_HALF_SPACE.sub(_spaced, text) if "\u200c" in text else text)
    if _JOINED.search(spaced) is None:
        # The common case; a match object for each character would take five times as long.
        written = [_plain(character) for character in spaced]
        places = [place for place, plain in enumerate(written) for _ in plain]
    else:
        clusters = [(match.start(), _plain(match[0])) for match in _CLUSTER.finditer(spaced)]
        written = [plain for _, plain in clusters]
        places = [place for place, plain in clusters for _ in plain]
    return "".join(written), [*places, len(text)]


def _unglued(text: str) -> str:
    return _GLUE.sub(r"\1 ", text) if "." in text else text


def _spaced(half: re.Match[str]) -> str:
    return f"{half[1]} {half[0][2:]}"


@lru_cache(maxsize=20_000)
def _plain(cluster: str) -> str:
    plain = unicodedata.normalize("NFKC", cluster).translate(_SILENT)
    plain = unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFD", plain)))
    return plain.translate(_LETTERS)


def _marked_spans(marked: str, text: str, places: Sequence[int]) -> list[Span] | None:
    """Return the marked spans of a text; None when `marked` is a marked form of another text."""
    spans, at, opened, parts = [], 0, 0, []
    for part in re.split(f"([{_OPEN}{_CLOSE}])", marked):
        if part == _OPEN:
            opened = at
        elif part == _CLOSE:
            spans.append((places[min(opened, len(text))], places[min(at, len(text))]))
        else:
            parts.append(part)
            at += len(part)
    return spans if "".join(parts) == text else None


def _joined(spans: Iterable[Span]) -> list[Span]:
    joined: list[Span] = []
    for start, end in sorted(span for span in spans if span[0] < span[1]):
        if joined and start < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def _cut(text: str, spans: list[Span]) -> str:
    start, end = 0, len(text)
    if len(text) > WIDTH:
        first = spans[0][0] if spans else 0
        start = max(0, min(first - WIDTH // 4, len(text) - WIDTH))
        end = start + WIDTH
        # Cut at a nearby space, never inside a match.
        start = (
            0 if start == 0 else next((i + 1 for i in range(start, min(start + 20, first)) if text[i] == " "), start)
        )
        end = max([end, *(stop for begin, stop in spans if begin < end)])
        end = next((i for i in range(end, max(end - 20, first), -1) if i < len(text) and text[i] == " "), end)
        end = max([end, *(stop for begin, stop in spans if begin < end)])
    written, at = ["… " if start else ""], start
    for begin, stop in spans:
        if begin >= start and stop <= end:
            written += [text[at:begin], _OPEN, text[begin:stop], _CLOSE]
            at = stop
    written += [text[at:end], " …" if end < len(text) else ""]
    return "".join(written).strip()
