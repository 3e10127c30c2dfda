"""What holds for the transaction of a session, known without loading the driver."""

from __future__ import annotations

FAILED_TRANSACTION = "25P02"
"""SQLSTATE of a statement that was rejected since an earlier one had failed."""

# In a transaction of a session one value, after its end the other: the server reports changes of this setting to the
# client, so that a transaction that was replaced by another one is noticed without asking the server.
DATE_STYLE, DATE_STYLE_AFTERWARDS = "ISO, MDY", "ISO, YMD"

BY_HAND = "Only leaving the block of db.session commits or rolls back: remove {what}, or use session.begin_nested()."
