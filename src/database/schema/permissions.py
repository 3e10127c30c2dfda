"""The names of permissions, for friendly errors; `permission_names_1.sql` says the same to the database.

A role (`user_roles.permissions`) says what a user may do outside cases: `{"case": ["open"], "job": ["claim"]}`; a child
role has its parent's permissions and its own, and `{"*": ["*"]}` makes an administrator. Taking part in a case
(`case_participants`) gives the verbs of a role there; `permissions` adds some and takes some away:
`{"allow": ["manage"], "deny": ["write"]}`. Deny wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from src.errors import InvalidInput

ROLE_PERMISSIONS: Mapping[str, tuple[str, ...]] = {
    "case": ("open",),
    "job": ("claim",),
    "*": ("*",),
}
CaseVerb = Literal["read", "write", "delete", "manage"]
CASE_VERBS: tuple[CaseVerb, ...] = get_args(CaseVerb)
# The verbs of each role are defined in one place, the function `participant_verbs` of the database.
CaseRole = Literal["owner", "editor", "viewer"]
PARTICIPANT_ROLES: tuple[CaseRole, ...] = get_args(CaseRole)
PARTICIPATION_KEYS = ("allow", "deny")


def require_role_permissions(permissions: Mapping[str, Any]) -> None:
    """Raise InvalidInput unless these are permissions that a role can have."""
    _require(permissions, ROLE_PERMISSIONS, "subject")


def require_participation(permissions: Mapping[str, Any]) -> None:
    """Raise InvalidInput unless these are permissions that a participant can have."""
    _require(permissions, dict.fromkeys(PARTICIPATION_KEYS, CASE_VERBS), "key")


def _require(permissions: Mapping[str, Any], known: Mapping[str, tuple[str, ...]], what: str) -> None:
    if not isinstance(permissions, Mapping):
        raise InvalidInput('Permissions are an object, such as {"case": ["open"]}.')
    for subject, verbs in permissions.items():
        if subject not in known:
            raise InvalidInput(f"There is no {what} {subject!r} in permissions; there are: {', '.join(known)}.")
        if not isinstance(verbs, list) or not all(isinstance(verb, str) for verb in verbs):
            raise InvalidInput(f"The permissions of {subject!r} must be a list of verbs.")
        for verb in verbs:
            if verb not in known[subject]:
                raise InvalidInput(f"{subject!r} has no verb {verb!r}; there are: {', '.join(known[subject])}.")
