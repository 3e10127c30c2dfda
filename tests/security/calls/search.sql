-- as alice
SELECT t.n, public.search_plain_1(t.body), public.search_fold_1(t.body), public.search_pairs_1(t.body)
  FROM unnest(%(texts)s) WITH ORDINALITY AS t (body, n) ORDER BY t.n;
SELECT t.n, s.spelling FROM unnest(%(texts)s) WITH ORDINALITY AS t (body, n),
       LATERAL public.search_spellings(t.body) AS s (spelling) ORDER BY 1, 2;
SELECT t.n, c.name, public.search_vector_1(c.name, t.body), public.search_lexemes_1(c.name, t.body)
  FROM unnest(%(texts)s) WITH ORDINALITY AS t (body, n), unnest(%(configs)s) AS c (name) ORDER BY 1, 2;
SELECT t.n, c.name, public.search_query(c.name, t.body)
  FROM unnest(%(texts)s) WITH ORDINALITY AS t (body, n), unnest(%(configs)s) AS c (name) ORDER BY 1, 2;
SELECT t.n, c.name, b.beginning, public.search_term(c.name, t.body, b.beginning),
       public.search_words(c.name, t.body, b.beginning)
  FROM unnest(%(texts)s) WITH ORDINALITY AS t (body, n), unnest(%(configs)s) AS c (name),
       unnest('{t,f}'::boolean[]) AS b (beginning) ORDER BY 1, 2, 3;
SELECT w.word, c.name, public.search_stems(c.name, w.word)
  FROM unnest(ARRAY['rättighete', 'runnin', 'мов', 'it''s', E'back\\', 'σοφο']) AS w (word),
       unnest(%(configs)s) AS c (name) ORDER BY 1, 2;
SELECT r.run, public.search_run(r.run) FROM unnest(ARRAY['日本語', '日', '日本 語', '録音 の']) AS r (run) ORDER BY 1;
SELECT public.search_vector_1('simple', repeat('word naïve 日本 ', 2000));
SELECT public.search_vector_1('simple', (SELECT string_agg('w' || n, ' ') FROM generate_series(1, 90000) n));
SELECT public.search_unspaced_1(), public.search_accents_1(), public.search_silent_1(), public.search_letter_1(),
       public.search_half_space_1(), public.search_quotes(), public.search_spaces(), public.search_term_pattern();
SELECT q.n, e.entity, p.* FROM unnest(ARRAY['Case', E'c%%_\\*', '?ase*', 'ALICE', 'zo']) WITH ORDINALITY AS q (query, n),
       unnest('{cases,audio_files,users}'::text[]) AS e (entity),
       LATERAL public.search_rows(e.entity, q.query, '{"max_rows": 3}') AS p ORDER BY q.n, e.entity, p.row_id;
SELECT q.n, e.entity, p.* FROM unnest(ARRAY['naïve-café', 'back* OR 日本', 'Summary']) WITH ORDINALITY AS q (query, n),
       unnest('{case_notes,analysis_results}'::text[]) AS e (entity),
       LATERAL public.search_rows(e.entity, q.query, '{"after": 100000, "cases": [1, 2]}') AS p
 ORDER BY q.n, e.entity, p.row_id;
SELECT * FROM public.search_rows('activity_logs', 'x', '{}');

-- as alice, root
SELECT q.n, p.* FROM unnest(%(texts)s) WITH ORDINALITY AS q (query, n),
       LATERAL public.search_page(q.query, '{}') WITH ORDINALITY AS p ORDER BY q.n, p.ordinality;
SELECT f.n, p.* FROM (VALUES
           (1, '{"versions": "all", "flagged": true, "order": "time"}'::jsonb),
           (2, '{"versions": "accepted", "max_rows": 2, "order": "rank"}'),
           (3, '{"order": "rank", "after": [0.12345678, 2]}'),
           (4, '{"order": "time", "after": ["2001-02-03T04:05:06.123457+05:45", 1, -1, 1]}'),
           (5, '{"min_confidence": 0.955, "versions": "all"}'),
           (6, '{"recorded_from": "2026-03-04T05:06:07.123456+05:45", "versions": "all",
                 "recorded_to": "2026-03-04T05:06:07.123458+05:45"}'),
           (7, '{"cases": [null, 1, 99999999999]}'),
           (8, '{"language": 1, "recording": 1, "status": 1, "from_ms": 0, "to_ms": 9000}')) AS f (n, filters),
       LATERAL public.search_page('words OR naïve', f.filters) WITH ORDINALITY AS p ORDER BY f.n, p.ordinality;
-- Filters whose meaning depends on the time zone and the order of day and month.
SELECT * FROM public.search_page('words OR naïve', '{"recorded_from": "2026-03-03 23:21", "versions": "all",
                                                     "recorded_to": "2026-03-03 23:22"}');
SELECT * FROM public.search_page('words OR naïve', '{"recorded_from": "02/04/2026", "versions": "all"}');

-- as owner:alice
SELECT c.n, public.search_scope(c.cases), public.search_within('x.case_id', '{1,2}'),
       public.search_max_rows('{"max_rows": 3}')
  FROM (VALUES (1, NULL::jsonb), (2, 'null'), (3, '[1, 2, null, 99999999999]')) AS c (n, cases) ORDER BY 1;
SELECT q.n, m.* FROM unnest(%(texts)s) WITH ORDINALITY AS q (query, n),
       LATERAL public.search_matches(q.query, NULL) WITH ORDINALITY AS m ORDER BY q.n, m.ordinality;

-- as owner
SELECT e, public.search_rows_query(e, E'a\\\\*', '{"after": 3, "max_rows": 2}', '{1,2}'::integer[])
  FROM unnest('{cases,audio_files,users,case_notes,analysis_results}'::text[]) AS e ORDER BY 1;
SELECT public.search_rows_query('languages', 'a', '{}', '{1}'::integer[]);
