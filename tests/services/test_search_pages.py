"""Pagination: all pages together equal the whole result, also when rows are added meanwhile."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from src.errors import InvalidInput
from src.services import cases, search, transcripts
from src.services.transcripts import Segment
from tests.security.population import add_audio
from tests.services.searching import copied
from tests.undone import undone

WORDS = ("harbour", "light", "master", "東京", "élève")


@pytest.fixture(scope="module")
def crowded(speech_server):
    """Sixty segments in three recordings, most of them with the same rank."""
    with copied(speech_server) as (db, _):
        with db.session(actor="alice") as session:
            case = cases.open_case(session, title="Crowd")
            for number in range(3):
                said = [
                    Segment(" ".join(WORDS[: 1 + (n + number) % 5]), None if n % 7 == 0 else n // 3 * 10)
                    for n in range(20)
                ]
                transcripts.add(session, add_audio(session, case.id, f"{number}.wav"), said, language="en")
        yield db


def everything(session, query, *, limit, **options):
    """Return all pages of a search."""
    pages = [search.transcripts(session, query, limit=limit, **options)]
    while pages[-1].next is not None:
        pages.append(search.transcripts(session, query, limit=limit, after=pages[-1].next, **options))
        assert len(pages) <= pages[0].total, "a page repeats"
    return pages


@given(st.integers(1, 61), st.sampled_from(["rank", "time"]), st.lists(st.sampled_from(WORDS), min_size=1, max_size=3))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_all_pages_together_equal_the_unpaged_result(crowded, limit, order, words):
    query = " OR ".join(words)
    with crowded.session(actor="alice") as session:
        whole = search.transcripts(session, query, order=order, limit=1000)
        pages = everything(session, query, order=order, limit=limit)
    together = [hit for page in pages for hit in page]
    assert together == whole
    assert len({hit.segment_id for hit in together}) == len(together) == whole.total
    assert {page.total for page in pages} == {whole.total}
    assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1)
    if order == "rank":
        assert [hit.rank for hit in together] == sorted((hit.rank for hit in together), reverse=True)
    else:
        times = [(hit.audio_file_id, -1 if hit.start_ms is None else hit.start_ms) for hit in together]
        assert times == sorted(times)


@pytest.mark.parametrize("order", ["rank", "time"])
def test_rows_added_between_pages_neither_repeat_nor_hide_hits(crowded, order):
    with crowded.session(actor="alice") as session:
        case = cases.open_case(session, title="Meanwhile")
        first = add_audio(session, case.id, "first.wav")
        transcripts.add(session, first, [Segment("quay " * (1 + n % 3), n) for n in range(12)], language="en")
    seen, after = [], None
    with crowded.session(actor="alice") as session:
        before = [hit.segment_id for hit in search.transcripts(session, "quay", case=case)]
    for number in range(10):
        with crowded.session(actor="alice") as session:
            page = search.transcripts(session, "quay", case=case, order=order, limit=3, after=after)
            seen += [hit.segment_id for hit in page]
            added = [Segment("quay quay quay quay"), Segment("quay")]
            transcripts.add(session, add_audio(session, case.id, f"{number}.wav"), added, language="en")
        after = page.next
        if after is None:
            break
    assert len(seen) == len(set(seen))
    assert set(before) <= set(seen)


def test_name_search_is_paginated(crowded):
    with crowded.session(actor="alice") as session:
        pages = [search.recordings(session, "WAV", limit=1)]
        while pages[-1].next is not None:
            pages.append(search.recordings(session, "WAV", limit=1, after=pages[-1].next))
            assert len(pages) <= pages[0].total, "a page repeats"
        whole = search.recordings(session, "wav", limit=1000)
    assert [audio for page in pages for audio in page] == whole
    assert {page.total for page in pages} == {len(whole)}


def test_a_cursor_is_valid_for_its_own_search_only(crowded):
    with crowded.session(actor="alice") as session:
        after = search.transcripts(session, "harbour", limit=2).next
        for other in ({"query": "light"}, {"query": "harbour", "order": "time"}, {"query": "harbour", "speaker": "x"}):
            with pytest.raises(InvalidInput, match="another search"):
                search.transcripts(session, **other, after=after)
        content = json.loads(base64.urlsafe_b64decode(after + "=="))
        for keys in ([1, 0.1], [1, "0.1", 5], [1, 0.1, 2**70], ["1", 0.1, 5], [1, 0.1, True], []):
            forged = base64.urlsafe_b64encode(json.dumps([content[0], *keys]).encode()).decode().rstrip("=")
            with pytest.raises(InvalidInput):
                search.transcripts(session, "harbour", after=forged)
        for nonsense in ("", "%%%", "é", "AAAA", after[:-3], "[" * 1000):
            with pytest.raises(InvalidInput):
                search.transcripts(session, "harbour", after=nonsense)
        late = json.dumps([content[0], 1, float("nan"), 5])
        with pytest.raises(InvalidInput):
            search.transcripts(session, "harbour", after=base64.urlsafe_b64encode(late.encode()).decode())


QUERY = st.text(
    st.one_of(
        st.sampled_from("\"-*|&!():'\\<> OR東本ｶaé\u0301\u0640\u200f\ufdfa/.@#"),
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
    ),
    max_size=40,
)


@given(QUERY)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_query_breaks_search_suggestions_or_names(crowded, query):
    with crowded.session(actor="alice") as session:
        for ask in (search.transcripts, search.suggest, search.cases, search.users, search.everything):
            try:
                ask(session, query)
            except InvalidInput:
                assert ask in {search.suggest, search.cases, search.users}


@given(QUERY)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_marks_do_not_change_the_text(crowded, said):
    """A snippet without its marks is a part of the text."""
    with undone(crowded, actor="alice") as session:
        audio = add_audio(session, cases.open_case(session, title="Any").id, "any.wav")
        transcripts.add(session, audio, [Segment(f"{said} harbour élève 東京")], language="fr")
        (hit,) = search.transcripts(session, "harbour eleve 東京", recording=audio)
        assert "[harbour]" in hit.snippet
        assert "[東京]" in hit.snippet
        if not set("[]\x02\x03") & set(said):
            assert hit.snippet.replace("[", "").replace("]", "") == f"{said} harbour élève 東京".strip()


@pytest.mark.parametrize(
    "query", ["harbour light OR " * 33, "light* master OR " * 33, '"harbour light" élève OR ' * 25]
)
def test_marking_many_pairs_of_words_is_fast(crowded, query):
    """Without a rewritten query, ts_headline expands it to one condition for each choice of a word from each pair."""
    with crowded.session(actor="alice") as session:
        session.execute(text("SET LOCAL statement_timeout = '5s'"))
        assert "[light]" in search.transcripts(session, query, limit=1)[0].snippet


def test_pieces_distinguish_marks_from_brackets_in_the_text(crowded):
    with undone(crowded, actor="alice") as session:
        audio = add_audio(session, cases.open_case(session, title="Brackets").id, "brackets.wav")
        long = "[light] harbour [inaudible] " * 1_000
        transcripts.add(session, audio, [Segment("[light] <b>x</b> [inaudible]", 0), Segment(long, 10)], language="en")
        short, cut = search.transcripts(session, "light", recording=audio, order="time")

        assert short.snippet == "[[light]] <b>x</b> [inaudible]"
        assert short.pieces == [("[", False), ("light", True), ("] <b>x</b> [inaudible]", False)]
        assert {text for text, matched in cut.pieces if matched} == {"light"}
        assert "[[light]]" in cut.snippet


@pytest.mark.parametrize("query", ["light", "ライト", "éclair"])
@pytest.mark.parametrize("filling", [0, 30_000])
def test_control_characters_in_a_text_cannot_forge_marks(db, make_audio, query, filling):
    content = f"\x02forged\x03 {query} \x03\x02also\x03{' word' * (filling // 5)}"
    with db.session(actor="alice") as session:
        case = cases.open_case(session, title="Forged")
        transcripts.add(session, make_audio(session, case), [Segment(content, 0, 900)], language="en")
    with db.session(actor="alice") as session:
        (hit,) = search.transcripts(session, query, case=case)
        marked = [text for text, matched in hit.pieces if matched]
        assert hit.text == content
        assert search.suggest(session, query[:2], case=case) in ([query], [])
    # Of a long text only a fragment is marked, without folding.
    assert marked == [query] or (filling and not query.isascii() and marked == [])
    assert not {"\x02", "\x03"} & {character for text, _ in hit.pieces for character in text}
