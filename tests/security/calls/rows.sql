-- Writes of members and administrators: triggers, CHECKs, generated columns, policies.

-- as alice
INSERT INTO public.cases (title, description) VALUES (%(odd)s, 'x')
RETURNING id, case_code, status_id, opened_by_id, active_holds;
INSERT INTO public.case_notes (case_id, body) SELECT %(case)s, b FROM unnest(%(texts)s) b WHERE b <> ''
RETURNING id, author_id, row_version;
UPDATE public.case_notes SET body = body || '.' WHERE id = %(note)s RETURNING id, row_version;
INSERT INTO public.case_participants (case_id, user_id, role, permissions)
VALUES (%(case)s, %(carol)s, 'editor', '{"deny": ["write"]}') RETURNING id, role, permissions;
INSERT INTO public.case_participants (case_id, user_id, role, permissions)
VALUES (%(case)s, %(carol)s, 'editor', '{"deny": ["everything"]}') RETURNING id;
UPDATE public.case_participants SET role = 'viewer' WHERE user_id = %(carol)s RETURNING id;
UPDATE public.case_participants SET expires_at = '2199-01-01T00:00:00Z'
 WHERE case_id = %(case)s AND user_id = %(alice)s RETURNING id;
DELETE FROM public.case_participants WHERE case_id = %(case)s AND user_id = %(alice)s RETURNING id;
INSERT INTO public.transcriptions (case_id, audio_file_id, language_id, version, content, confidence)
SELECT %(case)s, %(audio)s, id, 99, %(odd)s, 0.1::float8 + 0.2::float8 FROM public.languages WHERE code = 'en'
RETURNING id, created_by_id;
INSERT INTO public.transcription_segments (case_id, transcription_id, position, start_ms, text, speaker, confidence, words,
    flags, search_config)
SELECT %(case)s, t.id, s.place, s.place, s.body, 'x', 0.1::float8 + 0.2::float8, '[{"w": 0.30}]', '{no_speech}', 'english'
  FROM public.transcriptions t, unnest(%(texts)s) WITH ORDINALITY AS s (body, place)
 WHERE t.version = 99 AND s.body <> '' ORDER BY s.place RETURNING position, search;
INSERT INTO public.transcription_sources (case_id, transcription_id, dialect, sha256, content)
SELECT %(case)s, id, 'whisper', repeat('1', 64), 'x'::bytea FROM public.transcriptions WHERE version = 99
RETURNING audio_file_id;
SET CONSTRAINTS ALL IMMEDIATE;
SELECT segments_sha256, public.transcription_digest(id) FROM public.transcriptions WHERE case_id = %(case)s ORDER BY id;
INSERT INTO public.transcription_segments (case_id, transcription_id, position, text)
SELECT %(case)s, id, 999, 'late' FROM public.transcriptions WHERE version = 99 RETURNING id;
UPDATE public.transcriptions SET accepted_at = now(), accepted_by_id = %(alice)s WHERE version = 99
RETURNING accepted_by_id;
INSERT INTO public.analysis_results (case_id, audio_file_id, version, sentiment_score, details, summary)
VALUES (%(case)s, %(audio)s, 9, 0.1::float8 + 0.2::float8, E'{"x\\\\y": [1.10, 1e-7, null, "\\u2028"]}', %(odd)s)
RETURNING id;
DELETE FROM public.transcriptions WHERE version = 99 RETURNING version;
DELETE FROM public.case_notes WHERE id = %(note)s RETURNING id;
DELETE FROM public.analysis_results WHERE version = 9 RETURNING version;
SELECT public.restore_deleted(max(id)) > 0 FROM public.activity_logs WHERE operation = 'delete' AND entity = 'case_notes';
SELECT public.restore_deleted(max(id)) > 0 FROM public.activity_logs
 WHERE operation = 'delete' AND entity = 'analysis_results';
SELECT public.restore_deleted(max(id)) > 0 FROM public.activity_logs
 WHERE operation = 'delete' AND entity = 'transcriptions';
SELECT public.restore_deleted(1);
SELECT id, summary, sentiment_score, details FROM public.analysis_results ORDER BY id;
INSERT INTO public.legal_holds (case_id, reason) VALUES (%(case)s, 'suit') RETURNING id;
SELECT active_holds FROM public.cases WHERE id = %(case)s;
DELETE FROM public.case_notes WHERE case_id = %(case)s RETURNING id;
DELETE FROM public.cases WHERE id = %(case)s RETURNING id;
UPDATE public.legal_holds SET released_at = now(), released_by_id = %(alice)s, release_reason = 'over'
 WHERE case_id = %(case)s AND released_at IS NULL RETURNING released_by_id;
