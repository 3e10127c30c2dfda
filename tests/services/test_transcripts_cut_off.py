"""Imports that fail, are rejected, cancelled or rolled back: stored completely or not at all; the session is usable."""

from __future__ import annotations

import io
import json

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError

from src.errors import InvalidInput, SpeechError
from src.services import transcripts
from src.services.transcripts import Segment, sources
from tests.security.population import backend_of
from tests.services.importing import counts

pytestmark = pytest.mark.shared_database


class Dripping:
    """A connection: returns fewer bytes than requested, and fails after a given number of reads."""

    def __init__(self, content, failing_at=None):
        self._rest, self._left = io.BytesIO(content), failing_at

    def read(self, size=-1):
        if self._left == 0:
            raise ConnectionResetError(104, "Connection reset by peer")
        self._left = None if self._left is None else self._left - 1
        return self._rest.read(min(size, 9))


def test_a_source_that_fails_while_reading_stores_nothing(db, audio):
    subtitles = b"".join(b"%d\n00:00:0%d,000 --> 00:00:09,000\nask %d\n\n" % (n, n, n) for n in range(1, 9))
    with db.session(actor="alice") as session:
        with pytest.raises(InvalidInput, match="Connection reset"):
            transcripts.import_result(session, audio, Dripping(subtitles, failing_at=10))
        assert counts(session) == (0, 0, 0)
        version = transcripts.import_result(session, audio, Dripping(subtitles))
        assert transcripts.export(session, version, "source") == subtitles
        assert len(transcripts.segments(session, version)) == 8


def test_a_rejected_import_does_not_affect_the_next_one(db, audio):
    said = [{"start": n, "end": n + 1, "text": f"word {n}"} for n in range(600)]
    large = json.dumps({"segments": said, "padding": "x" * sources.LARGEST_PARAMETER_BYTES}).encode()
    with db.session(actor="alice") as session:
        with pytest.raises(InvalidInput, match="model_version"):
            transcripts.import_result(session, audio, large, model_version="\0")
        assert counts(session) == (0, 0, 0)
        assert transcripts.import_result(session, audio, large).version == 1
        assert counts(session) == (1, 600, 1)


@pytest.mark.parametrize("failure", [ArithmeticError, KeyboardInterrupt])
def test_an_exception_that_interrupts_copy_is_raised_unchanged(db, audio, failure):
    class Interrupted(list):
        def __iter__(self):
            yield from list.__iter__(self)
            raise failure

    with pytest.raises(failure), db.session(actor="alice") as session:
        transcripts.add(session, audio, Interrupted([Segment("word")] * 700))
    with db.session(actor="alice") as session:
        assert counts(session) == (0, 0, 0)


def test_the_session_is_usable_after_copy_was_cancelled(db, audio, owner):
    class Cancelled(list):
        def __iter__(self):
            for number, segment in enumerate(list.__iter__(self)):
                if number == 600:
                    with owner.connect() as other:
                        assert other.scalar(select(func.pg_cancel_backend(backend)))
                yield segment

    with db.session(actor="alice") as session:
        backend = backend_of(session)
        with pytest.raises((SpeechError, DBAPIError), match="cancel"):
            transcripts.add(session, audio, Cancelled([Segment("word " * 40)] * 6_000))
        assert counts(session) == (0, 0, 0)
        assert transcripts.import_result(session, audio, b'{"text": "ask not"}').version == 1


def test_an_import_rolled_back_to_a_savepoint_leaves_no_gap_in_versions(db, audio, make_audio):
    def result(tag, size=600):
        return {"segments": [{"start": n, "end": n + 1, "text": f"{tag} {n}"} for n in range(size)]}

    with db.session(actor="alice") as session:
        other = make_audio(session, session.get_one(type(audio.case), audio.case.id))
        with session.begin_nested():
            one = transcripts.import_result(session, audio, result("one"))
        with pytest.raises(ArithmeticError), session.begin_nested():
            transcripts.import_result(session, audio, result("undone"))
            raise ArithmeticError
        two, others = (transcripts.import_result(session, each, result("two", 700)) for each in (audio, other))
        results = [(each.version, transcripts.segments(session, each)[-1].text) for each in (one, two, others)]

    assert results == [(1, "one 599"), (2, "two 699"), (1, "two 699")]
