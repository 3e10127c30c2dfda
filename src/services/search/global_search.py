"""One search over cases, recordings, transcripts, notes and analyses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from src.database.connection.access_log import reads_of
from src.database.models import AnalysisResult, AudioFile, Case, CaseNote
from src.services.search.filters import row_id
from src.services.search.name_search import LONGEST_PATTERN, found_rows
from src.services.search.pagination import Page
from src.services.search.transcript_search import Hit, transcripts

Found = Case | AudioFile | Hit | CaseNote | AnalysisResult


@dataclass(frozen=True)
class Findings:
    """Pages of results by kind. Iterating yields (kind, row) pairs: cases and recordings first."""

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
    """Find cases and recordings by name, and transcripts, notes and summaries by words; at most `limit` of each kind.

    `query` has the syntax of `transcripts`; names match if they contain it literally. The language of notes and
    summaries is unknown, so they are searched without stemming, by words and prefixes. Finds only rows that the actor
    may read. Raises InvalidInput for an invalid query.
    """
    hits = transcripts(session, query, case=case, limit=limit)
    asked = {} if case is None else {"cases": [row_id(case, "case")]}
    name = query.replace('"', " ").strip(" *?-")[:LONGEST_PATTERN]
    named = name.replace("*", "?")

    def found(model: Any, pattern: str) -> Page[Any]:
        return found_rows(session, model, pattern, asked, limit=limit) if name else Page([], total=0, next=None)

    findings = Findings(
        cases=found(Case, f"*{named}*"),
        recordings=found(AudioFile, f"*{named}*"),
        transcripts=hits,
        notes=found(CaseNote, query),
        analyses=found(AnalysisResult, query),
    )
    # One look: the entry of the search in transcripts also names what was found elsewhere.
    made = reads_of(session).noted[-1]["detail"]
    made["hits"] = sum(1 for _ in findings)
    made["notes"] = [note.id for note in findings.notes]
    made["analyses"] = [analysis.id for analysis in findings.analyses]
    return findings
