"""Users of every kind behind one pooler, and the work of their sessions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from src.database import Case, Database
from src.database.connection.engine import PoolOptions
from src.errors import ServerUnreachable, SpeechError
from src.services import cases
from tests.security.bouncer import Bouncer, running_bouncer
from tests.security.population import backend_of

MEMBERS, VIEWERS, ADMINS, NOBODIES = ("alice", "bob"), ("carol", "dave"), ("root", "rita"), (None, "mallory")
EVERYBODY = (*MEMBERS, *VIEWERS, *ADMINS, *NOBODIES)
SEES = {
    "alice": {"Case of alice"},
    "bob": {"Case of bob"},
    "carol": {"Case of alice"},
    "dave": {"Case of bob"},
    "root": {"Case of alice", "Case of bob"},
    "rita": {"Case of alice", "Case of bob"},
    "mallory": set(),
    None: set(),
}


@dataclass(frozen=True)
class Peopled:
    """A database with two users of every kind, accessible directly and through the pooler."""

    direct: Database
    bouncer: Bouncer
    case_of: dict[str, Case]

    @contextmanager
    def client(self, **options) -> Iterator[Database]:
        """A separate Database through the pooler, like that of another process."""
        pool = PoolOptions(**options)
        url, key, storage = self.bouncer.url, self.direct.signing_key, self.direct.storage
        admin = self.direct.admin_engine.url
        admin_url = url.set(username=admin.username, password=admin.password)
        with Database(url, signing_key=key, admin_url=admin_url, storage=storage, pool=pool) as database:
            yield database


@contextmanager
def peopled_behind(direct, **options) -> Iterator[Peopled]:
    case_of = {}
    for member, viewer in zip(MEMBERS, VIEWERS, strict=True):
        with direct.session(actor=member) as session:
            case_of[member] = cases.open_case(session, title=f"Case of {member}")
            cases.add_participant(session, case_of[member], viewer, role="viewer")
    for viewer, member in (*zip(VIEWERS, MEMBERS, strict=True), *zip(ADMINS, MEMBERS, strict=True)):
        case_of[viewer] = case_of[member]
    with running_bouncer(direct.engine.url, direct.admin_engine.url, **options) as bouncer:
        yield Peopled(direct, bouncer, case_of)


def titles(session):
    return set(session.scalars(text("SELECT title FROM public.cases")))


class Deliberate(Exception):
    """An exception that a service raises inside a session."""


def reads(session, _case, _marker):
    session.execute(text("SELECT count(*) FROM case_notes"))


def writes(session, case, marker):
    cases.add_note(session, case, marker)


def updates(session, case, marker):
    session.execute(text("UPDATE cases SET description = :text WHERE id = :id"), {"text": marker, "id": case.id})


def writes_and_raises(session, case, marker):
    writes(session, case, marker)
    raise Deliberate


def fails_in_sql(session, case, marker):
    writes(session, case, marker)
    session.execute(text("SELECT 1 / 0"))


def writes_after_a_savepoint(session, case, marker):
    with pytest.raises(DBAPIError), session.begin_nested():
        cases.add_note(session, case, f"{marker} undone")
        session.execute(text("SELECT 1 / 0"))
    writes(session, case, marker)


def leaves_things_behind(session, _case, _marker):
    session.execute(text("CREATE TEMP TABLE cases AS SELECT * FROM public.cases"))
    session.execute(text("SET search_path = pg_temp, public"))
    session.execute(text("SET TimeZone = 'Asia/Kathmandu'"))
    session.execute(text("SET client_encoding = 'LATIN1'"))


WORK = (reads, writes, updates, writes_and_raises, fails_in_sql, writes_after_a_savepoint, leaves_things_behind)
KEPT = (writes, writes_after_a_savepoint)
UNDONE = (writes_and_raises, fails_in_sql)
WRITERS = (*MEMBERS, *ADMINS)


@dataclass
class Seen:
    """The observations of the threads; `wrong` must stay empty."""

    wrong: list = field(default_factory=list)
    kept: list = field(default_factory=list)
    backends: dict = field(default_factory=lambda: defaultdict(set))


def one_session(db, case, work, marker, seen):
    """Run one session of a service, and check the actor and the visible cases before and after the work."""

    def look(session):
        return titles(session), session.scalar(text("SELECT public.actor_name()")), backend_of(session)

    name = marker.split(":")[0]
    name = None if name == "None" else name
    should_fail = work in UNDONE or (work in KEPT and name not in WRITERS)
    try:
        with db.session(actor=name, required=False, reason=marker, request_id=marker) as session:
            before = look(session)
            seen.backends[before[2]].add(name)
            if before[:2] != (SEES[name], None if name in NOBODIES else name):
                seen.wrong.append((name, before))
            work(session, case, marker)
            if look(session) != before:
                seen.wrong.append((name, work.__name__, before))
    except (Deliberate, DBAPIError, SpeechError) as error:
        if not should_fail or isinstance(error, ServerUnreachable):
            seen.wrong.append((name, work.__name__, repr(error)))
    else:
        if should_fail:
            seen.wrong.append((name, work.__name__, "did not fail"))
        if work in KEPT:
            seen.kept.append(marker)
