-- as alice, bob, root, transcriber, carol, Zoë, dormant, mallory
SELECT public.actor_id() IS NULL, public.actor_name();
SELECT v.verb, public.actor_may_in(%(case)s, v.verb), public.actor_may_in(%(foreign)s, v.verb)
  FROM unnest('{read,write,delete,manage}'::text[]) AS v (verb);
SELECT public.actor_may('*', '*'), public.actor_may('job', 'claim'), public.actor_may('case', 'open');
SELECT * FROM public.explain_permissions(%(bob)s, %(case)s);
SELECT * FROM public.explain_permissions(%(zoe)s, %(case)s);
SELECT * FROM public.explain_permissions(%(carol)s, NULL);
SELECT id, title FROM public.cases ORDER BY id;
SELECT public.actor_case_flags(), public.actor_case_ids(), public.actor_wide_from(), public.actor_key()::text = '{}',
       public.actor_opening() IS NULL;

-- as alice
SELECT public.require_grantable(NULL, jsonb_build_object('case_id', %(case)s, 'role', 'owner'));
SELECT public.require_grantable(jsonb_build_object('case_id', %(case)s, 'role', 'viewer', 'permissions', '{}'::jsonb),
    jsonb_build_object('case_id', %(case)s, 'role', 'editor', 'permissions', '{"allow": ["manage"]}'::jsonb,
                       'expires_at', '2199-01-02T03:04:05.678+05:45'));
SELECT r.role, v.verb, p.n, public.participant_may(r.role, p.permissions, v.verb),
       public.is_denied(p.permissions, v.verb), public.participant_verbs(r.role),
       public.participation_known_1(p.permissions), public.role_permissions_known_1(p.permissions)
  FROM unnest('{owner,editor,viewer,other}'::text[]) AS r (role), unnest('{read,write}'::text[]) AS v (verb),
       (VALUES (1, '{}'::jsonb), (2, '{"deny": ["read"], "allow": ["write"]}'), (3, '{"case": ["open"]}'), (4, '[]'),
               (5, '{"allow": [null, "everything"]}')) AS p (n, permissions)
 ORDER BY 1, 2, 3;
SELECT p.n, public.permissions_form_2(p.permissions), public.permission_subject_form_2('report', '{read}'),
       public.permission_subject_form_2('case', '{read}'), public.permission_subject_form_2('a''b', '{}')
  FROM (VALUES (1, '{}'::jsonb), (2, '{"report": ["read"]}'), (3, '[]'), (4, '{"a": [1]}'), (5, '{"a": "b"}'))
       AS p (n, permissions) ORDER BY 1;
SELECT v.lookup, public.code_id(v.lookup, v.code)
  FROM (VALUES ('activity_types', 'row.insert'), ('audio_statuses', 'queued'), ('case_priorities', 'normal'),
               ('case_statuses', 'active'), ('languages', 'en'), ('sentiments', 'neutral'), ('user_roles', 'user'))
       AS v (lookup, code) ORDER BY 1;
SELECT public.code_id('users', 'x');
SELECT public.role_verbs_1(), public.case_verbs_1(), public.schema_revision(), public.schema_build(),
       public.schema_oldest_code();

-- as bob
SELECT public.require_grantable(NULL, jsonb_build_object('case_id', %(case)s, 'role', 'viewer', 'permissions',
                                                        '{"allow": ["manage"]}'::jsonb));

-- as owner, owner:alice, owner:root
SELECT r.role, public.participant_holds(r.role, '{"report": ["read"]}', 'report', 'read'),
       public.participant_holds(r.role, '{"deny": ["read"], "report": ["read"]}', 'report', 'read'),
       public.held_until(jsonb_build_object('role', r.role, 'permissions', '{}'::jsonb), 'report', 'read')
  FROM unnest('{owner,viewer}'::text[]) AS r (role) ORDER BY 1;
SELECT public.require_grantable_subjects('{"role": "viewer", "permissions": {}}', NULL,
    '{"role": "viewer", "permissions": {"report": ["read"]}}', %(case)s);
SELECT public.require_grantable_subjects('{"role": "owner", "permissions": {}}', NULL,
    '{"role": "viewer", "permissions": {"report": ["read"]}}', %(case)s);
SELECT u.id, public.may_see_user(u.id) FROM public.users u ORDER BY u.id;
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
SELECT public.key_of_token(string_to_array(%(login_token)s, '|')) > 0, public.key_of_token('{1,2,3}'),
       public.key_of_token(ARRAY['x', '1', pg_backend_pid()::text, public.transaction_start()::text, 'login', 'x']);
SELECT u.id, public.user_may_in(u.id, %(case)s, v.verb), public.participant_case_ids(u.id), v.verb,
       ARRAY(SELECT c.case_id || ' ' || c.readable FROM public.changed_cases(u.id, true) c ORDER BY 1),
       ARRAY(SELECT c.case_id || ' ' || c.readable FROM public.changed_cases(u.id, false) c ORDER BY 1)
  FROM public.users u, unnest('{read,write,delete,manage}'::text[]) AS v (verb) ORDER BY 1, 4;
SELECT public.flags_of('{3,1,7}'), public.flags_of('{}'), public.flags_of(NULL);
SELECT public.opening_mark(7, '9'), public.opening_mark(NULL, '9');
SELECT p.participant ->> 'role', v.verb, public.granted_until(p.participant, v.verb),
       public.denied_until(p.participant, v.verb)
  FROM (SELECT jsonb_build_object('role', r.role, 'permissions', x.permissions, 'expires_at', e.ends) AS participant
          FROM unnest('{owner,editor,viewer}'::text[]) AS r (role),
               (VALUES ('{}'::jsonb), ('{"deny": ["read"], "allow": ["manage"]}')) AS x (permissions),
               (VALUES ('2199-01-02T03:04:05.678Z'::timestamptz), ('2001-02-03T04:05:06Z'), (NULL)) AS e (ends)) p,
       unnest('{read,manage}'::text[]) AS v (verb) ORDER BY 1, 2, 3, 4;
SELECT public.discard_case_accesses(ARRAY[%(alice)s, %(bob)s]);
SELECT u.id, public.store_case_access(u.id, 7) FROM public.users u ORDER BY u.id;
SELECT u.username, a.cluster, a.valid_until, a.flags, a.case_ids
  FROM public.case_accesses a JOIN public.users u ON u.id = a.user_id ORDER BY u.id;
SELECT w FROM public.wrong_case_accesses() AS w ORDER BY 1;

-- as owner:alice, owner:root
SELECT user_id, is_valid, has_changes FROM public.actor_case_access();
SELECT public.actor_opening()::text <> '{}', public.actor_opening_mark() IS NULL, public.actor_key();
