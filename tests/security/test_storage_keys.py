"""The database and the storage accept the same keys: one that only the database accepts could never be swept."""

from __future__ import annotations

import random
from uuid import uuid4

from sqlalchemy import text

from src.storage import keys

ASKED = text(
    "SELECT public.is_key_of_case(a.key, a.case_id) FROM unnest(CAST(:keys AS text[]), CAST(:cases AS bigint[]))"
    " WITH ORDINALITY AS a (key, case_id, n) ORDER BY a.n"
)
CASES = (1, 7, 2**31 - 1, 2**63 - 1, 0, -1)
PIECES = ("cases", "archive", "history", "heads", "/", "//", "-", ".", "..", "\n", " ", "0", "1", "07", "A", "é", "wav",
          "exe", "WAV", "mp3", "bin", "gz", "٣")  # fmt: skip


def valid(rng, case):
    extension = rng.choice([*keys._AUDIO.split("|"), keys.UNKNOWN_EXTENSION, "exe", "gz", "json"])
    number = rng.choice([case, 1, 2**63 - 1, 2**63, 10**18, 9_999_999_999_999_999_999])
    area, owner = rng.choice([("cases", case), ("archive", number)])
    return f"{area}/{owner}/{uuid4()}.{extension}"


def changed(rng, key):
    """Insert, remove or replace something, or nothing."""
    at, piece = rng.randrange(len(key) + 1), rng.choice([*PIECES, rng.choice(key), "-" * 36])
    return rng.choice([key, key[:at] + piece + key[at:], key[:at] + key[at + 1 :], key[:at] + piece + key[at + 1 :]])


def test_the_database_accepts_exactly_the_keys_of_the_storage(shared):
    rng = random.Random(13)
    asked = [(changed(rng, valid(rng, case)), case) for case in rng.choices(CASES, k=4000)]
    asked += [(f"cases/1/{'-' * 36}.wav", 1), (f"cases/1/{'0' * 36}.wav", 1), (f"cases/1/{uuid4()}.wav\n", 1)]
    with shared.owner.connect() as connection:
        answers = connection.scalars(ASKED, {"keys": [key for key, _ in asked], "cases": [c for _, c in asked]}).all()
    expected = [
        keys.is_valid(key) and key.startswith(("archive/", f"cases/{case}/")) and case > 0 for key, case in asked
    ]
    assert [pair for pair, a, b in zip(asked, answers, expected, strict=True) if a is not b] == []
    assert 500 < sum(expected) < 3500
