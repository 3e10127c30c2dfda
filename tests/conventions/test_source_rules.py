"""Rules of the project for source files."""

from __future__ import annotations

import ast
import re
import tokenize
from collections.abc import Iterator

import pytest

from tests.conventions.sources import FILES, path_name, tree_of

MOST_LINES = 350

CATCH_ALL_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "tools", "base_utils"}

CATCHES_EVERYTHING = {"src/audio/probe.py": "last handler of the child process: a crafted file may raise anything"}

SUPPRESSION = re.compile(r"#\s*(noqa(?::\s*[A-Z]+[0-9]+(?:,\s*[A-Z]+[0-9]+)*)?|type:\s*ignore(?:\[[\w, -]+\])?)(.*)")


def comments_of(path) -> Iterator[tuple[int, str]]:
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string


def reason_of(comment: str) -> str | None:
    """Return the reason in a comment that suppresses a checker; None for other comments."""
    found = SUPPRESSION.search(comment)
    return None if found is None else found[2].strip(" #-:—")


def catches_everything(handler: ast.ExceptHandler) -> bool:
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    wide = any(
        kind is None or (isinstance(kind, ast.Name) and kind.id in {"Exception", "BaseException"}) for kind in caught
    )
    return wide and not any(isinstance(node, ast.Raise) for node in ast.walk(handler))


def test_modules_have_specific_names():
    found = [path_name(path) for path in FILES if {path.stem, *path.relative_to(path.anchor).parts} & CATCH_ALL_NAMES]
    assert found == []


@pytest.mark.parametrize("path", FILES, ids=path_name)
def test_a_file_is_not_too_long(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())

    assert lines <= MOST_LINES, f"{lines} lines"


def test_todo_comments_are_not_allowed():
    found = [
        f"{path_name(path)}:{line}: {comment}"
        for path in FILES
        for line, comment in comments_of(path)
        if re.search(r"\b(TODO|FIXME|XXX|HACK)\b", comment)
    ]

    assert found == []


def test_no_handler_suppresses_all_errors():
    found = {
        f"{path_name(path)}:{node.lineno}"
        for path in FILES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ExceptHandler) and catches_everything(node)
    }

    assert {place for place in found if place.rpartition(":")[0] not in CATCHES_EVERYTHING} == set()
    assert {place.rpartition(":")[0] for place in found} == set(CATCHES_EVERYTHING)


def test_every_suppressed_check_has_a_reason_on_its_line():
    without_reason = [
        f"{path_name(path)}:{line}: {comment}"
        for path in FILES
        for line, comment in comments_of(path)
        if reason_of(comment) == ""
    ]

    assert without_reason == []


@pytest.mark.parametrize(
    ("comment", "reason"),
    [
        ("# noqa: A002", ""),
        ("# noqa: A002, N805", ""),
        ("# noqa: A002 - the word of the field", "the word of the field"),
        ("# type: ignore[union-attr]", ""),
        ("# type: ignore[union-attr]  # psycopg2's own attribute", "psycopg2's own attribute"),
        ("# why this is so", None),
    ],
)
def test_reasons_are_recognised(comment, reason):
    assert reason_of(comment) == reason


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        ("except:\n    pass", True),
        ("except Exception:\n    pass", True),
        ("except (ValueError, BaseException):\n    pass", True),
        ("except Exception as error:\n    raise ValueError from error", False),
        ("except ValueError:\n    pass", False),
    ],
)
def test_handlers_that_suppress_all_errors_are_recognised(handler, expected):
    (statement,) = ast.parse(f"try:\n    pass\n{handler}").body

    assert catches_everything(statement.handlers[0]) is expected
