"""What ANALYZE may not sample: text of cases, which EXPLAIN would tell whoever may ask it anything.

For a comparison that PostgreSQL trusts with rows that row security hides, `=` and `<` of text, it estimates by what was
sampled, of all cases: `title < 'm'` again and again spells out titles. Without samples every word is estimated alike.
What finds rows by these columns are unique indexes, or the functions of search, whose plans do not need to know.

Kept: `transcription_segments.search`, by which search plans; EXPLAIN of a condition on it tells how common a word is.
"""

from __future__ import annotations

COLUMNS = {
    "cases": ("case_code", "title", "description"),
    "case_notes": ("body",),
    "legal_holds": ("reason", "release_reason"),
    "audio_files": ("name", "error_message", "archive_reason"),
    "processing_jobs": ("error_message",),
    "transcriptions": ("content",),
    "transcription_segments": ("speaker", "text"),
    "transcription_sources": ("name",),
    "analysis_results": ("summary",),
}
# Indexes whose first column is an expression over these: it is sampled by itself.
INDEXES = (
    "cases_title_lower_idx",
    "audio_files_name_lower_idx",
    "case_notes_search_idx",
    "analysis_results_search_idx",
)


def unsampled_index(name: str) -> str:
    """Return the SQL by which the expression of an index is not sampled."""
    return f"ALTER INDEX public.{name} ALTER COLUMN 1 SET STATISTICS 0;"


def statements() -> str:
    """Return the SQL by which the columns and expressions are not sampled."""
    return "\n".join([
        *(
            f"ALTER TABLE public.{table} "
            + ", ".join(f"ALTER COLUMN {column} SET STATISTICS 0" for column in columns)
            + ";"
            for table, columns in COLUMNS.items()
        ),
        *map(unsampled_index, INDEXES),
    ])  # fmt: skip
