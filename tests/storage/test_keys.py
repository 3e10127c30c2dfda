"""Only keys that this package generated are valid."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.errors import InvalidKey
from src.storage import archive_key, case_key, extension_of
from src.storage.keys import LARGEST_ID, is_valid, validate, validate_prefix
from tests.storage.hostile_names import HOSTILE_NAMES

UUID = "6f8d4e2a-0b1c-4d3e-8f5a-9b7c6d5e4f3a"


def test_there_are_79_hostile_names():
    assert len(set(HOSTILE_NAMES.values())) == 79


@pytest.mark.parametrize("name", HOSTILE_NAMES.values(), ids=HOSTILE_NAMES)
def test_hostile_names_are_not_keys_in_any_position(name):
    positions = [
        name,
        f"cases/{name}/{UUID}.wav",
        f"cases/12/{name}",
        f"cases/12/{UUID}.{name}",
        f"archive/{name}/{UUID}.wav",
        f"archive/12/{name}",
        f"{name}/12/{UUID}.wav",
        f"cases/12/{UUID}.wav{name}" if name else "cases/12/.wav",
        f"{name}cases/12/{UUID}.wav" if name else f"cases/12/{UUID}",
    ]
    for key in positions:
        with pytest.raises(InvalidKey) as caught:
            validate(key)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 250
    if name:
        with pytest.raises(InvalidKey):
            validate_prefix(name)
        with pytest.raises(InvalidKey):
            validate_prefix(f"cases/{name}")


@pytest.mark.parametrize("name", HOSTILE_NAMES.values(), ids=HOSTILE_NAMES)
def test_hostile_names_have_a_harmless_extension(name):
    extension = extension_of(name)
    assert extension in {"wav", "bin"}
    assert is_valid(case_key(1, extension))


@pytest.mark.parametrize("make", [case_key, archive_key])
def test_keys_are_unique_and_have_the_documented_form(make):
    keys = {make(12, "flac") for _ in range(100)}
    assert len(keys) == 100
    for key in keys:
        assert re.fullmatch(r"(cases|archive)/12/[0-9a-f-]{36}\.flac", key)
        assert validate(key) == key


@pytest.mark.parametrize("row_id", [0, -1, LARGEST_ID + 1, 10**30, True, 1.0, "7 ", "07", "+7", "٧", None])
def test_ids_are_positive_and_canonical(row_id):
    with pytest.raises(InvalidKey):
        case_key(row_id, "wav")
    with pytest.raises(InvalidKey):
        archive_key(row_id, "wav")


def test_the_largest_id_is_valid():
    assert validate(case_key(LARGEST_ID, "wav")).startswith("cases/9223372036854775807/")


@pytest.mark.parametrize("extension", ["WAV", "exe", "", ".wav", "wav ", "wav\n", "tar.gz", "mp3/..", "wаv"])
def test_only_listed_extensions_are_valid(extension):
    with pytest.raises(InvalidKey):
        case_key(1, extension)


@pytest.mark.parametrize(
    ("file_name", "extension"),
    [
        ("interview.flac", "flac"),
        ("Interview.Final.MP3", "mp3"),
        ("wav", "bin"),
        ("wav.", "bin"),
        ("notes.txt", "bin"),
        ("a.m\u212aa", "bin"),
        ("", "bin"),
        ("a.wav/b", "bin"),
        (".opus", "opus"),
    ],
)
def test_extension_of(file_name, extension):
    assert extension_of(file_name) == extension


@given(st.text())
def test_any_text_gets_a_valid_extension(file_name):
    assert is_valid(case_key(1, extension_of(file_name)))


@given(st.from_regex(r"(cases|archive)/[0-9]{1,21}/[0-9a-fA-F-]{36}\.[a-z0-9]{2,4}\n?", fullmatch=True))
def test_similar_texts_are_accepted_only_if_they_are_keys(text):
    _area, row_id, file = text.split("/")
    stem, _, extension = file.partition(".")
    canonical = (
        1 <= int(row_id) <= LARGEST_ID
        and str(int(row_id)) == row_id
        and re.fullmatch("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", stem) is not None
        and extension_of(f"x.{extension}") == extension
    )
    assert is_valid(text) == canonical


@pytest.mark.parametrize("key", [None, 7, b"cases/1/x.wav", ["cases"]])
def test_other_types_than_text_are_rejected(key):
    with pytest.raises(InvalidKey):
        validate(key)
