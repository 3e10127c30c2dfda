"""Line breaking: widths in columns, and breaks that do not split combined characters."""

from __future__ import annotations

import pytest

from src import formats
from src.formats import line_breaking


@pytest.mark.parametrize(
    ("text", "columns"), [("ab", 2), ("港", 2), ("e\u0301", 1), ("a\u2060b", 2), ("", 0)], ids=repr
)
def test_the_width_of_a_text_in_columns(text, columns):
    assert line_breaking.width(text) == columns


@pytest.mark.parametrize(
    ("text", "columns", "first", "expected"),
    [
        ("港港港港", 4, None, ["港港", "港港"]),
        ("港港港港", 5, None, ["港港", "港港"]),
        ("港は。空", 4, None, ["港", "は。", "空"]),
        ("ab cd ef", 5, None, ["ab cd", "ef"]),
        ("ab cd ef", 4, None, ["ab", "cd", "ef"]),
        ("ab cd ef", 8, 2, ["ab", "cd ef"]),
        ("abcdefg", 3, None, ["abc", "def", "g"]),
        ("abcdefg", 3, 1, ["a", "bcd", "efg"]),
        ("abcde\u0301f", 5, None, ["abcde\u0301", "f"]),
        ("aaa\u2060bbb", 3, None, ["aaa\u2060b", "bb"]),
        ("", 5, None, []),
    ],
    ids=repr,
)
def test_lines_are_filled_and_break_at_allowed_positions(text, columns, first, expected):
    assert [text[line.begin : line.end] for line in line_breaking.lines(text, columns, first)] == expected


def test_empty_header_fields_are_none():
    document = {"schema": "speech-to-information/transcript/1", "language": "", "model_name": "", "segments": []}
    parsed = formats.parse(document)
    assert (parsed.language, parsed.model_name) == (None, None)
