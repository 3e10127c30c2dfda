"""Ten thousand operations on every path, compared with a model, then a thousand tamperings, all to be detected."""

from __future__ import annotations

import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parent)]

from _options import main

from src.database.connection.engine import PoolOptions, make_engine
from src.database.testing import running_server
from src.services.history import HeadFile, SealKey
from src.storage import MemoryStorage
from tests.services.history import tampering
from tests.services.history.conftest import Sealed, live
from tests.services.history.damaged import DAMAGED
from tests.services.history.hidden import HIDDEN
from tests.services.history.program import Program
from tests.services.history.replay import complaints
from tests.services.history.tampering_kinds import Tampering, populate, tamper

LOG, SEALS = "activity_logs", "activity_seals"
ENTRY = ("changed", "moved", "rehashed", "back-dated", "post-dated", "swapped")

# New values of the columns of an entry. All are done twice: as they are, and with the hashes computed again.
ENTRY_VALUES = {
    "actor": "actor || 'x'",
    "actor id": "coalesce(actor_id, 0) + 1",
    "case": "coalesce(case_id, 0) + 1",
    "entity": "coalesce(entity, '') || 's'",
    "row": "coalesce(entity_id, 0) + 1",
    "operation": "CASE operation WHEN 'event' THEN 'insert' ELSE 'event' END",
    "reason": "coalesce(reason, '') || ' '",
    "request": "coalesce(request_id, '') || 'x'",
    "type": "activity_type_id + 1",
    "revision": "'0000'",
    "time, a microsecond": "created_at + interval '1 microsecond'",
    "time, another month": "created_at - interval '2 months'",
    "time, the year 9000": "'9000-01-01 00:00+00'",
    "time, infinity": "'infinity'",
    "time, before Christ": "'0044-03-15 00:00+00 BC'",
    "epoch": "epoch + 1",
    "transaction": "'999999999999'",
    "new image": "coalesce(new, '{}') || '{\"title\": \"forged\"}'",
    "old image": "coalesce(old, '{}') || '{\"title\": \"forged\"}'",
    "new image, other digits": "'{\"x\": 1.10}'",
    "new image, null of JSON": "'null'",
    "salt": "salt || '\\x00'::bytea",
}
ENTRY_COLUMNS = {
    "actor": "actor",
    "actor id": "actor_id",
    "case": "case_id",
    "entity": "entity",
    "row": "entity_id",
    "operation": "operation",
    "reason": "reason",
    "request": "request_id",
    "type": "activity_type_id",
    "revision": "schema_revision",
    "time": "created_at",
    "epoch": "epoch",
    "transaction": "transaction_id",
    "new image": "new",
    "old image": "old",
    "salt": "salt",
}
ENTRIES = (
    *(
        Tampering(
            f"entry, {what}{how}",
            f"UPDATE {LOG} SET {ENTRY_COLUMNS[what.partition(',')[0]]} = {value} WHERE id = {{id}}",
            ENTRY,
            LOG,
            rehash=bool(how),
        )
        for how in ("", ", rehashed")
        for what, value in ENTRY_VALUES.items()
        if not (how and what == "time, infinity")  # which has no hash
    ),
    Tampering(
        "entry, payload hash", f"UPDATE {LOG} SET payload_hash = sha256(payload_hash) WHERE id = {{id}}", ENTRY, LOG
    ),
    Tampering("entry, leaf hash", f"UPDATE {LOG} SET leaf_hash = sha256(leaf_hash) WHERE id = {{id}}", ENTRY, LOG),
    Tampering(
        "entry, updated_at",
        f"UPDATE {LOG} SET updated_at = now() - interval '1 day' WHERE id = {{id}}",
        ("stamp",),
        LOG,
    ),
    Tampering(
        "entry, emptied", f"UPDATE {LOG} SET old = NULL, new = NULL, salt = NULL WHERE id = {{id}}", ("erased",), LOG
    ),
    Tampering("entry, images emptied", f"UPDATE {LOG} SET old = NULL, new = NULL WHERE id = {{id}}", ENTRY, LOG),
    Tampering("entry, salt emptied", f"UPDATE {LOG} SET salt = NULL WHERE id = {{id}}", ENTRY, LOG),
    Tampering("entry, deleted", f"DELETE FROM {LOG} WHERE id = {{id}}", ("deleted",), LOG),
    Tampering(
        "entry, an event deleted", f"DELETE FROM {LOG} WHERE id = {{id}}", ("deleted",), LOG, "operation = 'event'"
    ),
    Tampering(
        "entry, doubled at another time",
        f"INSERT INTO {LOG} OVERRIDING SYSTEM VALUE SELECT (jsonb_populate_record(l,"
        f" jsonb_build_object('created_at', created_at + interval '1 s'))).* FROM {LOG} l WHERE id = {{id}}",
        ("inserted", *ENTRY),
        LOG,
    ),
    Tampering("entry, back-dated past the seals", f"UPDATE {LOG} SET id = -id WHERE id = {{id}}", ("deleted",), LOG),
    Tampering(
        "entry, detached partition",
        "DO $do$ BEGIN EXECUTE 'ALTER TABLE activity_logs DETACH PARTITION"
        " activity_logs_' || to_char(now(), 'YYYY_MM'); END $do$",
        ("deleted",),
    ),
    Tampering("entry, all deleted", f"DELETE FROM {LOG}", ("deleted",)),
    Tampering(
        "entry, an erasure forged in place",
        f"UPDATE {LOG} SET new = '{{\"entries\": [1, 2, 3]}}', activity_type_id ="
        " (SELECT id FROM activity_types WHERE code = 'history.erased') WHERE id = {id}",
        ENTRY,
        LOG,
        rehash=True,
    ),
)
OF_SEAL = {
    "root": "root = sha256(root)",
    "count": "entry_count = entry_count + 1",
    "leaves, cut": "leaves = substr(leaves, 41)",
    "leaves, a byte": "leaves = overlay(leaves PLACING '\\x00'::bytea FROM 20)",
    "leaves, a byte more": "leaves = leaves || '\\x00'::bytea",
    "leaves, empty": "leaves = ''",
    "epoch": "epoch = epoch + 1",
    "time": "created_at = created_at - interval '1 hour'",
    "time, infinity": "created_at = 'infinity'",
    "month": "month = (month - interval '1 month')::date",
    "month, infinity": "month = 'infinity'",
    "low xid": "low_xid = '1'::xid8",
    "high xid": "high_xid = (high_xid::text::bigint + 1)::text::xid8",
    "next xid": "next_xid = '1'::xid8",
    "hash": "seal_hash = sha256(seal_hash)",
    "details": "details = '{\"x\": 1}'",
}
OF_SIGNATURE = {
    "changed": "signature = sha512(signature)",
    "removed": "signature = NULL",
    "empty": "signature = ''",
    "another key's name": "signing_key = repeat('0', 64)",
    "no key's name": "signing_key = NULL",
}
PRUNED = f"UPDATE {SEALS} SET pruned_at = now() WHERE id = {{id}}; "
ARCHIVED = (
    "INSERT INTO activity_archives (month, storage_key, storage_type, size_bytes, sha256, entry_count) SELECT month,"
    " 'history/forged', 'memory', 1, repeat('0', 64), sum(entry_count) FROM activity_seals WHERE pruned_at IS NOT NULL"
    " GROUP BY month; SELECT append_activity('history.archived', 'event', NULL, 'operator:x', NULL, NULL, NULL, NULL,"
    " (SELECT jsonb_build_object('month', month, 'entries', sum(entry_count)) FROM activity_seals"
    " WHERE pruned_at IS NOT NULL GROUP BY month), NULL); "
)
CHAIN = (
    *(
        Tampering(f"seal, {what}", f"UPDATE {SEALS} SET {change} WHERE id = {{id}}", ("chain",), SEALS)
        for what, change in OF_SEAL.items()
    ),
    *(
        Tampering(f"signature, {what}", f"UPDATE {SEALS} SET {change} WHERE id = {{id}}", ("signature",), SEALS)
        for what, change in OF_SIGNATURE.items()
    ),
    Tampering(
        "seal, previous",
        f"ALTER TABLE {SEALS} DROP CONSTRAINT activity_seals_previous_id_key;"
        f" UPDATE {SEALS} SET previous_id = 1 WHERE id = {{id}}",
        ("chain",),
        SEALS,
        "id > 2",
    ),
    Tampering(
        "seal, deleted",
        f"ALTER TABLE {SEALS} DROP CONSTRAINT activity_seals_previous_id_fkey; DELETE FROM {SEALS} WHERE id = {{id}}",
        ("head",),
        SEALS,
    ),
    Tampering("seal, the newest deleted", f"DELETE FROM {SEALS} WHERE id = (SELECT max(id) FROM {SEALS})", ("head",)),
    Tampering(
        "seal, all deleted",
        f"ALTER TABLE {SEALS} DROP CONSTRAINT activity_seals_previous_id_fkey; DELETE FROM {SEALS}",
        ("head",),
    ),
    Tampering("pruning, by hand", PRUNED, ("archive",), SEALS, words="archived"),
    Tampering("pruning, forged", f"UPDATE {SEALS} SET pruned_at = now(); {ARCHIVED}", ("archive",)),
    Tampering(
        "pruning, forged, an event deleted",
        f"UPDATE {SEALS} SET pruned_at = now(); {ARCHIVED} DELETE FROM {LOG} WHERE id = {{id}}",
        ("deleted",),
        LOG,
        "operation = 'event'",
    ),
    Tampering(
        "pruning, an archive forged",
        "INSERT INTO activity_archives (month, storage_key, storage_type, size_bytes,"
        " sha256, entry_count) VALUES ('2020-01-01', 'x', 'memory', 1, repeat('0', 64), 1)",
        ("archive",),
    ),
)

