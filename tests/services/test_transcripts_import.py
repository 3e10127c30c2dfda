"""Importing results: lossless, complete or not at all, idempotent; the source is exported unchanged."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select, text

from src import formats
from src.database import Transcription, TranscriptionSegment, TranscriptionSource
from src.errors import Conflict, Forbidden, IntegrityFailure, InvalidInput, NotFound, SpeechError
from src.services import activity, cases, transcripts
from src.services.parameters import language_by_code
from src.services.transcripts import Segment, sources
from tests.services.importing import counts, damage, samples

pytestmark = pytest.mark.shared_database

WHISPER = json.dumps({
    "text": " ask not", "language": "en", "segments": [
        {"id": 0, "start": 0.5, "end": 1.25, "text": " ask not", "avg_logprob": -0.2, "words": [
            {"word": " ask", "start": 0.5, "end": 0.9, "probability": 0.75}, {"word": " not"}]}],
}).encode()  # fmt: skip


@dataclasses.dataclass
class Heard:
    """The attributes of faster-whisper's segments and words."""

    start: float
    end: float
    text: str
    words: list | None = None


@dataclasses.dataclass
class Info:
    language: str = "en"
    language_probability: float = 0.98


def test_an_import_stores_segments_words_and_the_bytes(db, audio):
    with db.session(actor="alice") as session:
        version = transcripts.import_result(session, audio, WHISPER, model_name="small")
    with db.session(actor="alice") as session:
        (said,) = transcripts.segments(session, version)
        source = session.scalars(select(TranscriptionSource)).one()

        assert (said.text, said.start_ms, said.end_ms) == (" ask not", 500, 1250)
        assert [(word.text, word.start_ms, word.confidence) for word in said.words] == [
            (" ask", 500, 0.75), (" not", None, None)
        ]  # fmt: skip
        assert (version.version, version.language.code, version.model_name) == (1, "en", "small")
        assert (source.dialect, source.sha256) == ("whisper", hashlib.sha256(WHISPER).hexdigest())
        assert source.audio_file_id == audio.id
        assert transcripts.export(session, version, "source") == WHISPER
        with pytest.raises(InvalidInput, match=r"webvtt, srt, text, json, whisper, source\.$"):
            transcripts.export(session, version, "vtt")


def test_path_name_file_and_bytes_give_the_same_version(db, audio, tmp_path):
    path = tmp_path / "result.json"
    path.write_bytes(WHISPER)
    with db.session(actor="alice") as session:
        first = transcripts.import_result(session, audio, path)
        with path.open("rb") as file:
            again = [transcripts.import_result(session, audio, each) for each in (str(path), file, io.BytesIO(WHISPER))]

        assert {version.id for version in again} == {first.id}
        assert session.scalars(select(TranscriptionSource.name)).one() == "result.json"
        assert session.scalar(select(func.count()).select_from(Transcription)) == 1


@pytest.mark.parametrize("result", [
    ("generator", lambda: ((Heard(0, 1.5, " ask not", [Heard(0, 0.5, " ask")]) for _ in range(2)), Info())),
    ("dict", lambda: json.loads(WHISPER)),
    ("list", lambda: [{"start": 0, "end": 1, "text": "ask not"}]),
    ("odd values", lambda: {"segments": [{"start": math.nan, "end": 1, "text": "a\ud800", "words": None}]}),
], ids=lambda case: case[0])  # fmt: skip
def test_recogniser_objects_are_stored_as_json_and_give_one_version(db, audio, result):
    with db.session(actor="alice") as session:
        first = transcripts.import_result(session, audio, result[1]())
        second = transcripts.import_result(session, audio, result[1]())
        kept = transcripts.export(session, first, "source")

        assert first.id == second.id
        assert formats.parse(kept).segments == transcripts.segments(session, first)
        assert transcripts.segments(session, first)


