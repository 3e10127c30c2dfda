-- as alice
SELECT public.record_activity('case.opened', %(case)s, 'cases', %(case)s,
                              E'{"a\\\\b": [1.50, 1e-9], "text": "\\u2028 ''"}') > 0;
SELECT public.record_activity('row.insert', %(case)s, 'cases', %(case)s, '{}');
SELECT public.record_activity('case.opened', %(foreign)s, 'cases', 1, '{}');
SELECT public.record_activity('case.opened', %(case)s, 'cases', 1, '[]');
SELECT public.record_reads(
    E'[{"type": "search.made", "case_id": 1, "detail": {"query": "back\\\\slash", "n": 0.10}},
       {"type": "audio.moved", "entity": "audio_files", "entity_id": 1, "detail": {"outcome": "failed"}}]');
SELECT public.record_reads('[{"type": "row.insert"}]');

-- as root
SELECT public.capture_arguments('users'), public.capture_arguments('cases'), public.capture_arguments('x');
SELECT public.captured_tables();
SELECT epoch > 0, high_xid IS NULL, next_xid IS NULL FROM public.begin_seal();
SELECT public.append_seal(%(seal)s::jsonb || jsonb_build_object('epoch',
           (SELECT system_identifier FROM pg_control_system())), decode(repeat('00', 40), 'hex'));
SELECT public.append_seal(%(seal)s, '');
-- A seal whose meaning depends on the time zone and the order of day and month.
SELECT public.append_seal(%(seal)s::jsonb || '{"id": 2, "previous_id": 1, "entry_count": 0, "month": "02/01/2026"}'
           || jsonb_build_object('epoch', (SELECT system_identifier FROM pg_control_system())), '');
SELECT public.append_seal(%(seal)s::jsonb || '{"id": 2, "previous_id": 1, "entry_count": 0, "sealed_at": "2026-02-03 04:05"}'
           || jsonb_build_object('epoch', (SELECT system_identifier FROM pg_control_system())), '');
SELECT id, month, low_xid, high_xid, root, leaves, created_at FROM public.activity_seals ORDER BY id;
SELECT cardinality(public.erase_payloads(%(case)s, NULL, 3));
SELECT cardinality(public.erase_payloads(NULL, %(bob)s, 3));
SELECT public.erase_payloads(NULL, NULL, 3);

-- as alice
SELECT * FROM public.begin_seal();
SELECT public.erase_payloads(%(case)s, NULL, 3);

-- as owner
SELECT public.payload_hash('salt', E'{"a\\\\b": [1.50, 1e-9]}', NULL),
       public.leaf_hash(1, '2026-03-04T05:06:07.123456Z', 1, 2, E'ä\\''', 3, 'cases', 4, 'insert', NULL, E'ä\\''', '7', 8,
                        '1001', 'x');
SELECT public.may_be_captured('public', 'public.cases'::regclass);
SELECT public.redact(E'{"email": "a\\\\b", "id": 1}', '{email,missing}', 'salt');
SELECT public.append_activity('case.opened', 'event', NULL, public.actor_name(), NULL, 'cases', 1, NULL, '{"a": 0.10}',
                              NULL) > 0;
SELECT public.append_activity('missing', 'event', NULL, 'x', NULL, 'cases', 1, NULL, NULL, NULL);
UPDATE public.activity_logs SET reason = 'x' RETURNING id;

-- as owner:root
SELECT public.append_seal(%(seal)s::jsonb || jsonb_build_object('epoch',
           (SELECT system_identifier FROM pg_control_system())), decode(repeat('00', 40), 'hex'));

-- as owner
UPDATE public.activity_seals SET root = '' RETURNING id;
UPDATE public.activity_seals SET pruned_at = now() RETURNING id;
