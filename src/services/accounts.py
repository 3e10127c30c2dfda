"""Users, roles, permissions and sign-in."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import BigInteger, cast, func, select
from sqlalchemy.orm import Session

from src.database.connection.credentials import read_credential, send_credential
from src.database.connection.session import actor_of, database_of
from src.database.models import Case, PermissionSubject, User, UserRole
from src.database.schema.permissions import require_role_permissions
from src.errors import Forbidden, InvalidInput, NotFound, SignInFailed
from src.services import activity
from src.services.parameters import id_of, in_session, row_of, validate_text
from src.services.passwords import DEFAULT_COST, LEAST_CHARACTERS, hash_password, renewed, require_acceptable, verify

__all__ = [
    "Permission",
    "SignedIn",
    "activate",
    "assign_role",
    "authenticate",
    "change_password",
    "create_role",
    "create_user",
    "deactivate",
    "find_role",
    "find_user",
    "hash_password",
    "permissions",
    "registered_subjects",
    "sign_in_epoch",
]

_LONGEST_NAME = 64


@dataclass(frozen=True)
class SignedIn:
    """An authenticated user: the name to open sessions with, and the epoch to store in what the service hands out."""

    user_id: int
    username: str
    sign_in_epoch: int


@dataclass(frozen=True)
class Permission:
    """Whether a user may do something, and why. `str(permission)` is a sentence."""

    subject: str
    verb: str
    allowed: bool
    why: str

    def __str__(self) -> str:
        return f"{self.verb} {self.subject}: {'yes' if self.allowed else 'no'}, {self.why}"


def create_user(
    session: Session,
    *,
    username: str,
    password: str | None = None,
    email: str | None = None,
    full_name: str = "",
    role: str = "user",
) -> User:
    """Create a user with a role: `user`, `service`, `admin`. Administrators only.

    Without a password, nobody can sign in as this user; use this for services. Raises InvalidInput for an unknown role
    or a password that is too short (PASSWORD_MIN_LENGTH), too long, blank, or the name or the address; Conflict
    (at the end of the session) when the name or the address is taken, Forbidden when the actor is not an administrator.
    """
    actor_of(session)
    user = User(
        username=validate_text(username, "username"),
        email=email if email is None else validate_text(email, "email"),
        full_name=validate_text(full_name, "full_name"),
        role=find_role(session, role),
    )
    hashed = None
    if password is not None:
        require_acceptable(password, least=_least(session), known=(username, email, full_name))
        hashed = hash_password(password, cost=_cost(session))
    session.add(user)
    session.flush()  # a taken name raises here, not at commit
    if hashed is not None:
        _store_password(session, user, hashed)
    return user


def find_user(session: Session, username: str) -> User:
    """Return the user with this name, ignoring case. Raises NotFound."""
    # Folded by the database, like the name that is compared: Python folds some letters differently.
    name = func.lower(validate_text(username, "username"))
    user = session.scalars(select(User).where(func.lower(User.username) == name)).one_or_none()
    if user is None:
        raise NotFound(f"User {username!r} does not exist.")
    return user


def user_of(session: Session, user: User | str | int) -> User:
    """Return a user given as a row, a name or an id. Raises NotFound when there is none."""
    if isinstance(user, str):
        return find_user(session, user)
    return user if isinstance(user, User) else in_session(session, row_of(User, user))


def deactivate(session: Session, user: User | int) -> User:
    """Deny a user access from the next transaction on, and raise the epoch of sign-ins. Administrators only.

    The data of the user stays.

    Also the last owner of a case, who then no longer counts as one: add another owner as an administrator. Raises
    Conflict for the last active administrator, Forbidden when the actor is not an administrator.
    """
    user = row_of(User, user)
    return _set_active(session, user, active=False)


def activate(session: Session, user: User | int) -> User:
    """Give a deactivated user access again. Administrators only; raises Forbidden for other actors."""
    user = row_of(User, user)
    return _set_active(session, user, active=True)


def find_role(session: Session, code: str) -> UserRole:
    """Return the role with this code. Raises InvalidInput, which lists the existing roles."""
    found = session.scalars(select(UserRole).where(UserRole.code == validate_text(code, "role"))).one_or_none()
    if found is None:
        known = ", ".join(session.scalars(select(UserRole.code).order_by(UserRole.id)))
        raise InvalidInput(f"role: {code!r} does not exist; use one of: {known}.", field="role", value=code)
    return found


def create_role(
    session: Session,
    *,
    code: str,
    name: str,
    permissions: Mapping[str, Sequence[str]],
    parent: str | None = None,
    description: str = "",
) -> UserRole:
    """Create a role with its parent's permissions and its own, such as `{"case": ["open"]}`. Administrators only.

    Raises InvalidInput for permissions that are neither of this layer nor registered, or an unknown parent, Conflict
    for a code that is taken or a hierarchy that is too deep, Forbidden when the actor is not an administrator.
    """
    actor_of(session)
    if not isinstance(permissions, Mapping):
        raise InvalidInput('permissions: not a mapping; give one such as {"case": ["open"]}.', field="permissions")
    named = {
        subject: list(verbs) if isinstance(verbs, (tuple, set, frozenset)) else verbs
        for subject, verbs in permissions.items()
    }
    require_role_permissions(named, registered_subjects(session))
    role = UserRole(
        code=validate_text(code, "code"),
        name=validate_text(name, "name"),
        description=validate_text(description, "description"),
        permissions=named,
        parent=None if parent is None else find_role(session, parent),
    )
    session.add(role)
    session.flush()  # a taken code raises here, not at commit
    return role


def registered_subjects(session: Session) -> dict[str, tuple[str, ...]]:
    """Return the subjects of permissions that services registered, with their verbs: `register_permissions`."""
    rows = session.execute(select(PermissionSubject.subject, PermissionSubject.verbs).order_by(PermissionSubject.id))
    return {subject: tuple(verbs) for subject, verbs in rows}


def assign_role(session: Session, user: User | int, role: str | UserRole) -> User:
    """Give a user another role, from the next transaction on. Administrators only.

    Raises InvalidInput for an unknown role, Conflict when no administrator would be left, Forbidden when the actor is
    not an administrator.
    """
    user = row_of(User, user)
    actor_of(session)
    user = in_session(session, user)
    assigned = role if isinstance(role, UserRole) else find_role(session, role)
    user.role = assigned
    session.flush()  # raises here, not at commit, if the actor may not assign it
    activity.record(session, "role.assigned", entity=user, detail={"user": user.username, "role": assigned.code})
    return user


def permissions(session: Session, user: User | str | int, *, case: Case | int | None = None) -> list[Permission]:
    """Return what a user may and may not do, with the reason: in a case, or without one by the role outside cases.

    Also of the subjects that services registered. A denied verb overrides an allowed one; administrators may do
    everything. Raises NotFound for an unknown user, and
    for a case that the actor may not see.
    """
    actor_of(session)
    person = user_of(session, user)
    columns = ("subject", "verb", "allowed", "why")
    explained = func.public.explain_permissions(
        person.id, cast(None if case is None else id_of(Case, case), BigInteger)
    )
    found = [Permission(*row) for row in session.execute(select(explained.table_valued(*columns)))]
    if not found:
        raise NotFound("The user or the case does not exist, or you may not see the case.")
    return found


def authenticate(session: Session, username: str, password: str) -> SignedIn:
    """Check a name and a password; return the user. The session itself needs no actor.

    Success and failure are logged in a separate transaction, which a rollback of this one does not undo. After five
    consecutive failures, each further attempt has to wait, longer each time. A hash whose cost differs from the
    configured one is renewed, and so is the bare bcrypt hash (`$2b$…`) of an imported user. Raises SignInFailed, with
    the same message and after the same work, for an unknown name, a wrong password, a user without a password, an
    inactive user and an attempt during the waiting time.
    """
    if not isinstance(username, str) or not isinstance(password, str):
        raise InvalidInput("username and password: must be text.", field="username")
    # An invalid name takes the same path as an unknown name.
    name = username if username.isprintable() and "|" not in username and len(username) <= _LONGEST_NAME else ""
    found = _credential(session, name)
    cost = _cost(session)
    stored = found.password_hash if found is not None and found.is_active else None
    right = verify(password, stored, cost=cost)
    early = found is not None and found.wait_seconds > 0
    outcome = "early" if early else "succeeded" if right else "failed"
    new_hash = renewed(password, stored or "", cost=cost) if outcome == "succeeded" else None
    with database_of(session).side_session(session) as side:
        send_credential(side, "outcome", f"{outcome} {_digest(new_hash)} {name}", new_hash)
    if found is None or outcome != "succeeded":
        raise SignInFailed("Unknown user name, wrong password, or too many failed attempts; wait and try again.")
    return SignedIn(found.user_id, found.username, found.sign_in_epoch)


def sign_in_epoch(session: Session, user: User | str | int | None = None) -> int:
    """Return the generation of the sign-ins of a user, by default of the actor: for the user and administrators.

    A new password and a deactivation raise it, and nothing lowers it. A service stores the epoch of `authenticate` in
    the tokens that it hands out, and rejects a token with another one. Raises NotFound for a user who does not exist,
    Forbidden for another user when the actor is not an administrator.
    """
    actor = actor_of(session)
    id_ = actor if user is None else user_of(session, user).id
    epoch = session.scalar(select(func.public.sign_in_epoch(cast(id_, BigInteger))))
    if epoch is None:
        raise Forbidden("Only the user and administrators may read the epoch of sign-ins.")
    return int(epoch)


def change_password(session: Session, user: User | int, new: str, *, current: str | None = None) -> None:
    """Change a password: the actor's own, with the current one; or, as an administrator, that of any user.

    Raises Forbidden when `current` is wrong or missing, InvalidInput when `new` is too short (PASSWORD_MIN_LENGTH), too
    long, blank, or the name or address of the user.
    """
    user = row_of(User, user)
    actor = actor_of(session)
    user = in_session(session, user)
    require_acceptable(new, least=_least(session), known=(user.username, user.email, user.full_name))
    hashed = hash_password(new, cost=_cost(session))
    if user.id == actor:
        own = _credential(session, user.username)
        stored = own.password_hash if own is not None else None
        if stored is not None and not (current and verify(current, stored, cost=_cost(session))):
            raise Forbidden("current: missing or wrong password; give the current password to set a new one.")
    _store_password(session, user, hashed)


def _store_password(session: Session, user: User, hashed: str) -> None:
    send_credential(session, "password", f"{_digest(hashed)} {user.username}", hashed)
    session.expire(user, ["row_version", "updated_at"])


def _digest(hashed: str | None) -> str:
    return hashlib.sha256((hashed or "").encode("utf-8")).hexdigest()


def _set_active(session: Session, user: User, *, active: bool) -> User:
    actor_of(session)
    user = in_session(session, user)
    user.is_active = active
    session.flush()  # raises here, not at commit, if the actor may not change it
    return user


class _Credential(NamedTuple):
    user_id: int
    username: str
    password_hash: str | None
    is_active: bool
    wait_seconds: float
    sign_in_epoch: int


def _credential(session: Session, name: str) -> _Credential | None:
    row = read_credential(session, name)
    return None if row is None else _Credential._make(row)


def _least(session: Session) -> int:
    settings = database_of(session).settings
    return settings.password_min_length if settings is not None else LEAST_CHARACTERS


def _cost(session: Session) -> int:
    settings = database_of(session).settings
    return settings.bcrypt_cost if settings is not None else DEFAULT_COST
