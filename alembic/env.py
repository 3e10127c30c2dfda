"""How migrations run: as the owner, one at a time, never waiting long for a lock that sessions hold.

The revisions change tables. Before them the functions that are missing are made, since defaults and CHECKs call them;
after them functions, triggers, policies and grants are compared with the code, and what differs is applied.
"""

from __future__ import annotations

import logging
import sys
from logging.config import fileConfig

from alembic import context
from sqlalchemy import Connection, Engine
from sqlalchemy.dialects.postgresql.base import ischema_names

from src.config import load_settings
from src.database.base import TransactionId
from src.database.connection.addresses import owner_url
from src.database.connection.engine import PoolOptions, make_engine, normalise_url
from src.database.models import Base
from src.database.provisioning.apply import applied_by_newer, apply, create_missing_functions
from src.database.provisioning.autogenerate import include_layer_name
from src.database.provisioning.migrate import LOCK_TIMEOUT, STATEMENT_TIMEOUT, migration_lock, require_server
from src.database.provisioning.offline import after_migrations, before_migrations
from src.database.provisioning.safe_lines import PLUGINS, make_safe, render_check
from src.database.schema import head
from src.database.schema.creation import execute, recorded
from src.errors import SpeechError

# SQLAlchemy does not know the type, and `alembic check` would pass by the columns that have it.
ischema_names["xid8"] = TransactionId

logger = logging.getLogger("alembic.protection")
config = context.config
# The ini of a service may name a script_location and nothing else.
configures_logging = config.attributes.get("configure_logging", True) and "loggers" in config.file_config
if config.config_file_name is not None and configures_logging:
    fileConfig(config.config_file_name, disable_existing_loggers=False)


def moves_revisions() -> bool:
    """Whether the command changes the revision: upgrade, downgrade and stamp do, check and current do not."""
    try:
        context.get_revision_argument()
    except KeyError:
        return False
    return True


def run_offline() -> None:
    context.configure(
        dialect_name="postgresql",
        # Under the driver's own style every percent sign of a function would come out doubled.
        dialect_opts={"paramstyle": "named"},
        target_metadata=Base.metadata,
        literal_binds=True,
        transaction_per_migration=True,
    )
    is_upgrade = context.get_revision_argument() in ("head", head())
    with context.begin_transaction():
        context.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
        context.execute(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'")
        if is_upgrade:
            context.static_output(before_migrations())
        context.run_migrations()
        if is_upgrade:
            context.static_output(after_migrations())


def run_online() -> None:
    given = config.attributes.get("url")
    url = normalise_url(given) if given is not None else owner_url(load_settings())
    engine = make_engine(url, PoolOptions(application_name="alembic", size=1))
    try:
        # The lock has a connection of its own: a migration may commit in between, the lock stays.
        with migration_lock(engine):
            with engine.connect() as connection:
                reached = migrate(connection)
            if goes_down():
                leave_to_older_code(engine, reached)
            elif moves_revisions():
                protect(engine, reached)
    finally:
        engine.dispose()


def migrate(connection: Connection) -> tuple[str, ...]:
    """Run the command, and return the revision that the tables have then; nothing below the baseline."""
    require_server(connection)
    if moves_revisions() and applied_by_newer(connection) is None:
        create_missing_functions(connection)
    connection.exec_driver_sql(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
    connection.exec_driver_sql(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'")
    connection.commit()
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        transaction_per_migration=True,
        compare_type=True,
        compare_server_default=False,  # the comparison at the end sees defaults exactly
        include_name=include_layer_name,
        autogenerate_plugins=PLUGINS,
        render_item=render_check,
        process_revision_directives=make_safe,
    )
    with context.begin_transaction():
        context.run_migrations()
    return tuple(context.get_context().get_current_heads())


def goes_down() -> bool:
    """Whether the command is a downgrade; one to the revision that the tables have takes a change of functions back."""
    return getattr(context.get_context().opts.get("fn"), "__name__", "") == "downgrade"


def protect(engine: Engine, reached: tuple[str, ...]) -> None:
    """Apply functions and protection, where the tables are those of this code."""
    if reached == (head(),):
        for difference in apply(engine):
            logger.warning("%s", difference)
    else:
        leave_to_older_code(engine, reached)


def leave_to_older_code(engine: Engine, reached: tuple[str, ...]) -> None:
    """Record build 0: the older code whose revision this is applies its own functions with its own upgrade."""
    if reached:
        with engine.begin() as connection:
            execute(connection, recorded(reached[0], build=0))


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
