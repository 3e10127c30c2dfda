"""What web services need, whatever their framework: the status of an error, and the body of a request as a file.

@app.exception_handler(SpeechError)
def answer(request, error):
return JSONResponse(web.problem_of(error), web.status_of(error), media_type=web.PROBLEM)
"""

from __future__ import annotations

import io
from collections.abc import AsyncIterable, Callable
from http import HTTPStatus
from typing import Any

from src.errors import (
    Conflict,
    Forbidden,
    IntegrityFailure,
    InvalidInput,
    LeaseLost,
    NoSpace,
    NotFound,
    NotSignedIn,
    ObjectNotFound,
    SignInFailed,
    SpeechError,
    Unavailable,
    UnsupportedOperation,
)

PROBLEM = "application/problem+json"
"""The media type of `problem_of` (RFC 9457)."""

# The first class that fits.
_STATUSES: tuple[tuple[type[SpeechError], HTTPStatus], ...] = (
    (NotSignedIn, HTTPStatus.UNAUTHORIZED),
    (SignInFailed, HTTPStatus.UNAUTHORIZED),
    (InvalidInput, HTTPStatus.UNPROCESSABLE_ENTITY),
    (NotFound, HTTPStatus.NOT_FOUND),
    (Forbidden, HTTPStatus.FORBIDDEN),
    (Conflict, HTTPStatus.CONFLICT),
    (LeaseLost, HTTPStatus.CONFLICT),
    (UnsupportedOperation, HTTPStatus.NOT_IMPLEMENTED),
    (NoSpace, HTTPStatus.INSUFFICIENT_STORAGE),
    # A recording whose bytes are gone or damaged: a fault of this side, never "not found".
    (ObjectNotFound, HTTPStatus.INTERNAL_SERVER_ERROR),
    (IntegrityFailure, HTTPStatus.INTERNAL_SERVER_ERROR),
    (Unavailable, HTTPStatus.SERVICE_UNAVAILABLE),
    (SpeechError, HTTPStatus.INTERNAL_SERVER_ERROR),
)


def status_of(error: SpeechError) -> HTTPStatus:
    """Return the HTTP status that answers a request which failed with this error."""
    return next(status for kind, status in _STATUSES if isinstance(error, kind))


def problem_of(error: SpeechError) -> dict[str, Any]:
    """Return the body of the answer as JSON values (RFC 9457).

    A failure of this side (status 500 and above) is described by its title only: its message names settings, hosts and
    paths, which belong in the log of the service and not in an answer.
    """
    status = status_of(error)
    problem: dict[str, Any] = {"title": status.phrase, "status": status.value, "type": "about:blank"}
    problem["retryable"] = error.retryable
    if isinstance(error, InvalidInput):
        problem |= {"field": error.field, "limit": error.limit}
    if status < HTTPStatus.INTERNAL_SERVER_ERROR:
        problem["detail"] = str(error)
    return problem


class Body(io.RawIOBase):
    """The body of a request as a binary file for `recordings.receive`, read in chunks as they arrive.

    `chunks` are those of an asynchronous framework; `wait` runs a coroutine function in its event loop from the thread
    that reads: `Body(request.stream(), anyio.from_thread.run)` in a handler that FastAPI or Starlette runs in a thread.
    An exception of the framework, such as that of a client that went away, is raised by `read`.
    """

    def __init__(self, chunks: AsyncIterable[bytes], wait: Callable[[Callable[[], Any]], bytes | None]) -> None:
        super().__init__()
        self._chunks, self._wait = aiter(chunks), wait
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            chunk = self._wait(self._next)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    async def _next(self) -> bytes | None:
        # StopAsyncIteration cannot cross from the event loop to a thread.
        return await anext(self._chunks, None)
