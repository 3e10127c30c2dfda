"""One question to all that a case holds: its name, recordings, notes, what was said and what it means."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from src.database.models import AnalysisResult, AudioFile, Case, CaseNote
from src.services.search.filters import number
from src.services.search.names import LONGEST_PATTERN, found_rows
from src.services.search.pages import Page
from src.services.search.transcript_search import Hit, transcripts

Found = Case | AudioFile | Hit | CaseNote | AnalysisResult


@dataclass(frozen=True)
class Findings:
    """What was found, by kind. Iterating yields each thing with its kind: names first, then words."""

    cases: Page[Case]
    recordings: Page[AudioFile]
    transcripts: Page[Hit]
    notes: Page[CaseNote]
    analyses: Page[AnalysisResult]

    @property
    def total(self) -> int:
        return sum(page.total for page in self._pages().values())

    def __iter__(self) -> Iterator[tuple[str, Found]]:
        for kind, page in self._pages().items():
            for found in page:
                yield kind, found

    def _pages(self) -> dict[str, Page[Any]]:
        return {
            "case": self.cases,
            "recording": self.recordings,
            "transcript": self.transcripts,
            "note": self.notes,
            "analysis": self.analyses,
        }


def everything(session: Session, query: str, *, case: Case | int | None = None, limit: int = 10) -> Findings:
    """Find cases and recordings by name, notes, summaries and what was said by words; at most `limit` of each kind.

    `query` is as for `transcripts`; names contain it as it stands. The language of notes and summaries is not known:
    they are found by whole words and beginnings. Only what the actor may read is found. Raises InvalidInput for a query
    that cannot be.
    """
    said = transcripts(session, query, case=case, limit=limit)
    asked = {} if case is None else {"cases": [number(case, "case")]}
    name = query.replace('"', " ").strip(" *?-")[:LONGEST_PATTERN]
    named = name.replace("*", "?")

    def found(model: Any, wanted: str) -> Page[Any]:
        return found_rows(session, model, wanted, asked, limit=limit) if name else Page([], total=0, next=None)

    return Findings(
        cases=found(Case, f"*{named}*"),
        recordings=found(AudioFile, f"*{named}*"),
        transcripts=said,
        notes=found(CaseNote, query),
        analyses=found(AnalysisResult, query),
    )
