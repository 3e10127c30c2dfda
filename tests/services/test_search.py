"""Full-text search in every script, with marks, times and filters."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, text

from src.database.provisioning.extensions import NAME_INDEXES, create_name_indexes
from src.errors import InvalidInput
from src.maintenance import indexing
from src.services import cases, recordings, search, transcripts
from src.services.transcripts import Segment
from tests.security.population import add_audio
from tests.services.searching import SENTENCES, copied
from tests.undone import undone

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def world(speech_server):
    with copied(speech_server) as (db, owner):
        yield db, owner


@pytest.fixture(scope="module")
def spoken(world):
    """All sentences in one recording of alice, each in a version of its own language."""
    db, _ = world
    with db.session(actor="alice") as session:
        audio = add_audio(session, cases.open_case(session, title="Tower of Babel").id, "babel.wav")
        for position, (language, (said, _)) in enumerate(SENTENCES.items()):
            segment = Segment(said, position * 1000, position * 1000 + 900, speaker=language)
            transcripts.add(session, audio, [segment], language=language)
    return db


def found(session, query, **options):
    return [hit.text for hit in search.transcripts(session, query, **options)]


@pytest.mark.parametrize("language", SENTENCES)
def test_each_language_is_searched_with_its_own_configuration(spoken, language):
    said, queries = SENTENCES[language]
    with spoken.session(actor="alice") as session:
        for query in queries.split():
            hits = search.transcripts(session, query)
            assert said in [hit.text for hit in hits], query
            (hit,) = (hit for hit in hits if hit.text == said)
            assert (hit.language, hit.speaker) == (language, language)
            assert "[" in hit.snippet, (query, hit.snippet)
            assert hit.snippet.replace("[", "").replace("]", "") == said


@pytest.mark.parametrize(("query", "marked"), [
    ("eleve", "Les [élèves] ont été créées à l'école du cœur"),
    ("strasse", "Die Häuser in der [Straße] wurden geöffnet"),
    ("京湾 python", "東[京湾]で船を見ました。ｶﾒﾗと[Python]"), ("カメラ", "東京湾で船を見ました。[ｶﾒﾗ]とPython"),
    ('"harbour masters" boat', "The [harbour] [masters] were counting [boats]"),
    ("학교", "학생들이 [학교]에서 책을 읽었다"),
    ("harb*", "The [harbour] masters were counting boats"), ("елочном", "Студенты читали книги в [ёлочном] лесу"),
])  # fmt: skip
def test_matches_are_marked_in_the_original_text(spoken, query, marked):
    with spoken.session(actor="alice") as session:
        assert [hit.snippet for hit in search.transcripts(session, query)] == [marked]


@pytest.mark.parametrize(("query", "languages"), [
    ("boats canciones", []), ("boats OR canciones", ["en", "es"]), ("boats OR 東京 OR 学习", ["en", "ja", "zh"]),
    ('"counting boats"', ["en"]), ('"boats counting"', []), ("harbour -boats", []), ("harbour -canciones", ["en"]),
    ('harbour -"boats counting"', ["en"]), ("count* -talo", ["en"]), ("カメ", ["ja"]),
    ("東湾", []), ('"東京湾で"', ["ja"]),
    ("-boats", []), ("", []), ('""', []), ("OR", []), ("* ** -*", []), ("the", []),
    ("harbour the", ["en"]), ("北大", []),
])  # fmt: skip
def test_queries_use_web_search_syntax(spoken, query, languages):
    with spoken.session(actor="alice") as session:
        assert sorted(hit.language for hit in search.transcripts(session, query)) == languages


def test_text_is_found_despite_a_wrong_language_tag(db, make_audio):
    with db.session(actor="alice") as session:
        audio = make_audio(session, cases.open_case(session, title="Wrong"))
        transcripts.add(session, audio, [Segment("昨日東京でHarbour Hotelに"), Segment("он читал")], language="en")
        assert (
            found(session, "東京")
            == found(session, "昨")
            == found(session, "harbour hotel")
            == ["昨日東京でHarbour Hotelに"]
        )
        assert found(session, "читал") == ["он читал"]


def test_flags_versions_and_deleted_recordings(db, make_audio, owner):
    with db.session(actor="alice") as session:
        case = cases.open_case(session, title="Flags")
        audio, other = make_audio(session, case), make_audio(session, case, name="other.wav")
        first = transcripts.add(session, audio, [Segment("harbour once")], language="en")
        transcripts.accept(session, first)
        second = transcripts.add(
            session, audio,
            [Segment("harbour said"), Segment("harbour music", flags=["no_speech"]),
             Segment("harbour harbour", flags=["repetition"]), Segment("harbour mumbled", flags=["low_confidence"])],
            language="en",
        )  # fmt: skip
        transcripts.add(session, other, [Segment("harbour elsewhere")], language="en")
        hits = search.transcripts(session, "harbour", recording=audio)
        assert {hit.text: hit.low_confidence for hit in hits} == {"harbour said": False, "harbour mumbled": True}
        assert {hit.version for hit in hits} == {second.version}
        assert len(found(session, "harbour", recording=audio, include_flagged=True)) == 4
        assert found(session, "harbour", versions="accepted") == ["harbour once"]
        assert len(found(session, "harbour", versions="all")) == 4
        assert search.transcripts(session, "harbour", versions="all").total == 4
        recordings.delete(session, other, reason="twice")
    with db.session(actor="alice") as session:
        assert "harbour elsewhere" not in found(session, "harbour", versions="all")
        assert search.recordings(session, "other.wav") == []
        assert [each.name for each in search.recordings(session, "*.WAV")] == ["interview.wav"]


def test_filters_restrict_hits_and_invalid_filters_are_rejected(spoken):
    with spoken.session(actor="alice") as session:
        case = search.cases(session, "babel")[0]
        everything = {hit.language for hit in search.transcripts(session, "harbour OR haus OR 東京")}
        assert everything == {"en", "de", "ja"}

        def languages(**options):
            return [h.language for h in search.transcripts(session, "harbour OR haus OR 東京", order="time", **options)]

        assert languages(case=case) == languages(cases=[case.id]) == ["en", "de", "ja"]
        assert languages(cases=[]) == languages(case=case.id + 1) == []
        assert languages(language="de") == languages(speaker="de") == ["de"]
        assert languages(between=(950, 2000)) == ["de"]
        assert languages(between=(500, 1000)) == ["en"]
        assert languages(between=(None, 15_000)) == ["en", "de"]
        assert languages(status="received") == ["en", "de", "ja"]
        assert languages(status="failed") == languages(min_confidence=0.5) == languages(recorded=(NOON, None)) == []
        assert languages(created=(NOON, None)) == ["en", "de", "ja"]
        assert languages(created=(None, NOON)) == []
        for wrong in (
            {"order": "best"}, {"versions": "new"}, {"language": "xx"}, {"status": "lost"}, {"between": 5},
            {"between": ("1", None)}, {"between": (4.5, None)}, {"recorded": (NOON.replace(tzinfo=None), None)},
            {"min_confidence": float("nan")},
            {"case": case, "cases": [case]}, {"case": "C-1"}, {"cases": [2**63]}, {"after": "x"}, {"limit": 0},
        ):  # fmt: skip
            with pytest.raises(InvalidInput):
                search.transcripts(session, "harbour", **wrong)


def test_dates_of_recordings(db, make_audio):
    with db.session(actor="alice") as session:
        case = cases.open_case(session, title="Dates")
        for days in (3, 1, 2):
            audio = make_audio(session, case, recorded_at=NOON + timedelta(days=days))
            transcripts.add(session, audio, [Segment(f"harbour {days}", confidence=days / 10)], language="en")
        assert found(session, "harbour", order="time") == ["harbour 1", "harbour 2", "harbour 3"]
        day = timedelta(days=1)
        assert found(session, "harbour", recorded=(NOON + day, NOON + 2 * day)) == ["harbour 1"]
        assert found(session, "harbour", min_confidence=0.2, order="time") == ["harbour 2", "harbour 3"]


def test_suggestions_are_words_of_visible_transcripts(spoken):
    with spoken.session(actor="alice") as session:
        assert search.suggest(session, "harb") == ["harbour"]
        assert search.suggest(session, "CANC") == ["canciones", "canções"]
        assert search.suggest(session, "ele") == ["élèves"]
        assert search.suggest(session, "東") == search.suggest(session, "") == search.suggest(session, "zzz") == []
        with pytest.raises(InvalidInput):
            search.suggest(session, "two words")
    with spoken.session(actor="bob") as session:
        assert search.suggest(session, "harb") == []


def test_global_search_and_search_by_name(spoken):
    with undone(spoken, actor="alice") as session:
        case = cases.open_case(session, title="100% Harbour_light", case_code="H-7")
        cases.add_note(session, case, "the harbour was déserté")
        found = search.everything(session, "harbour")
        assert [kind for kind, _ in found] == ["case", "transcript", "note"]
        assert found.total == 3
        assert [note.body for note in search.everything(session, "deserte", case=case).notes] == [
            "the harbour was déserté"
        ]
        assert search.everything(session, "harbour", case=case).transcripts == []
        assert search.everything(session, "").total == 0

        def titles(pattern):
            return [each.title for each in search.cases(session, pattern)]

        assert (
            titles("0% HARB") == titles("h-7") == titles("r_l") == titles("100*light") == titles("h-?") == [case.title]
        )
        assert titles("%") == [case.title]
        assert titles("0%H") == titles("harbour?light*x") == titles("light*") == titles("\\") == []
        assert [user.username for user in search.users(session, "lic")] == ["alice"]
        for wrong in ("", " ", "x" * 201):
            with pytest.raises(InvalidInput):
                search.cases(session, wrong)


def test_name_search_uses_trigram_indexes_and_works_without_the_extension(world):
    db, owner = world

    def indexes():
        with owner.connect() as connection:
            return set(connection.scalars(text("SELECT indexname FROM pg_indexes WHERE indexname LIKE '%_trgm_idx'")))

    if indexing.index_names(owner):
        assert indexing.index_names(owner)
        assert indexes() == set(NAME_INDEXES)
        with owner.begin() as connection:
            create_name_indexes(connection)
            connection.execute(text("DROP EXTENSION pg_trgm CASCADE"))
    assert not indexing.index_names(owner)
    assert indexes() == set()
    with db.session(actor="root") as session:
        assert [user.username for user in search.users(session, "ALI")] == ["alice"]


@pytest.mark.parametrize("said", [
    "harbour " + "x" * 3_000_000, "harbour " + "é" * 100_000, "harbour " + "日本" * 50_000,
    "harbour " + "a-b/" * 50_000,
    "harbour " + " ".join(f"{n:x}é" for n in range(150_000)),
    "harbour " + "\ufdfa" * 30_000, "harbour \u0301\u0300' \\ : & |",
    "harbour " + "".join(chr(0x4E00 + n % 20_000) + chr(0x4E00 + n * 7 % 20_900) for n in range(60_000)),
], ids=["one token", "accents", "pairs", "hyphens", "lexemes", "expanding", "marks", "distinct pairs"])  # fmt: skip
def test_any_text_can_be_indexed(spoken, said):
    with spoken.session(actor="alice") as session:
        matched = select(
            func.public.search_vector_1("english", said).op("@@")(func.public.search_query("english", "harbour"))
        )
        assert session.scalar(matched) is True
