-- as owner
SELECT k.n, public.is_key_of_case(k.key, 7), public.is_in_archive(k.key), public.is_key_of_recording(k.key, 7)
  FROM unnest(ARRAY['cases/7/', 'archive/7/', 'archive/8/', E'cases/7\\/', 'x']) WITH ORDINALITY AS p (prefix, n),
       LATERAL (SELECT p.n, p.prefix || '00000000-0000-0000-0000-000000000000.wav') AS k (n, key) ORDER BY 1;
SELECT public.require_no_hold(%(case)s, 'audio_files');

-- as owner:alice, owner:bob, owner:transcriber
SELECT public.case_of_recording(%(audio)s, 'write');

-- as alice
INSERT INTO public.audio_files (case_id, name, path, size_bytes, sha256, storage_type)
VALUES (%(case)s, 'new.wav', %(key)s, 4, repeat('2', 64), 'memory') RETURNING name;
SELECT public.announce_object(%(case)s, %(key)s, 'memory') > 0;
SELECT public.announce_object(%(foreign)s, %(key)s, 'memory');
SELECT public.lock_object(%(key)s), public.lock_object('other');
INSERT INTO public.audio_files (case_id, name, path, size_bytes, sha256, storage_type, recorded_at)
VALUES (%(case)s, 'new.wav', %(key)s, 4, repeat('2', 64), 'memory', '2026-03-04T05:06:07+05:45')
RETURNING name, storage_type, is_archived, recorded_at;
UPDATE public.audio_files SET name = 'renamed.wav', recorded_at = '2026-03-04T05:06:08Z' WHERE id = %(audio)s
RETURNING row_version, recorded_at;
SELECT public.note_check(%(audio)s, (SELECT path FROM public.audio_files WHERE id = %(audio)s), 'e');
SELECT public.announce_object(%(case)s, %(archived)s, 'memory') > 0;
SELECT public.place_recording(%(audio)s, (SELECT path FROM public.audio_files WHERE id = %(audio)s), %(archived)s,
                              'memory', true, 'old');
SELECT public.place_recording(%(audio)s, 'x', 'y', 'memory', true, 'old');
SELECT public.mark_deleted(%(audio)s, true) IS NULL, public.mark_deleted(%(audio)s, false) IS NULL;

-- as bob
SELECT public.place_recording(%(audio)s, 'x', 'y', 'memory', true, 'old');
SELECT public.mark_deleted(%(audio)s, true) IS NULL, public.mark_deleted(%(audio)s, false) IS NULL;

-- as alice
DELETE FROM public.audio_files WHERE name = 'new.wav' RETURNING name;
SELECT public.restore_deleted(max(id)) > 0 FROM public.activity_logs
 WHERE operation = 'delete' AND entity = 'audio_files';
SELECT key, state, size_bytes, sha256 FROM public.storage_objects ORDER BY id;

-- as alice, bob, root
SELECT backend, state, objects, size_bytes FROM public.storage_usage(%(case)s) ORDER BY 1, 2;

-- as alice, bob, root, owner
SELECT public.storage_register();
SELECT public.knows_storage('local', '00000000-0000-0000-0000-000000000001');

-- as owner
SELECT public.quarantine_reason(), public.require_confirmed(), public.claimed_storage('memory', NULL, NULL);
INSERT INTO public.database_identities (id, identity, system_identifier, database_oid, confirmed_at)
VALUES (1, '00000000-0000-0000-0000-000000000000', 1, 1, '2026-01-01T00:00:00Z') RETURNING id;
SELECT public.quarantine_reason() IS NOT NULL, jsonb_exists(public.storage_register(), 'identity');
DELETE FROM public.database_identities RETURNING id;
