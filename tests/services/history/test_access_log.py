"""Every look at transcripts, notes and analyses is one entry of the access log: by services and by the ORM."""

from __future__ import annotations

import inspect
from datetime import datetime

import pytest
from sqlalchemy import event, func, select, text
from sqlalchemy.orm import aliased, joinedload, selectinload

from src.database import (
    ActivityLog,
    AnalysisResult,
    AudioFile,
    Case,
    CaseNote,
    Transcription,
    TranscriptionSegment,
    TranscriptionSource,
    User,
)
from src.database.models import Base
from src.database.schema.declaration import PERSONAL, protection_of, with_mark
from src.services import accounts, activity, analyses, bulk, cases, history, recordings, search, transcripts, work
from src.services.transcripts import Segment
from src.storage import LocalStorage, keys

SERVICES = (accounts, activity, analyses, bulk, cases, history, recordings, search, transcripts, work)
READ_TYPES = (
    "transcript.read",
    "note.read",
    "analysis.read",
    "history.read",
    "search.made",
    "export.made",
    "audio.opened",
)


def entries(owner, since=0):
    """The entries of reads: (type, case, table, row, detail)."""
    with owner.connect() as connection:
        rows = connection.execute(
            text("SELECT t.code, l.case_id, l.entity, l.entity_id, l.new FROM activity_logs l"
                 " JOIN activity_types t ON t.id = l.activity_type_id WHERE t.code = ANY (:types) AND l.id > :since"
                 " ORDER BY l.id"),
            {"types": list(READ_TYPES), "since": since},
        )  # fmt: skip
        return [tuple(row) for row in rows]


@pytest.fixture(scope="module")
def stage(module_database, tmp_path_factory):
    """A case of alice with a recording, two versions of its transcription, two analyses and a note."""
    shared = module_database
    shared.renew()
    shared.database.storage = LocalStorage(tmp_path_factory.mktemp("audio"))
    db = shared.database
    with db.session(actor="alice") as session:
        case = cases.open_case(session, title="Harbour")
        key = keys.case_key(case.id, "wav")
        with db.side_session(session) as side:
            side.execute(select(func.public.announce_object(case.id, key, db.storage.name)))
        stored = db.storage.put(key, b"RIFF")
        audio = AudioFile(case_id=case.id, name="a.wav", path=key, size_bytes=stored.size, sha256=stored.sha256,
                          storage_type=db.storage.name)  # fmt: skip
        session.add(audio)
        session.flush()
        said = [Segment(f"harbour {n}", n, n + 1) for n in range(1000)]
        first = transcripts.add(session, audio, said, language="en")
        imported = transcripts.import_result(
            session, audio, {"segments": [{"text": "harbour", "start": 0, "end": 1}], "language": "en"}
        )
        analyses.add(session, audio, summary="harbour")
        analysis = analyses.add(session, audio, summary="quay", transcription=first)
        transcripts.accept(session, imported)  # the newer analysis is stale
        note = cases.add_note(session, case, "harbour note")
    names = {"db": db, "case": case.id, "audio": audio.id, "first": first.id, "second": imported.id,
             "analysis": analysis.id, "note": note.id, "owner": shared.owner}  # fmt: skip
    return type("Stage", (), names)


@pytest.fixture
def looked(stage):
    """Run a look in a session of alice, and return its entries."""

    def run(look):
        with stage.owner.connect() as connection:
            since = connection.scalar(text("SELECT max(id) FROM activity_logs"))
        with stage.db.session(actor="alice") as session:
            look(session)
        return entries(stage.owner, since)

    return run


