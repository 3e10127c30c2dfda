"""Words that this project does not use, each with a standard term to use instead.

    python tests/conventions/words.py [PATH …]     lists the lines below the paths that use one of them

The list applies to code, comments, messages, documentation, SQL and test names. With standard terms, new readers
understand a sentence at first reading and find rules under their usual names.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KINDS = {".py", ".sql", ".md", ".toml", ".ini", ".mako", ".txt", ".example"}
NAMED = {"Makefile", ".ci/run"}
# This list, its test, generated output, data of others.
EXEMPT = {
    "tests/conventions/words.py",
    "tests/conventions/test_words.py",
    "tests/provisioning/protection.sql",
    "examples/harbour.txt",
}

# Pattern → what to write instead. Patterns are matched without regard to case, in text and in names.
WORDS: dict[str, str] = {
    r"(?<!here )\b(?:is|are|was|were|be|been) no (?!longer\b|more\b|later\b|earlier\b|larger\b|less\b|fewer\b)\w+": (
        "is not a …, has no …: 'input that is not audio'"
    ),
    r"\bthat is none\b|\bwhat is none\b|\bwho is none\b": "that is not one",
    r"\bof (?:ours|yours|theirs|his|hers)\b": "our own …, your …: a possessive before the noun",
    r"\banew\b": "again, new",
    r"(?<![=\"/])\b(?:he(?![/|])|his|him|himself|she|her|hers|herself)\b": "they, the user, the actor; or the passive",
    r"\bthe (?:one )?door\b|\bdoor_|_door\b|\bdoors\b": "db.session",
    r"\bthe house\b|\bin the house\b": "the package, the project",
    r"\b(?:a|the|one|this|other|these|such) rooms?\b|\brooms\b(?! of)": "module, package",
    r"\b(?:nobody|somebody|anybody|everybody)'s\b": "owned by nobody; of another user; name who it is",
    r"\bfor good\b": "permanently",
    r"\b(?:sow|sown|sows|sowing)\b": "apply seeds",
    r"\btwins?\b": "duplicate",
    r"\bheal(?:s|ed|ing)?\b": "repair",
    r"\b(?:veil|veiled|minted|storable|insist|insists)\b": "padding, token, validated text, allow_…",
    r"\bhalf a character\b": "unpaired surrogate",
    r"\bcannot be (?:done|stored) so\b": "Rejected by a database rule: …",
    r"\bhad back\b|\btold anew\b": "write a new baseline entry, restore",
    r"\b(?:knows?|sees?|says?|has|reads?|takes?|gives?|holds?|makes?|finds?|gets?) (?:(?:it|them|the \w+) )?not\b": (
        "does not know it"
    ),
    r"\bno such thing\b": "name what was not found",
    r"\b(?:whoever|whomever|whatever it be|be it)\b": "a user who …, any program that …",
    r"\bwhat (?:is|are|was) (?:no|none)\b": "input that is not …",
    r"\b(?:tell(?!\()|tells|told|telling)\b": "say, report, log, state, print",
    r"\bbeside each other\b": "side by side, at the same time",
    r"\bin each other's way\b": "conflict",
    r"\bat (?:his|their) leisure\b": "later",
}
PATTERN = re.compile("|".join(f"(?P<w{index}>{word})" for index, word in enumerate(WORDS)), re.IGNORECASE)
INSTEAD = tuple(WORDS.values())


def files(*below: str) -> list[Path]:
    """Return the files of the repository to check, below the given paths."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *below],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    return [
        ROOT / name
        for name in listed
        if (Path(name).suffix in KINDS or name in NAMED) and name not in EXEMPT and (ROOT / name).is_file()
    ]


def text_of(path: Path) -> str:
    """The text of a file; of the changelog without its code, which names what was renamed."""
    text = path.read_text(encoding="utf-8")
    return re.sub(r"`[^`]*`", lambda code: "\n" * code[0].count("\n"), text) if path.name == "CHANGELOG.md" else text


def found_in(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield each use of such a word: the line number, the text, what to write instead."""
    for number, line in enumerate(text.splitlines(), 1):
        for match in PATTERN.finditer(line.replace("_", " ") if "def test_" in line else line):
            yield number, match[0], INSTEAD[int(str(match.lastgroup)[1:])]


def main() -> int:
    count = 0
    for path in files(*sys.argv[1:]):
        for number, words, instead in found_in(text_of(path)):
            count += 1
            print(f"{path.relative_to(ROOT)}:{number}: {words!r}: {instead}")
    print(f"{count} lines", file=sys.stderr)
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
