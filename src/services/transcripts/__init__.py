"""Transcriptions, in immutable versions.

Segments are validated here and inserted with one `unnest` or, if there are many, one COPY into a temporary table and
one INSERT … SELECT: COPY FROM is not supported for a table with row security.
"""

from src.formats.segments import Segment, Word
from src.services.transcripts.adding import add
from src.services.transcripts.comparing import Change, Spoken, diff
from src.services.transcripts.correcting import correct, restore
from src.services.transcripts.exporting import export
from src.services.transcripts.importing import import_result
from src.services.transcripts.text_reading import accept, latest, segments, versions

__all__ = [
    "Change",
    "Segment",
    "Spoken",
    "Word",
    "accept",
    "add",
    "correct",
    "diff",
    "export",
    "import_result",
    "latest",
    "restore",
    "segments",
    "versions",
]