# Every public function that returns what people said or wrote: (type, table, row of the entry).
READING = {
    "transcripts.latest": (
        lambda s, st: transcripts.latest(s, st.audio),
        "transcript.read", "transcriptions", "second"),
    "transcripts.versions": (
        lambda s, st: transcripts.versions(s, st.audio),
        "transcript.read", "audio_files", "audio"),
    "transcripts.segments": (
        lambda s, st: transcripts.segments(s, st.first),
        "transcript.read", "transcriptions", "first"),
    "transcripts.diff": (
        lambda s, st: transcripts.diff(s, st.first, st.second),
        "transcript.read", "audio_files", "audio"),
    "transcripts.export": (
        lambda s, st: transcripts.export(s, st.first, "text"),
        "export.made", "transcriptions", "first"),
    "analyses.latest": (
        lambda s, st: analyses.latest(s, st.audio),
        "analysis.read", "analysis_results", "analysis"),
    "analyses.versions": (
        lambda s, st: analyses.versions(s, st.audio),
        "analysis.read", "audio_files", "audio"),
    "analyses.stale": (
        lambda s, st: analyses.stale(s, st.audio),
        "analysis.read", "analysis_results", "analysis"),
    "search.transcripts": (
        lambda s, st: search.transcripts(s, "harbour", case=st.case),
        "search.made", None, None),
    "search.everything": (
        lambda s, st: search.everything(s, "harbour", case=st.case),
        "search.made", None, None),
    "search.suggest": (
        lambda s, st: search.suggest(s, "harb", case=st.case),
        "search.made", None, None),
    "search.recordings": (
        lambda s, st: search.recordings(s, "a*", case=st.case),
        "search.made", None, None),
    "search.cases": (
        lambda s, st: search.cases(s, "harb"),
        "search.made", None, None),
    "search.users": (
        lambda s, st: search.users(s, "ali"),
        "search.made", None, None),
    "history.versions": (
        lambda s, st: history.versions(s, (CaseNote, st.note)),
        "history.read", "case_notes", "note"),
    "history.as_of": (
        lambda s, st: history.as_of(s, Case, st.case, now(s), whole=True),
        "history.read", "cases", "case"),
    "recordings.open": (
        lambda s, st: recordings.open(s, st.audio).close(),
        "audio.opened", "audio_files", "audio"),
    "recordings.stream": (
        lambda s, st: recordings.stream(s, st.audio).close(),
        "audio.opened", "audio_files", "audio"),
    "activity.feed": (
        lambda s, st: activity.feed(s, case=st.case, changes=True),
        "history.read", None, None),
}  # fmt: skip
WITHOUT_CASE = {"search.cases", "search.users"}

# Functions that return nothing of it, or that write and are in the log by what they did.
OTHERS = {
    "accounts": {"activate", "assign_role", "authenticate", "change_password", "create_role", "create_user",
                 "deactivate", "find_role", "find_user", "permissions", "registered_subjects",
                 "sign_in_epoch"},
    "activity": {"note_read", "record"},
    "analyses": {"accept", "add", "is_stale"},
    "bulk": set(),
    "cases": {"add_note", "add_participant", "close", "get_case", "mark_sensitive", "may", "now", "open_case",
              "place_hold", "release_hold", "remove_participant", "reopen", "set_priority", "set_status",
              "unmark_sensitive"},
    "history": {"erase", "revert", "seal", "unsealed", "verify"},
    "recordings": {"archive", "backend_of", "check_storage", "delete", "ingest", "list_recordings", "mark_sensitive",
                   "move", "restore", "storage_of", "storage_usage", "unmark_sensitive", "upload_url", "url", "verify"},
    "search": set(),
    "transcripts": {"accept", "add", "correct", "import_result", "restore"},
    "work": {"claim", "complete", "enqueue", "fail", "give_back", "heartbeat"},
}  # fmt: skip


def now(session) -> datetime:
    return session.scalar(select(func.clock_timestamp()))


def public_functions(module):
    names = getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
    for name in names:
        function = getattr(module, name)
        if not inspect.isfunction(function) or not function.__module__.startswith(module.__name__):
            continue
        if next(iter(inspect.signature(function).parameters), None) == "session":
            yield name


def test_every_public_function_is_known_to_read_or_not():
    for module in SERVICES:
        short = module.__name__.rpartition(".")[2]
        reading = {name.partition(".")[2] for name in READING if name.startswith(f"{short}.")}
        assert set(public_functions(module)) == reading | OTHERS[short], short


@pytest.mark.parametrize("name", READING)
def test_a_service_that_reads_leaves_one_entry_with_case_and_row(looked, stage, name):
    look, kind, table, row = READING[name]
    found = looked(lambda session: look(session, stage))
    case = None if name in WITHOUT_CASE else stage.case
    assert [entry[:2] for entry in found] == [(kind, case)], found
    if table is not None:
        assert found[0][2:4] == (table, getattr(stage, row))


