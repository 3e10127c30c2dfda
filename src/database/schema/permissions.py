"""The names of permissions, for readable errors; `permission_names_1.sql` defines them for the database.

A role (`user_roles.permissions`) grants permissions outside cases: `{"case": ["open"], "job": ["claim"]}`; a child role
also has the permissions of its parent, and `{"*": ["*"]}` grants everything to an administrator. A participant of a
case (`case_participants`) has the verbs of a role there; `permissions` adds and removes verbs: `{"allow": ["manage"],
"deny": ["write"]}`. A denial takes precedence.

Services register subjects of their own (`register_permissions`), which roles and participants may then have beside
these: `{"report": ["read"]}`.
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


Registered = Mapping[str, tuple[str, ...]]
"""The subjects that services registered, with their verbs."""


def require_role_permissions(permissions: Mapping[str, Any], registered: Registered | None = None) -> None:
    """Raise InvalidInput unless these are valid permissions of a role."""
    _require(permissions, {**(registered or {}), **ROLE_PERMISSIONS}, "subject")


def require_participation(permissions: Mapping[str, Any], registered: Registered | None = None) -> None:
    """Raise InvalidInput unless these are valid permissions of a participant."""
    _require(permissions, {**(registered or {}), **dict.fromkeys(PARTICIPATION_KEYS, CASE_VERBS)}, "key")


def _require(permissions: Mapping[str, Any], known: Mapping[str, tuple[str, ...]], what: str) -> None:
    if not isinstance(permissions, Mapping):
        raise InvalidInput('permissions: must be an object such as {"case": ["open"]}.', field="permissions")
    for subject, verbs in permissions.items():
        if subject not in known:
            raise InvalidInput(
                f"permissions: unknown {what} {subject!r}; use one of: {', '.join(known)}.", field="permissions"
            )
        if not isinstance(verbs, list) or not all(isinstance(verb, str) for verb in verbs):
            raise InvalidInput(f"permissions: {subject!r} must be a list of verbs.", field="permissions", value=subject)
        for verb in verbs:
            if verb not in known[subject]:
                raise InvalidInput(
                    f"permissions: {subject!r} has no verb {verb!r}; use one of: {', '.join(known[subject])}.",
                    field="permissions",
                    value=subject,
                )