# Columns of rows, by table: each is changed without an entry.
ROW_VALUES = {
    "cases": {
        "title": "title || '!'",
        "description": "description || '!'",
        "case_code": "case_code || '!'",
        "status_id": "(SELECT max(id) FROM case_statuses WHERE id <> status_id)",
        "priority_id": "(SELECT max(id) FROM case_priorities WHERE id <> priority_id)",
        "opened_by_id": "opened_by_id + 1",
        "closed_at": "now()",
        "row_version": "row_version + 1",
        "updated_at": "updated_at + interval '1 s'",
        "created_at": "created_at - interval '1 s'",
        "active_holds": "active_holds + 1",
    },
    "case_participants": {
        "role": "CASE role WHEN 'viewer' THEN 'owner' ELSE 'viewer' END",
        "permissions": '\'{"allow": ["delete"]}\'',
        "expires_at": "now()",
        "added_by_id": "NULL",
        "row_version": "row_version + 1",
    },
    "case_notes": {"body": "body || '!'", "author_id": "author_id + 1"},
    "legal_holds": {"reason": "reason || '!'", "placed_by_id": "placed_by_id + 1"},
    "users": {
        "email": "'forged' || id || '@example.org'",
        "full_name": "full_name || '!'",
        "password_hash": "'bcrypt$forged'",
        "is_active": "NOT is_active",
        "role_id": "(SELECT max(r.id) FROM user_roles r WHERE r.id <> role_id)",
        "username": "username || '2'",
        "last_login": "now()",
    },
    "user_roles": {
        "permissions": '\'{"*": ["*"], "job": []}\'',
        "code": "code || '2'",
        "name": "name || '!'",
        "description": "description || '!'",
    },
    "audio_files": {
        "name": "name || '!'",
        "size_bytes": "size_bytes + 1",
        "sha256": "repeat('7', 64)",
        "deleted_at": "now()",
        "duration_ms": "7",
        "recorded_at": "now()",
        "uploaded_by_id": "uploaded_by_id + 1",
        "is_truncated": "NOT is_truncated",
        "storage_type": "storage_type || '2'",
        "processed_at": "'infinity'",
        "storage_config": "'{\"x\": 1}'",
    },
    "storage_objects": {
        "state": "'deleting'",
        "backend": "backend || '2'",
        "size_bytes": "size_bytes + 1",
        "sha256": "repeat('7', 64)",
        "case_id": "case_id + 1",
        "verified_at": "now()",
        "last_error": "'lost'",
        "attempts": "7",
        "delete_after": "now()",
    },
    "transcriptions": {
        "accepted_at": "'9000-01-01'",
        "model_name": "'forged'",
        "confidence": "0.25",
        "created_by_id": "created_by_id + 1",
        "segments_sha256": "repeat('0', 64)",
        "version": "version + 70",
    },
    "analysis_results": {
        "summary": "summary || '!'",
        "details": "'{\"x\": 1.10}'",
        "sentiment_score": "0.5",
        "model_version": "'2'",
        "accepted_at": "'9000-01-01'",
    },
    "processing_jobs": {
        "payload": "'{\"x\": 1.10}'",
        "priority": "priority + 1",
        "result": "'{}'",
        "attempts": "attempts + 1",
        "worker": "'forged'",
    },
    **{
        table: {"code": "code || '2'", "name": "name || '!'", "is_active": "NOT is_active"}
        for table in ("activity_types", "audio_statuses", "case_priorities", "case_statuses", "languages", "sentiments")
    },
}
ROWS = (
    *(
        Tampering(
            f"row, {table}.{column}",
            f"UPDATE {table} SET "
            + (
                f"{column} = {value}, accepted_by_id = created_by_id"
                if column == "accepted_at"
                else f"{column} = {value}"
            )
            + " WHERE id = {id}",
            ("row",),
            table,
        )
        for table, values in ROW_VALUES.items()
        for column, value in values.items()
    ),
    Tampering(
        "row, a weight", "UPDATE case_priorities SET weight = weight + 1 WHERE id = {id}", ("row",), "case_priorities"
    ),
    Tampering(
        "row, a language's configuration",
        "UPDATE languages SET search_config = 'forged' WHERE id = {id}",
        ("row",),
        "languages",
    ),
    Tampering(
        "row, a hold released",
        "UPDATE legal_holds SET released_at = now(), released_by_id = placed_by_id,"
        " release_reason = 'x' WHERE id = {id}",
        ("row",),
        "legal_holds",
        "released_at IS NULL",
    ),
    Tampering(
        "row, codes swapped",
        "UPDATE case_statuses SET code = 'x' WHERE code = 'active'; UPDATE case_statuses SET"
        " code = 'active' WHERE code = 'closed'; UPDATE case_statuses SET code = 'closed' WHERE code = 'x'",
        ("row",),
        words="case_statuses",
    ),
    Tampering("row, a note deleted", "DELETE FROM case_notes WHERE id = {id}", ("row",), "case_notes"),
    Tampering(
        "row, a participant deleted", "DELETE FROM case_participants WHERE id = {id}", ("row",), "case_participants"
    ),
    Tampering("row, a hold deleted", "DELETE FROM legal_holds WHERE id = {id}", ("row",), "legal_holds"),
    Tampering("row, a job deleted", "DELETE FROM processing_jobs WHERE id = {id}", ("row",), "processing_jobs"),
    Tampering("row, an analysis deleted", "DELETE FROM analysis_results WHERE id = {id}", ("row",), "analysis_results"),
    Tampering("row, a transcription deleted", "DELETE FROM transcriptions WHERE id = {id}", ("row",), "transcriptions"),
    Tampering("row, a case deleted", "DELETE FROM cases WHERE id = {id}", ("row",), "cases"),
    Tampering(
        "row, a note added",
        "INSERT INTO case_notes (case_id, author_id, body) SELECT case_id, author_id, 'x' FROM case_notes LIMIT 1",
        ("row",),
        words="has no log entry",
    ),
    Tampering(
        "row, a participant added",
        "INSERT INTO case_participants (case_id, user_id, role) SELECT c.id, u.id, 'owner'"
        " FROM cases c, users u WHERE u.username = 'carol' LIMIT 1",
        ("row",),
        words="has no log entry",
    ),
    Tampering(
        "row, a user added", "INSERT INTO users (username) VALUES ('mallory')", ("row",), words="has no log entry"
    ),
    Tampering(
        "row, a hidden child table",
        "CREATE TABLE more_notes () INHERITS (case_notes); INSERT INTO more_notes (id, case_id,"
        " author_id, body) SELECT 999999, case_id, author_id, 'x' FROM case_notes LIMIT 1",
        ("table",),
        words="more_notes inherits from case_notes",
    ),
    Tampering(
        "row, a column dropped", "ALTER TABLE audio_files DROP COLUMN recorded_at", ("table",), words="lacks the column"
    ),
    Tampering(
        "row, an object without a recording",
        "INSERT INTO storage_objects (case_id, key, backend, state) VALUES (1, 'cases/1/x', 'memory', 'live')",
        ("row",),
        words="no recording",
    ),
    Tampering(
        "row, hidden by a trigger dropped",
        "DROP TRIGGER capture_change ON case_notes; UPDATE case_notes SET body = 'x' WHERE id = {id}",
        ("row",),
        "case_notes",
    ),
)

