"""The seeds of a new database: roles, statuses, priorities, sentiments, activity types, languages. Keyed by code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

Row = Mapping[str, Any]


class RoleSeed(NamedTuple):
    """A role: its parent's permissions and its own."""

    code: str
    name: str
    description: str
    parent: str | None
    permissions: dict[str, list[str]]


class LanguageSeed(NamedTuple):
    """A language: BCP 47 code, names, and the text search configuration of PostgreSQL, if it has one."""

    code: str
    name: str
    native_name: str
    search_config: str = "simple"


ROLES = (
    RoleSeed("user", "User", "May open cases; works in cases as a participant.", None, {"case": ["open"]}),
    RoleSeed("service", "Service", "A pipeline program: claims jobs; has access to a case while it holds a job.", None,
             {"job": ["claim"]}),
    RoleSeed("admin", "Administrator", "Has all permissions; manages users.", "user", {"*": ["*"]}),
)  # fmt: skip

CASE_STATUSES: tuple[Row, ...] = (
    {"code": "active", "name": "Active", "description": "Being worked on.", "is_closed": False},
    {"code": "pending", "name": "Pending", "description": "Waiting for input.", "is_closed": False},
    {"code": "closed", "name": "Closed", "description": "Finished; nothing more is expected.", "is_closed": True},
)

CASE_STATUS_MOVES: tuple[tuple[str, str], ...] = (
    ("active", "pending"),
    ("pending", "active"),
    ("active", "closed"),
    ("pending", "closed"),
    ("closed", "active"),
)
"""The moves that a case may make, from one status to another."""

CASE_PRIORITIES: tuple[Row, ...] = (
    {"code": "high", "name": "High", "weight": 300},
    {"code": "medium", "name": "Medium", "weight": 200},
    {"code": "low", "name": "Low", "weight": 100},
)

AUDIO_STATUSES: tuple[Row, ...] = (
    {"code": "received", "name": "Received", "description": "Stored; not processed yet.", "outcome": None},
    {"code": "queued", "name": "Queued", "description": "Waiting for a worker.", "outcome": None},
    {"code": "processing", "name": "Processing", "description": "Claimed by a worker.", "outcome": None},
    {"code": "processed", "name": "Processed", "description": "Processing is finished.", "outcome": "processed"},
    {"code": "failed", "name": "Failed", "description": "Processing failed; see error_message.", "outcome": "failed"},
)

SENTIMENTS: tuple[Row, ...] = (
    {"code": "positive", "name": "Positive"},
    {"code": "neutral", "name": "Neutral"},
    {"code": "negative", "name": "Negative"},
    {"code": "mixed", "name": "Mixed"},
)

ACTIVITY_TYPES: tuple[Row, ...] = (
    {"code": "row.insert", "name": "Row added", "category": "change"},
    {"code": "row.update", "name": "Row changed", "category": "change"},
    {"code": "row.delete", "name": "Row deleted", "category": "change"},
    {"code": "row.baseline", "name": "Baseline of an existing row", "category": "change"},
    {"code": "login.succeeded", "name": "Signed in", "category": "access"},
    {"code": "login.failed", "name": "Failed to sign in", "category": "access"},
    {"code": "access.refused", "name": "Was denied access", "category": "access"},
    {"code": "audio.opened", "name": "Opened a recording", "category": "access"},
    {"code": "transcript.read", "name": "Read a transcript", "category": "access"},
    {"code": "note.read", "name": "Read notes", "category": "access"},
    {"code": "analysis.read", "name": "Read analyses", "category": "access"},
    {"code": "history.read", "name": "Read earlier states", "category": "access"},
    {"code": "search.made", "name": "Searched", "category": "access"},
    {"code": "export.made", "name": "Exported", "category": "access"},
    {"code": "case.opened", "name": "Opened a case", "category": "case"},
    {"code": "case.closed", "name": "Closed a case", "category": "case"},
    {"code": "case.reopened", "name": "Reopened a case", "category": "case"},
    {"code": "case.moved", "name": "Changed the status of a case", "category": "case"},
    {"code": "case.prioritised", "name": "Changed the priority of a case", "category": "case"},
    {"code": "sensitive.marked", "name": "Marked as sensitive", "category": "case"},
    {"code": "sensitive.unmarked", "name": "Removed the mark sensitive", "category": "case"},
    {"code": "participant.added", "name": "Added a participant", "category": "people"},
    {"code": "participant.removed", "name": "Removed a participant", "category": "people"},
    {"code": "role.assigned", "name": "Assigned a role", "category": "people"},
    {"code": "hold.placed", "name": "Placed a legal hold", "category": "case"},
    {"code": "hold.released", "name": "Released a legal hold", "category": "case"},
    {"code": "audio.ingested", "name": "Ingested a recording", "category": "file"},
    {"code": "audio.archived", "name": "Archived a recording", "category": "file"},
    {"code": "audio.restored", "name": "Restored a recording", "category": "file"},
    {"code": "audio.deleted", "name": "Deleted a recording", "category": "file"},
    {"code": "audio.verified", "name": "Verified a recording", "category": "file"},
    {"code": "audio.moved", "name": "Moved a recording", "category": "file"},
    {"code": "audio.repaired", "name": "Restored the bytes of a recording", "category": "file"},
    {"code": "audio.purged", "name": "Removed a deleted recording permanently", "category": "file"},
    {"code": "storage.swept", "name": "Swept the storage", "category": "file"},
    {"code": "storage.registered", "name": "Registered a storage", "category": "file"},
    {"code": "storage.confirmed", "name": "Confirmed the database as the owner of its storages", "category": "file"},
    {"code": "storage.adopted", "name": "Adopted an object without a row", "category": "file"},
    {"code": "transcript.added", "name": "Added a transcription", "category": "work"},
    {"code": "transcript.accepted", "name": "Accepted a transcription", "category": "work"},
    {"code": "analysis.added", "name": "Added an analysis", "category": "work"},
    {"code": "analysis.accepted", "name": "Accepted an analysis", "category": "work"},
    {"code": "bulk.stored", "name": "Stored, changed or deleted many rows", "category": "work"},
    {"code": "job.claimed", "name": "Claimed a job", "category": "work"},
    {"code": "job.completed", "name": "Completed a job", "category": "work"},
    {"code": "job.failed", "name": "Failed a job", "category": "work"},
    {"code": "job.returned", "name": "Returned a job without counting the attempt", "category": "work"},
    {"code": "history.erased", "name": "Erased payloads of entries", "category": "history"},
    {"code": "history.archived", "name": "Archived a month", "category": "history"},
    {"code": "history.delayed", "name": "Kept entries from being sealed", "category": "history"},
    {"code": "history.reverted", "name": "Reverted to an earlier state", "category": "history"},
    {"code": "note", "name": "Noted", "category": "case"},
)

