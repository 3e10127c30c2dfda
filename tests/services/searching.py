"""Sentences in many languages and a database of its own, for the tests of search."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine

from src.database import Database
from src.database.connection.engine import PoolOptions, make_engine
from src.database.testing import SpeechServer
from src.storage import MemoryStorage

# language → sentence, and words that each match it: inflected, without accents, in another width or case.
SENTENCES = {
    "en": ("The harbour masters were counting boats", "harbours count boat COUNTED"),
    "de": ("Die Häuser in der Straße wurden geöffnet", "haus hauser Häusern strasse geoffnet"),
    "fr": ("Les élèves ont été créées à l'école du cœur", "élève eleve créé ecole coeur"),
    "es": ("Las canciones que cantábamos en el corazón", "cancion canción cantábamos cantabamos corazones"),
    "it": ("Le città erano piene di ragazzi felici", "citta città ragazzo felice"),
    "pt": ("As canções das nações são lições", "canções cancoes nações nacoes licoes"),
    "nl": ("De huizen aan de grachten zijn verkocht", "gracht GRACHTEN"),
    "sv": ("Flickorna såg båtarna på sjön", "flicka båt bat sjön sjon"),
    "fi": ("Talot olivat järven rannalla", "talo järvi ranta jarven"),
    "ru": ("Студенты читали книги в ёлочном лесу", "студент книга книгу лес елочном"),
    "el": ("Οι μαθητές διάβαζαν τα βιβλία", "μαθητης μαθητές ΒΙΒΛΊΑ βιβλια"),
    "tr": ("Öğrenciler kitapları okudular", "öğrenci kitap ogrenciler"),
    "ar": ("كُتِبَتِ الكتب في المدينة", "الكتب كتب مدينة كُتُب"),
    "hi": ("लड़कों ने किताबें पढ़ीं", "किताबें लड़कों"),
    "pl": ("Łódź płynęła przez żółtą wodę", "lodz łódź żółtą zolta wode"),
    "ja": ("東京湾で船を見ました。ｶﾒﾗとPython", "東京湾 船 見ました カメラ python 京湾"),
    "zh": ("我们在北京大学学习历史", "北京 大学 历史 北京大学 学"),
    "ko": ("학생들이 학교에서 책을 읽었다", "학교 책 학생 학교에서"),
    "th": ("นักเรียนอ่านหนังสือที่โรงเรียน", "หนังสือ โรงเรียน นักเรียน"),
    "lo": ("ນັກຮຽນອ່ານປຶ້ມ", "ປຶ້ມ ນັກຮຽນ"),
    "my": ("ကျောင်းသားများ စာဖတ်သည်", "ကျောင်း စာဖတ်"),
    "km": ("សិស្សអានសៀវភៅ", "សៀវភៅ"),
}


@contextmanager
def copied(server: SpeechServer) -> Iterator[tuple[Database, Engine]]:
    """Yield a database copy and an engine of its owner."""
    with server.copy() as url:
        owner = make_engine(url, PoolOptions(size=2))
        with server.database(url, storage=MemoryStorage()) as database:
            yield database, owner
        owner.dispose()
