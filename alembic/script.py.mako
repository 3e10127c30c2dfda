<%
def lines(text):
    """Omits the comments of Alembic, since the generated code is reviewed before it is committed."""
    kept = [line for line in (text or "").splitlines() if not line.lstrip().startswith("# ###")]
    return "\n".join(kept).strip() or "pass"
%>"""${message}.

Revision ID: ${up_revision}
Revises: ${down_revision | comma,n}
"""
## Before merging (docs/contributing.md): one subject; tables only, since functions, policies, triggers and grants are
## applied from the code after every upgrade. On tables with data: indexes CONCURRENTLY in an autocommit_block(),
## constraints NOT VALID first and validated later, data by update_in_batches(). It must pass upgrade, downgrade, upgrade.
## Autogenerate renders the first two. It does not detect a changed CHECK. Set oldest_code = "${up_revision}" if older
## code is incompatible. Percent signs in a server default are rendered doubled: write them once.

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
