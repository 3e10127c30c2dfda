"""Whether the duration of a failed sign-in reveals that a user exists."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from contextlib import suppress

from _report import Goal, Row, main
from sqlalchemy import insert, update

from src.database import Database, User
from src.database.connection.engine import PoolOptions, make_engine
from src.database.testing import running_server
from src.errors import SignInFailed
from src.services import accounts
from src.storage import MemoryStorage

PASSWORD = "correct horse battery staple"


def fail_to_sign_in(database: Database, username: str) -> float:
    """Return the milliseconds of a failed sign-in."""
    started = time.perf_counter()
    with suppress(SignInFailed), database.session() as session:
        accounts.authenticate(session, username, "not the password")
        raise AssertionError(f"{username} signed in with a wrong password")
    return (time.perf_counter() - started) * 1000


def sign_in(quick: bool) -> tuple[Sequence[str], Sequence[Row], Sequence[Goal]]:
    rounds = 12 if quick else 50
    with running_server() as server, server.copy() as url:
        owner = make_engine(url, PoolOptions(size=1))
        hashed = accounts.hash_password(PASSWORD)
        # One user per round and one to warm up: repeated failures of the same user are delayed.
        known = [f"known-{number}" for number in range(rounds + 1)]
        with owner.begin() as connection:
            connection.execute(insert(User), [{"username": name, "password_hash": hashed} for name in known])
            inactive = update(User).where(User.username == "bob").values(password_hash=hashed, is_active=False)
            connection.execute(inactive)
        names = {"unknown user": "nobody-of-that-name", "wrong password": "", "inactive user": "bob"}
        times: dict[str, list[float]] = {kind: [] for kind in names}
        with server.database(url, storage=MemoryStorage()) as database:
            for number, name in enumerate(known):
                for kind, fixed in names.items():
                    elapsed = fail_to_sign_in(database, fixed or name)
                    if number > 0:
                        times[kind].append(elapsed)
        owner.dispose()
    medians = {kind: statistics.median(measured) for kind, measured in times.items()}
    reference = medians["wrong password"]
    rows = [(kind, median, median / reference) for kind, median in medians.items()]
    goals = [
        Goal(f"{kind}: difference from a wrong password, %", abs(medians[kind] / reference - 1) * 100, 5)
        for kind in ("unknown user", "inactive user")
    ]
    return ("refused for", "median ms", "× wrong password"), rows, goals


if __name__ == "__main__":
    main(sign_in, __doc__ or "")
