"""Everything that people read uses the standard terms of the field; `words.py` lists what it does not use."""

from __future__ import annotations

import pytest

from tests.conventions.words import ROOT, WORDS, files, found_in, text_of


def test_no_file_uses_a_word_of_the_list():
    found = [
        f"{path.relative_to(ROOT)}:{line}: {words!r}: {instead}"
        for path in files()
        for line, words, instead in found_in(text_of(path))
    ]

    assert found == []


# One sentence for each entry of the list, in its order.
MANNERED = (
    "bytes that are no audio",
    "a number that is none",
    "a row of ours",
    "the row is read anew",
    "nobody grants what he does not hold",
    "whatever comes through the door",
    "what the house does not want",
    "the one room where bytes and rows meet",
    "these bytes are nobody's",
    "a number is for good",
    "the seeds are sown again",
    "a twin of this recording",
    "a recording is healed",
    "bytes that the caller insists on",
    "half a character",
    "it cannot be done so",
    "rows that are had back",
    "the server knows the login not",
    "no such thing exists",
    "whoever has the address",
    "what is no text",
    "the log tells it",
    "two versions beside each other",
    "in each other's way",
    "at his leisure",
)


@pytest.mark.parametrize(("pattern", "sentence"), list(zip(WORDS, MANNERED, strict=True)))
def test_a_word_of_the_list_is_recognised(pattern, sentence):
    assert WORDS[pattern] in {instead for _, _, instead in found_in(sentence)}


@pytest.mark.parametrize(
    "sentence",
    [
        "There is no longer a lease.",
        "It has no owner.",
        "The header is not that of a WAV file.",
        "Their rows are locked in the order of their ids.",
        "It holds the lock, does not wait and makes a note.",
    ],
)
def test_plain_sentences_are_left_alone(sentence):
    assert list(found_in(sentence)) == []


def test_names_of_tests_count():
    assert list(found_in("def test_bytes_that_are_no_audio_are_refused(db):"))
