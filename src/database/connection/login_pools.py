"""The connection pools of one login: one for the sessions of callers, one for separate transactions beside them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlalchemy import URL, Engine

from src.database.connection.actor_tokens import Actor, SigningKey
from src.database.connection.engine import PoolOptions, make_engine, serve_sessions


@dataclass(frozen=True)
class LoginPools:
    """`main` serves the sessions of callers, `side` transactions beside them, such as the log of reads."""

    main: Engine
    side: Engine

    @classmethod
    def of(cls, url: str | URL, key: SigningKey, options: PoolOptions) -> LoginPools:
        # An upload holds a side connection while its caller holds a connection of the pool: with equal limits a thread
        # never waits for itself. Side connections are opened on demand and closed after use.
        side_options = replace(options, size=1, max_overflow=options.size + options.max_overflow - 1)
        pools = cls(make_engine(url, options), make_engine(url, side_options))
        serve_sessions(pools.main, key, options)
        serve_sessions(pools.side, key, side_options)
        return pools

    def engine(self, actor: Actor, *, aside: bool) -> Engine:
        """Return the engine that begins transactions of this actor."""
        return (self.side if aside else self.main).execution_options(actor=actor)

    def dispose(self) -> None:
        """Close all connections; the pools can be used again."""
        self.main.dispose()
        self.side.dispose()