SEGMENT_VALUES = {
    "text": "text || '!'",
    "words": "'[]'",
    "start_ms": "1",
    "end_ms": "99999",
    "speaker": "'somebody'",
    "confidence": "0.75",
    "flags": "'{forged}'",
    "position": "position + 100",
    "created_at": "created_at - interval '1 s'",
    "updated_at": "updated_at + interval '1 s'",
    "search_config": "'danish'",
}
SOURCE_VALUES = {
    "name": "'forged.vtt'",
    "dialect": "'forged'",
    "content": "'forged'",
    "sha256": "repeat('7', 64)",
    "created_at": "created_at - interval '1 s'",
    "audio_file_id": "audio_file_id + 1",
}
PARTS = (
    *(
        Tampering(
            f"segment, {column}",
            f"UPDATE transcription_segments SET {column} = {value} WHERE id = (SELECT min(id) FROM"
            " transcription_segments WHERE transcription_id = {id})",
            ("segments",),
            "transcriptions",
            words="transcription {id} ",
        )
        for column, value in SEGMENT_VALUES.items()
    ),
    *(
        Tampering(
            f"source, {column}",
            f"UPDATE transcription_sources SET {column} = {value}",
            ("segments",),
            words="transcription",
        )
        for column, value in SOURCE_VALUES.items()
    ),
    Tampering(
        "source, content and sha256",
        "UPDATE transcription_sources SET content = 'x', sha256 = encode(sha256('x'), 'hex')",
        ("segments",),
        words="digest",
    ),
    Tampering("source, deleted", "DELETE FROM transcription_sources", ("segments",), words="digest"),
    Tampering(
        "segment, deleted",
        "DELETE FROM transcription_segments WHERE transcription_id = {id}",
        ("segments",),
        "transcriptions",
        words="transcription {id} ",
    ),
    Tampering(
        "segment, added",
        "INSERT INTO transcription_segments (case_id, transcription_id, position, text) SELECT case_id,"
        " id, 99, 'x' FROM transcriptions WHERE id = {id}",
        ("segments",),
        "transcriptions",
        words="transcription {id} ",
    ),
    Tampering(
        "content",
        "UPDATE transcriptions SET content = content || '!' WHERE id = {id}",
        ("segments",),
        "transcriptions",
        words="transcription {id} ",
    ),
    Tampering(
        "digest recomputed",
        "UPDATE transcription_segments SET text = 'x' WHERE transcription_id = {id}; UPDATE"
        " transcriptions SET segments_sha256 = transcription_digest(id) WHERE id = {id}",
        ("row",),
        "transcriptions",
    ),
    Tampering(
        "digest removed", "UPDATE transcriptions SET segments_sha256 = NULL WHERE id = {id}", ("row",), "transcriptions"
    ),
)

