"""The mark of sensitive cases and recordings: with a reason, and removed only by those who may manage the case."""

from __future__ import annotations

from sqlalchemy import CheckConstraint

from src.database.schema.objects import Trigger


def sensitive_mark() -> tuple[Trigger, ...]:
    """Return the trigger that guards the columns `is_sensitive` and `sensitive_reason` of a table."""
    return (
        Trigger(
            "guard_sensitive",
            "BEFORE UPDATE OF is_sensitive, sensitive_reason",
            "guard_sensitive",
            when="OLD.is_sensitive AND (NOT NEW.is_sensitive"
            " OR OLD.sensitive_reason IS DISTINCT FROM NEW.sensitive_reason)",
        ),
    )


def sensitive_has_reason() -> CheckConstraint:
    """Return the CHECK that what is sensitive has a reason."""
    return CheckConstraint("NOT is_sensitive OR sensitive_reason IS NOT NULL", name="sensitive_has_reason")
