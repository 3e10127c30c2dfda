"""How migrations run: as the owner, one at a time, never waiting long for a lock that sessions hold."""

from __future__ import annotations

import sys
from logging.config import fileConfig

from alembic import context
from sqlalchemy import MetaData
from sqlalchemy.dialects.postgresql.base import ischema_names

from src.config import load_settings
from src.database.base import TransactionId
from src.database.bootstrap import owner_url
from src.database.engine import PoolOptions, make_engine, normalise_url
from src.database.migrate import LOCK_TIMEOUT, STATEMENT_TIMEOUT, migration_lock, require_server
from src.database.models import Base
from src.database.provision import NAME_INDEXES
from src.errors import SpeechError

# SQLAlchemy does not know the type, and `alembic check` would pass by the columns that have it.
ischema_names["xid8"] = TransactionId

config = context.config
if config.config_file_name is not None and config.attributes.get("configure_logging", True):
    fileConfig(config.config_file_name, disable_existing_loggers=False)


def include_name(name: str | None, kind: str, _parents: object) -> bool:
    """Leave the monthly partitions to the function that makes them, indexes that need an extension to init_db."""
    if name is None:
        return True
    if kind == "table":
        return not name.startswith("activity_logs_")
    return kind != "index" or name not in NAME_INDEXES


def target() -> MetaData:
    return Base.metadata


def run_offline() -> None:
    context.configure(
        dialect_name="postgresql",
        # Under the driver's own style every percent sign of a function would come out doubled.
        dialect_opts={"paramstyle": "named"},
        target_metadata=target(),
        literal_binds=True,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
        context.execute(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'")
        context.run_migrations()


def run_online() -> None:
    given = config.attributes.get("url")
    url = normalise_url(given) if given is not None else owner_url(load_settings())
    engine = make_engine(url, PoolOptions(application_name="alembic", size=1))
    try:
        # The lock has a connection of its own: a migration may commit in between, the lock stays.
        with migration_lock(engine), engine.connect() as connection:
            require_server(connection)
            connection.exec_driver_sql(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
            connection.exec_driver_sql(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'")
            connection.commit()
            context.configure(
                connection=connection,
                target_metadata=target(),
                transaction_per_migration=True,
                compare_type=True,
                compare_server_default=False,  # the catalog comparison of the tests sees defaults exactly
                include_name=include_name,
            )
            with context.begin_transaction():
                context.run_migrations()
    finally:
        engine.dispose()


def run() -> None:
    if context.is_offline_mode():
        run_offline()
        return
    try:
        run_online()
    except SpeechError as error:
        # Called by a program of ours, the program tells it; called as `alembic`, one line says it all.
        if "url" in config.attributes or "debug" in context.get_x_argument():
            raise
        sys.stderr.write(f"alembic: {error}\n")
        sys.exit(3)


run()
