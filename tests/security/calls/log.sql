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

-- as alice, bob, root, transcriber
SELECT public.case_of_entries('audio_files', %(audio)s), public.case_of_entries('cases', %(foreign)s);
SELECT public.read_receipt(%(case)s) IS NULL, public.read_receipt(%(foreign)s) IS NULL, public.read_receipt(NULL);
SELECT k FROM jsonb_object_keys(public.read_receipts(ARRAY[%(case)s, %(foreign)s, NULL]::bigint[])) k ORDER BY 1;
SELECT public.record_session_reads(
    jsonb_build_array(jsonb_build_object('type', 'search.made', 'case_id', %(case)s,
        'receipt', public.read_receipt(%(case)s), 'detail', E'{"query": "back\\\\slash", "n": 0.10}'::jsonb)),
    %(reads_token)s);
SELECT public.record_session_reads('[{"type": "search.made"}]', 'x');
SELECT count(*) >= 0 FROM public.unsealed_entries();
SELECT count(*) >= 0 FROM public.seal_blockers('9223372036854775807');

-- as alice
SELECT public.lock_own(%(odd)s), public.lock_in_case(%(case)s, %(odd)s);
SELECT public.lock_in_case(%(foreign)s, 'x');

-- as owner:alice
SELECT public.is_receipt(public.read_receipt(%(case)s), %(alice)s, %(case)s),
       public.is_receipt(public.read_receipt(%(case)s), %(bob)s, %(case)s),
       public.is_receipt('read|1|1|1|1|x', 1, 1), public.is_receipt('x', 1, 1), public.is_receipt(NULL, 1, 1);
SELECT public.write_reads('[{"type": "search.made", "detail": {"n": 0.10}}]', %(alice)s, false, ARRAY[%(case)s]::integer[],
       true);

-- as owner
SELECT public.lock_name(E'a\\b');
SELECT public.most_leases(), public.longest_claim(), public.longest_delay(), public.most_pending_objects(),
       public.most_events(), public.most_reads(), public.most_detail(), public.most_failed_logins(),
       public.most_changes(), public.most_logged_reads(), public.most_returns();
SELECT public.require_detail('{"a": [1.50, 1e-9]}', E'a\\b'), public.require_detail(NULL, 'x');
SELECT public.require_detail(jsonb_build_object('x', repeat('y', 70000)), 'x');
SELECT public.recent_entries(%(alice)s, 'search.made', 5), public.recent_entries(%(alice)s, 'missing', 5);
SELECT public.excess_event(%(alice)s, 'alice'), public.excess_reads(%(alice)s, 'alice', 3),
       public.wrote_less(%(alice)s, 5), public.wrote_less(%(alice)s, 1000000), public.read_counter(%(alice)s) > 0,
       public.require_changes_left(%(alice)s), public.unseeded_random() BETWEEN 0 AND 1;
SELECT public.may_be_named('cases', %(case)s, %(case)s), public.may_be_named('cases', %(case)s, NULL),
       public.may_be_named(E'a\\b', 1, 1), public.may_be_named(NULL, NULL, NULL);
SELECT public.count_dropped(-7, %(alice)s, E'a\\b', 3) > 0, public.count_dropped(-7, %(alice)s, 'x', 2) > 0;
SELECT counter, ends_at > now(), dropped FROM public.log_overflows ORDER BY counter;
