"""The closed sets of values that services take and return, as `Literal` types for annotations of callers."""

from src.database.models.activity_log import Operation
from src.database.models.analyses import SentimentCode
from src.database.models.audio_files import ObjectState, StatusCode
from src.database.models.cases import PriorityCode
from src.database.models.jobs import JobState
from src.database.schema.permissions import CaseRole, CaseVerb
from src.formats import Dialect, Format
from src.services.history.findings import FindingKind
from src.services.recordings.fixity import Outcome
from src.services.recordings.ingestion import OnDuplicate
from src.services.search.filters import Versions
from src.services.search.transcript_search import Order

__all__ = [
    "CaseRole",
    "CaseVerb",
    "Dialect",
    "FindingKind",
    "Format",
    "JobState",
    "ObjectState",
    "OnDuplicate",
    "Operation",
    "Order",
    "Outcome",
    "PriorityCode",
    "SentimentCode",
    "StatusCode",
    "Versions",
]
