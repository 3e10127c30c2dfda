"""${message}.

Revision ID: ${up_revision}
Revises: ${down_revision | comma,n}
"""
## Before this lands (docs/contributing.md): one subject; tables only, since functions, policies, triggers and grants are
## applied from the code after every upgrade. On tables that hold data: indexes CONCURRENTLY in an autocommit_block(),
## constraints NOT VALID first and validated later, data by update_in_batches(). It must go up, down and up again.
## Autogenerate doubles percent signs in CHECKs: write them once. oldest_code = "${up_revision}" where older code cannot
## live with it.

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
