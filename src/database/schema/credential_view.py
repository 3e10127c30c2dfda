"""The view through which password hashes reach the database: `COPY credential_changes FROM STDIN`.

The text of a statement is visible in pg_stat_activity and in the log of the server; the data of COPY is not. The view
has no rows; its trigger stores the hash if the token permits it (src/database/sql/sign_in.sql).
"""

from __future__ import annotations

from src.database.schema.objects import SESSION_ROLES, Grant

NAME = "credential_changes"
# As pg_get_viewdef() prints it.
QUERY = " SELECT NULL::text AS token,\n    NULL::text AS hash\n  WHERE false;"
TRIGGER = (
    f"CREATE TRIGGER receive INSTEAD OF INSERT ON public.{NAME} FOR EACH ROW EXECUTE FUNCTION"
    " public.receive_credential()"
)
GRANT = Grant(NAME, ("INSERT",), SESSION_ROLES)
DROP = f"DROP VIEW IF EXISTS public.{NAME};"
CREATE = f"{DROP}\nCREATE VIEW public.{NAME} AS{QUERY}\n{TRIGGER};\n{GRANT.create()}"
