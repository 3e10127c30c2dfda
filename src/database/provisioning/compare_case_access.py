"""Compare the stored sets of cases with the participations that they are computed from."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, text

from src.database.provisioning.differences import Difference, Kind

_IS_PRESENT = text(
    "SELECT to_regprocedure('public.wrong_case_accesses()') IS NOT NULL"
    " AND to_regclass('public.case_accesses') IS NOT NULL"
)


def compare_case_access(connection: Connection) -> Iterator[Difference]:
    """Yield one difference when users have a set that is missing or wrong: they would see too much or too little."""
    if not connection.scalar(_IS_PRESENT):
        return
    users = list(connection.scalars(text("SELECT public.wrong_case_accesses()")))
    if users:
        listed = ", ".join(map(str, users))
        yield Difference(
            Kind.ROW,
            "case_accesses",
            f"the stored sets of cases differ from the participations of the users {listed}",
            (f"SELECT public.discard_case_accesses(ARRAY[{listed}]::bigint[]);",),
        )
