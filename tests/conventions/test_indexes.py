"""Indexes of tables that members read show nothing of hidden rows.

An index condition is evaluated before the policy when its operator is leakproof, and EXPLAIN counts the rows that the
policy then removes. So an index begins with the case, whose policy is an index condition too, with the id, or with an
expression that is not leakproof, which no session can use before the policy; plain columns after an expression are
ids and times of entries only; and it has no predicate, since the condition of a session may imply it. A unique key
without the case could be the target of ON CONFLICT DO UPDATE, whose condition is evaluated for hidden rows.
"""

from __future__ import annotations

import pytest
from sqlalchemy import text

from tests.security.population import CASE_TABLES

# Functions and operators of indexed expressions: none of them is leakproof.
NOT_LEAKPROOF = text("""
    SELECT bool_and(NOT proleakproof) FROM pg_proc
     WHERE proname IN ('lower', 'int8pl', 'textcat', 'timezone', 'search_vector_1', 'queued_job_kind_1', 'xid8out',
                       'int4um')
""")
INDEXES = text("""
    SELECT i.indexrelid::regclass::text, a.attname::text, m.amname::text, i.indisunique, i.indpred IS NOT NULL,
           pg_get_indexdef(i.indexrelid, 1, true),
           EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.contype = 'x'),
           ARRAY(SELECT t.attname::text FROM unnest(i.indkey) WITH ORDINALITY AS k (number, place)
                   JOIN pg_attribute t ON t.attrelid = i.indrelid AND t.attnum = k.number WHERE k.place > 1)
      FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam
      LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
     WHERE i.indrelid = to_regclass(:table)
""")


@pytest.mark.parametrize("table", CASE_TABLES)
def test_an_index_begins_with_the_case_the_id_or_an_expression(owner, table):
    first = "id" if table == "cases" else "case_id"
    with owner.connect() as connection:
        assert connection.scalar(NOT_LEAKPROOF)
        for name, column, method, is_unique, has_predicate, expression, excludes, others in connection.execute(
            INDEXES, {"table": table}
        ):
            assert not has_predicate, name
            if column is not None:
                # The operators of GIN are not leakproof either.
                assert column in {first, "id"} or method == "gin", name
            else:
                assert any(word in expression for word in ("lower(", "+ 0", "|| ''", "timezone(", "_1(", "::text::"))
                assert {*others} <= {"id", "entity_id", "created_at"}, name
                assert not is_unique or excludes, f"{name}: a unique key must begin with the case"
