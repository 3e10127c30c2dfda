-- as alice
SELECT user_id, username, is_active, wait_seconds FROM public.credential(%(login_token)s);
SELECT public.record_login(%(login_token)s, 'failed', NULL);
SELECT public.record_login(%(login_token)s, 'early', NULL);
SELECT public.record_login(%(login_token)s, 'succeeded', E'bcrypt:$2b$\\x');
SELECT public.record_login('x', 'succeeded', NULL);
SELECT public.store_credential(%(password_token)s, %(new_hash)s) = %(alice)s;
SELECT public.store_credential(%(password_token)s, 'other');

-- as owner
INSERT INTO public.login_throttles (user_id, failures, last_failed_at) VALUES (%(bob)s, 7, now()) RETURNING failures;
SELECT public.login_wait(%(bob)s) > 0, public.login_wait(%(alice)s);
