"""The names of the reference with their parameters and first sentences: docs/reference/names.md, to read in a clone.

python tests/docs/names.py [--write]     prints the page, or writes it
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.docs.pages import REFERENCE  # noqa: E402 - needs the folder of the checkout

PAGE = REFERENCE / "names.md"
HEAD = """# All names

Every name of the reference, with its parameters and the first sentence of its docstring. The site (`make docs`)
shows the whole docstring in place of each line `::: name`; in a clone, `python -m pydoc src.NAME` prints it. Written by
`python tests/docs/names.py --write`.
"""


def thing_of(name: str) -> Any:
    """The object that a dotted name leads to."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:end]))
        except ImportError:
            continue
        for part in parts[end:]:
            found = inspect.getattr_static(found, part) if inspect.isclass(found) else getattr(found, part)
        return found
    raise ImportError(name)


def parameters(thing: Any) -> str:
    """The parameters of a function or of a class, without types and defaults; nothing for a property."""
    function = getattr(thing, "__func__", thing)
    if isinstance(function, property) or not callable(function):
        return ""
    try:
        found = list(inspect.signature(function).parameters.values())
    except (ValueError, TypeError):
        return ""
    names, keywords = [], False
    for parameter in found:
        if parameter.name in {"self", "cls"}:
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not keywords:
            keywords = True
            names.append("*")
        star = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        keywords = keywords or star == "*"
        names.append(star + parameter.name)
    return f"({', '.join(names)})"


def sentence(thing: Any) -> str:
    """The first sentence of a docstring."""
    documented = inspect.getdoc(getattr(thing, "__func__", thing)) or ""
    first = " ".join(documented.split("\n\n", 1)[0].split())
    return re.split(r"(?<=\.)\s(?=[A-Z`])", first, maxsplit=1)[0].replace("|", r"\|").rstrip(":")


def printed() -> str:
    """The content of the page."""
    parts = [HEAD]
    for page in sorted(REFERENCE.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        names = re.findall(r"^::: (\S+)$", text, re.MULTILINE)
        if not names:
            continue
        title = re.search(r"^# (.+)$", text, re.MULTILINE)
        things = {name.removeprefix("src."): thing_of(name) for name in names}
        rows = [f"| `{name}{parameters(thing)}` | {sentence(thing)} |" for name, thing in things.items()]
        heading = [f"## {title[1] if title else page.stem}", "", f"Examples: [{page.name}]({page.name})", ""]
        parts.append("\n".join([*heading, "| name | |", "|---|---|", *rows, ""]))
    return "\n".join(parts)


if __name__ == "__main__":
    if "--write" in sys.argv[1:]:
        PAGE.write_text(printed(), encoding="utf-8")
    else:
        sys.stdout.write(printed())
