-- as alice, bob, root, transcriber, carol, Zoë, dormant, mallory
SELECT public.actor_id() IS NULL, public.actor_name();
SELECT v.verb, ARRAY(SELECT unnest(public.actor_case_ids(v.verb)) ORDER BY 1)
  FROM unnest('{read,write,delete,manage}'::text[]) AS v (verb);
SELECT public.actor_may('*', '*'), public.actor_may('job', 'claim'), public.actor_may('case', 'open');
SELECT * FROM public.explain_permissions(%(bob)s, %(case)s);
SELECT * FROM public.explain_permissions(%(zoe)s, %(case)s);
SELECT * FROM public.explain_permissions(%(carol)s, NULL);
SELECT id, title FROM public.cases ORDER BY id;

-- as alice
SELECT public.require_grantable(%(case)s, 'owner', '{}');
SELECT r.role, v.verb, p.n, public.participant_may(r.role, p.permissions, v.verb),
       public.is_denied(p.permissions, v.verb), public.participant_verbs(r.role),
       public.participation_known_1(p.permissions), public.role_permissions_known_1(p.permissions)
  FROM unnest('{owner,editor,viewer,other}'::text[]) AS r (role), unnest('{read,write}'::text[]) AS v (verb),
       (VALUES (1, '{}'::jsonb), (2, '{"deny": ["read"], "allow": ["write"]}'), (3, '{"case": ["open"]}'), (4, '[]'),
               (5, '{"allow": [null, "everything"]}')) AS p (n, permissions)
 ORDER BY 1, 2, 3;
SELECT v.lookup, public.code_id(v.lookup, v.code)
  FROM (VALUES ('activity_types', 'row.insert'), ('audio_statuses', 'queued'), ('case_priorities', 'normal'),
               ('case_statuses', 'active'), ('languages', 'en'), ('sentiments', 'neutral'), ('user_roles', 'user'))
       AS v (lookup, code) ORDER BY 1;
SELECT public.code_id('users', 'x');
SELECT public.role_verbs_1(), public.case_verbs_1(), public.schema_revision(), public.schema_build(),
       public.schema_oldest_code();

-- as bob
SELECT public.require_grantable(%(case)s, 'viewer', '{"allow": ["manage"]}');

-- as owner, owner:alice, owner:root
SELECT u.id, public.role_permits(u.role_id, '*', '*'), public.role_permits(u.role_id, 'job', 'claim'),
       public.role_reason(u.role_id, 'job', 'claim'), public.role_reason(u.role_id, 'case', 'open')
  FROM public.users u ORDER BY u.id;
SELECT public.signed_actor(), public.actor_name(), public.operator_name() ~ '^operator:', public.is_owner_at_work(),
       public.may_seal(), public.actor_epoch() > 0, public.actor_may_in(%(case)s, 'read'),
       public.actor_may_in(%(foreign)s, 'read');

-- as owner
SELECT public.is_current(NULL), public.is_current('2001-02-03T04:05:06Z'::timestamptz),
       public.is_current('2199-02-03T04:05:06Z'::timestamptz);
SELECT public.token_mac(E'a|ä|\\', 'inner'::bytea, 'outer'::bytea), public.transaction_start() > 0,
       public.is_signed(ARRAY['1', '2', '3', '4', '5', public.token_mac('1|2|3|4|5', '', '')], '', ''),
       public.is_transaction_token('{1,2,3,4,5,6}'::text[]),
       public.is_transaction_token(ARRAY['1', pg_backend_pid()::text, public.transaction_start()::text, '1', '5', '']);
SELECT split_part(public.mint_actor(%(alice)s, 1), '|', 1);
SELECT public.verify_token(%(login_token)s, 'login'), public.verify_token(%(login_token)s, 'password'),
       public.verify_token('a|b|c|d|e|f', 'login'), public.verify_token('x', 'login');
SELECT actor, database_role FROM public.begin_actor('a|1|2|3|session|alice', NULL, NULL);
