"""Calls of every function of the database, with arguments that reach its branches, and rows that fire every trigger.

They are in `calls/*.sql`, in the order of FILES: later calls find the rows of earlier ones. A line `-- as alice, owner`
names the actors who run the statements below it:

  the name of a user   the login, in the role that `begin_actor` returns
  owner                the owner of the database without an actor, for functions that sessions may not execute
  owner:alice          the owner with the actor alice

A result must not contain times or random values, and has an order: two runs with the same ids are compared. An error
is a result too. Literals with a backslash are E'', which reads the same under all settings.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import text

from src.database import AudioFile
from src.services import transcripts
from tests.security.population import Populated

FOLDER = Path(__file__).with_name("calls")
FILES = ("actor", "search", "rows", "storage", "jobs", "log", "sign_in", "maintenance")
VISIBLE_CASES = "SELECT id, title FROM public.cases ORDER BY id"
NIL = "00000000-0000-0000-0000-000000000000"
CONFIGS = ["simple", "english", "german", "french", "russian"]
# Characters that the search treats separately, and those that differ between the ways to read a literal; texts and
# queries at once.
ODD = r"a backslash C:\new\table, a quote 'it''s', \u0041 and \\ twice"
TEXTS = [
    "common words",
    "plain words of a sentence.Then another, and/or example.com",
    ODD,
    "naïve-café Ærøskøbing STRAẞE groß œuvre Þór été",
    '"common words" OR naïve-café -mujer run*',
    "мова об\u02bcєкт об'єкт об\u2019єкт слово-часть Ёлка",
    "\u0645\u06cc\u200c\u0631\u0648\u0645 \u0643\u062a\u0627\u0628 \u064a \u06a9\u06cc \u0640",
    "ΣΟΦΟΣ σοφός σοφοσ 日本語の録音 と 中文 ภาษาไทย 한국어",
    "ΣΟΦΟΣ 日本語 中*",
    "COVID-19 +5 -3.5 12:30 \u00adsoft\u200b \u201cquoted\u201d \u00abguillemets\u00bb \u3000wide",
    "COVID-19 3.5 groß\u00a0straße",
    "mujeres mujer rättigheter rättighete* running runs* the of und für",
    "the of",
    "été Würde",
    "",
]
SEAL = {
    "id": 1, "previous_id": None, "month": "2026-02-01", "low_xid": "0", "high_xid": "3", "next_xid": "3",
    "entry_count": 1, "sealed_at": "2026-02-03T04:05:06.789+05:45", "root": "aa", "seal_hash": "bb", "signature": "cc",
    "signing_key": "k",
}  # fmt: skip

_MEMBERS = """
INSERT INTO user_roles (code, name, parent_id, permissions)
SELECT 'below', 'Below', id, '{"job": ["claim"]}' FROM user_roles WHERE code = 'admin';
INSERT INTO users (username, role_id) SELECT v.name, r.id FROM user_roles r
  JOIN (VALUES ('carol', 'below'), ('Zoë', 'user')) AS v (name, role) ON v.role = r.code;
INSERT INTO case_participants (case_id, user_id, role, permissions, expires_at)
SELECT c.id, u.id, v.role, v.permissions, v.ends FROM cases c, users u
  JOIN (VALUES ('bob', 'viewer', '{"allow": ["delete"], "deny": ["write"]}'::jsonb, '2199-01-02T03:04Z'::timestamptz),
               ('Zoë', 'editor', '{}', '2001-02-03T04:05Z')) AS v (name, role, permissions, ends) ON v.name = u.username
 WHERE c.case_code = 'CASE-ALICE';
"""
# Otherwise the plans depend on when autovacuum runs.
_INDEXED = """
ANALYZE public.transcription_segments, public.case_notes, public.analysis_results;
SELECT gin_clean_pending_list(i.indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
  JOIN pg_am a ON a.oid = c.relam WHERE a.amname = 'gin' AND c.relnamespace = 'public'::regnamespace;
"""


class Call(NamedTuple):
    actor: str
    query: str

    @property
    def functions(self) -> set[str]:
        return set(re.findall(r"\bpublic\.(\w+)\(", self.query))


def calls() -> list[Call]:
    return [call for name in FILES for call in _calls_of((FOLDER / f"{name}.sql").read_text(encoding="utf-8"))]


def _calls_of(written: str) -> list[Call]:
    found = []
    for section in re.split(r"^-- as ", written, flags=re.MULTILINE)[1:]:
        actors, _, statements = section.partition("\n")
        queries = re.sub(r"^--.*\n", "", statements, flags=re.MULTILINE).strip().removesuffix(";").split(";\n")
        found += [Call(actor, query.strip()) for actor in actors.split(", ") for query in queries]
    return found


def prepare(populated: Populated) -> dict[str, Any]:
    """Add texts in several languages, users and roles; return the values that the calls name."""
    case, audio = populated.case_of["alice"], populated.audio_of["alice"]
    with populated.db.session(actor="alice") as session:
        recording = session.get_one(AudioFile, audio)
        said = [
            transcripts.Segment(words, 1000 * place, 1000 * place + 900, speaker=r"a'b\c", confidence=0.96)
            for place, words in enumerate(filter(None, TEXTS))
        ]
        for language in ("en", "fr", "de", "es", "ru", "el", "zh"):
            transcripts.add(session, recording, said, language=language)
        session.execute(
            text("INSERT INTO case_notes (case_id, body) SELECT :case, body FROM unnest(CAST(:bodies AS text[])) body"),
            {"case": case, "bodies": list(filter(None, TEXTS))},
        )
        session.execute(
            text("UPDATE audio_files SET recorded_at = '2026-03-04T05:06:07.123457+05:45' WHERE id = :id"),
            {"id": audio},
        )
    with populated.owner.begin() as connection:
        connection.exec_driver_sql(_MEMBERS)
        connection.exec_driver_sql(_INDEXED)
        users = dict(tuple(row) for row in connection.execute(text("SELECT username, id FROM users")))
        note = connection.scalar(text("SELECT min(id) FROM case_notes WHERE case_id = :case"), {"case": case})
    return {
        "case": case, "audio": audio, "note": note, "foreign": populated.case_of["bob"], "odd": ODD, "texts": TEXTS,
        "configs": CONFIGS, "seal": json.dumps(SEAL), "key": f"cases/{case}/{NIL}.wav",
        "archived": f"archive/{audio}/{NIL}.wav", "alice": users["alice"], "bob": users["bob"], "carol": users["carol"],
        "zoe": users["Zoë"],
    }  # fmt: skip
