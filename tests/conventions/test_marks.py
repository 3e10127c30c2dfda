"""Every column with text or JSON is declared secret, personal or neither; no repr or sample shows the first two."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import ARRAY, JSON, LargeBinary, String, inspect
from sqlalchemy.types import TypeDecorator

from src.database.models import Base
from src.database.models.activity_log import ActivityLog
from src.database.schema.declaration import PERSONAL, SECRET, UNSAMPLED, captured_columns, protection_of
from src.database.schema.derivation import capture_arguments
from src.services.activity import Entry
from src.services.history import Change, Version
from src.services.transcripts import Segment, Spoken, Word

MAPPERS = sorted(Base.registry.mappers, key=lambda mapper: mapper.class_.__name__)
each_model = pytest.mark.parametrize("mapper", MAPPERS, ids=lambda mapper: mapper.class_.__name__)
WORDS = "words that nobody else may read"
# Computed from other columns of the row, and read by an index only.
COMPUTED = {"transcription_segments.search"}


def has_words(column):
    kind = column.type.impl if isinstance(column.type, TypeDecorator) else column.type
    kind = kind.item_type if isinstance(kind, ARRAY) else kind
    return isinstance(kind, String | JSON | LargeBinary)


def marked(column):
    return [mark for mark in (SECRET, PERSONAL) if column.info.get(mark)]


@each_model
def test_a_column_with_text_or_json_is_secret_or_personal_or_plain(mapper):
    table, plain = mapper.local_table, mapper.class_.__plain__
    for column in table.columns:
        if f"{table.name}.{column.name}" in COMPUTED:
            continue
        ways = [*marked(column), *(["plain"] if column.name in plain else [])]
        assert len(ways) == (1 if has_words(column) or ways else 0), f"{table.name}.{column.name}: {ways}"
    assert plain <= {column.name for column in table.columns}


@each_model
def test_what_is_secret_or_personal_is_not_sampled_and_secrets_are_hashed_in_the_log(mapper):
    table = mapper.local_table
    for column in table.columns:
        if marked(column):
            assert column.info.get(UNSAMPLED), column
        if protection_of(table).captured:
            hashed = column.name in capture_arguments(table)[2].split(",")
            assert hashed == bool(column.info.get(SECRET)), column
            if column.info.get(PERSONAL) and column.name not in protection_of(table).not_captured:
                assert column.name in captured_columns(table), "the history keeps what is personal"


@each_model
def test_the_repr_of_a_row_shows_no_values(mapper):
    row = mapper.class_()
    for attribute in inspect(mapper.class_).column_attrs:
        inspect(row).dict[attribute.key] = WORDS
    assert WORDS not in repr(row) + str(row)


def test_the_repr_of_results_shows_no_words_of_people():
    entry = Entry(1, datetime.now(UTC), "alice", "note", "Noted", 1, None, None, None, None, {"body": WORDS})
    version = Version(1, datetime.now(UTC), "alice", None, None, "update", ActivityLog, 1, 1, {"body": WORDS},
                      {"body": Change(WORDS, WORDS)}, "1001")  # fmt: skip
    for result in (Segment(WORDS, words=[Word(WORDS)]), Word(WORDS), Spoken(WORDS, None, None), entry, version):
        assert WORDS not in repr(result)
    assert WORDS not in str(version)