def test_canonical_json_does_not_depend_on_the_order_of_keys():
    assert sources.canonical({"b": 1, "a": [1.5, math.nan]}) == b'{"a":[1.5,NaN],"b":1}'
    assert sources.canonical({"a": "\ud800é"}) == b'{"a":"\\ud800\\u00e9"}'
    assert sources.canonical((iter([{"text": "x"}]), Info())) == (
        b'{"info":{"language":"en","language_probability":0.98},"segments":[{"text":"x"}]}'
    )
    for invalid in ({"a": b"bytes"}, {"segments": [object()]}):
        with pytest.raises(InvalidInput, match="the result, "):
            sources.canonical(invalid)


def test_a_recogniser_that_fails_at_the_end_stores_nothing(db, audio):
    def listening():
        yield Heard(0, 1, "so far")
        raise ArithmeticError

    with pytest.raises(ArithmeticError), db.session(actor="alice") as session:
        transcripts.import_result(session, audio, (listening(), Info()))
    with db.session(actor="alice") as session:
        assert counts(session) == (0, 0, 0)


def test_a_recogniser_may_run_longer_than_the_idle_timeout(db, audio):
    with db.session(actor="alice") as session:
        session.execute(text("SELECT set_config('idle_in_transaction_session_timeout', '50ms', true)"))

        def listening():
            yield Heard(0, 1, "one")
            # Wait on the server, longer than its idle timeout.
            with db.session(actor="alice") as other:
                other.execute(text("SELECT pg_sleep(0.15)"))
            yield Heard(1, 2, "two")

        assert transcripts.import_result(session, audio, (listening(), Info())).content == "one two"


@pytest.mark.parametrize("size", [3, 1_200], ids=["as parameters", "staged"])
def test_the_language_is_given_or_that_of_the_result_or_the_recording(db, audio, size):
    def result(language, number):
        said = [{"start": n, "end": n + 1, "text": f"word {n} {number}"} for n in range(size)]
        return {"segments": said, "language": language}

    with db.session(actor="alice") as session:
        recording = session.get_one(type(audio), audio.id)
        unknown = transcripts.import_result(session, audio, result("Klingon", 0))
        recording.language = language_by_code(session, "fr")
        versions = [
            unknown,
            transcripts.import_result(session, audio, result(None, 1)),
            transcripts.import_result(session, audio, result("French", 2)),
            transcripts.import_result(session, audio, result("zh", 3)),
            transcripts.import_result(session, audio, result("zh", 4), language="zh"),
        ]
        flagged = [
            any("wrong_language" in segment.flags for segment in transcripts.segments(session, version))
            for version in versions
        ]

    assert [version.language.code for version in versions] == ["und", "fr", "fr", "zh", "zh"]
    assert flagged == [False, False, False, True, False]
    assert [version.version for version in versions] == [1, 1, 2, 1, 2]


def test_invalid_sources_are_rejected_with_their_place_and_the_session_is_usable(db, audio, tmp_path):
    broken = json.dumps({"segments": [{"text": "fine"}, {"text": "x", "words": [{"word": "y"}, {"word": 7}]}]}).encode()
    with db.session(actor="alice") as session:
        for source, place in (
            (broken, "segment 1, word 1"),
            (b"", "."),
            (tmp_path / "absent.json", "cannot be read"),
            (io.StringIO("WEBVTT"), "binary"),
            ("a\0b", "cannot be read"),
            (42, "."),
        ):
            with pytest.raises(InvalidInput, match=place):
                transcripts.import_result(session, audio, source)
        assert counts(session) == (0, 0, 0)
        assert transcripts.import_result(session, audio, WHISPER).version == 1