UPDATE public.users SET email = 'new@example.org', full_name = E'Alice \\ A.' WHERE id = %(alice)s RETURNING full_name;
UPDATE public.users SET full_name = 'x' WHERE id = %(alice)s RETURNING email;
SELECT u.id, public.user_email(u.id), public.user_last_login(u.id) IS NULL FROM public.users u ORDER BY u.id;
SELECT public.require_free_address('new@example.org', %(alice)s);
INSERT INTO public.cases (title, status_id) VALUES ('closed', public.code_id('case_statuses', 'closed'))
RETURNING closed_at IS NOT NULL;
UPDATE public.cases SET status_id = public.code_id('case_statuses', 'pending') WHERE title = 'closed' RETURNING id;
UPDATE public.cases SET status_id = public.code_id('case_statuses', 'active') WHERE title = 'closed'
RETURNING closed_at IS NULL;
UPDATE public.cases SET closed_at = now() WHERE title = 'closed' RETURNING id;
UPDATE public.audio_files SET status_id = public.code_id('audio_statuses', 'processed') WHERE id = %(audio)s
RETURNING processed_at IS NOT NULL;
UPDATE public.audio_files SET processed_at = NULL WHERE id = %(audio)s RETURNING id;
UPDATE public.audio_files SET status_id = public.code_id('audio_statuses', 'failed'), error_message = 'x',
       is_sensitive = true, sensitive_reason = %(odd)s WHERE id = %(audio)s RETURNING processed_at IS NULL;
SELECT public.actor_may_export(%(case)s, %(audio)s), public.actor_may_export(%(case)s, NULL),
       public.actor_may_export(%(foreign)s, NULL);
UPDATE public.audio_files SET status_id = public.code_id('audio_statuses', 'queued'), is_sensitive = false,
       sensitive_reason = NULL WHERE id = %(audio)s RETURNING error_message IS NULL;
UPDATE public.cases SET is_sensitive = true, sensitive_reason = 'x' WHERE title = 'closed' RETURNING is_sensitive;
UPDATE public.cases SET sensitive_reason = 'y' WHERE title = 'closed' RETURNING sensitive_reason;

-- as root
INSERT INTO public.users (username, role_id) SELECT 'dave', id FROM public.user_roles WHERE code = 'below'
RETURNING username;
UPDATE public.users SET is_active = false WHERE username IN ('root', 'dave', 'carol') RETURNING id;
UPDATE public.users SET is_active = false WHERE username = 'dave' RETURNING id;
DELETE FROM public.users WHERE username = 'dave' RETURNING id;
UPDATE public.user_roles SET permissions = '{}' WHERE code IN ('admin', 'below') RETURNING code;
UPDATE public.user_roles SET permissions = '{"a": ["b"]}' WHERE code = 'below' RETURNING id;
INSERT INTO public.permission_subjects (subject, verbs) VALUES ('case', '{read}') RETURNING subject;
INSERT INTO public.permission_subjects (subject, verbs) VALUES ('report', '{read,write}') RETURNING subject;
UPDATE public.user_roles SET permissions = '{"report": ["raed"]}' WHERE code = 'below' RETURNING id;
UPDATE public.user_roles SET permissions = '{"report": ["read"]}' WHERE code = 'below' RETURNING permissions;
UPDATE public.permission_subjects SET verbs = '{write}' RETURNING verbs;
UPDATE public.permission_subjects SET verbs = '{read}' RETURNING verbs;
DELETE FROM public.permission_subjects RETURNING subject;
SELECT public.actor_may_on(%(case)s, 'read', 'report'), public.actor_may_on(%(case)s, 'read', 'case');
SELECT public.actor_may_on(%(case)s, 'read', 'reprot');
SELECT u.id, public.user_email(u.id), public.user_last_login(u.id) IS NULL FROM public.users u ORDER BY u.id;
SELECT public.require_free_address('NEW@example.org', %(bob)s);
SELECT public.require_free_address('free@example.org', %(bob)s);
UPDATE public.user_roles a SET parent_id = b.id FROM public.user_roles b WHERE a.code = 'admin' AND b.code = 'below'
RETURNING a.code;
INSERT INTO public.languages (code, name, search_config) VALUES ('xx', 'X', 'simple') RETURNING code;
UPDATE public.languages SET id = 999 WHERE code = 'xx' RETURNING id;
UPDATE public.languages SET name = 'Y' WHERE code = 'xx' RETURNING name;

-- as owner
WITH changed AS (
    UPDATE public.transcription_segments SET search_config = 'simple' WHERE case_id = %(case)s RETURNING id, search)
SELECT * FROM changed ORDER BY id;
UPDATE public.transcription_segments SET text = 'x' RETURNING id;
UPDATE public.actor_keys SET retired_at = NULL RETURNING id;

-- as owner
SELECT public.readable_time_1(t::timestamptz) FROM unnest('{2026-01-02 03:04+05:45,20000-01-01 UTC,0044-03-15 BC,infinity,
       0999-12-31 23:00-01,9000-01-01 00:30+00:45}'::text[]) AS t;
SELECT public.readable_date_1(d::date) FROM unnest('{2026-01-02,20000-01-01,0044-03-15 BC,infinity}'::text[]) AS d;
SELECT public.readable_json_1(j::jsonb, 1000) FROM unnest(ARRAY['{"a": [1.50, 1e-9]}', '1e400', repeat('[', 200)
       || repeat(']', 200), '"' || repeat('x', 2000) || '"', E'{"a\\\\b": "\\u2028"}']) AS j;
