"""What is written costs less: new rows are captured by the statement, and what each row asked is asked once.

Revision ID: 0011
Revises: 0010

The SQL beside this file is frozen: later changes are later revisions.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def run(direction: str) -> None:
    script = Path(__file__).with_suffix(f".{direction}.sql").read_text(encoding="utf-8")
    # A colon before a letter would be taken for a bound parameter.
    op.execute(sa.text(script.replace(":", r"\:")))


def upgrade() -> None:
    run("up")


def downgrade() -> None:
    run("down")