# First the languages with a text search configuration in PostgreSQL (estonian only since version 18; older servers use
# simple), then large languages without one.
LANGUAGES = tuple(
    LanguageSeed(*line.split("|"))
    for line in """
ar|Arabic|العربية|arabic
hy|Armenian|Հայերեն|armenian
eu|Basque|Euskara|basque
ca|Catalan|Català|catalan
da|Danish|Dansk|danish
nl|Dutch|Nederlands|dutch
en|English|English|english
et|Estonian|Eesti|estonian
fi|Finnish|Suomi|finnish
fr|French|Français|french
de|German|Deutsch|german
el|Greek|Ελληνικά|greek
hi|Hindi|हिन्दी|hindi
hu|Hungarian|Magyar|hungarian
id|Indonesian|Bahasa Indonesia|indonesian
ga|Irish|Gaeilge|irish
it|Italian|Italiano|italian
lt|Lithuanian|Lietuvių|lithuanian
ne|Nepali|नेपाली|nepali
no|Norwegian|Norsk|norwegian
nb|Norwegian Bokmål|Norsk bokmål|norwegian
nn|Norwegian Nynorsk|Norsk nynorsk|norwegian
pt|Portuguese|Português|portuguese
ro|Romanian|Română|romanian
ru|Russian|Русский|russian
sr|Serbian|Српски|serbian
es|Spanish|Español|spanish
sv|Swedish|Svenska|swedish
ta|Tamil|தமிழ்|tamil
tr|Turkish|Türkçe|turkish
yi|Yiddish|ייִדיש|yiddish
zh|Chinese|中文
yue|Cantonese|粵語
ja|Japanese|日本語
ko|Korean|한국어
th|Thai|ไทย
vi|Vietnamese|Tiếng Việt
fa|Persian|فارسی
ur|Urdu|اردو
bn|Bengali|বাংলা
uk|Ukrainian|Українська
cs|Czech|Čeština
pl|Polish|Polski
he|Hebrew|עברית
sw|Swahili|Kiswahili
af|Afrikaans|Afrikaans
am|Amharic|አማርኛ
as|Assamese|অসমীয়া
az|Azerbaijani|Azərbaycanca
ba|Bashkir|Башҡортса
be|Belarusian|Беларуская
bg|Bulgarian|Български
bo|Tibetan|བོད་སྐད་
br|Breton|Brezhoneg
bs|Bosnian|Bosanski
cy|Welsh|Cymraeg
fo|Faroese|Føroyskt
gl|Galician|Galego
gu|Gujarati|ગુજરાતી
ha|Hausa|Hausa
haw|Hawaiian|ʻŌlelo Hawaiʻi
hr|Croatian|Hrvatski
ht|Haitian Creole|Kreyòl ayisyen
is|Icelandic|Íslenska
jv|Javanese|Basa Jawa
ka|Georgian|ქართული
kk|Kazakh|Қазақша
km|Khmer|ខ្មែរ
kn|Kannada|ಕನ್ನಡ
la|Latin|Latina
lb|Luxembourgish|Lëtzebuergesch
ln|Lingala|Lingála
lo|Lao|ລາວ
lv|Latvian|Latviešu
mg|Malagasy|Malagasy
mi|Māori|Te reo Māori
mk|Macedonian|Македонски
ml|Malayalam|മലയാളം
mn|Mongolian|Монгол
mr|Marathi|मराठी
ms|Malay|Bahasa Melayu
mt|Maltese|Malti
my|Burmese|မြန်မာ
oc|Occitan|Occitan
pa|Punjabi|ਪੰਜਾਬੀ
ps|Pashto|پښتو
sa|Sanskrit|संस्कृतम्
sd|Sindhi|سنڌي
si|Sinhala|සිංහල
sk|Slovak|Slovenčina
sl|Slovenian|Slovenščina
sn|Shona|chiShona
so|Somali|Soomaali
sq|Albanian|Shqip
su|Sundanese|Basa Sunda
te|Telugu|తెలుగు
tg|Tajik|Тоҷикӣ
tk|Turkmen|Türkmençe
tl|Tagalog|Tagalog
tt|Tatar|Татарча
uz|Uzbek|Oʻzbekcha
yo|Yoruba|Yorùbá
zu|Zulu|isiZulu
und|Undetermined|
""".strip().splitlines()
)