# What the owner can create or replace so that unchanged expressions mean something else; then an entry is rewritten,
# and a row and a segment changed, which must be named in spite of it.
ANY = "LANGUAGE sql IMMUTABLE"
BLINDS = {
    "jsonb_build_object": f"CREATE FUNCTION jsonb_build_object(text, jsonb, text, jsonb) RETURNS jsonb {ANY} RETURN"
    f" '{{}}'::jsonb",
    "jsonb_build_array": "CREATE FUNCTION jsonb_build_array(integer, integer, integer, text, text, jsonb, double"
    " precision,"
    f" text[]) RETURNS jsonb {ANY} RETURN '[]'::jsonb",
    "jsonb_build_array of an entry": "CREATE FUNCTION jsonb_build_array(bigint, bigint, bigint, bigint, text, integer,"
    " text,"
    f" bigint, text, text, text, text, bigint, text) RETURNS jsonb {ANY} RETURN '[]'::jsonb",
    "sha256": f"CREATE FUNCTION sha256(text) RETURNS bytea {ANY} RETURN ''::bytea;"
    f" CREATE FUNCTION sha256(bytea) RETURNS bytea {ANY} RETURN ''::bytea",
    "convert_to": f"CREATE FUNCTION convert_to(text, text) RETURNS bytea {ANY} RETURN ''::bytea",
    "to_jsonb": f"CREATE FUNCTION to_jsonb(cases) RETURNS jsonb {ANY} RETURN '{{}}'::jsonb",
    "to_jsonb of anything": "CREATE FUNCTION to_jsonb(record) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS 'BEGIN"
    " RETURN NULL; END'",
    "format": f"CREATE FUNCTION format(text, jsonb) RETURNS text {ANY} RETURN ''",
    "jsonb_each": f"CREATE FUNCTION jsonb_each(jsonb) RETURNS TABLE (key text, value jsonb) {ANY}"
    " AS 'SELECT NULL::text, NULL::jsonb WHERE false'",
    "encode": f"CREATE FUNCTION encode(bytea, varchar) RETURNS text {ANY} RETURN ''::text",
    "date_trunc": f"CREATE FUNCTION date_trunc(text, timestamp) RETURNS timestamp {ANY} RETURN now()",
    "count": "CREATE AGGREGATE count(legal_holds) (SFUNC = int8inc_any, STYPE = bigint, INITCOND = '0')",
    "jsonb_agg": f"CREATE FUNCTION first_text(jsonb, text) RETURNS jsonb {ANY} RETURN '[]'::jsonb; CREATE"
    f" AGGREGATE jsonb_agg(text)"
    " (SFUNC = first_text, STYPE = jsonb)",
    "operator = of bytea and jsonb": f"CREATE FUNCTION same(bytea, jsonb) RETURNS boolean {ANY} RETURN true;"
    " CREATE OPERATOR = (LEFTARG = bytea, RIGHTARG = jsonb, FUNCTION = same)",
    "operator = of bytea": f"CREATE FUNCTION same(bytea, bytea) RETURNS boolean {ANY} RETURN true;"
    " CREATE OPERATOR = (LEFTARG = bytea, RIGHTARG = bytea, FUNCTION = same)",
    "operator <> of text": f"CREATE FUNCTION other(text, text) RETURNS boolean {ANY} RETURN false;"
    " CREATE OPERATOR <> (LEFTARG = text, RIGHTARG = text, FUNCTION = other)",
    "operator || of bytea": f"CREATE FUNCTION nothing(bytea, bytea) RETURNS bytea {ANY} RETURN ''::bytea;"
    " CREATE OPERATOR || (LEFTARG = bytea, RIGHTARG = bytea, FUNCTION = nothing)",
    "operator -> of jsonb": f"CREATE FUNCTION nothing(jsonb, text) RETURNS jsonb {ANY} RETURN NULL::jsonb;"
    " CREATE OPERATOR -> (LEFTARG = jsonb, RIGHTARG = text, FUNCTION = nothing)",
    "operator <> of a domain": f"CREATE DOMAIN words AS text; CREATE FUNCTION other(words, words) RETURNS boolean {ANY}"
    " RETURN false; CREATE OPERATOR <> (LEFTARG = words, RIGHTARG = words, FUNCTION = other)",
    "a type named text": "CREATE DOMAIN public.text AS integer",
    "a type named date": "CREATE TYPE public.date AS (x integer)",
    "a cast": f"CREATE TYPE mood AS ENUM ('x'); CREATE FUNCTION mood_of(jsonb) RETURNS mood {ANY} RETURN 'x'::mood;"
    " CREATE CAST (jsonb AS mood) WITH FUNCTION mood_of(jsonb) AS IMPLICIT",
    "payload_hash replaced": "CREATE OR REPLACE FUNCTION payload_hash(salt bytea, new_image jsonb, old_image jsonb)"
    " RETURNS bytea LANGUAGE sql STABLE PARALLEL SAFE RETURN ''::bytea",
    "transcription_digest replaced": "CREATE OR REPLACE FUNCTION transcription_digest(transcription_id bigint) RETURNS"
    " text"
    " LANGUAGE sql STABLE AS 'SELECT segments_sha256 FROM transcriptions t WHERE t.id = $1'",
    "captured_tables replaced": "CREATE OR REPLACE FUNCTION captured_tables() RETURNS SETOF text LANGUAGE sql STABLE AS"
    " 'SELECT NULL WHERE false'",
    "a schema of the login": "DO $do$ BEGIN EXECUTE format('CREATE SCHEMA %I', session_user); EXECUTE format('CREATE"
    " VIEW"
    " %I.activity_seals AS SELECT * FROM public.activity_seals WHERE false', session_user); EXECUTE"
    " format('SET search_path = %I, public', session_user); END $do$",
    "temporary tables": "CREATE TEMP TABLE activity_logs (LIKE public.activity_logs) ON COMMIT DROP; CREATE TEMP"
    " TABLE cases"
    " (LIKE public.cases) ON COMMIT DROP; SET LOCAL search_path = pg_temp, public",
    "the search path": "SET LOCAL search_path = public, pg_catalog",
    "settings": "SET LOCAL TimeZone = 'Asia/Kathmandu'; SET LOCAL bytea_output = 'escape'; SET LOCAL"
    " DateStyle = 'SQL, DMY'",
}
REWRITTEN = (
    "UPDATE public.activity_logs SET actor = 'somebody else', new = '{\"forged\": 1}' WHERE id = {id}",
    "UPDATE public.transcription_segments SET text = 'forged' WHERE transcription_id = {id}",
    "UPDATE public.cases SET title = 'forged' WHERE id = {id}",
)
BLINDED = tuple(
    tampering
    for what, blind in BLINDS.items()
    for tampering in (
        Tampering(f"blind by {what}, an entry", f"{REWRITTEN[0]}; {blind}", ENTRY, LOG),
        Tampering(
            f"blind by {what}, a segment",
            f"{REWRITTEN[1]}; {blind}",
            ("segments",),
            "transcriptions",
            words="transcription {id} does not match its digest",
        ),
        Tampering(f"blind by {what}, a row", f"{REWRITTEN[2]}; {blind}", ("row",), "cases"),
    )
)
# A blind in front of all verifications is worth one kind: what it is combined with is counted elsewhere.
TAMPERINGS: tuple[Tampering, ...] = (*ENTRIES, *CHAIN, *ROWS, *PARTS, *BLINDED, *HIDDEN, *DAMAGED)
KINDS = len(TAMPERINGS) - len(BLINDED) + len(BLINDS)

