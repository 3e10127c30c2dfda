"""Damaged results are read into storable values or refused: never a crash, and what is read can be written."""

from __future__ import annotations

import random

import pytest

from src import formats
from src.errors import InvalidInput
from tests.formats.mutations import mutate, require_storable

ROUNDS = 80


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("folder", ["whisper", "amazon", "subtitles"])
def test_damaged_results_are_read_safely_or_refused(shared_data, folder, seed):
    chance, read = random.Random(f"{folder} {seed}"), 0
    contents = [path.read_bytes() for path in sorted((shared_data / folder).iterdir()) if path.stat().st_size < 80_000]
    for _ in range(ROUNDS):
        content = mutate(chance.choice(contents), chance)
        try:
            parsed = formats.parse(content)
        except InvalidInput:
            continue
        read += 1
        require_storable(parsed)
        again = formats.parse(formats.write("json", parsed.segments, language=parsed.language).encode())
        assert (list(again.segments), again.language) == (list(parsed.segments), parsed.language)
    assert 0 < read < ROUNDS
