"""Transcriptions: versions of what was said. Nothing is ever edited in place.

Segments are checked here and go into the database by one `unnest` or, where they are many, by one COPY into a temporary
table and one INSERT … SELECT: row security lets nobody COPY into the table itself.
"""

from src.formats.values import Segment, Word
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
