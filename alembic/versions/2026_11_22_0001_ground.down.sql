DROP TABLE transcription_sources;

DROP TABLE transcription_segments;

DROP TABLE analysis_results;

DROP TABLE transcriptions;

DROP TABLE processing_jobs;

DROP TABLE legal_holds;

DROP TABLE case_participants;

DROP TABLE case_notes;

DROP TABLE audio_files;

DROP TABLE login_throttles;

DROP TABLE cases;

DROP TABLE users;

DROP TABLE user_roles;

DROP TABLE storage_objects;

DROP TABLE sentiments;

DROP TABLE languages;

DROP TABLE case_statuses;

DROP TABLE case_priorities;

DROP TABLE audio_statuses;

DROP TABLE actor_keys;

DROP TABLE activity_types;

DROP TABLE activity_seals;

DROP TABLE activity_logs;

DROP FUNCTION IF EXISTS public.schema_revision() CASCADE;
DROP FUNCTION IF EXISTS public.verify_token(text, text) CASCADE;
DROP FUNCTION IF EXISTS public.mint_actor(bigint, bigint) CASCADE;
DROP FUNCTION IF EXISTS public.begin_actor(text, text, text) CASCADE;
DROP FUNCTION IF EXISTS public.signed_actor() CASCADE;
DROP FUNCTION IF EXISTS public.actor_id() CASCADE;
DROP FUNCTION IF EXISTS public.actor_epoch() CASCADE;
DROP FUNCTION IF EXISTS public.login_wait(bigint) CASCADE;
DROP FUNCTION IF EXISTS public.credential(text) CASCADE;
DROP FUNCTION IF EXISTS public.store_credential(text, text) CASCADE;
DROP FUNCTION IF EXISTS public.record_login(text, text, text) CASCADE;
DROP FUNCTION IF EXISTS public.role_permits(bigint, text, text) CASCADE;
DROP FUNCTION IF EXISTS public.actor_may(text, text) CASCADE;
DROP FUNCTION IF EXISTS public.participant_may(text, jsonb, text) CASCADE;
DROP FUNCTION IF EXISTS public.actor_case_ids(text) CASCADE;
DROP FUNCTION IF EXISTS public.code_id(text, text) CASCADE;
DROP FUNCTION IF EXISTS public.touch_row() CASCADE;
DROP FUNCTION IF EXISTS public.touch_versioned_row() CASCADE;
DROP FUNCTION IF EXISTS public.prepare_case() CASCADE;
DROP FUNCTION IF EXISTS public.own_case() CASCADE;
DROP FUNCTION IF EXISTS public.announce_object(bigint, text, text) CASCADE;
DROP FUNCTION IF EXISTS public.adopt_object() CASCADE;
DROP FUNCTION IF EXISTS public.release_object() CASCADE;
DROP FUNCTION IF EXISTS public.refuse_change() CASCADE;
DROP FUNCTION IF EXISTS public.role_permissions_known(jsonb) CASCADE;
DROP FUNCTION IF EXISTS public.participation_known(jsonb) CASCADE;
DROP FUNCTION IF EXISTS public.guard_hierarchy() CASCADE;
DROP FUNCTION IF EXISTS public.guard_administrators() CASCADE;
DROP FUNCTION IF EXISTS public.guard_owners() CASCADE;
DROP FUNCTION IF EXISTS public.guard_grant() CASCADE;
DROP FUNCTION IF EXISTS public.announce_hold() CASCADE;
DROP FUNCTION IF EXISTS public.count_holds() CASCADE;
DROP FUNCTION IF EXISTS public.guard_hold() CASCADE;
DROP FUNCTION IF EXISTS public.append_activity(text, text, bigint, text, bigint, text, bigint, jsonb, jsonb, bytea) CASCADE;
DROP FUNCTION IF EXISTS public.actor_name() CASCADE;
DROP FUNCTION IF EXISTS public.redact(jsonb, text[], bytea) CASCADE;
DROP FUNCTION IF EXISTS public.capture_change() CASCADE;
DROP FUNCTION IF EXISTS public.record_activity(text, bigint, text, bigint, jsonb) CASCADE;
DROP FUNCTION IF EXISTS public.record_reads(jsonb) CASCADE;
DROP FUNCTION IF EXISTS public.ensure_activity_partitions(integer) CASCADE;
DROP FUNCTION IF EXISTS public.search_vector(text, text) CASCADE;
DROP FUNCTION IF EXISTS public.search_query(text, text) CASCADE;
DROP FUNCTION IF EXISTS public.search_segments(text, bigint, integer) CASCADE;
DROP FUNCTION IF EXISTS public.claim_job(text[], text, integer) CASCADE;
DROP FUNCTION IF EXISTS public.extend_lease(bigint, bigint, integer) CASCADE;
DROP FUNCTION IF EXISTS public.complete_job(bigint, bigint, jsonb) CASCADE;
DROP FUNCTION IF EXISTS public.fail_job(bigint, bigint, text, boolean, integer) CASCADE;
DO $body$ BEGIN
    REVOKE ALL ON SCHEMA public FROM sti_app;
EXCEPTION WHEN undefined_object THEN
    NULL; -- removed before
END $body$;
DO $body$ BEGIN
    DROP ROLE sti_app;
EXCEPTION WHEN dependent_objects_still_exist OR insufficient_privilege OR undefined_object THEN
    NULL; -- another database of this server uses it
END $body$;
DO $body$ BEGIN
    REVOKE ALL ON SCHEMA public FROM sti_admin;
EXCEPTION WHEN undefined_object THEN
    NULL; -- removed before
END $body$;
DO $body$ BEGIN
    DROP ROLE sti_admin;
EXCEPTION WHEN dependent_objects_still_exist OR insufficient_privilege OR undefined_object THEN
    NULL; -- another database of this server uses it
END $body$;