LOADS = {
    "a page of segments": (
        lambda s, st: s.scalars(
            select(TranscriptionSegment).where(TranscriptionSegment.transcription_id == st.first)
        ).all(),
        "transcript.read", "transcriptions", "first", {"transcription_segments": 1000}),
    "streamed": (
        lambda s, st: list(s.scalars(
            select(TranscriptionSegment).where(TranscriptionSegment.transcription_id == st.first)
            .execution_options(yield_per=100))),
        "transcript.read", "transcriptions", "first", {"transcription_segments": 1000}),
    "session.get": (lambda s, st: s.get(Transcription, st.first), "transcript.read", "transcriptions", "first",
                    {"transcriptions": 1}),
    "selectinload": (
        lambda s, st: s.scalars(
            select(Transcription).where(Transcription.id == st.first).options(selectinload(Transcription.segments))
        ).all(),
        "transcript.read", "transcriptions", "first", {"transcriptions": 1, "transcription_segments": 1000}),
    "joinedload": (
        lambda s, st: s.scalars(
            select(Transcription).where(Transcription.id == st.second).options(joinedload(Transcription.segments))
        ).unique().all(),
        "transcript.read", "transcriptions", "second", {"transcriptions": 1, "transcription_segments": 1}),
    "a relationship": (
        lambda s, st: s.get(Transcription, st.second, options=[selectinload(Transcription.sources)]).sources,
        "transcript.read", "transcriptions", "second", {"transcriptions": 1, "transcription_sources": 1}),
    "sources": (
        lambda s, st: s.scalars(select(TranscriptionSource).where(TranscriptionSource.case_id == st.case)).all(),
        "transcript.read", "transcriptions", "second", {"transcription_sources": 1}),
    "notes": (lambda s, st: s.scalars(select(CaseNote).where(CaseNote.case_id == st.case)).all(),
              "note.read", "case_notes", "note", {"case_notes": 1}),
    "session.query": (lambda s, st: s.query(CaseNote).filter_by(case_id=st.case).all(),
                      "note.read", "case_notes", "note", {"case_notes": 1}),
    "analyses": (lambda s, st: s.get(AnalysisResult, st.analysis), "analysis.read", "analysis_results", "analysis",
                 {"analysis_results": 1}),
    "from the case": (lambda s, st: s.get(Case, st.case, options=[selectinload(Case.notes)]).notes,
                      "note.read", "case_notes", "note", {"case_notes": 1}),
    "row images": (
        lambda s, st: s.scalars(
            select(ActivityLog).where(ActivityLog.entity == "case_notes", ActivityLog.case_id == st.case)).all(),
        "history.read", "case_notes", "note", {"activity_logs": 1}),
    "a column": (
        lambda s, st: s.scalars(select(CaseNote.body).where(CaseNote.case_id == st.case, CaseNote.id == st.note)).all(),
        "note.read", "case_notes", "note", {"case_notes.body": 1}),
}  # fmt: skip


ALIAS = aliased(TranscriptionSegment)
SAID = TranscriptionSegment.text
# Queries of single columns: their rows are counted by case and row, whatever their conditions are.
COLUMNS = {
    "no condition": (lambda st: select(SAID), {"first": 1000, "second": 1}),
    "another condition": (
        lambda st: select(SAID).where(TranscriptionSegment.start_ms < 10), {"first": 10, "second": 1}),
    "a part of the text": (lambda st: select(SAID).where(SAID.like("%harbour 99_")), {"first": 10}),
    "two columns, ordered, limited": (
        lambda st: select(SAID, TranscriptionSegment.speaker).order_by(SAID).limit(5), {"first": 1000, "second": 1}),
    "distinct": (lambda st: select(SAID).distinct().where(TranscriptionSegment.start_ms == 7), {"first": 1}),
    "an aggregate": (lambda st: select(func.string_agg(SAID, " ")), {"first": 1000, "second": 1}),
    "grouped": (
        lambda st: select(func.max(SAID), func.count()).group_by(TranscriptionSegment.transcription_id),
        {"first": 1000, "second": 1}),
    "a join": (
        lambda st: select(SAID).join(Transcription, Transcription.id == TranscriptionSegment.transcription_id)
        .where(Transcription.version == 1),
        {"first": 1000}),
    "an alias": (lambda st: select(ALIAS.text).where(ALIAS.transcription_id == st.second), {"second": 1}),
    "the text of a version": (
        lambda st: select(Transcription.content).where(Transcription.version == 2), {"second": 1}),
    "a union": (
        lambda st: select(SAID).where(TranscriptionSegment.start_ms == 3).union_all(
            select(Transcription.content).where(Transcription.version == 2)),
        {"first": 1, "second": 1}),
}  # fmt: skip


