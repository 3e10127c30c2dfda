"""Another service: a folder with models, a separate Alembic history and a table `case_tags`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import URL, Connection

from tests.migrations.conftest import ROOT, outside

ENV = """\
from alembic import context
from sqlalchemy import MetaData, create_engine

from src.database import owner_url
from src.database.provisioning.autogenerate import include_service_name, include_service_object
from tags import metadata

options = {"target_metadata": metadata, "version_table": "tags_revisions", "include_name": include_service_name,
           "include_object": include_service_object}
if context.is_offline_mode():
    context.configure(dialect_name="postgresql", literal_binds=True, **options)
    with context.begin_transaction():
        context.run_migrations()
else:
    with create_engine(owner_url()).connect() as connection:
        context.configure(connection=connection, **options)
        with context.begin_transaction():
            context.run_migrations()
"""
MODELS = """\
from sqlalchemy import BigInteger, Column, Integer, LargeBinary, MetaData, Table, Text
from src.database.schema import record_columns

metadata = MetaData()
tags = Table("case_tags", metadata, *record_columns(versioned=True), Column("case_id", Integer, nullable=False),
             Column("tag", Text, nullable=False), Column("phone", Text), Column("token", Text),
             Column("set_by_id", BigInteger))
"""
REVISION = """\
import sqlalchemy as sa
from alembic import op
from src.database.schema import protect_table, record_columns, unprotect_table

revision = "1"
down_revision = None


def upgrade():
    table = op.create_table(
        "case_tags",
        *record_columns(versioned=True),
        sa.Column("case_id", sa.Integer, sa.ForeignKey("cases.id", ondelete="CASCADE"), nullable=False),
        sa.Column("tag", sa.Text, nullable=False),
        sa.Column("phone", sa.Text),
        sa.Column("token", sa.Text),
        sa.Column("set_by_id", sa.BigInteger, sa.ForeignKey("users.id"), server_default=sa.text("public.actor_id()")),
    )
    protect_table(
        op, table, insert=("case_id", "tag", "phone", "token", "set_by_id"), update=("tag", "phone"),
        signed=("set_by_id",), sensitive=("phone",), secret=("token",), unsampled=("tag",),
    )


def downgrade():
    unprotect_table(op, "case_tags")
    op.drop_table("case_tags")
"""


class Service:
    """Another service: a folder with a separate Alembic history."""

    def __init__(self, folder: Path, url: URL) -> None:
        self.folder, self.url = folder, url
        (folder / "migrations" / "versions").mkdir(parents=True)
        (folder / "alembic.ini").write_text("[alembic]\nscript_location = migrations\nprepend_sys_path = .\n")
        (folder / "migrations" / "env.py").write_text(ENV)
        (folder / "migrations" / "versions" / "1_tags.py").write_text(REVISION)
        (folder / "tags.py").write_text(MODELS)

    def alembic(self, *arguments: str, succeeds: bool = True) -> str:
        environment = {**outside(self.url), "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            # -P: like the command `alembic`, which does not add the folder to sys.path.
            [sys.executable, "-P", "-m", "alembic", *arguments], cwd=self.folder, env=environment, text=True,
            capture_output=True, check=False, timeout=60,
        )  # fmt: skip
        assert (done.returncode == 0) is succeeds, done.stderr
        return done.stdout + ("" if succeeds else done.stderr)


def operations(connection: Connection) -> Operations:
    """Return Alembic's `op` for a revision on this connection."""
    return Operations(MigrationContext.configure(connection))
