"""Large imports and bulk inserts behind a real PgBouncer: COPY and temporary tables stay within one transaction."""

from __future__ import annotations

import json
import threading

import pytest
from sqlalchemy import func, select

from src.database import CaseNote, Database, Transcription, TranscriptionSegment, TranscriptionSource, User
from src.database.connection.engine import PoolOptions
from src.errors import InvalidInput
from src.services import bulk, cases, transcripts
from src.services.transcripts import sources
from src.storage import MemoryStorage
from tests.security.bouncer import PROGRAM, running_bouncer
from tests.security.population import backend_of

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="PgBouncer is missing (Debian: apt-get install pgbouncer)")

CLIENTS, SERVER_CONNECTIONS, SEGMENTS, NOTES = 16, 4, 2_000, 60


def result(tag):
    """Return a result large enough that its segments and its bytes are staged."""
    said = [{"start": n, "end": n + 1, "text": f" {tag} {n}", "words": [{"word": f" {tag}", "start": n}]}
            for n in range(SEGMENTS)]  # fmt: skip
    return json.dumps({"language": "en", "segments": said, "padding": "x" * sources.LARGEST_PARAMETER_BYTES}).encode()


def test_many_clients_on_few_server_connections_import_complete_versions_of_their_own(
    speech_server, owner_url, make_audio
):
    url = speech_server.serving_url(owner_url)
    storage, key = MemoryStorage(), speech_server.signing_key
    audio_of, backends, wrong, barrier = {}, set(), [], threading.Barrier(CLIENTS)
    with Database(url, signing_key=key, storage=storage) as direct:
        for name in ("alice", "bob"):
            with direct.session(actor=name) as session:
                audio_of[name] = make_audio(session, cases.open_case(session, title=f"Case of {name}"))
    with (
        running_bouncer(url, default_pool_size=SERVER_CONNECTIONS) as bouncer,
        Database(bouncer.url, signing_key=key, storage=storage, pool=PoolOptions(size=CLIENTS)) as db,
    ):

        def client(number):
            name = ("alice", "bob")[number % 2]
            content = result(f"c{number:02}")
            barrier.wait()
            try:
                with db.session(actor=name) as session:
                    # Rejected after its segments and bytes are staged: the next import must not find them.
                    with pytest.raises(InvalidInput, match="model_version"):
                        transcripts.import_result(session, audio_of[name], content, model_version="\0")
                    transcripts.import_result(session, audio_of[name], content, name=f"{name} {number}")
                    backends.add(backend_of(session))
                rows = ({"case_id": audio_of[name].case_id, "body": f"{name} {number} {n}"} for n in range(NOTES))
                bulk.insert(db, CaseNote, rows, actor=name, chunk=NOTES // 3)
            except Exception as error:  # noqa: BLE001 - reported by the test, not by the thread
                wrong.append(error)

        running = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
    assert wrong == []
    assert 1 < len(backends) <= SERVER_CONNECTIONS, "otherwise no connection was shared, and the test proves nothing"
    with Database(url, signing_key=key, storage=storage) as direct:
        for name, audio in audio_of.items():
            numbers = {number for number in range(CLIENTS) if ("alice", "bob")[number % 2] == name}
            with direct.session(actor=name) as session:
                tag = func.split_part(TranscriptionSegment.text, " ", 2)
                stored = session.execute(
                    select(Transcription.version, TranscriptionSource.name, func.min(tag), func.max(tag),
                           func.count(), func.count(TranscriptionSegment.position.distinct()),
                           func.bool_and(TranscriptionSegment.words[0]["text"].astext == func.concat(" ", tag)))
                    .join(Transcription.segments).join(Transcription.sources)
                    .where(Transcription.audio_file_id == audio.id)
                    .group_by(Transcription.version, TranscriptionSource.name)
                ).all()  # fmt: skip
                kept = [
                    transcripts.export(session, version, "source") for version in session.scalars(select(Transcription))
                ]
                notes = session.scalars(
                    select(CaseNote.body).join(User, User.id == CaseNote.author_id).where(User.username == name)
                ).all()
            assert sorted(version for version, *_ in stored) == list(range(1, len(numbers) + 1))
            assert {source: others for _, source, *others in stored} == {
                f"{name} {number}": [f"c{number:02}", f"c{number:02}", SEGMENTS, SEGMENTS, True] for number in numbers
            }
            assert sorted(kept) == sorted(result(f"c{number:02}") for number in numbers)
            assert sorted(notes) == sorted(f"{name} {number} {n}" for number in numbers for n in range(NOTES))
