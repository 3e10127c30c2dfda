-- as owner
SELECT public.write_baseline('languages', 3), public.write_baseline('users', 3);
SELECT public.write_baseline('actor_keys', 3);
SELECT public.renew_baselines('users', ARRAY[%(bob)s]::bigint[]), public.renew_baselines('actor_keys', '{1}');
SELECT public.append_baseline('{case_id,"",""}', 'case_notes', 1, '{"id": 1, "case_id": 1, "n": 0.10}');
SELECT public.ensure_activity_partitions(6) > 2;
INSERT INTO public.activity_logs (created_at, activity_type_id, actor, operation, transaction_id, epoch, schema_revision,
    payload_hash, leaf_hash)
VALUES ('2199-12-31T23:30:00Z', 1, 'x', 'event', '1', 1, 'x', '', '') RETURNING created_at;
SET CONSTRAINTS ALL IMMEDIATE;
SELECT public.empty_default_partition();
SELECT public.record_schema(E'10''0\\1', 77, E'10''0\\1');
SELECT public.schema_revision(), public.schema_build(), public.schema_oldest_code();
-- as alice, owner
SELECT public.receives_log(), public.triggers_act();