def test_invalid_staged_segments_are_rejected_with_their_place_and_the_session_is_usable(db, audio):
    many = [Segment(f"word {number}") for number in range(700)]
    with db.session(actor="alice") as session:
        for invalid in (Segment("a\0b"), Segment("\ud800"), Segment("x", 5, 4), None, Segment(5)):
            with pytest.raises(InvalidInput, match="segment 700"):
                transcripts.add(session, audio, [*many, invalid])
        assert counts(session) == (0, 0, 0)
        added = transcripts.add(session, audio, [*many, Segment("tab\t back\\slash \n{NULL}\\N", flags=['a"\\', "b"])])
        again = transcripts.add(session, audio, many)

        assert transcripts.segments(session, added)[-1] == Segment("tab\t back\\slash \n{NULL}\\N", flags=('a"\\', "b"))
        assert again.version == 2
        assert session.scalar(text("SELECT count(*) FROM pg_class WHERE relpersistence = 't'")) == 0


def test_staged_segments_and_parameters_store_the_same_rows(db, audio, monkeypatch):
    said = [
        Segment(
            "Ω 漢字\t\\ \r\n\x01", 0, 1, "A\tB", [transcripts.Word("a\\b", 0, 1, 0.1, "C"), transcripts.Word("")], 1.0
        ),
        Segment("", None, 5, None, [], None, ("low_confidence",)),
    ]
    with db.session(actor="alice") as session:
        few = transcripts.add(session, audio, said)
        monkeypatch.setattr("src.services.transcripts.staging.MOST_AS_PARAMETERS", 0)
        many = transcripts.add(session, audio, said)
        assert transcripts.segments(session, few) == transcripts.segments(session, many)
    with db.session(actor="alice") as session:
        digests = session.scalars(select(Transcription.segments_sha256)).all()
        assert len(digests) == 2
        assert len(set(digests)) == 2 - (few.content == many.content)


def test_concurrent_imports_of_the_same_bytes_give_one_version(db, audio):
    def add(_):
        with db.session(actor="alice") as session:
            return transcripts.import_result(session, audio, WHISPER).id

    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(add, range(6)))) == 1
    with db.session(actor="alice") as session:
        assert counts(session) == (1, 1, 1)


def test_duplicate_sources_are_rejected_and_a_forged_source_is_not_exported(db, audio, make_audio):
    with db.session(actor="alice") as session:
        transcripts.import_result(session, audio, WHISPER)
        other = make_audio(session, session.get_one(type(audio.case), audio.case.id))
        # Another recording may have the same source.
        assert transcripts.import_result(session, other, WHISPER).version == 1

    version_of = []

    def by_hand(content, sha256):
        with db.session(actor="alice") as session:
            version = transcripts.add(session, audio, [])
            version_of.append(version)
            session.execute(
                insert(TranscriptionSource).values(
                    case_id=version.case_id, transcription_id=version.id, dialect="x", sha256=sha256, content=content
                )
            )

    with pytest.raises(Conflict, match="sha256_key"):
        by_hand(WHISPER, hashlib.sha256(WHISPER).hexdigest())
    by_hand(b"forged", hashlib.sha256(b"what it was").hexdigest())
    with pytest.raises(IntegrityFailure), db.session(actor="alice") as session:
        transcripts.export(session, version_of[-1], "source")


def test_large_sources_round_trip(db, audio):
    large = json.dumps(
        {"segments": [{"start": n, "end": n + 1, "text": f"Wort {n} ü"} for n in range(60_00)], "tokens": [7] * 500_000}
    ).encode()
    assert len(large) > sources.LARGEST_PARAMETER_BYTES
    with db.session(actor="alice") as session:
        version = transcripts.import_result(session, audio, large)
        assert transcripts.export(session, version, "source") == large


def test_imports_and_exports_are_logged_without_the_text(db, audio):
    with db.session(actor="alice") as session:
        version = transcripts.import_result(session, audio, WHISPER, name="r.json")
    with db.session(actor="alice") as session:
        transcripts.export(session, version, "srt")
        transcripts.export(session, version, "source")
    with db.session(actor="alice") as session:
        stored = activity.feed(session, changes=True)
        exported = [entry for entry in stored if entry.type == "export.made"]

        assert [entry.detail["format"] for entry in exported] == ["srt", "source"]
        assert "exported srt of version 1" in str(exported[0])
        assert not any("ask not" in str(entry.detail) for entry in stored)
        (added,) = [entry for entry in stored if entry.type == "transcript.added"]
        assert added.detail["sha256"] == hashlib.sha256(WHISPER).hexdigest()


