"""Search: transcripts, with time and speaker, and cases, recordings, users, notes and summaries.

SECURITY DEFINER functions read the indexes, filter by the actor's cases and return ids; the rows are then read under
row security. Hits, totals, snippets and suggestions therefore only include rows that the actor may read.
"""

from src.services.search.filters import Moments, Versions
from src.services.search.global_search import Findings, everything
from src.services.search.highlighting import MARKS
from src.services.search.name_search import cases, recordings, users
from src.services.search.pagination import Page
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
