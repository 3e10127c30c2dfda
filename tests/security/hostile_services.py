"""Attempts through the services: sort keys, filters, limits and guessed ids as parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sqlalchemy.orm import Session

from src.database import AnalysisResult, AudioFile, Case, LegalHold, ProcessingJob, Transcription, User
from src.services import accounts, activity, analyses, cases, recordings, search, transcripts, work
from src.storage import MemoryStorage
from tests.security.hostile import REFUSED, Intruder, masked

# An id without a row, within the range of every id column.
MISSING = 2_000_000_000

# The table of the id → a call of a service with it; called with an id of the other case and with `MISSING`.
CALLS: Mapping[str, tuple[str, Callable[[Session, int], object]]] = {
    "get": ("cases", lambda s, i: s.get(Case, i)),
    "close": ("cases", lambda s, i: cases.close(s, Case(id=i))),
    "add_note": ("cases", lambda s, i: cases.add_note(s, Case(id=i), "x")),
    "add_participant": ("cases", lambda s, i: cases.add_participant(s, Case(id=i), "alice", role="owner")),
    "remove_participant": ("cases", lambda s, i: cases.remove_participant(s, Case(id=i), "bob")),
    "place_hold": ("cases", lambda s, i: cases.place_hold(s, Case(id=i), reason="x")),
    "release_hold": ("legal_holds", lambda s, i: cases.release_hold(s, LegalHold(id=i), reason="x")),
    "ingest": ("cases", lambda s, i: recordings.ingest(s, Case(id=i), b"RIFF", name="x.wav")),
    "open": ("audio_files", lambda s, i: recordings.open(s, AudioFile(id=i, name="x"))),
    "url": ("audio_files", lambda s, i: recordings.url(s, AudioFile(id=i, name="x"))),
    "archive": ("audio_files", lambda s, i: recordings.archive(s, AudioFile(id=i), reason="x")),
    "restore": ("audio_files", lambda s, i: recordings.restore(s, AudioFile(id=i))),
    "move": ("audio_files", lambda s, i: recordings.move(s, AudioFile(id=i), MemoryStorage(name="other"))),
    "delete": ("audio_files", lambda s, i: recordings.delete(s, AudioFile(id=i), reason="x")),
    "verify": ("audio_files", lambda s, i: recordings.verify(s, AudioFile(id=i))),
    "verify a case": ("cases", lambda s, i: recordings.verify(s, case=Case(id=i))),
    "list_recordings": ("cases", lambda s, i: recordings.list_recordings(s, Case(id=i), deleted=True)),
    "usage": ("cases", lambda s, i: recordings.storage_usage(s, Case(id=i))),
    "upload_url": ("cases", lambda s, i: recordings.upload_url(s, Case(id=i), "x.wav", size=1)),
    "latest": ("audio_files", lambda s, i: transcripts.latest(s, AudioFile(id=i, name="x"))),
    "add": ("audio_files", lambda s, i: transcripts.add(s, AudioFile(id=i), [transcripts.Segment("x")])),
    "accept": ("transcriptions", lambda s, i: transcripts.accept(s, Transcription(id=i))),
    "analyses.add": ("audio_files", lambda s, i: analyses.add(s, AudioFile(id=i), summary="x")),
    "analyses.latest": ("audio_files", lambda s, i: analyses.latest(s, AudioFile(id=i))),
    "analyses.accept": ("analysis_results", lambda s, i: analyses.accept(s, AnalysisResult(id=i))),
    "enqueue": ("audio_files", lambda s, i: work.enqueue(s, AudioFile(id=i), "transcribe")),
    "heartbeat": ("processing_jobs", lambda s, i: work.heartbeat(s, ProcessingJob(id=i, lease=1))),
    "complete": ("processing_jobs", lambda s, i: work.complete(s, ProcessingJob(id=i, lease=1))),
    "fail": ("processing_jobs", lambda s, i: work.fail(s, ProcessingJob(id=i, lease=1), "x")),
    "record": ("cases", lambda s, i: activity.record(s, "note", case=i)),
    "permissions": ("cases", lambda s, i: accounts.permissions(s, "bob", case=Case(id=i))),
    "feed": ("cases", lambda s, i: activity.feed(s, case=Case(id=i), changes=True)),
    "search": ("cases", lambda s, i: search.transcripts(s, "common", case=Case(id=i))),
}


def answer(intruder: Intruder, call: Callable[[Session, int], object], number: int) -> str:
    """Return the checked and masked result of a call: a value or an error."""
    try:
        with intruder.stage.db.session(actor=intruder.name, required=False) as session:
            result = call(session, number)
            intruder.check(result, *(vars(result).values() if hasattr(result, "__dict__") else ()))
    except REFUSED as error:
        intruder.check(error)
        return f"{type(error).__name__}: {masked(str(error))}"
    return masked(repr(result))


def call_service(intruder: Intruder) -> None:
    """Call a service with a guessed id and with an id without a row: the answers must be equal."""
    name = intruder.pick(*CALLS)
    table, call = CALLS[name]
    forbidden, missing = (answer(intruder, call, number) for number in (intruder.guess(table), MISSING))
    if forbidden != missing:
        intruder.report(f"{name} distinguishes forbidden from missing: {forbidden} / {missing}")
    codes = [answer(intruder, lambda s, _, code=code: cases.get_case(s, code), 0) for code in ("CASE-BOB", "CASE-NOPE")]
    if codes[0] != codes[1]:
        intruder.report(f"get_case distinguishes forbidden from missing: {codes}")


def history(intruder: Intruder) -> None:
    """Read feeds and the log with any filter: they must contain no entry of the other case."""
    filters: dict[str, object] = {
        "changes": intruder.pick(True, False),
        "limit": intruder.pick(1, 100, 10_000),
        "type": intruder.pick(None, "row.insert", "case.opened", "' OR true --", "%"),
        "case": intruder.pick(None, Case(id=intruder.stage.other)),
        "user": intruder.pick(None, *(User(id=number) for number in range(1, 9))),
    }
    try:
        with intruder.stage.db.session(actor=intruder.name, required=False) as session:
            entries = activity.feed(session, **filters)
            intruder.check(*entries)
            intruder.expect_nothing((entry.case_id == intruder.stage.other,) for entry in entries)
    except REFUSED as error:
        intruder.check(error)
    with intruder.transaction() as connection:
        where = intruder.pick("actor = 'bob'", f"case_id = {intruder.stage.other}", "new::text LIKE '%common%'",
                              "entity = 'case_notes'", "reason IS NOT NULL", "true")  # fmt: skip
        intruder.ask(connection, f"SELECT * FROM public.activity_logs WHERE {where} ORDER BY new::text, id")


def search_words(intruder: Intruder) -> None:
    """Search for words of the other case and their prefixes: no hit, count, rank or headline may be returned."""
    words = intruder.pick("bobsecret", "common", '"common bobsecret"', "common OR bobsecret", "-alicesecret",
                          "bobsecret -x", "%", "_", "a | b & !", "(((", "' OR true --", "\u202ebobsecret", "*",
                          "common" * 100)  # fmt: skip
    scope = intruder.pick(None, Case(id=intruder.stage.other), Case(id=intruder.stage.own))
    try:
        with intruder.stage.db.session(actor=intruder.name, required=False) as session:
            hits = search.transcripts(session, words, case=scope, limit=intruder.pick(1, 50, 1000))
            intruder.check(*hits)
            intruder.expect_nothing((hit.case_id == intruder.stage.other,) for hit in hits)
    except REFUSED as error:
        intruder.check(error)
    with intruder.transaction() as connection:
        found = intruder.ask(
            connection,
            intruder.pick(
                "SELECT segment_id, rank FROM search_page(:w, jsonb_build_object('max_rows', 1000, 'cases',"
                " CASE WHEN CAST(:c AS bigint) IS NOT NULL THEN ARRAY[CAST(:c AS bigint)] END))",
                "SELECT id FROM transcription_segments WHERE search @@ websearch_to_tsquery('english', :w)"
                " AND (case_id = :c OR true)",
                "SELECT id FROM transcription_segments WHERE text ILIKE '%' || :w || '%' AND (case_id = :c OR true)",
            ),
            w=words,
            c=intruder.stage.other,
        )
        foreign = intruder.stage.rows["transcription_segments"]
        intruder.expect_nothing((row[0] in foreign,) for row in found or ())
