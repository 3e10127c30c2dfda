"""Register subjects of permissions that belong to a service, in a revision of its own Alembic history.

    def upgrade() -> None:
        register_permissions(op, {"report": ["read", "write"]})

Roles (`{"report": ["read"]}`) and participants may then have these verbs, and `actor_may_on(case, verb, subject)` of
the database answers for the actor.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from src.database.schema.permissions import PARTICIPATION_KEYS, ROLE_PERMISSIONS
from src.database.schema.service_tables import run
from src.errors import InvalidInput

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_RESERVED = {*ROLE_PERMISSIONS, *PARTICIPATION_KEYS}


def register_permissions(op: Any, subjects: Mapping[str, Collection[str]]) -> None:
    """Register subjects and their verbs; `op` is Alembic's. Registering a subject again replaces its verbs.

    Names have lowercase letters, digits and underscores. Raises InvalidInput for another name and for one of this
    layer; the database raises an error when a verb is missing that a role or a participant has.
    """
    for subject, verbs in subjects.items():
        if isinstance(verbs, str) or not verbs:
            raise InvalidInput(
                f"{subject}: {verbs!r}; give a list of verbs such as ['read'].", field="subject", value=subject
            )
        _require_names(subject, *verbs)
        listed = ", ".join(f"'{verb}'" for verb in dict.fromkeys(verbs))
        run(
            op,
            f"INSERT INTO public.permission_subjects (subject, verbs) VALUES ('{subject}', ARRAY[{listed}])"
            " ON CONFLICT (subject) DO UPDATE SET verbs = excluded.verbs;",
        )


def unregister_permissions(op: Any, *subjects: str) -> None:
    """Remove subjects; the database raises an error for one that a role or a participant has."""
    for subject in subjects:
        _require_names(subject)
        run(op, f"DELETE FROM public.permission_subjects WHERE subject = '{subject}';")


def _require_names(subject: str, *verbs: str) -> None:
    for name in (subject, *verbs):
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise InvalidInput(
                f"{name!r}: use lowercase letters, digits and underscores, at most 63.", field="name", value=name
            )
    if subject in _RESERVED:
        raise InvalidInput(
            f"{subject!r}: a subject of this layer; choose another name.", field="subject", value=subject
        )
