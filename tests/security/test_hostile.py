"""Hundreds of random attempts by users without access to a case, and checks that the oracle detects leaks."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import ExitStack

import pytest

from src.database.connection.actor_tokens import Actor
from src.database.connection.engine import PoolOptions, make_engine
from src.storage import MemoryStorage
from tests.security.hostile import CAST, Intruder, set_stage
from tests.security.hostile_attempts import KINDS, attempt, probe_constraints, write
from tests.security.hostile_reading import read_the_catalog
from tests.security.population import core

SEED = 20_261_122
ATTEMPTS = 700
UNTIL_FOUND = 1500


@pytest.fixture(scope="module")
def stage(speech_server):
    with speech_server.copy() as url:
        engine = make_engine(url, PoolOptions(size=2))
        with speech_server.database(url, storage=MemoryStorage()) as db:  # fmt: skip
            yield set_stage(db, engine)
        engine.dispose()


def test_every_text_of_the_other_case_is_a_canary(stage):
    """A new column must contain a canary or be listed in NO_CANARY."""
    assert stage.bare_columns() == []


def test_no_attempt_reads_or_changes_the_other_case(stage):
    before, rng, counts, findings = stage.fingerprint(), random.Random(SEED), Counter(), []
    for _ in range(ATTEMPTS):
        intruder = Intruder(stage, rng.choice(list(CAST)), rng)
        counts[attempt(intruder)] += 1
        findings += intruder.findings
    assert findings == []
    assert stage.fingerprint() == before
    assert set(counts) == {kind.__name__ for kind in KINDS}
    assert min(counts.values()) > ATTEMPTS / len(KINDS) / 3, counts


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_attempts_of_a_member_receive_the_canary(stage, kind):
    """The same attempts by Bob: a kind that never receives a canary would prove nothing."""
    without_output = {
        "read_the_catalog", "write", "probe_constraints", "bypass_db_session", "use_channels",
    }  # fmt: skip
    rng = random.Random(SEED)
    intruder = Intruder(stage, "the other case's owner", rng)
    # Few of the random calls of functions have an output: the loop ends with the first canary.
    for _ in range(3_000):
        intruder.doing = kind.__name__
        if kind.__name__ not in without_output and not intruder.findings:
            kind(intruder)
    assert intruder.findings or kind.__name__ in without_output


DEFINER = "SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$"
TAMPERINGS = {
    "a policy that lets everybody read": "CREATE POLICY leak ON case_notes FOR SELECT TO sti_app USING (true)",
    "a policy that lets everybody delete": "CREATE POLICY leak ON case_notes FOR DELETE TO sti_app USING (true);"
    " CREATE POLICY leak ON transcriptions FOR DELETE TO sti_app USING (true);"
    " CREATE POLICY leak ON analysis_results FOR DELETE TO sti_app USING (true)",
    "row security off": "ALTER TABLE transcriptions DISABLE ROW LEVEL SECURITY",
    "a policy for the other role": "CREATE POLICY leak ON audio_files FOR SELECT TO sti_wide USING (true)",
    "a grant on the partitions": """DO $do$ DECLARE p regclass; BEGIN
        FOR p IN SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'activity_logs'::regclass LOOP
            EXECUTE format('GRANT SELECT ON %s TO sti_app', p); END LOOP; END $do$""",
    "a search without the cases": f"""
        CREATE OR REPLACE FUNCTION public.search_page(query text, filters jsonb)
        RETURNS TABLE (segment_id bigint, rank real, total bigint, terms tsquery) LANGUAGE sql STABLE {DEFINER}
            SELECT s.id, 1::real, 1::bigint, query::tsquery FROM public.transcription_segments s
             WHERE s.text LIKE '%' || query || '%' $body$""",
    "an error text with a title": f"""
        CREATE OR REPLACE FUNCTION public.record_activity(type_code text, case_id bigint, entity text,
            entity_id bigint, detail jsonb) RETURNS bigint LANGUAGE plpgsql {DEFINER}
        BEGIN
            RAISE EXCEPTION 'not yours: %', (SELECT c.title FROM public.cases c WHERE c.id = record_activity.case_id);
        END $body$""",
    "an actor without a signature": """
        CREATE OR REPLACE FUNCTION public.is_signed(fields text[], inner_pad bytea, outer_pad bytea) RETURNS boolean
            LANGUAGE sql STABLE PARALLEL SAFE RETURN true""",
    "a token without verification": f"""
        CREATE OR REPLACE FUNCTION public.begin_actor(token text, reason text, request_id text)
        RETURNS TABLE (actor bigint, database_role text, is_member boolean) LANGUAGE plpgsql {DEFINER}
        BEGIN
            SELECT u.id INTO actor FROM public.users u WHERE u.username = split_part(token, '|', 6) AND u.is_active;
            PERFORM set_config('sti.actor', coalesce(public.mint_actor(actor, 1), ''), true);
            database_role := 'sti_app';
            is_member := true;
            RETURN NEXT;
        END $body$""",
    "a foreign key without the case": "ALTER TABLE processing_jobs"
    " DROP CONSTRAINT processing_jobs_case_id_audio_file_id_fkey,"
    " ADD FOREIGN KEY (audio_file_id) REFERENCES audio_files (id)",
    "an expired participation that counts": """
        CREATE OR REPLACE FUNCTION public.is_current(expires_at timestamptz) RETURNS boolean
            LANGUAGE sql VOLATILE PARALLEL SAFE RETURN true;
        UPDATE public.case_accesses SET cluster = 0""",
    "a denial that does not count": """
        CREATE OR REPLACE FUNCTION public.is_denied(permissions jsonb, verb text) RETURNS boolean
            LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN false;
        UPDATE public.case_accesses SET cluster = 0""",
    "a stored set with another case": """
        UPDATE public.case_accesses SET flags = array_fill(true, ARRAY[1000]),
               case_ids = ARRAY(SELECT generate_series(1, 1000))""",
}


# Few attempts of all kinds would find these.
FOUND_BY = {
    "a grant on the partitions": (read_the_catalog,),
    "a foreign key without the case": (write, probe_constraints),
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_the_oracle_detects_each_tampering(db, owner, name):
    stage = set_stage(db, owner)
    with ExitStack() as pool:
        # New connections are refused after the tampering, so these are opened before it.
        for _ in range(3):
            pool.enter_context(core(db, Actor("alice")))
    with owner.begin() as connection:
        # Without parameters, the driver does not interpret percent signs.
        connection.exec_driver_sql(TAMPERINGS[name], execution_options={"no_parameters": True})
    rng, findings = random.Random(SEED), []
    for _ in range(UNTIL_FOUND):
        intruder = Intruder(stage, rng.choice(list(CAST)), rng)
        attempt(intruder, FOUND_BY.get(name, KINDS))
        findings += intruder.findings
        if findings:
            return
    pytest.fail(f"{UNTIL_FOUND} attempts detected nothing")