@pytest.mark.parametrize("name", COLUMNS)
def test_a_query_of_columns_names_case_rows_and_their_number(looked, stage, name):
    query, counts = COLUMNS[name]
    found = looked(lambda session: session.execute(query(stage)).all())
    assert {(entry[0], entry[1], entry[2]) for entry in found} == {("transcript.read", stage.case, "transcriptions")}
    rows = {getattr(stage, version) for version in counts}
    named = {id_ for entry in found for id_ in entry[4].get("ids", {}).get("transcriptions", [entry[3]])}
    assert named == rows
    assert sum(sum(entry[4]["rows"].values()) for entry in found) == sum(counts.values())


def test_a_query_of_columns_that_cannot_be_counted_names_its_conditions_without_values(looked, stage):
    query = select(CaseNote.body).where(CaseNote.body.like("%secret%"), text("body <> 'secret'")).with_for_update()
    (entry,) = looked(lambda session: session.scalars(query).all())
    (what,) = entry[4]["rows"]
    assert what.startswith("case_notes.body where case_notes.body LIKE ")
    assert "secret" not in str(entry[4])


@pytest.mark.parametrize("name", LOADS)
def test_loads_of_the_orm_are_one_entry_with_case_row_and_count(looked, stage, name):
    look, kind, table, row, rows = LOADS[name]
    (entry,) = looked(lambda session: look(session, stage))
    assert entry[:4] == (kind, stage.case, table, getattr(stage, row))
    assert entry[4] == {"rows": rows}


def test_loads_of_a_service_and_of_the_orm_are_one_look(looked, stage):
    def look(session):
        transcription = session.get(Transcription, stage.first)
        transcripts.segments(session, transcription)
        session.scalars(select(TranscriptionSegment).where(TranscriptionSegment.transcription_id == stage.first)).all()

    assert [entry[:4] for entry in looked(look)] == [("transcript.read", stage.case, "transcriptions", stage.first)]


def test_a_load_of_several_objects_is_one_entry_that_names_them(looked, stage):
    (entry,) = looked(lambda session: session.scalars(select(Transcription)).all())
    assert entry[:4] == ("transcript.read", stage.case, "transcriptions", None)
    assert entry[4] == {"rows": {"transcriptions": 2}, "ids": {"transcriptions": [stage.first, stage.second]}}


def test_metadata_and_numbers_need_no_entry(looked, stage):
    def look(session):
        session.scalars(select(Case)).all()
        session.scalars(select(AudioFile)).all()
        session.scalars(select(User)).all()
        session.scalar(select(func.count()).select_from(TranscriptionSegment))
        session.scalar(select(func.max(Transcription.version)))
        session.scalars(select(Transcription.id)).all()
        activity.feed(session, case=stage.case)

    assert looked(look) == []


def test_loads_are_logged_with_the_rights_at_that_time_after_a_rollback_too(looked, stage):
    def look(session):
        session.scalars(select(CaseNote)).all()
        raise ZeroDivisionError

    with stage.owner.connect() as connection:
        since = connection.scalar(text("SELECT max(id) FROM activity_logs"))
    with pytest.raises(ZeroDivisionError):
        looked(look)
    assert [entry[:4] for entry in entries(stage.owner, since)] == [("note.read", stage.case, "case_notes", stage.note)]


def test_a_load_of_many_cases_proves_all_of_them_in_two_round_trips(stage, looked):
    with stage.db.session(actor="alice") as session:
        opened = [cases.open_case(session, title=f"Case {n}") for n in range(5)]
        notes = {case.id: cases.add_note(session, case, "words").id for case in opened}
    sent = []

    @event.listens_for(stage.db.engine, "before_cursor_execute")
    def count(connection, cursor, statement, *_):
        sent.append(statement)

    try:
        found = looked(lambda session: session.scalars(select(CaseNote).where(CaseNote.id.in_(notes.values()))).all())
    finally:
        event.remove(stage.db.engine, "before_cursor_execute", count)
    assert {(entry[1], entry[3]) for entry in found} == set(notes.items())
    assert sum("read_receipts" in statement for statement in sent) == 2


def test_every_model_with_words_of_people_below_a_case_is_in_the_access_log_or_metadata():
    # Titles, names, reasons and payloads: loading them needs no entry.
    metadata = {"Case", "CaseParticipant", "LegalHold", "AudioFile", "ProcessingJob"}
    below = {
        mapper.class_.__name__
        for mapper in Base.registry.mappers
        if with_mark(mapper.local_table.columns, PERSONAL) and protection_of(mapper.local_table).case is not None
    }
    logged = {mapper.class_.__name__ for mapper in Base.registry.mappers if mapper.class_.__read_as__ is not None}
    assert below - metadata == logged
