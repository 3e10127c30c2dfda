"""${message}

Revision ID: ${up_revision}
Revises: ${down_revision | comma,n}

Before this lands: one schema change per revision; never rewrite a landed one. Set HEAD in src/database/schema to this
revision and let the migration replace public.schema_revision(). On tables that hold data: indexes CONCURRENTLY in an
autocommit_block(), constraints NOT VALID first and validated later, backfills in batches. It must go up, down and up again.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
