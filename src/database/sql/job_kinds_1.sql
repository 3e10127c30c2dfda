-- build 2 · sha256 e1a950632f11
-- The kinds of open and of queued jobs, as the expressions of indexes: null for other jobs. The concatenation is not
-- leakproof, so no session can use these indexes to count the jobs of cases that it may not read.

CREATE OR REPLACE FUNCTION public.open_job_kind_1(state text, kind text)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN state IN ('queued', 'running') THEN kind || '' END;
REVOKE ALL ON FUNCTION public.open_job_kind_1(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.open_job_kind_1(text, text) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.queued_job_kind_1(state text, kind text)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN state = 'queued' THEN kind || '' END;
REVOKE ALL ON FUNCTION public.queued_job_kind_1(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.queued_job_kind_1(text, text) TO sti_app, sti_wide, sti_admin;
