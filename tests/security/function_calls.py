"""Calls of every function of the database, with arguments that reach its branches, and rows that fire every trigger.

A call is a query, the actor who runs it, and values. Its result must not contain times or random values: two runs with
the same ids are compared. An error is a result too.

Actors: the name of a user, in the role that `begin_actor` returns; "owner", the owner of the database without an actor,
for functions that sessions may not execute; "owner:alice", the owner with the actor alice.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.orm import Session

from src.services import transcripts
from tests.security.population import Populated


class Call(NamedTuple):
    actor: str
    query: str
    values: dict[str, Any]

    @property
    def functions(self) -> set[str]:
        return set(re.findall(r"\bpublic\.(\w+)\(", self.query))


# Characters that the search treats separately, and those that differ between the ways to read a literal.
TEXTS = (
    "plain words of a sentence.Then another, and/or example.com",
    r"a backslash C:\new\table, a quote 'it''s', \u0041 and \\ twice",
    "naïve-café Ærøskøbing STRAẞE groß œuvre Þór été",
    "мова об\u02bcєкт об'єкт об\u2019єкт слово-часть Ёлка",
    "\u0645\u06cc\u200c\u0631\u0648\u0645 \u0643\u062a\u0627\u0628 \u064a \u06a9\u06cc \u0640",
    "ΣΟΦΟΣ σοφός σοφοσ 日本語の録音 と 中文 ภาษาไทย 한국어",
    "COVID-19 +5 -3.5 12:30 \u00adsoft\u200b \u201cquoted\u201d \u00abguillemets\u00bb \u3000wide",
    "mujeres mujer rättigheter rättighete running runs the of und für",
    "",
)
QUERIES = (
    "common words",
    '"common words" OR naïve-café -mujer run*',
    "\u201cbackslash C:\\new\u201d",
    r"C:\new \u0041 '' \ ",
    "ΣΟΦΟΣ 日本語 中*",
    "об'єкт об\u2019єкт слово-часть",
    "\u0645\u06cc\u200c\u0631\u0648\u0645 \u0643\u062a\u0627\u0628 \u06a9\u06cc",
    "COVID-19 3.5 groß\u00a0straße",
    "the of",
    "été Würde",
    "rättighete* dancin*",
)
NIL = "00000000-0000-0000-0000-000000000000"
AFTER = '["2001-02-03T04:05:06.123457+05:45", 1, -1, 1]'
FILTERS: tuple[dict[str, Any], ...] = (
    {},
    {"versions": "all", "flagged": True, "order": "time"},
    {"versions": "accepted", "max_rows": 2, "order": "rank"},
    {"order": "rank", "after": [0.0607927, 1]},
    {"order": "rank", "after": [0.12345678, 2]},
    {"order": "time", "after": json.loads(AFTER)},
    {
        "min_confidence": 0.30000000000000004,
        "recorded_from": "2026-03-04T05:06:07.123456+05:45",
        "recorded_to": "2026-03-04T05:06:07.123458+05:45",
        "versions": "all",
    },
    {"recorded_from": "02/04/2026", "versions": "all"},
    {"recorded_from": "2026-03-03 23:21", "recorded_to": "2026-03-03 23:22", "versions": "all"},
    {"created_from": "2001-02-03 04:05", "created_to": "03/04/2099", "speaker": r"a'b\c", "from_ms": 0, "to_ms": 9000},
    {"cases": [None, 1, 99999999999]},
    {"language": 1, "recording": 1, "status": 1},
)


def prepare(populated: Populated) -> dict[str, Any]:
    """Add texts in several languages and roles with parents; return the values that calls name."""
    case, audio = populated.case_of["alice"], populated.audio_of["alice"]
    with populated.db.session(actor="alice") as session:
        recording = session.get_one(_model("audio_files"), audio)
        for language in ("en", "fr", "de", "es", "ru", "el", "zh"):
            said = [
                transcripts.Segment(words, 1000 * index, 1000 * index + 900, speaker=r"a'b\c", confidence=0.1 + 0.2)
                for index, words in enumerate(TEXTS)
                if words
            ]
            transcripts.add(session, recording, said, language=language)
        session.execute(
            text("INSERT INTO case_notes (case_id, body) SELECT :case, body FROM unnest(CAST(:bodies AS text[])) body"),
            {"case": case, "bodies": [words for words in TEXTS if words]},
        )
        session.execute(
            text("UPDATE audio_files SET recorded_at = '2026-03-04T05:06:07.123457+05:45' WHERE id = :id"), {"id": audio}
        )
    with populated.owner.begin() as connection:
        connection.execute(
            text("INSERT INTO user_roles (code, name, parent_id, permissions) SELECT 'below', 'Below', id,"
                 " '{\"job\": [\"claim\"]}' FROM user_roles WHERE code = 'admin'")
        )  # fmt: skip
        connection.execute(
            text("INSERT INTO users (username, role_id) SELECT v.name, r.id FROM user_roles r"
                 " JOIN (VALUES ('carol', 'below'), ('Zoë', 'user')) AS v (name, role) ON v.role = r.code")
        )  # fmt: skip
        connection.execute(
            text("INSERT INTO case_participants (case_id, user_id, role, permissions, expires_at)"
                 " SELECT :case, u.id, v.role, CAST(v.permissions AS jsonb), CAST(v.ends AS timestamptz)"
                 "  FROM users u JOIN (VALUES ('bob', 'viewer', '{\"allow\": [\"delete\"], \"deny\": [\"write\"]}',"
                 "                             '2199-01-02T03:04:05+00'),"
                 "                            ('Zoë', 'editor', '{}', '2001-02-03T04:05:06+00'))"
                 "    AS v (name, role, permissions, ends) ON v.name = u.username"),
            {"case": case},
        )  # fmt: skip
    with populated.owner.connect() as connection:
        users = {name: number for name, number in connection.execute(text("SELECT username, id FROM users"))}
        note = connection.scalar(text("SELECT min(id) FROM case_notes WHERE case_id = :case"), {"case": case})
    return {"case": case, "audio": audio, "note": note, "foreign": populated.case_of["bob"],
            "foreign_audio": populated.audio_of["bob"], "alice": users["alice"], "bob": users["bob"],
            "carol": users["carol"], "zoe": users["Zoë"], "key": f"cases/{case}/{NIL}.wav",
            "archived": f"archive/{audio}/{NIL}.wav"}  # fmt: skip


def _model(table: str) -> Any:
    from tests.security.population import MODELS

    return MODELS[table]


def calls(known: dict[str, Any]) -> list[Call]:
    """Return all calls, in an order in which later ones find the rows of earlier ones."""
    return [
        Call(actor, query, {**known, **values})
        for part in (_of_the_actor(), _texts(), _searches(), _rows(), _storage(), _jobs(), _log(), _sign_in(), _owner())
        for actor, query, values in part
    ]


Part = list[tuple[str, str, dict[str, Any]]]


def _of_the_actor() -> Part:
    people = ("alice", "bob", "root", "transcriber", "carol", "Zoë", "dormant", "mallory")
    own = [
        (name, query, {})
        for name in people
        for query in (
            "SELECT public.actor_id() IS NULL, public.actor_name()",
            "SELECT v.verb, ARRAY(SELECT unnest(public.actor_case_ids(v.verb)) ORDER BY 1)"
            " FROM unnest('{read,write,delete,manage}'::text[]) AS v (verb)",
            "SELECT public.actor_may('*', '*'), public.actor_may('job', 'claim'), public.actor_may('case', 'open')",
            "SELECT * FROM public.explain_permissions(%(bob)s, %(case)s)",
            "SELECT * FROM public.explain_permissions(%(zoe)s, %(case)s)",
            "SELECT * FROM public.explain_permissions(%(carol)s, NULL)",
            "SELECT id, title FROM public.cases ORDER BY id",
        )
    ]
    return [
        *own,
        ("alice", "SELECT public.require_grantable(%(case)s, 'owner', '{}')", {}),
        ("bob", "SELECT public.require_grantable(%(case)s, 'viewer', '{\"allow\": [\"manage\"]}')", {}),
        *(
            ("alice", "SELECT public.participant_may(%(role)s, %(permissions)s, %(verb)s),"
             " public.is_denied(%(permissions)s, %(verb)s), public.participant_verbs(%(role)s),"
             " public.participation_known_1(%(permissions)s), public.role_permissions_known_1(%(permissions)s)",
             {"role": role, "permissions": permissions, "verb": verb})
            for role in ("owner", "editor", "viewer", "other")
            for verb in ("read", "write")
            for permissions in ("{}", '{"deny": ["read"], "allow": ["write"]}', '{"case": ["open"]}', "[]",
                                '{"allow": [null, "everything"]}')
        ),
        ("alice", "SELECT lookup, public.code_id(lookup, code) FROM (VALUES ('activity_types', 'row.insert'),"
         " ('audio_statuses', 'queued'), ('case_priorities', 'normal'), ('case_statuses', 'active'),"
         " ('languages', 'en'), ('sentiments', 'neutral'), ('user_roles', 'user')) AS v (lookup, code)", {}),
        ("alice", "SELECT public.code_id('users', 'x')", {}),
        ("alice", "SELECT public.role_verbs_1(), public.case_verbs_1(), public.schema_revision(),"
         " public.schema_build(), public.schema_oldest_code()", {}),
        *(
            (actor, "SELECT public.role_permits(u.role_id, '*', '*'), public.role_permits(u.role_id, 'job', 'claim'),"
             " public.role_reason(u.role_id, 'job', 'claim'), public.role_reason(u.role_id, 'case', 'open')"
             " FROM public.users u ORDER BY u.id", {})
            for actor in ("owner", "owner:alice")
        ),
        *(
            (actor, "SELECT public.signed_actor(), public.actor_name(), public.operator_name() ~ '^operator:',"
             " public.is_owner_at_work(), public.may_seal(), public.actor_epoch() > 0,"
             " public.actor_may_in(%(case)s, 'read'), public.actor_may_in(%(foreign)s, 'read')", {})
            for actor in ("owner", "owner:alice", "owner:root")
        ),
        ("owner", "SELECT public.is_current(NULL), public.is_current('2001-02-03T04:05:06Z'::timestamptz),"
         " public.is_current('2199-02-03T04:05:06Z'::timestamptz)", {}),
        ("owner", "SELECT public.token_mac(%(fields)s, 'inner'::bytea, 'outer'::bytea),"
         " public.is_signed(ARRAY['1', '2', '3', '4', '5', public.token_mac('1|2|3|4|5', '', '')], '', ''),"
         " public.transaction_start() > 0", {"fields": "a|ä|\\"}),
        ("owner", "SELECT public.is_transaction_token(string_to_array(%(token)s, '|'))", {"token": "1|2|3|4|5|6"}),
        ("owner", "SELECT public.is_transaction_token(ARRAY['1', pg_backend_pid()::text,"
         " public.transaction_start()::text, '1', '5', ''])", {}),
        ("owner", "SELECT split_part(public.mint_actor(%(alice)s, 1), '|', 1)", {}),
        ("owner", "SELECT public.verify_token(%(login_token)s, 'login'), public.verify_token(%(login_token)s, 'password'),"
         " public.verify_token('a|b|c|d|e|f', 'login'), public.verify_token('x', 'login')", {}),
        ("owner", "SELECT actor, database_role FROM public.begin_actor('a|1|2|3|session|alice', NULL, NULL)", {}),
    ]  # fmt: skip


def _texts() -> Part:
    configs = ("simple", "english", "german", "spanish", "french", "russian", "greek")
    each = [("alice", query, {"text": words}) for words in (*TEXTS, *QUERIES) for query in (
        "SELECT public.search_plain_1(%(text)s), public.search_fold_1(%(text)s), public.search_pairs_1(%(text)s)",
        "SELECT public.search_spellings(%(text)s) ORDER BY 1",
        "SELECT c, public.search_vector_1(c, %(text)s), public.search_lexemes_1(c, %(text)s) FROM unnest(%(configs)s) c",
        "SELECT c, public.search_query(c, %(text)s) FROM unnest(%(configs)s) c",
        "SELECT c, public.search_term(c, %(text)s, false), public.search_term(c, %(text)s, true) FROM unnest(%(configs)s) c",
        "SELECT c, public.search_words(c, %(text)s, false), public.search_words(c, %(text)s, true) FROM unnest(%(configs)s) c",
    )]  # fmt: skip
    words = [("alice", "SELECT c, public.search_stems(c, %(text)s) FROM unnest(%(configs)s) c", {"text": word})
             for word in ("rättighete", "runnin", "мов", "it's", "back\\", "σοφο")]  # fmt: skip
    return [
        *((actor, query, {**values, "configs": list(configs)}) for actor, query, values in (*each, *words)),
        *(("alice", "SELECT public.search_run(%(run)s)", {"run": run}) for run in ("日本語", "日", "日本 語", "録'音")),
        ("alice", "SELECT public.search_vector_1('simple', repeat(%(text)s, 2000))", {"text": "word naïve 日本 "}),
        ("alice", "SELECT public.search_vector_1('simple', (SELECT string_agg('w' || n, ' ')"
                  " FROM generate_series(1, 90000) n))", {}),
        ("alice", "SELECT public.search_unspaced_1(), public.search_accents_1(), public.search_silent_1(),"
                  " public.search_letter_1(), public.search_half_space_1(), public.search_quotes(),"
                  " public.search_spaces(), public.search_term_pattern()", {}),
    ]  # fmt: skip


def _searches() -> Part:
    filters = [json.dumps(each) for each in FILTERS]
    pages: Part = [
        (actor, "SELECT segment_id, rank, total, terms FROM public.search_page(%(query)s, %(filters)s)",
         {"query": query, "filters": each})
        for actor in ("alice", "root")
        for query, each in (*((query, "{}") for query in QUERIES), *(("words OR naïve", each) for each in filters))
    ]  # fmt: skip
    rows: Part = [
        ("alice", "SELECT * FROM public.search_rows(%(entity)s, %(query)s, %(filters)s)",
         {"entity": entity, "query": query, "filters": each})
        for entity, query in (
            ("cases", "Case"), ("cases", r"c%_\*"), ("cases", "?ase*"), ("audio_files", "ALICE"), ("users", "zo"),
            ("case_notes", "naïve-café"), ("case_notes", "back* OR 日本"), ("analysis_results", "Summary"), ("x", "y"),
        )
        for each in ('{"max_rows": 3}', '{"after": 100000, "cases": [1, 2]}')
    ]  # fmt: skip
    return [
        *pages,
        *rows,
        *(("owner:alice", "SELECT public.search_scope(%(cases)s), public.search_within('x.case_id', '{1,2}'),"
           " public.search_max_rows(%(filters)s)", {"cases": cases, "filters": filters[0]})
          for cases in (None, "null", "[1, 2, null, 99999999999]")),
        *(("owner:alice", "SELECT * FROM public.search_matches(%(query)s, NULL)", {"query": query}) for query in QUERIES),
    ]  # fmt: skip


def _rows() -> Part:
    """Writes of members and administrators: triggers, CHECKs, generated columns, policies."""
    return [
        ("alice", "INSERT INTO public.cases (title, description) VALUES (%(text)s, 'x')"
         " RETURNING id, case_code, status_id, opened_by_id, active_holds", {"text": TEXTS[1]}),
        ("alice", "INSERT INTO public.case_notes (case_id, body) SELECT %(case)s, b FROM unnest(%(texts)s) b WHERE b <> ''"
         " RETURNING id, author_id, row_version", {"texts": list(TEXTS)}),
        ("alice", "WITH u AS (UPDATE public.case_notes SET body = body || '.' WHERE id = %(note)s RETURNING id, row_version)"
         " SELECT * FROM u ORDER BY id", {}),
        ("alice", "INSERT INTO public.case_participants (case_id, user_id, role, permissions)"
         " VALUES (%(case)s, %(carol)s, 'editor', '{\"deny\": [\"write\"]}') RETURNING id, role, permissions", {}),
        ("alice", "INSERT INTO public.case_participants (case_id, user_id, role, permissions)"
         " VALUES (%(case)s, %(carol)s, 'editor', '{\"deny\": [\"everything\"]}') RETURNING id", {}),
        ("alice", "UPDATE public.case_participants SET role = 'viewer' WHERE user_id = %(carol)s RETURNING id", {}),
        ("alice", "UPDATE public.case_participants SET expires_at = '2199-01-01T00:00:00Z'"
         " WHERE case_id = %(case)s AND user_id = %(alice)s RETURNING id", {}),
        ("alice", "DELETE FROM public.case_participants WHERE case_id = %(case)s AND user_id = %(alice)s RETURNING id", {}),
        ("alice", "INSERT INTO public.transcriptions (case_id, audio_file_id, language_id, version, content, confidence)"
         " SELECT %(case)s, %(audio)s, id, 99, %(text)s, 0.1::float8 + 0.2::float8 FROM public.languages WHERE code = 'en'"
         " RETURNING id, created_by_id", {"text": TEXTS[1]}),
        ("alice", "INSERT INTO public.transcription_segments (case_id, transcription_id, position, start_ms, text,"
         " speaker, confidence, words, flags, search_config)"
         " SELECT %(case)s, t.id, s.place, s.place, s.body, 'x', 0.1::float8 + 0.2::float8, '[{\"w\": 0.30}]',"
         "        '{no_speech}', c.config"
         "   FROM public.transcriptions t, unnest(%(texts)s) WITH ORDINALITY AS s (body, place),"
         "        (VALUES ('english')) AS c (config)"
         "  WHERE t.version = 99 AND s.body <> '' RETURNING position, search", {"texts": list(TEXTS)}),
        ("alice", "INSERT INTO public.transcription_sources (case_id, transcription_id, dialect, sha256, content)"
         " SELECT %(case)s, id, 'whisper', repeat('1', 64), 'x'::bytea FROM public.transcriptions WHERE version = 99"
         " RETURNING audio_file_id", {}),
        ("alice", "SET CONSTRAINTS ALL IMMEDIATE", {}),
        ("alice", "SELECT segments_sha256, public.transcription_digest(id) FROM public.transcriptions"
         " WHERE case_id = %(case)s ORDER BY id", {}),
        ("alice", "INSERT INTO public.transcription_segments (case_id, transcription_id, position, text)"
         " SELECT %(case)s, id, 999, 'late' FROM public.transcriptions WHERE version = 99 RETURNING id", {}),
        ("alice", "UPDATE public.transcriptions SET accepted_at = now(), accepted_by_id = %(alice)s WHERE version = 99 RETURNING accepted_by_id", {}),
        ("alice", "INSERT INTO public.analysis_results (case_id, audio_file_id, version, sentiment_score, details, summary)"
         " VALUES (%(case)s, %(audio)s, 9, 0.1::float8 + 0.2::float8, %(details)s, %(text)s) RETURNING id",
         {"details": json.dumps({"x\\y": [1.10, 1e-7, None, "\u2028"]}), "text": TEXTS[2]}),
        ("alice", "DELETE FROM public.transcriptions WHERE version = 99 RETURNING version", {}),
        ("alice", "DELETE FROM public.case_notes WHERE id = %(note)s RETURNING id", {}),
        ("alice", "DELETE FROM public.analysis_results WHERE version = 9 RETURNING version", {}),
        ("alice", "SELECT public.restore_deleted(max(id)) > 0 FROM public.activity_logs"
         " WHERE operation = 'delete' AND entity = 'case_notes'", {}),
        ("alice", "SELECT public.restore_deleted(max(id)) > 0 FROM public.activity_logs"
         " WHERE operation = 'delete' AND entity = 'analysis_results'", {}),
        ("alice", "SELECT public.restore_deleted(max(id)) > 0 FROM public.activity_logs"
         " WHERE operation = 'delete' AND entity = 'transcriptions'", {}),
        ("alice", "SELECT public.restore_deleted(1)", {}),
        ("alice", "SELECT id, summary, sentiment_score, details FROM public.analysis_results ORDER BY id", {}),
        ("alice", "INSERT INTO public.legal_holds (case_id, reason) VALUES (%(case)s, 'suit') RETURNING id", {}),
        ("alice", "SELECT active_holds FROM public.cases WHERE id = %(case)s", {}),
        ("alice", "DELETE FROM public.case_notes WHERE case_id = %(case)s RETURNING id", {}),
        ("alice", "DELETE FROM public.cases WHERE id = %(case)s RETURNING id", {}),
        ("alice", "UPDATE public.legal_holds SET released_at = now(), released_by_id = %(alice)s, release_reason = 'over'"
         " WHERE case_id = %(case)s AND released_at IS NULL RETURNING released_by_id", {}),
        ("alice", "UPDATE public.users SET email = 'new@example.org', full_name = %(full)s WHERE id = %(alice)s"
         " RETURNING email", {"full": "Alice \\ A."}),
        ("root", "INSERT INTO public.users (username, role_id) SELECT 'dave', id FROM public.user_roles"
         " WHERE code = 'below' RETURNING username", {}),
        ("root", "UPDATE public.users SET is_active = false WHERE username IN ('root', 'dave', 'carol') RETURNING id", {}),
        ("root", "UPDATE public.users SET is_active = false WHERE username = 'dave' RETURNING id", {}),
        ("root", "DELETE FROM public.users WHERE username = 'dave' RETURNING id", {}),
        ("root", "UPDATE public.user_roles SET permissions = '{}' WHERE code IN ('admin', 'below') RETURNING code", {}),
        ("root", "UPDATE public.user_roles SET permissions = '{\"a\": [\"b\"]}' WHERE code = 'below' RETURNING id", {}),
        ("root", "UPDATE public.user_roles a SET parent_id = b.id FROM public.user_roles b"
         " WHERE a.code = 'admin' AND b.code = 'below' RETURNING a.code", {}),
        ("root", "INSERT INTO public.languages (code, name, search_config) VALUES ('xx', 'X', 'simple') RETURNING code", {}),
        ("root", "UPDATE public.languages SET id = 999 WHERE code = 'xx' RETURNING id", {}),
        ("root", "UPDATE public.languages SET name = 'Y' WHERE code = 'xx' RETURNING name", {}),
        ("owner", "WITH u AS (UPDATE public.transcription_segments SET search_config = 'simple' WHERE case_id = %(case)s"
         " RETURNING id, search) SELECT * FROM u ORDER BY id", {}),
        ("owner", "UPDATE public.transcription_segments SET text = 'x' RETURNING id", {}),
        ("owner", "UPDATE public.activity_seals SET root = '' RETURNING id", {}),
        ("owner", "UPDATE public.actor_keys SET retired_at = NULL RETURNING id", {}),
    ]  # fmt: skip


def _storage() -> Part:
    audio = ("INSERT INTO public.audio_files (case_id, name, path, size_bytes, sha256, storage_type, recorded_at)"
             " VALUES (%(case)s, 'new.wav', %(key)s, 4, repeat('2', 64), 'memory', '2026-03-04T05:06:07+05:45')"
             " RETURNING name, storage_type, is_archived")  # fmt: skip
    new = "(SELECT id FROM public.audio_files WHERE name = 'new.wav')"
    return [
        ("owner", "SELECT key, public.is_key_of_case(key, 7), public.is_in_archive(key),"
         " public.is_key_of_recording(key, 7) FROM unnest(%(keys)s) key",
         {"keys": [f"cases/7/{NIL}.wav", f"archive/7/{NIL}.wav", f"archive/8/{NIL}.wav", f"cases/7/{NIL}\\.wav", "x"]}),
        ("owner:alice", "SELECT public.case_of_recording(%(audio)s, 'write')", {}),
        ("owner:bob", "SELECT public.case_of_recording(%(audio)s, 'write')", {}),
        ("owner:transcriber", "SELECT public.case_of_recording(%(audio)s, 'write')", {}),
        ("owner", "SELECT public.require_no_hold(%(case)s, 'audio_files')", {}),
        ("alice", audio, {}),
        ("alice", "SELECT public.announce_object(%(case)s, %(key)s, 'memory') > 0", {}),
        ("alice", "SELECT public.announce_object(%(foreign)s, %(key)s, 'memory')", {}),
        ("alice", "SELECT public.lock_object(%(key)s), public.lock_object('other')", {}),
        ("alice", audio, {}),
        ("alice", "UPDATE public.audio_files SET name = 'renamed.wav', recorded_at = '2026-03-04T05:06:08Z'"
         " WHERE id = %(audio)s RETURNING row_version", {}),
        ("alice", "SELECT public.note_check(%(audio)s, (SELECT path FROM public.audio_files WHERE id = %(audio)s), 'e')", {}),
        ("alice", "SELECT public.announce_object(%(case)s, %(archived)s, 'memory') > 0", {}),
        ("alice", "SELECT public.place_recording(%(audio)s, (SELECT path FROM public.audio_files WHERE id = %(audio)s),"
         " %(archived)s, 'memory', true, 'old')", {}),
        ("alice", "SELECT public.place_recording(%(audio)s, 'x', 'y', 'memory', true, 'old')", {}),
        ("bob", "SELECT public.place_recording(%(audio)s, 'x', 'y', 'memory', true, 'old')", {}),
        ("alice", "SELECT public.mark_deleted(%(audio)s, true) IS NULL, public.mark_deleted(%(audio)s, false) IS NULL", {}),
        ("bob", "SELECT public.mark_deleted(%(audio)s, true) IS NULL", {}),
        ("alice", f"DELETE FROM public.audio_files WHERE id = {new} RETURNING name", {}),
        ("alice", "SELECT public.restore_deleted(max(id)) > 0 FROM public.activity_logs"
         " WHERE operation = 'delete' AND entity = 'audio_files'", {}),
        ("alice", "SELECT key, state, size_bytes, sha256 FROM public.storage_objects ORDER BY id", {}),
    ]  # fmt: skip


def _jobs() -> Part:
    job, lease, case = (f"(SELECT {column} FROM public.processing_jobs WHERE state = 'running')"
                        for column in ("id", "lease", "case_id"))  # fmt: skip
    claim = "SELECT public.claim_job('{transcribe}', 'w', 60) > 0"
    left = "SELECT kind, state, attempts, lease, worker, error_message, result FROM public.processing_jobs ORDER BY id"
    return [
        ("alice", claim, {}),
        ("transcriber", claim, {}),
        ("transcriber", f"SELECT abs(extract(epoch FROM public.extend_lease({job}, {lease}, 100) - now()) - 100) < 60", {}),
        ("transcriber", f"SELECT public.extend_lease({job}, 99, 100)", {}),
        ("transcriber", f"SELECT public.fail_job({job}, {lease}, %(text)s, true, 0)", {"text": TEXTS[1]}),
        ("root", left, {}),
        ("transcriber", claim, {}),
        ("transcriber", f"INSERT INTO public.case_notes (case_id, body) VALUES ({case}, 'by lease') RETURNING author_id", {}),
        ("transcriber", f"SELECT public.complete_job({job}, {lease}, %(text)s)", {"text": '{"a\\\\b": 0.10}'}),
        ("root", left, {}),
        ("owner", "SELECT extract(epoch FROM public.lease_end(100000000) - now())::bigint / 100", {}),
        ("owner:transcriber", "SELECT public.require_lease(1, 1)", {}),
        ("owner:alice", "SELECT public.record_job('job.claimed', 1, '{}')", {}),
    ]  # fmt: skip


def _log() -> Part:
    reads = json.dumps([
        {"type": "search.made", "case_id": 1, "detail": {"query": "back\\slash", "n": 0.10}},
        {"type": "audio.moved", "entity": "audio_files", "entity_id": 1, "detail": {"outcome": "failed"}},
    ])  # fmt: skip
    seal = {"id": 1, "previous_id": None, "month": "2026-02-01", "low_xid": "0", "high_xid": "3", "next_xid": "3",
            "entry_count": 1, "sealed_at": "2026-02-03T04:05:06.789+05:45", "root": "aa", "seal_hash": "bb",
            "signature": "cc", "signing_key": "k"}  # fmt: skip
    return [
        ("alice", "SELECT public.record_activity('case.opened', %(case)s, 'cases', %(case)s, %(detail)s) > 0",
         {"detail": json.dumps({"a\\b": [1.50, 1e-9], "text": "\u2028 '"})}),
        ("alice", "SELECT public.record_activity('row.insert', %(case)s, 'cases', %(case)s, '{}')", {}),
        ("alice", "SELECT public.record_activity('case.opened', %(foreign)s, 'cases', 1, '{}')", {}),
        ("alice", "SELECT public.record_activity('case.opened', %(case)s, 'cases', 1, '[]')", {}),
        ("alice", "SELECT public.record_reads(%(reads)s)", {"reads": reads}),
        ("alice", "SELECT public.record_reads('[{\"type\": \"row.insert\"}]')", {}),
        ("root", "SELECT public.capture_arguments('users'), public.capture_arguments('cases')", {}),
        ("root", "SELECT public.captured_tables()", {}),
        ("root", "SELECT epoch > 0, high_xid IS NULL, next_xid IS NULL FROM public.begin_seal()", {}),
        ("alice", "SELECT * FROM public.begin_seal()", {}),
        ("root", "SELECT public.append_seal(%(seal)s::jsonb || jsonb_build_object('epoch',"
         " (SELECT system_identifier FROM pg_control_system())), decode(repeat('00', 40), 'hex'))", {"seal": json.dumps(seal)}),
        ("root", "SELECT public.append_seal(%(seal)s, '')", {"seal": json.dumps(seal)}),
        ("root", "SELECT public.append_seal(%(seal)s::jsonb || jsonb_build_object('epoch',"
         " (SELECT system_identifier FROM pg_control_system())), '')",
         {"seal": json.dumps({**seal, "id": 2, "previous_id": 1, "entry_count": 0, "sealed_at": "2026-02-03 04:05"})}),
        ("root", "SELECT public.append_seal(%(seal)s, '')", {"seal": json.dumps({**seal, "month": "02/01/2026"})}),
        ("root", "SELECT id, month, low_xid, high_xid, root, leaves, created_at FROM public.activity_seals", {}),
        ("root", "SELECT cardinality(public.erase_payloads(%(case)s, NULL, 3))", {}),
        ("root", "SELECT cardinality(public.erase_payloads(NULL, %(bob)s, 3))", {}),
        ("root", "SELECT public.erase_payloads(NULL, NULL, 3)", {}),
        ("alice", "SELECT public.erase_payloads(%(case)s, NULL, 3)", {}),
        ("owner", "SELECT public.payload_hash('salt', %(new)s, NULL), public.leaf_hash(1, '2026-03-04T05:06:07.123456Z',"
         " 1, 2, %(name)s, 3, 'cases', 4, 'insert', NULL, %(name)s, '7', 8, '1001', 'x')",
         {"new": json.dumps({"a\\b": [1.50, 1e-9]}), "name": "ä\\'"}),
        ("owner", "SELECT public.may_be_captured('public', 'public.cases'::regclass)", {}),
        ("owner", "SELECT public.redact(%(image)s, '{email,missing}', 'salt')", {"image": '{"email": "a\\\\b", "id": 1}'}),
        ("owner", "SELECT public.append_activity('case.opened', 'event', NULL, public.actor_name(), NULL, 'cases', 1,"
         " NULL, '{\"a\": 0.10}', NULL) > 0", {}),
        ("owner", "SELECT public.append_activity('missing', 'event', NULL, 'x', NULL, 'cases', 1, NULL, NULL, NULL)", {}),
        ("owner", "UPDATE public.activity_logs SET reason = 'x' RETURNING id", {}),
    ]  # fmt: skip


def _sign_in() -> Part:
    return [
        ("alice", "SELECT user_id, username, is_active, wait_seconds FROM public.credential(%(login_token)s)", {}),
        ("alice", "SELECT public.record_login(%(login_token)s, 'failed', NULL)", {}),
        ("alice", "SELECT public.record_login(%(login_token)s, 'early', NULL)", {}),
        ("alice", "SELECT public.record_login(%(login_token)s, 'succeeded', %(hash)s)", {"hash": "bcrypt:$2b$\\x"}),
        ("alice", "SELECT public.record_login('x', 'succeeded', NULL)", {}),
        ("alice", "SELECT public.store_credential(%(password_token)s, %(new_hash)s) = %(alice)s", {}),
        ("alice", "SELECT public.store_credential(%(password_token)s, 'other')", {}),
        ("owner", "INSERT INTO public.login_throttles (user_id, failures, last_failed_at)"
         " VALUES (%(bob)s, 7, now()) RETURNING failures", {}),
        ("owner", "SELECT public.login_wait(%(bob)s) > 0, public.login_wait(%(alice)s)", {}),
    ]  # fmt: skip


def _owner() -> Part:
    """Functions of maintenance."""
    return [
        ("owner", "SELECT public.write_baseline('languages', 3), public.write_baseline('users', 3)", {}),
        ("owner", "SELECT public.write_baseline('actor_keys', 3)", {}),
        ("owner", "SELECT public.ensure_activity_partitions(30) > 20", {}),
        ("owner", "INSERT INTO public.activity_logs (created_at, activity_type_id, actor, operation, transaction_id, epoch,"
         " schema_revision, payload_hash, leaf_hash) VALUES ('2199-12-31T23:30:00Z', 1, 'x', 'event', '1', 1, 'x', '', '')"
         " RETURNING created_at", {}),
        ("owner", "SET CONSTRAINTS ALL IMMEDIATE", {}),
        ("owner", "SELECT public.empty_default_partition()", {}),
        ("owner", "SELECT public.record_schema(%(revision)s, 77, %(revision)s)", {"revision": "10'0\\1"}),
        ("owner", "SELECT public.schema_revision(), public.schema_build(), public.schema_oldest_code()", {}),
    ]  # fmt: skip
