-- as alice
SELECT user_id, username, is_active, wait_seconds FROM public.credential(%(login_token)s);
SELECT public.login_epoch(%(login_token)s), public.login_epoch(%(failed_token)s), public.sign_in_epoch(%(alice)s),
       public.sign_in_epoch(%(bob)s), public.is_valid_token(%(login_token)s), public.is_valid_token('x|1|2|3|login|alice');
INSERT INTO public.credential_changes VALUES (%(failed_token)s, NULL) RETURNING 1;
INSERT INTO public.credential_changes VALUES (%(early_token)s, NULL) RETURNING 1;
INSERT INTO public.credential_changes VALUES (%(failed_token)s, %(new_hash)s) RETURNING 1;
INSERT INTO public.credential_changes VALUES (%(renewed_token)s, %(renewed_hash)s) RETURNING 1;
INSERT INTO public.credential_changes VALUES (%(renewed_token)s, %(new_hash)s) RETURNING 1;
INSERT INTO public.credential_changes VALUES ('x|1|2|3|outcome|alice', NULL) RETURNING 1;
INSERT INTO public.credential_changes VALUES (%(password_token)s, %(new_hash)s) RETURNING 1;
INSERT INTO public.credential_changes VALUES (%(password_token)s, 'other') RETURNING 1;

-- as owner
INSERT INTO public.login_throttles (user_id, failures, last_failed_at) VALUES (%(bob)s, 60, now()) RETURNING failures;
SELECT public.login_wait(%(bob)s) > 0, public.login_wait(%(alice)s);
SELECT public.credential_digest(%(new_hash)s), public.credential_digest(%(renewed_hash)s), public.credential_digest(NULL);
SELECT public.store_credential(%(password_token)s, %(new_hash)s);
SELECT public.record_login(%(failed_token)s, NULL);
SELECT public.record_login(%(login_token)s, NULL);
