"""Compare the view through which password hashes arrive: its query, its trigger, who may insert."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, text

from src.database.provisioning.differences import Difference, Kind
from src.database.schema import SESSION_ROLES, credential_view

_PRESENT = text(
    "SELECT pg_get_viewdef(c.oid), ARRAY(SELECT pg_get_triggerdef(t.oid) FROM pg_trigger t"
    " WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled <> 'D'),"
    " ARRAY(SELECT a.grantee::regrole::text FROM aclexplode(c.relacl) a WHERE a.privilege_type = 'INSERT'"
    "        AND a.grantee <> c.relowner)"
    " FROM pg_class c WHERE c.oid = to_regclass(:name) AND c.relkind = 'v'"
)


def compare_credential_view(connection: Connection) -> Iterator[Difference]:
    """Yield one difference when the view is missing or not as declared."""
    found = connection.execute(_PRESENT, {"name": f"public.{credential_view.NAME}"}).one_or_none()
    if found is None:
        sentence = f"the view {credential_view.NAME} is missing: nobody can sign in"
    elif (found[0], found[1], set(found[2])) != (credential_view.QUERY, [credential_view.TRIGGER], set(SESSION_ROLES)):
        sentence = f"the view {credential_view.NAME} differs from this version"
    else:
        return
    yield Difference(Kind.VIEW, credential_view.NAME, sentence, (credential_view.CREATE,))
