"""A sample of the tamperings of tests/torture/history.py: each is named, whatever lies in `public`."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from src.database.connection.engine import PoolOptions, make_engine
from src.database.testing import SpeechServer
from src.services.history import HeadFile, SealKey
from src.storage import MemoryStorage
from tests.services.history.conftest import Sealed
from tests.services.history.damaged import DROPPED, EMPTIED, TABLES
from tests.services.history.hidden import ERASURES, FUNCTIONS, POLICIES
from tests.services.history.hidden import ROWS as HIDDEN_ROWS
from tests.services.history.hidden_forms import TYPES, VIEWS
from tests.services.history.tampering_kinds import populate, tamper
from tests.torture.history import BLINDED, BLINDS, CHAIN, ENTRIES, KINDS, NOISE, PARTS, ROWS, TAMPERINGS

SAMPLE = 12


@pytest.fixture(scope="module")
def full(speech_server: SpeechServer, tmp_path_factory) -> Iterator[Sealed]:
    """A sealed database with rows in every table."""
    folder = tmp_path_factory.mktemp("full")
    with speech_server.copy() as url:
        owner = make_engine(url, PoolOptions(size=2))
        with speech_server.database(url, storage=MemoryStorage()) as db:
            sealed = Sealed(db, owner, SealKey.create(folder / "seal.pem"), HeadFile(folder / "heads.jsonl"))
            populate(sealed)
            yield sealed
        owner.dispose()


def complaints(sealed: Sealed, tamperings, noise: str = "") -> list[str | None]:
    chance = random.Random(13)
    done = (tamper(sealed.owner, chance, each, key=sealed.key, heads=sealed.heads, noise=noise) for each in tamperings)
    return [each.complaint for each in done if each.complaint is not None]


def test_the_number_of_kinds():
    assert KINDS >= 800
    assert len({each.name for each in TAMPERINGS}) == len(TAMPERINGS)
    assert len(BLINDS) >= 25


@pytest.mark.parametrize("part", [ENTRIES, CHAIN, ROWS, PARTS], ids=["entries", "chain", "rows", "parts"])
def test_a_sample_of_the_tamperings_is_named(full, part):
    assert complaints(full, random.Random(len(part)).sample(part, SAMPLE)) == []


@pytest.mark.parametrize(
    "part",
    [FUNCTIONS, POLICIES, VIEWS, TYPES, HIDDEN_ROWS, ERASURES],
    ids=["functions", "policies", "views", "types", "rows", "erasures"],
)
def test_what_hides_forged_rows_is_named(full, part):
    chance = random.Random(len(part))
    assert complaints(full, chance.sample(part, 4)) == []


@pytest.mark.parametrize("part", [EMPTIED, DROPPED, TABLES], ids=["emptied", "dropped", "tables"])
def test_damage_is_named_and_hides_no_other_finding(full, part):
    """The added notes are named too, unless the damage concerns what they are compared with."""
    chosen = random.Random(len(part)).sample(part, 3)
    assert complaints(full, chosen) == []
    note = next(each for each in ROWS if each.name == "row, a note added")
    elsewhere = next(each for each in part if "legal_holds" in each.name)
    both = note._replace(statement=f"{note.statement}; {elsewhere.statement}")
    assert complaints(full, [both]) == []


def test_overloads_operators_types_and_replaced_functions_hide_nothing(full):
    assert complaints(full, random.Random(7).sample(BLINDED, 20)) == []


def test_ten_thousand_other_findings_hide_nothing(full):
    note = next(each for each in ROWS if each.name == "row, case_notes.body")
    assert complaints(full, [note, CHAIN[0], ENTRIES[0]], NOISE) == []


def test_the_untampered_database_has_no_findings(full):
    assert full.verify().findings == []
