"""Word suggestions for a prefix, from transcripts that the actor may read."""

from __future__ import annotations

from collections import Counter

from sqlalchemy.orm import Session

from src.database.connection.session import actor_of
from src.database.models import Case
from src.errors import InvalidInput
from src.services import activity
from src.services.search import filters, highlighting
from src.services.search.pagination import require_limit
from src.services.search.transcript_search import read_again

SAMPLE = 200


def suggest(session: Session, prefix: str, *, case: Case | int | None = None, limit: int = 10) -> list[str]:
    """Return words that begin with `prefix`, ignoring case and accents, most frequent first.

    Words are counted in the 200 best hits that the actor may read. For scripts without spaces the list is empty, since
    words cannot be delimited. Raises InvalidInput for a prefix of several words.
    """
    actor_of(session)
    filters.require_query(prefix)
    require_limit(limit)
    beginning = prefix.strip().rstrip("*")
    if len(beginning.split()) > 1 or '"' in beginning:
        raise InvalidInput("prefix: give the beginning of one word.", field="prefix")
    if not beginning or beginning.startswith("-") or highlighting.unspaced_runs(beginning):
        return []
    case_id = None if case is None else filters.row_id(case, "case")
    asked = {"max_rows": SAMPLE} | ({} if case_id is None else {"cases": [case_id]})
    folded = highlighting.fold(beginning)[0].casefold()
    counted: Counter[str] = Counter()
    for row in read_again(session, f"{beginning}*", asked):
        for start, end in highlighting.marked_spans(row["text"], row["marked"], row["folded"], row["words"], ()) or ():
            word = row["text"][start:end]
            if highlighting.fold(word)[0].casefold().startswith(folded):
                counted[word.lower()] += 1
    activity.note_read(session, "search.made", case=case_id, detail={"query": f"{beginning}*", "hits": len(counted)})
    return [word for word, _ in sorted(counted.items(), key=lambda each: (-each[1], each[0]))[:limit]]
