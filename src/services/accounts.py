"""Users: who they are, and how they prove it."""

from __future__ import annotations

import hashlib
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

import bcrypt
from sqlalchemy import TableValuedAlias, func, select
from sqlalchemy.orm import Session

from src.database.models import User, UserRole
from src.database.session import actor_of, database_of, sign_for
from src.errors import Forbidden, InvalidInput, NotFound
from src.services.lookup import in_session

SCHEME = "bcrypt:"
DEFAULT_COST = 12
# bcrypt reads 72 bytes; what comes after them would not count, so it is refused instead of cut.
MOST_BYTES = 72
_LONGEST_NAME = 64


@dataclass(frozen=True)
class SignedIn:
    """Who has just proved to be who: the name to open sessions with."""

    user_id: int
    username: str


def hash_password(password: str, *, cost: int = DEFAULT_COST) -> str:
    """Return the password's bcrypt hash with its scheme in front, `bcrypt:$2b$12$…`.

    The password is normalised (NFKC) first. Raises InvalidInput when it is empty or longer than 72 bytes in UTF-8.
    """
    return SCHEME + bcrypt.hashpw(_password_bytes(password), bcrypt.gensalt(cost)).decode("ascii")


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

    Without a password nobody can sign in under the name, which is what services want. Raises InvalidInput for an
    unknown role or a password that is empty or too long, Conflict (at the end of the session) when the name or the
    address is taken, Forbidden when the actor is no administrator.
    """
    actor_of(session)
    found = session.scalars(select(UserRole).where(UserRole.code == role)).one_or_none()
    if found is None:
        known = ", ".join(session.scalars(select(UserRole.code).order_by(UserRole.id)))
        raise InvalidInput(f"There is no role {role!r}; there are: {known}.")
    user = User(
        username=username,
        email=email,
        full_name=full_name,
        role=found,
        password_hash=None if password is None else hash_password(password, cost=_cost(session)),
    )
    session.add(user)
    session.flush()  # so that a taken name is refused here, where it was given
    session.expire(user, ["password_hash"])  # nobody needs the hash any more, and nobody is to have it
    return user


def find_user(session: Session, username: str) -> User:
    """Return the user of this name, whatever its case. Raises NotFound."""
    user = session.scalars(select(User).where(func.lower(User.username) == username.lower())).one_or_none()
    if user is None:
        raise NotFound(f"There is no user {username!r}.")
    return user


def authenticate(session: Session, username: str, password: str) -> SignedIn:
    """Return who signed in; the session itself needs no actor.

    Success and failure are logged in a transaction of their own, so that a rollback does not erase them. After five
    failures in a row an account's next attempts have to wait, longer each time. A hash of another cost than the
    configured one is renewed. Raises Forbidden, with the same words and after the same work, for an unknown name, a
    wrong password, a user without password, an inactive user and an attempt that came too early.
    """
    if not isinstance(username, str) or not isinstance(password, str):
        raise InvalidInput("A user name and a password are text.")
    # A name that cannot be anybody's takes the same way as one that is nobody's.
    name = username if username.isprintable() and "|" not in username and len(username) <= _LONGEST_NAME else ""
    found = session.execute(select(_credential(sign_for(session, "login", name)))).one_or_none()
    cost = _cost(session)
    usable = found is not None and found.is_active and (found.password_hash or "").startswith(SCHEME)
    stored = found.password_hash.removeprefix(SCHEME) if found is not None and usable else _dummy_hash(cost)
    right = _matches(password, stored) and usable
    early = found is not None and found.wait_seconds > 0
    outcome = "early" if early else "succeeded" if right else "failed"
    renewed = None
    if outcome == "succeeded" and not stored.startswith(f"$2b${cost:02}$"):
        renewed = hash_password(password, cost=cost)
    with database_of(session).side_session(session) as side:
        side.execute(select(func.public.record_login(sign_for(side, "login", name), outcome, renewed)))
    if found is None or outcome != "succeeded":
        raise Forbidden("The user name or the password is wrong, or there were too many attempts: wait and try again.")
    return SignedIn(found.user_id, found.username)


def change_password(session: Session, user: User, new: str, *, current: str | None = None) -> None:
    """Change a password: one's own by knowing the current one, anybody's as an administrator.

    Raises Forbidden when `current` is wrong or missing, InvalidInput when `new` is empty or too long.
    """
    actor = actor_of(session)
    hashed = hash_password(new, cost=_cost(session))
    user = in_session(session, user)
    if user.id == actor:
        stored = session.scalar(select(_credential(sign_for(session, "login", user.username)).c.password_hash))
        if stored is not None and not (current and _matches(current, stored.removeprefix(SCHEME))):
            raise Forbidden("The current password is wrong; it is needed to set a new one.")
    subject = f"{hashlib.sha256(hashed.encode('utf-8')).hexdigest()} {user.username}"
    session.scalar(select(func.public.store_credential(sign_for(session, "password", subject), hashed)))
    session.expire(user, ["row_version", "updated_at"])


def _credential(token: str) -> TableValuedAlias:
    columns = ("user_id", "username", "password_hash", "is_active", "wait_seconds")
    return func.public.credential(token).table_valued(*columns)


def _password_bytes(password: str) -> bytes:
    if not password:
        raise InvalidInput("The password is empty; choose one.")
    try:
        encoded = unicodedata.normalize("NFKC", password).encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidInput("The password holds a character that is no Unicode text; choose another.") from None
    if len(encoded) > MOST_BYTES:
        raise InvalidInput(f"The password has {len(encoded)} bytes in UTF-8; {MOST_BYTES} are the most. Shorten it.")
    return encoded


def _matches(password: str, stored: str) -> bool:
    try:
        return bcrypt.checkpw(_password_bytes(password), stored.encode("utf-8"))
    except ValueError:
        # Not a password that can be anybody's, or a stored hash that is none: the same answer as a wrong one.
        return False


@lru_cache(maxsize=8)
def _dummy_hash(cost: int) -> str:
    return bcrypt.hashpw(b"nobody has this password", bcrypt.gensalt(cost)).decode("ascii")


def _cost(session: Session) -> int:
    settings = database_of(session).settings
    return settings.bcrypt_cost if settings is not None else DEFAULT_COST
