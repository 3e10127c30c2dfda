"""The pages of the documentation: their code, what they refer to, their links and headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conventions.sources import ROOT

DOCS = ROOT / "docs"
README = ROOT / "README.md"
REFERENCE = DOCS / "reference"
HOW_TO = DOCS / "how-to"
PAGES = [README, ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Example:
    """A block of code in the section of a documented name."""

    name: str
    page: Path
    number: int
    code: str

    def __str__(self) -> str:
        return f"{self.name}-{self.number}"


def blocks(page: Path, language: str = "python") -> list[str]:
    """The blocks of code of a page in one language."""
    return [code for marked, code in FENCE.findall(page.read_text(encoding="utf-8")) if marked == language]


def documented() -> dict[str, Path]:
    """Every name that a page of the reference documents, with the page."""
    found: dict[str, Path] = {}
    for page in sorted(REFERENCE.glob("*.md")):
        for name in re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE):
            assert name not in found, f"{name} is documented twice"
            found[name] = page
    return found


def examples() -> Iterator[Example]:
    """Every example of the reference: the blocks between the line of a name and the next name or heading."""
    for page in sorted(REFERENCE.glob("*.md")):
        for section in re.split(r"^(?=::: |## )", page.read_text(encoding="utf-8"), flags=re.MULTILINE):
            named = re.match(r"::: (\S+)\n", section)
            if named is not None:
                codes = [code for language, code in FENCE.findall(section) if language == "python"]
                yield from (Example(named[1], page, number, code) for number, code in enumerate(codes, 1))


def without_code(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def links(page: Path) -> list[str]:
    """Targets of the links of a page, outside code."""
    text = re.sub(r"`[^`\n]*`", "``", without_code(page))
    return re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", text)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings and documented names."""
    text = without_code(page)
    headings = re.findall(r"^#{1,6} (.+)$", text, re.MULTILINE)
    slugs = {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip()) for heading in headings}
    return slugs | set(re.findall(r"^::: (\S+)$", text, re.MULTILINE))
