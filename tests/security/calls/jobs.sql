-- as alice
SELECT public.claim_job('{transcribe}', 'w', 60);
SELECT s.state, public.open_job_kind_1(s.state, E'a\\b'), public.queued_job_kind_1(s.state, E'a\\b')
  FROM unnest('{queued,running,completed}'::text[]) AS s (state) ORDER BY 1;

-- as transcriber
SELECT public.claim_job('{transcribe}', 'w', 60);
SELECT abs(extract(epoch FROM public.extend_lease(id, lease, 100) - now()) - 100) < 60 FROM public.processing_jobs
 WHERE state = 'running';
SELECT public.extend_lease(id, 99, 100) FROM public.processing_jobs WHERE state = 'running';
SELECT public.fail_job(id, lease, %(odd)s, true, 0) FROM public.processing_jobs WHERE state = 'running';

-- as root
SELECT kind, state, attempts, lease, worker, error_message, result FROM public.processing_jobs ORDER BY id;

-- as transcriber
SELECT public.claim_job('{transcribe}', 'w', 60);
INSERT INTO public.case_notes (case_id, body) SELECT case_id, 'by lease' FROM public.processing_jobs WHERE state = 'running'
RETURNING author_id;
SELECT public.complete_job(id, lease, E'{"a\\\\b": 0.10}') FROM public.processing_jobs WHERE state = 'running';

-- as root
SELECT kind, state, attempts, lease, worker, error_message, result FROM public.processing_jobs ORDER BY id;

-- as transcriber
SELECT public.claim_job('{transcribe}', 'w', 60);
SELECT public.give_back_job(id, lease, %(odd)s, 0) FROM public.processing_jobs WHERE state = 'running';

-- as owner
SELECT extract(epoch FROM public.lease_end(100000000) - now())::bigint / 100;

-- as owner:transcriber
SELECT public.require_lease(1, 1);

-- as owner:alice
SELECT public.record_job('job.claimed', 1, '{}');

-- as owner:transcriber
SELECT public.require_free_lease();

-- as owner
SELECT public.require_seconds('lease_seconds', 60, 1, 100);
SELECT public.require_seconds('lease_seconds', NULL, 1, 100);
SELECT public.require_seconds('lease_seconds', -1, 1, 100);
SELECT j.id, public.unreadable_job(j.id) FROM public.processing_jobs j ORDER BY j.id;
UPDATE public.processing_jobs SET result = '{"n": 0.10}' WHERE state <> 'running' RETURNING result;
SELECT public.end_expired_leases('{transcribe}');
SELECT public.end_processing(min(id), 'queued', E'a\\b') FROM public.processing_jobs;
SELECT public.end_job(min(id), E'a\\b') FROM public.processing_jobs WHERE state IN ('queued', 'running');
SELECT kind, state, error_message FROM public.processing_jobs ORDER BY id;
