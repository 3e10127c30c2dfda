"""What scripts print: one line for each sentence, in which no value can act on the terminal.

Names and titles come from users. An escape sequence in one could hide or forge lines, a bidirectional override reverse
them, a line break add one.
"""

from __future__ import annotations

import os
import sys
import unicodedata

import typer

# Joiners are part of the spelling of names, and change only their neighbours.
_HARMLESS = {"\u200c", "\u200d"}


def printable(value: object) -> str:
    r"""Return a text in one line, with control, formatting and unassigned characters as escapes such as `\x1b`."""
    return "".join(map(_visible, str(value)))


def say(value: object, *, err: bool = False) -> None:
    """Print a sentence to stdout, or to stderr; every script prints with this function."""
    typer.echo(printable(value), err=err)


def flush() -> None:
    """Write what is buffered. Raises BrokenPipeError when the reader of the output has gone."""
    sys.stdout.flush()  # raises here and not when the interpreter exits


def discard_output() -> None:
    """Write the rest of the output nowhere: the interpreter would fail on it again when it exits."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _visible(character: str) -> str:
    category = unicodedata.category(character)
    if (category[0] != "C" and category not in {"Zl", "Zp"}) or character in _HARMLESS:
        return character
    return character.encode("unicode_escape").decode("ascii")
