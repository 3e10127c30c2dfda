"""Finding: what was said, with its time and speaker, and cases, recordings, people, notes and summaries.

The indexes are read by functions that apply the actor's cases and return ids; the rows are read again under row
security. So hits, totals, snippets and suggestions are of what the actor may read, and nothing else.
"""

from src.services.search.filters import Moments, Versions
from src.services.search.global_search import Findings, everything
from src.services.search.highlighting import MARKS
from src.services.search.names import cases, recordings, users
from src.services.search.pages import Page
from src.services.search.suggestions import suggest
from src.services.search.transcript_search import Hit, transcripts

__all__ = [
    "MARKS",
    "Findings",
    "Hit",
    "Moments",
    "Page",
    "Versions",
    "cases",
    "everything",
    "recordings",
    "suggest",
    "transcripts",
    "users",
]
