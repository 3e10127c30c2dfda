-- as alice
SELECT public.claim_job('{transcribe}', 'w', 60);

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

-- as owner
SELECT extract(epoch FROM public.lease_end(100000000) - now())::bigint / 100;

-- as owner:transcriber
SELECT public.require_lease(1, 1);

-- as owner:alice
SELECT public.record_job('job.claimed', 1, '{}');
