"""Forks: a forked process must not use the sockets of its parent, since both would talk to one backend.

In the child, pools forget the connections of the parent, and every socket is replaced by one without a server. So a
session that was open in the parent cannot send anything, and closing its connection does not end that of the parent.
"""

from __future__ import annotations

import os
import socket
import weakref
from typing import Any

from sqlalchemy import Engine, event

_connections: weakref.WeakSet[Any] = weakref.WeakSet()


def leave_connections_to_the_parent(engine: Engine) -> None:
    """Make this engine and its connections harmless in processes that are forked from this one."""
    reference = weakref.ref(engine)

    @event.listens_for(engine, "connect")
    def remember(connection: Any, record: Any) -> None:  # noqa: ARG001 - SQLAlchemy's signature
        _connections.add(connection)

    def forget() -> None:
        alive = reference()
        if alive is not None:
            # `close=False` only drops the references.
            alive.dispose(close=False)

    os.register_at_fork(after_in_child=forget)


def _cut_off() -> None:
    """Replace the sockets of the parent's connections in this process by one that nobody listens to."""
    dead, other = socket.socketpair()
    other.close()
    with dead:
        for connection in list(_connections):
            if not connection.closed:
                os.dup2(dead.fileno(), connection.fileno(), inheritable=False)
    _connections.clear()


os.register_at_fork(after_in_child=_cut_off)
