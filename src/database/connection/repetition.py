"""Repeating a transaction: how long to wait, and what a function may not return."""

from __future__ import annotations

import random
from inspect import isasyncgen, isawaitable, isgenerator
from typing import TypeVar

from src.errors import InvalidInput

T = TypeVar("T")

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 2.0


def pause_seconds(attempt: int) -> float:
    """Return the pause after this attempt: four times as long each time, varied so that two do not collide again."""
    longest = min(FIRST_PAUSE_SECONDS * 4 ** (attempt - 1), LONGEST_PAUSE_SECONDS)
    return random.uniform(longest / 2, longest)  # noqa: S311 - jitter between concurrent processes


def require_finished(result: T) -> T:
    """Return the result of a function. Raises InvalidInput for one that runs later."""
    if isawaitable(result) or isgenerator(result) or isasyncgen(result):
        kind = type(result).__name__
        close = getattr(result, "close", None)
        if close is not None:
            close()  # it never started, and would warn about that
        raise InvalidInput(
            f"function: returned a {kind}, which would run after the transaction; pass a plain function.",
            field="function",
        )
    return result