# Ten thousand findings that are not those of the tampering: rows without an entry.
NOISE = (
    "ALTER TABLE public.case_notes DISABLE TRIGGER USER; INSERT INTO public.case_notes (case_id, author_id, body)"
    " SELECT case_id, author_id, 'noise' FROM public.case_notes, generate_series(1, 10000) LIMIT 10001"
)

OPERATIONS_BETWEEN_CHECKS = 1_000
# Each tampering needs a verification: one per ten operations takes about as long as the operations.
OPERATIONS_PER_TAMPERING = 10
MOST_FINDINGS = 20


def torture(rng: random.Random, rounds: int) -> list[str]:
    findings: list[str] = []
    with running_server() as server, tempfile.TemporaryDirectory() as folder:
        for work in (program, every_kind, tamperings):
            with server.copy() as url:
                owner = make_engine(url, PoolOptions(size=2))
                place = Path(folder, work.__name__)
                with server.database(url, storage=MemoryStorage()) as db:
                    sealed = Sealed(db, owner, SealKey.create(place / "seal.pem"), HeadFile(place / "heads.jsonl"))
                    findings += work(sealed, rng, rounds)
                owner.dispose()
    return findings


def program(sealed: Sealed, rng: random.Random, rounds: int) -> list[str]:
    """Run operations and check every thousand: the tables, the replay, snapshots of the past, the verification."""
    running, findings = Program(sealed.db, sealed.owner, rng), []
    done = 0
    while done < rounds and len(findings) < MOST_FINDINGS:
        done = min(rounds, done + OPERATIONS_BETWEEN_CHECKS)
        running.run(done)
        findings += complaints(running, snapshots=60)
        looked = f"{len(running.moments)} moments, {len(running.seals)} seals"
        print(f"{done} operations, {looked}, {len(findings)} findings", flush=True)
    print_counts(running.counts)
    return findings


