"""Further languages, spellings and characters inside words, in addition to test_search.py."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from sqlalchemy import func, select

from src.services import cases, search, transcripts
from src.services.transcripts import Segment
from tests.security.population import add_audio
from tests.services.searching import copied
from tests.undone import undone

DATA = Path(__file__).parents[3] / "shared" / "data"

# language, sentence, queries that match it, queries that do not.
SAID = (
    ("ca", "Les noies cantaven cançons a la plaça", "cantaven;cançons;CANÇONS;cancons;placa", ""),
    ("eu", "Mendiak ederrak dira udan", "mendi;mendiak;MENDIAK", "mendi udazken"),
    ("hu", "A gyerekek almát ettek a kertben", "gyerek;gyerekek;alma;kert;kertben;almat", ""),
    ("ro", "Fetele citesc cărți în grădină", "citesc;carti;cărţi;grădina;GRADINA", ""),
    ("da", "Pigerne gik over broen til Ærø", "pige;PIGERNE;broen;ærø;aero", ""),
    ("no", "Båtene ligger i havnen ved øya", "båt;bat;havn;oya", ""),
    ("et", "Lapsed mängisid õues", "mangisid;õues;oues", ""),
    ("lt", "Žuvys plaukė per ežerą", "zuvys;žuvys;ežeras;ezeras", ""),
    ("sr", "Птице лете изнад река", "птица;река;ptice;reka;лете", ""),
    ("hy", "Տները լեռների վրա են", "լեռների;տները;ՏՆԵՐԸ", ""),
    ("id", "Mereka membaca buku-buku di perpustakaan", "baca;buku;buku-buku;perpustakaan", ""),
    ("ga", "Bhí na báid ar an loch", "loch;baid;báid", ""),
    ("ne", "केटाहरू नदीमा पौडिए", "नदी;केटा", ""),
    ("ta", "பறவைகள் வானத்தில் பறந்தன", "பறவைகள்;வானத்தில்", ""),
    ("yi", "די פֿייגל זינגען אין װאַלד", "פייגל;װאַלד;וואלד;זינגען", ""),
    ("uk", "Сім’я купила п'ять яблук на подвірʼї", "сім'я;сімʼя;п’ять;пʼять;п'ять;подвір'ї;подвір’ї;сім’я*", "сіма"),
    ("cs", "Žluté lodě pluly po řece", 'zlute;LODĚ;rece;"zlute lode"', '"lodě žluté"'),
    ("vi", "Chiếc thuyền nhỏ ở Đà Lạt", 'thuyền;thuyen;"đà lạt";"da lat";ĐÀ', '"lat da"'),
    ("is", "Þórunn sá skipið við Ægisgarð", "thorunn;Þórunn;ÞÓRUNN;skipið;skipid;aegisgard", ""),
    ("fa", "کشتی‌های بزرگ را می‌بینم علی",
     "کشتی;کشتی‌های;کشتی های;کشتیهای;می بینم;میبینم;بینم;علي;كشتي", "های کشتی‌ها"),
    ("he", "סְפִינָה לְבָנָה בְּנָמֵל תל־אביב", 'ספינה;סְפִינָה;לבנה;אביב;"תל אביב"', '"אביב תל"'),
    ("hi", "बड़ी नाव ज़मीन से दूर थी", "बड़ी;बडी;नाव;ज़मीन;जमीन", ""),
    ("bn", "নৌকাটি নদীর ধারে বাঁধা ড়", "নৌকাটি;নদীর", ""),
    ("es", "Las mujeres y un líder", "mujer;mujeres;lider;líderes", ""),
    ("fr", "L’été, on s’appelle Œdipe «mauvais rêve»",
     "été;ÉTÉ;appelle;s'appelle;oedipe;ŒDIPE;\"mauvais rêve\";“mauvais reve”", "“rêve mauvais”"),
    ("de", "Die Würde der Straßenbahn", "Würde;würde;wurde;STRASSENBAHN;Straßenbahnen", ""),
    ("und", "Ο ΝΑΥΤΗΣ είδε τον δρόμο", "ναυτης;ναύτης;ΝΑΥΤΗΣ;ΔΡΌΜΟ;ναυτη*", ""),
    ("sv", "Nya rättigheter för fiskare", "rättighete*;rattighet;fiskar*", ""),
    ("ko", "배는 항구에 있었다. 등대", '항구;"배는 항구에";항구에 배는;등대', '"항구에 배는";"등대 배는"'),
    ("ja", "ﾎﾞｰﾄと灯台・港と2024年のＡ１号",
     "ボート;ﾎﾞｰﾄ;灯台;灯台・港;2024;2024年;Ａ１;灯台　港;“灯台”", '"港 灯台";灯港'),
    ("th", "เรือ ๓ ลำ จอดที่ท่าเรือ", 'เรือ;ท่าเรือ;จอด;๓;"เรือ ๓ ลำ"', '"ท่าเรือ จอด"'),
    ("en", "COVID-19 delayed the well-known ship at 10:30 on 2024-05-17, call +44 20",
     'covid-19;covid 19;19;"covid 19";well-known;well known;"well known ship";well-kno*;05;17;44;2024-05-17;10:30',
     'covid 18;"ship well"'),
    ("en", "They docked.Then O’Hara wrote to captain.bligh@harbour.example.org",
     "docked;O'Hara;O’Hara;bligh;example.org;captain.bligh@harbour.example.org;harbour", "docked.Later"),
    ("en", "said one/both at sea.museum yesterday", "sea;museum;sea.museum;yesterday", ""),
)  # fmt: skip


@pytest.fixture(scope="module")
def spoken(speech_server):
    with copied(speech_server) as (db, _):
        with db.session(actor="alice") as session:
            case = cases.open_case(session, title="Words").id
            for number, (language, said, *_) in enumerate(SAID):
                audio = add_audio(session, case, f"{number}.wav")
                transcripts.add(session, audio, [Segment(said, number * 1000, number * 1000 + 900)], language=language)
        yield db


@pytest.mark.parametrize("number", range(len(SAID)), ids=[f"{n}-{said[0]}" for n, said in enumerate(SAID)])
def test_words_are_found_in_all_spellings(spoken, number):
    _, said, queries, others = SAID[number]
    with spoken.session(actor="alice") as session:
        for query in queries.split(";"):
            hits = {hit.text: hit for hit in search.transcripts(session, query)}
            assert said in hits, query
            assert hits[said].start_ms == number * 1000
            assert "[" in hits[said].snippet, query
            assert hits[said].snippet.replace("[", "").replace("]", "") == said
        for query in filter(None, others.split(";")):
            assert said not in [hit.text for hit in search.transcripts(session, query)], query


@pytest.mark.parametrize(("query", "marked"), [
    ("コート OR ボート", "[ﾎﾞｰﾄ]と灯台・港と2024年のＡ１号"),
    ("خواهم OR بینم", "کشتی‌های بزرگ را می‌[بینم] علی"),
    ("کشتیهای", "[کشتی‌های] بزرگ را می‌بینم علی"),
    ("museum", "said one/both at sea.[museum] yesterday"),
    ("sea yesterday", "said one/both at [sea].museum [yesterday]"),
    ("aero", "Pigerne gik over broen til [Ærø]"),
])  # fmt: skip
def test_marks_enclose_the_match(spoken, query, marked):
    with spoken.session(actor="alice") as session:
        assert [hit.snippet for hit in search.transcripts(session, query)] == [marked]


@pytest.mark.parametrize("query", ["항구", "ボート", "řece", "été", "Ærø", "σπίτι OR ναύτης"])
def test_composed_and_decomposed_letters_match_each_other(spoken, query):
    """Keyboards and files use different normalization forms."""
    parts = unicodedata.normalize("NFD", query)
    with undone(spoken, actor="alice") as session:
        found = search.transcripts(session, query)
        assert found
        assert [hit.snippet for hit in search.transcripts(session, parts)] == [hit.snippet for hit in found]
        said = Segment(unicodedata.normalize("NFD", found[0].text))
        audio = add_audio(session, found[0].case_id, "parts.wav")
        transcripts.add(session, audio, [said], language=found[0].language)
        (hit,) = search.transcripts(session, query, recording=audio)
        assert hit.text == said.text
        assert unicodedata.normalize("NFC", hit.snippet) == found[0].snippet


REAL = {
    "whisper/radio_short.fr.words.json": "fr", "whisper/apollo11.words.json": "en",
    "whisper/japanese.words.json": "ja", "whisper/arabic.words.json": "ar",
}  # fmt: skip


@pytest.mark.parametrize("name", REAL)
def test_phrases_of_real_transcripts_are_found_at_their_times(spoken, name):
    source = DATA / name
    if not source.exists():
        pytest.skip("the real results in ../shared/data are missing")
    with undone(spoken, actor="alice") as session:
        case = cases.open_case(session, title=name)
        made = transcripts.import_result(session, add_audio(session, case.id, "real.wav"), source, language=REAL[name])
        asked = 0
        for segment in transcripts.segments(session, made):
            words = segment.text.split()
            for phrase in (" ".join(words[n : n + 3]) for n in range(0, min(len(words), 30), 3)):
                query = '"' + phrase.replace('"', "") + '"'
                terms = func.public.search_query(made.language.search_config, query)
                if session.scalar(select(func.numnode(terms))) == 0:
                    continue  # only stop words
                asked += 1
                hits = search.transcripts(session, query, case=case, limit=1000, include_flagged=True)
                assert (segment.start_ms, segment.end_ms) in [(hit.start_ms, hit.end_ms) for hit in hits], query
        assert asked >= 7