def test_viewers_can_only_export_and_other_users_neither_import_nor_export(db, audio):
    with db.session(actor="alice") as session:
        version = transcripts.import_result(session, audio, WHISPER)
    for act in (
        lambda session: transcripts.import_result(session, audio, WHISPER),
        lambda session: transcripts.export(session, version, "source"),
        lambda session: transcripts.segments(session, version),
    ):
        with pytest.raises(NotFound), db.session(actor="bob") as session:
            act(session)
    with db.session(actor="alice") as session:
        cases.add_participant(session, audio.case, "bob", role="viewer")
    with db.session(actor="bob") as session:
        assert transcripts.export(session, version, "source") == WHISPER
        # The version exists already, so nothing is written.
        assert transcripts.import_result(session, audio, WHISPER).id == version.id
    for number, size in enumerate((1, 600)):
        result = {"segments": [{"text": f"{n} {number}"} for n in range(size)]}
        with pytest.raises(Forbidden), db.session(actor="bob") as session:
            transcripts.import_result(session, audio, result)


@pytest.mark.parametrize("written", ["webvtt", "srt", "text", "json", "whisper"])
def test_every_sample_can_be_imported_and_exported_in_every_format(db, audio, shared_data, written):
    for path in samples(shared_data)[:4] if written != "json" else samples(shared_data):
        content = path.read_bytes()
        with db.session(actor="alice") as session:
            version = transcripts.import_result(session, audio, path)
            exported = transcripts.export(session, version, written)

            assert transcripts.export(session, version, "source") == content
            parsed = formats.parse(content)
            stored = transcripts.segments(session, version)
            assert [dataclasses.replace(each, flags=()) for each in stored] == [
                dataclasses.replace(each, flags=()) for each in parsed.segments
            ]
            if written == "json":
                assert formats.parse(exported.encode()).segments == stored
            elif parsed.segments:
                assert parsed.segments[0].text.split()[0] in exported


def test_500_damaged_results_are_stored_completely_or_not_at_all(db, audio, shared_data):
    chance = random.Random(20261122)
    outcomes = damage(db, audio, [path.read_bytes() for path in samples(shared_data)], chance, 500)

    assert outcomes["findings"] == []
    assert Counter(outcomes["stored"])[True] > 100


def test_imports_raise_only_errors_of_this_package(db, audio):
    for source in (b"\xff\xfe", b"[" * 100_000, b'{"segments": 5}', {"segments": [{"text": ["x"]}]}):
        with pytest.raises(SpeechError), db.session(actor="alice") as session:
            transcripts.import_result(session, audio, source)


def test_concurrent_writers_of_few_and_many_segments_leave_no_gap_and_no_duplicate(db, audio):
    def add(number):
        size = 2 if number % 2 else 600
        with db.session(actor="alice") as session:
            said = [Segment(f"take {number} {n}") for n in range(size)]
            return transcripts.add(session, audio, said, language="en").version

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(add, range(8))) == list(range(1, 9))
    with db.session(actor="alice") as session:
        stored = session.execute(
            select(Transcription.version, func.count(TranscriptionSegment.id))
            .join(Transcription.segments)
            .group_by(Transcription.version)
        ).all()
        assert Counter(count for _, count in stored) == {2: 4, 600: 4}


def test_undecodable_characters_in_file_names_are_replaced(db, audio, tmp_path):
    odd = Path(tmp_path / "r\udcff.json")
    odd.write_bytes(WHISPER)
    with db.session(actor="alice") as session:
        transcripts.import_result(session, audio, odd)
        assert session.scalars(select(TranscriptionSource.name)).one() == "r\ufffd.json"