def every_kind(sealed: Sealed, rng: random.Random, rounds: int) -> list[str]:
    """Do every tampering of the list, each alone, and some in front of ten thousand other findings."""
    populate(sealed)
    findings: list[str] = []
    if not (report := sealed.verify()).ok:
        findings.append(f"before the tamperings: {report}")
    chosen = TAMPERINGS if rounds >= len(TAMPERINGS) else rng.sample(TAMPERINGS, rounds)
    # The others may have dropped what the noise is written to.
    intact = [each for each in chosen if each not in HIDDEN and each not in DAMAGED]
    noisy = set(rng.sample(intact, min(5, len(intact))))
    for each in chosen:
        done = tamper(sealed.owner, rng, each, key=sealed.key, heads=sealed.heads, noise=NOISE if each in noisy else "")
        if done.complaint is not None:
            findings.append(done.complaint)
    print(f"{len(chosen)} tamperings of {KINDS} kinds, {len(findings)} findings", flush=True)
    return findings


def tamperings(sealed: Sealed, rng: random.Random, rounds: int) -> list[str]:
    """Tamper in one to three ways at once, check that it is detected, and undo it."""
    findings: list[str] = []
    counts: Counter[str] = Counter()
    for _ in live(sealed.db, 8):
        sealed.seal()
    target = max(1, rounds // OPERATIONS_PER_TAMPERING)
    while counts.total() < target and len(findings) < MOST_FINDINGS:
        # Tamperings of seals and of rows run alone: they change what the others are verified against.
        kind = rng.choice([tampering.ON_ENTRIES, tampering.ON_ENTRIES, tampering.ON_SEALS, tampering.ON_ROWS])
        tamperings_at_once = rng.sample(kind, rng.randint(1, 3) if kind is tampering.ON_ENTRIES else 1)
        findings += tampering.unnoticed(sealed.owner, rng, tamperings_at_once, sealed.key, sealed.heads)
        counts.update(each.__name__ for each in tamperings_at_once)
    if not (report := sealed.verify()).ok:
        findings.append(f"after the tamperings were undone: {report}")
    print(f"{counts.total()} tamperings, {len(findings)} findings", flush=True)
    print_counts(counts)
    return findings


def print_counts(counts: Counter[str]) -> None:
    for kind, count in sorted(counts.items()):
        print(f"  {count:6} {kind}")


if __name__ == "__main__":
    main(torture, __doc__ or "", rounds=10_000)
