<%
def lines(text):
    """Alembic's own comments are left out: what stands in the file is what somebody read."""
    kept = [line for line in (text or "").splitlines() if not line.lstrip().startswith("# ###")]
    return "\n".join(kept).strip() or "pass"
%>"""${message}.

Revision ID: ${up_revision}
Revises: ${down_revision | comma,n}
"""
## Before this lands (docs/contributing.md): one subject; tables only, since functions, policies, triggers and grants are
## applied from the code after every upgrade. On tables that hold data: indexes CONCURRENTLY in an autocommit_block(),
## constraints NOT VALID first and validated later, data by update_in_batches(). It must go up, down and up again.
## Autogenerate writes the first two so. It does not see a changed CHECK. oldest_code = "${up_revision}" where older code
## cannot live with it. Percent signs of a server default come out doubled: write them once.

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    ${lines(upgrades)}


def downgrade() -> None:
    ${lines(downgrades)}
