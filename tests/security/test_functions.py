"""Every function that the application may execute, called by Alice with ids of Bob's case."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import BigInteger, cast, func, select, text
from sqlalchemy.exc import DBAPIError

from src.database.connection.actor_tokens import Actor
from src.errors import Forbidden, InvalidInput, NotFound
from src.services import work
from src.storage import keys
from tests.security.population import core, token_for

# The functions, each with the test that calls it. A new function must be listed here.
KNOWN = {
    "actor_case_ids": "test_functions_about_the_actor_reveal_nothing_else",
    "actor_case_flags": "test_functions_about_the_actor_reveal_nothing_else",
    "actor_wide_from": "test_functions_about_the_actor_reveal_nothing_else",
    "actor_key": "test_functions_about_the_actor_reveal_nothing_else",
    "actor_may_in": "test_functions_about_the_actor_reveal_nothing_else",
    "actor_opening": "test_functions_about_the_actor_reveal_nothing_else",
    "actor_opening_mark": "test_functions_about_the_actor_reveal_nothing_else",
    "case_of_entries": "test_only_its_readers_get_the_case_of_entries",
    "open_job_kind_1": "test_functions_about_the_actor_reveal_nothing_else",
    "queued_job_kind_1": "test_functions_about_the_actor_reveal_nothing_else",
    "storage_register": "tests/services/recordings/test_storage_identity.py",
    "storage_usage": "tests/services/recordings",
    "actor_id": "test_functions_about_the_actor_reveal_nothing_else",
    "actor_may": "test_functions_about_the_actor_reveal_nothing_else",
    "actor_may_export": "tests/services/test_sensitive.py",
    "actor_may_on": "tests/services/test_permission_subjects.py",
    "actor_name": "test_functions_about_the_actor_reveal_nothing_else",
    "announce_object": "test_an_announced_object_stays_pending_until_its_own_case_adopts_it",
    "append_seal": "tests/services/history",
    "begin_seal": "tests/services/history",
    "begin_actor": "test_tokens.py",
    "claim_job": "test_claiming_needs_the_permission",
    "code_id": "test_code_id_reads_with_the_callers_rights",
    "complete_job": "test_only_the_holder_of_the_lease_closes_a_job",
    "credential": "test_credentials.py",
    "erase_payloads": "tests/services/history",
    "explain_permissions": "tests/services/test_why_permissions.py",
    "extend_lease": "test_only_the_holder_of_the_lease_closes_a_job",
    "fail_job": "test_only_the_holder_of_the_lease_closes_a_job",
    "give_back_job": "test_only_the_holder_of_the_lease_closes_a_job",
    "is_valid_token": "test_tokens.py: says of a token only whether this database signed it",
    "login_epoch": "test_only_the_user_and_administrators_read_the_epoch_and_nobody_sets_it",
    "knows_storage": "tests/docs/test_web_api.py: says of an id only whether it is that of a storage of this database",
    "lock_in_case": "test_attack_waiting_locks.py",
    "lock_own": "test_attack_waiting_locks.py",
    "lock_object": "tests/services/recordings/test_recordings_deleting.py",
    "mark_deleted": "tests/services/recordings/test_recordings_deleting.py",
    "note_check": "tests/services/recordings/test_recordings_deleting.py",
    "participant_may": "test_functions_about_the_actor_reveal_nothing_else",
    "participation_known_1": "test_functions_about_the_actor_reveal_nothing_else",
    "permission_subject_form_2": "computes from its arguments",
    "permissions_form_2": "computes from its arguments",
    "place_recording": "tests/services/recordings/test_recordings_deleting.py",
    "read_receipt": "test_a_receipt_proves_only_a_right_that_existed",
    "read_receipts": "test_a_receipt_proves_only_a_right_that_existed",
    "readable_date_1": "test_functions_about_the_actor_reveal_nothing_else",
    "readable_json_1": "test_functions_about_the_actor_reveal_nothing_else",
    "readable_time_1": "test_functions_about_the_actor_reveal_nothing_else",
    "receives_log": "a setting of the server: tests/migrations/test_replication.py",
    "record_activity": "test_activity_cannot_be_recorded_in_a_foreign_case",
    "record_session_reads": "test_reads_of_a_session_need_the_proof_of_the_program",
    "record_reads": "test_reads_are_recorded_only_in_readable_cases",
    "restore_deleted": "tests/services/history",
    "role_permissions_known_1": "a rule without data: tests/services/test_permissions.py",
    "schema_revision": "a constant",
    "seal_blockers": "tests/services/history/test_unsealed.py",
    "unsealed_entries": "tests/services/history/test_unsealed.py",
    "search_fold_1": "test_the_search_functions_read_nothing",
    "search_lexemes_1": "test_the_search_functions_read_nothing",
    "search_page": "test_searching.py",
    "search_pairs_1": "test_the_search_functions_read_nothing",
    "search_plain_1": "test_the_search_functions_read_nothing",
    "search_query": "test_the_search_functions_read_nothing",
    "search_rows": "test_searching.py",
    "search_run": "test_the_search_functions_read_nothing",
    "search_spellings": "test_the_search_functions_read_nothing",
    "search_stems": "test_the_search_functions_read_nothing",
    "search_term": "test_the_search_functions_read_nothing",
    "search_vector_1": "test_the_search_functions_read_nothing",
    "search_words": "test_the_search_functions_read_nothing",
    **dict.fromkeys(
        (
            "search_accents_1",
            "search_half_space_1",
            "search_letter_1",
            "search_quotes",
            "search_silent_1",
            "search_spaces",
            "search_term_pattern",
            "search_unspaced_1",
            "case_verbs_1",
            "role_verbs_1",
            "schema_build",
            "schema_oldest_code",
        ),
        "a constant",
    ),
    "is_denied": "computes from its arguments",
    "participant_verbs": "computes from its arguments",
    "require_grantable": "reads the permissions of the caller: tests/services/test_permissions.py",
    "user_email": "test_private_columns.py",
    "user_last_login": "test_private_columns.py",
    "sign_in_epoch": "test_only_the_user_and_administrators_read_the_epoch_and_nobody_sets_it",
    "triggers_act": "a setting of the server: tests/migrations/test_replication.py",
    "transcription_digest": "reads with the rights of the caller",
}

# The first two read only the catalog, for `history.verify`; the last one says what administrators may read anyway.
FOR_ADMINISTRATORS = {"capture_arguments", "captured_tables", "require_free_address"}


READS = text("SELECT record_reads(jsonb_build_array(jsonb_build_object('type', 'search.made', 'case_id', :case,"
             " 'detail', '{}'::jsonb, 'receipt', :receipt)))")  # fmt: skip


def newest_entry(owner) -> tuple[str, int | None, str]:
    with owner.connect() as connection:
        entry = connection.execute(
            text("SELECT l.actor, l.case_id, t.code FROM activity_logs l JOIN activity_types t"
                 " ON t.id = l.activity_type_id ORDER BY l.id DESC LIMIT 1")
        ).one()  # fmt: skip
    return tuple(entry)


def test_a_receipt_proves_only_a_right_that_existed(populated):
    own, foreign = populated.case_of["alice"], populated.case_of["bob"]
    receipt = text("SELECT read_receipt(:case)")
    with populated.db.session(actor="bob") as session:
        of_bob = session.scalar(receipt, {"case": foreign})
    with populated.db.session(actor="alice") as session:
        assert session.scalar(receipt, {"case": foreign}) is None
        assert session.scalar(receipt, {"case": 999_999}) is None
        assert session.scalar(receipt, {"case": None}) is None
        of_alice = session.scalar(receipt, {"case": own})
        several = session.scalar(text("SELECT read_receipts(:cases)"), {"cases": [own, foreign, 999_999, None]})
        assert list(several) == [str(own)], "of several cases, those that the actor may read"
    token = populated.db.signing_key.token("session", "alice", backend_pid=1, started=1)
    changed = of_alice.replace(f"|{own}|", f"|{foreign}|", 1)
    for forged in (of_bob, of_alice, changed, token, "read|1|1|1|1|1", "|||||", "", "x" * 10_000, None):
        with populated.db.session(actor="alice") as session:
            session.execute(READS, {"case": foreign, "receipt": forged})
        assert newest_entry(populated.owner) == ("alice", None, "search.made"), forged
    with populated.db.session() as session:
        assert session.scalar(receipt, {"case": own}) is None


def test_reads_of_a_session_need_the_proof_of_the_program(populated):
    statement = text("SELECT record_session_reads(CAST(:entries AS jsonb), :proof)")
    entries = json.dumps([{"type": "search.made", "case_id": None, "detail": {}}])
    with core(populated.db, Actor("alice")) as connection:
        proofs = [token_for(populated.db, connection, purpose, "1", pid=pid, started=started)
                  for purpose, pid, started in (("login", 0, 0), ("reads", 1, 0), ("reads", 0, -1))]  # fmt: skip
        receipt = connection.scalar(text("SELECT read_receipt(:case)"), {"case": populated.case_of["alice"]})
        for proof in (*proofs, receipt, None, "1", ""):
            with pytest.raises(DBAPIError, match="no actor"), connection.begin_nested():
                connection.execute(statement, {"entries": entries, "proof": proof})


@pytest.mark.parametrize("role", ["sti_app", "sti_wide", "sti_admin", "the login", "PUBLIC"])
def test_only_known_functions_can_be_executed(shared, role):
    who = shared.db.engine.url.username if role == "the login" else role.lower()
    with shared.owner.connect() as connection:
        executable = set(
            connection.scalars(
                text(
                    "SELECT p.proname FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace"
                    " AND has_function_privilege(:who, p.oid, 'EXECUTE') AND NOT EXISTS"
                    " (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')"
                ),
                {"who": who},
            )
        )
    always = {"begin_actor", "schema_build", "schema_oldest_code", "schema_revision"}
    expected = set(KNOWN) if role.startswith("sti_") else always
    assert executable == expected | (FOR_ADMINISTRATORS if role == "sti_admin" else set())


def test_our_functions_set_their_search_path_and_cannot_be_shadowed(shared):
    with shared.owner.connect() as connection:
        unsafe = connection.scalars(
            text(
                "SELECT p.proname FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace AND p.prosecdef"
                " AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (p.proconfig), false)"
            )
        ).all()
        creators = connection.scalars(
            text("SELECT r FROM unnest(ARRAY['sti_app', 'sti_wide', 'sti_admin', 'public']) r"
                 " WHERE has_schema_privilege(r, 'public', 'CREATE')")
        ).all()  # fmt: skip
    assert unsafe == []
    assert creators == []


@pytest.mark.parametrize("statement", [
    "SELECT public.mint_actor(1, 1)", "SELECT public.verify_token('x', 'session')",
    "SELECT public.append_activity('row.insert', 'insert', 1, 'bob', 1, 'cases', 1, NULL, NULL, NULL)",
    "SELECT public.role_permits(1, '*', '*')", "SELECT public.signed_actor()", "SELECT public.actor_epoch()",
    "SELECT public.ensure_activity_partitions(3)", "SELECT public.redact('{}', '{}', '')",
    "SELECT public.capture_change()", "SELECT public.own_case()", "SELECT public.capture_new_rows()",
])  # fmt: skip
def test_internal_functions_cannot_be_called_by_sessions(shared, statement):
    for role in ("sti_app", "sti_wide", "sti_admin", "NONE"):
        with (
            core(shared.db, Actor("alice"), role) as connection,
            pytest.raises(DBAPIError, match="permission denied for function"),
            connection.begin_nested(),
        ):
            connection.execute(text(statement))


@pytest.mark.parametrize("function", ["capture_change", "capture_new_rows", "own_case", "adopt_object",
                                      "release_object", "refuse_change"])  # fmt: skip
@pytest.mark.parametrize("role", ["sti_app", "sti_wide", "sti_admin"])
def test_trigger_functions_cannot_be_attached_to_own_tables(unchanged, function, role):
    with core(unchanged.db, Actor("alice"), role) as connection:
        connection.execute(text("CREATE TEMP TABLE case_notes (id bigint, case_id bigint, body text)"))
        with pytest.raises(DBAPIError, match="permission denied for function"), connection.begin_nested():
            connection.execute(
                text(f"CREATE TRIGGER forge AFTER INSERT ON pg_temp.case_notes FOR EACH ROW"
                     f" EXECUTE FUNCTION public.{function}('case_id', '', '')")
            )  # fmt: skip
        connection.get_transaction().rollback()


@pytest.mark.parametrize(("function", "each"), [
    ("capture_change", "FOR EACH ROW"), ("capture_new_rows", "REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT"),
])  # fmt: skip
def test_capture_rejects_other_tables_even_for_the_owner(populated, function, each):
    with populated.owner.connect() as connection:
        connection.execute(text("CREATE TEMP TABLE cases (id bigint)"))
        connection.execute(
            text(f"CREATE TRIGGER forge AFTER INSERT ON pg_temp.cases {each} EXECUTE FUNCTION"
                 f" public.{function}('id', '', '')")
        )  # fmt: skip
        with pytest.raises(DBAPIError, match=f"{function} cannot be used on"):
            connection.execute(text("INSERT INTO pg_temp.cases VALUES (1)"))


def test_functions_about_the_actor_reveal_nothing_else(shared):
    with shared.db.session(actor="alice") as session:
        assert session.scalar(select(func.public.actor_name())) == "alice"
        assert session.scalar(select(func.public.actor_case_ids())) == [shared.case_of["alice"]]
        flags = session.scalar(select(func.public.actor_case_flags()))
        assert [number for number, flag in enumerate(flags, 1) if flag] == [shared.case_of["alice"]]
        for verb in ("read", "write", "delete", "manage"):
            assert session.scalar(select(func.public.actor_may_in(shared.case_of["alice"], verb))) is True
            assert session.scalar(select(func.public.actor_may_in(shared.case_of["bob"], verb))) is False
        assert session.scalar(select(func.public.actor_may_in(None, "read"))) is False
        own_id = session.scalar(select(func.public.actor_id()))
        assert session.scalar(select(func.public.actor_key())) == {str(own_id): 1}
        assert session.scalar(select(func.public.actor_wide_from())) == []
        assert session.scalar(select(func.public.actor_opening())) == {}
        assert session.scalar(select(func.public.actor_opening_mark())) is None
        assert session.scalar(select(func.public.open_job_kind_1("queued", "x"))) == "x"
        assert session.scalar(select(func.public.queued_job_kind_1("running", "x"))) is None
        assert session.scalar(select(func.public.actor_may("*", "*"))) is False
        assert session.scalar(select(func.public.actor_may("job", "claim"))) is False
        assert session.scalar(select(func.public.actor_may(None, None))) is False
        # Computed from the arguments: they read no table.
        assert session.scalar(text("SELECT participant_may('viewer', '{}', 'write')")) is False
        assert session.scalar(text('SELECT participation_known_1(\'{"allow": ["everything"]}\')')) is False
        assert session.scalar(text("SELECT readable_json_1('{}', 1)")) is False
        assert session.scalar(text("SELECT readable_date_1('infinity') OR readable_time_1('infinity')")) is False
        assert session.scalar(text('SELECT role_permissions_known_1(\'{"*": ["*"]}\')')) is True


def test_searching_a_foreign_case_finds_nothing(shared):
    bob = shared.case_of["bob"]
    with shared.db.session(actor="alice") as session:
        for only in (bob, None, -1):
            found = session.execute(
                text("SELECT segment_id FROM search_page('bobsecret', CAST(:filters AS jsonb))"),
                {"filters": json.dumps({} if only is None else {"cases": [only]})},
            )
            assert found.all() == []
        own = session.scalars(text("SELECT segment_id FROM search_page('common', '{}')")).all()
    assert set(own) == shared.rows_of("alice", "transcription_segments")


def test_the_search_functions_read_nothing(shared):
    with shared.db.session(actor="alice") as session:
        assert session.scalar(text("SELECT search_vector_1('english', 'running')")) == "'run':1"
        assert session.scalar(text("SELECT search_query('english', 'a & | ! (')::text")) is not None
        assert session.scalar(text("SELECT search_lexemes_1('french', 'à la fête')")) == "'a':1 'fet':3"
        assert session.scalar(text("SELECT search_fold_1('fête'), search_plain_1('a/b')")) == "fete"
        assert session.scalar(text("SELECT search_pairs_1('日本x')")) == "'日本':1 '本':2"
        assert session.scalar(text("SELECT search_run('日本語')::text")) == "'日本' <-> '本語'"
        assert session.scalar(text("SELECT search_words('english', 'running', false)::text")) == "'run' | 'running'"
        assert session.scalars(text("SELECT search_spellings('x-y') ORDER BY 1")).all() == ["x y", "x-y"]
        assert session.scalar(text("SELECT search_stems('english', 'runnin')::text")) == "'run'"
        assert session.scalar(text("SELECT search_term('english', 'the', true)::text")) == "'the':*"
    with pytest.raises(DBAPIError, match="does not exist"), core(shared.db, Actor("alice")) as connection:
        connection.execute(text("SELECT search_vector_1('nonsense', 'x')"))


def test_code_id_reads_with_the_callers_rights(shared):
    with shared.db.session(actor="alice") as session:
        assert session.scalar(text("SELECT code_id('case_statuses', 'active')")) > 0
        assert session.scalar(text("SELECT code_id('case_statuses', 'nonsense')")) is None
    for lookup in ("activity_seals", "actor_keys", "login_throttles"):
        with pytest.raises(DBAPIError), core(shared.db, Actor("alice")) as connection:
            connection.scalar(text("SELECT code_id(:lookup, 'x')"), {"lookup": lookup})
    with pytest.raises(DBAPIError, match="unknown lookup table"), core(shared.db, Actor("alice")) as connection:
        connection.scalar(text("SELECT code_id('users; DROP TABLE cases --', 'x')"))


def test_claiming_needs_the_permission(unchanged):
    with pytest.raises(Forbidden, match=r"job\.claim"), unchanged.db.session(actor="alice") as session:
        session.execute(text("SELECT claim_job('{transcribe}', 'w', 60)"))


def test_only_the_holder_of_the_lease_closes_a_job(populated):
    with populated.db.session(actor="transcriber") as session:
        job = work.claim(session, ["transcribe"], worker="w")
        number, lease, case = job.id, job.lease, job.case_id
    assert case == populated.case_of["alice"]
    before = populated.snapshot()["processing_jobs"]
    for name in ("alice", "bob", "root"):
        for call in ("complete_job(:id, :lease, '{}')", "extend_lease(:id, :lease, 60)",
                     "fail_job(:id, :lease, 'x', true, 0)", "give_back_job(:id, :lease, 'x', 0)"):  # fmt: skip
            with core(populated.db, Actor(name)) as connection:
                with pytest.raises(DBAPIError) as caught, connection.begin_nested():
                    connection.execute(text(f"SELECT public.{call}"), {"id": number, "lease": lease})
                assert caught.value.orig.pgcode == "STI01"
    assert populated.snapshot()["processing_jobs"] == before


def test_a_lease_grants_access_to_its_case_until_it_expires(populated):
    with populated.db.session(actor="transcriber") as session:
        assert session.execute(text("SELECT id FROM cases")).all() == []
        work.claim(session, ["transcribe"], worker="w")
    with populated.db.session(actor="transcriber") as session:
        assert session.scalars(text("SELECT id FROM cases")).all() == [populated.case_of["alice"]]
        assert session.execute(text("UPDATE cases SET title = title WHERE case_code = 'CASE-BOB'")).rowcount == 0
        assert session.execute(text("DELETE FROM cases")).rowcount == 0
    with populated.owner.begin() as connection:
        connection.execute(text("UPDATE processing_jobs SET lease_expires_at = now() - interval '1 s'"
                                " WHERE state = 'running'"))  # fmt: skip
    with populated.db.session(actor="transcriber") as session:
        assert session.execute(text("SELECT id FROM cases")).all() == []


def test_activity_cannot_be_recorded_in_a_foreign_case(unchanged):
    for case in (unchanged.case_of["bob"], 10**12):
        with pytest.raises(NotFound) as caught, unchanged.db.session(actor="alice") as session:
            session.execute(text("SELECT record_activity('case.opened', :case, NULL, NULL, '{}')"), {"case": case})
        assert str(caught.value) == "The row does not exist, or you may not see it."


@pytest.mark.parametrize(
    "code", ["row.insert", "row.update", "row.delete", "row.baseline", "login.succeeded", "login.failed"]
)
def test_events_of_the_database_cannot_be_recorded_by_sessions(unchanged, code):
    with pytest.raises(InvalidInput, match=code), unchanged.db.session(actor="alice") as session:
        session.execute(text("SELECT record_activity(:code, NULL, 'users', 1, '{}')"), {"code": code})


def test_an_announced_object_stays_pending_until_its_own_case_adopts_it(populated):
    alice, bob = populated.case_of["alice"], populated.case_of["bob"]
    key = keys.case_key(bob, "wav")
    with populated.db.session(actor="alice") as session:
        session.execute(select(func.public.announce_object(bob, key, "memory")))
    with pytest.raises(Forbidden), populated.db.session(actor="alice") as session:
        session.execute(
            text("INSERT INTO audio_files (case_id, name, path, size_bytes, sha256, storage_type)"
                 " VALUES (:case, 'x', :key, 1, repeat('0', 64), 'memory')"), {"case": bob, "key": key}
        )  # fmt: skip
    with pytest.raises(Exception, match="path_fkey"), populated.db.session(actor="alice") as session:
        session.execute(
            text("INSERT INTO audio_files (case_id, name, path, size_bytes, sha256, storage_type)"
                 " VALUES (:case, 'x', :key, 1, repeat('0', 64), 'memory')"), {"case": alice, "key": key}
        )  # fmt: skip
    with populated.owner.connect() as connection:
        assert connection.scalar(text("SELECT state FROM storage_objects WHERE key = :key"), {"key": key}) == "pending"


NIL = "00000000-0000-0000-0000-000000000000"


@pytest.mark.parametrize(
    "key", ["../../etc/passwd", "cases/1/x.wav", f"cases/2/{NIL}.wav", f"cases/1/{NIL}.wav\n", f"cases/1/{NIL}/wav", ""]
)
def test_only_a_key_of_the_named_case_can_be_announced(unchanged, key):
    with pytest.raises(InvalidInput), unchanged.db.session(actor="alice") as session:
        session.execute(select(func.public.announce_object(1, key, "memory")))


def test_a_token_is_valid_only_in_its_own_session(shared):
    """A login token that SQL reads in one session is invalid in another one, for any actor."""
    with core(shared.db, Actor("bob")) as connection:
        token = token_for(shared.db, connection, "login", "bob")
        assert connection.execute(text("SELECT user_id FROM credential(:t)"), {"t": token}).one()
        with core(shared.db, Actor("alice")) as other:
            assert other.execute(text("SELECT user_id FROM credential(:t)"), {"t": token}).all() == []


def test_only_its_readers_get_the_case_of_entries(shared):
    with shared.db.session(actor="alice") as session:
        for name, case in shared.case_of.items():
            found = session.scalar(select(func.public.case_of_entries("cases", cast(case, BigInteger))))
            assert found == (case if name == "alice" else None)


def test_reads_are_recorded_only_in_readable_cases(populated):
    foreign = populated.case_of["bob"]
    entries = json.dumps([{"type": "search.made", "case_id": foreign, "detail": {"query": "x"}}])
    with populated.db.session(actor="alice") as session:
        session.execute(text("SELECT record_reads(CAST(:entries AS jsonb))"), {"entries": entries})
    with pytest.raises(InvalidInput), populated.db.session(actor="alice") as session:
        session.execute(text('SELECT record_reads(\'[{"type": "row.delete"}]\')'))
    with pytest.raises(Forbidden), populated.db.session() as session:
        session.execute(text("SELECT record_reads('[]')"))
    with populated.owner.connect() as connection:
        newest = connection.execute(text("SELECT actor, case_id FROM activity_logs ORDER BY id DESC LIMIT 1")).one()
    assert tuple(newest) == ("alice", None)
