"""Run migrations: as the owner, one process at a time, with a short timeout for locks that sessions hold.

The revisions change tables. Before them, missing functions are created, since defaults and CHECKs call them; after them,
functions, triggers, policies and grants are compared with the code, and differences are applied.
"""

from __future__ import annotations

import logging
import sys
import traceback
from logging.config import fileConfig
from pathlib import Path

from alembic import context
from sqlalchemy import URL, Connection, Engine
from sqlalchemy.dialects.postgresql.base import ischema_names

from src.config import load_settings
from src.database.base import TransactionId
from src.database.connection.addresses import describe, owner_url
from src.database.connection.command_errors import explain
from src.database.connection.engine import PoolOptions, make_engine, normalise_url
from src.database.models import Base
from src.database.provisioning.apply import applied_by_newer, apply, create_missing_functions
from src.database.provisioning.autogenerate import include_layer_name
from src.database.provisioning.migrate import LOCK_TIMEOUT, STATEMENT_TIMEOUT, migration_lock, require_server
from src.database.provisioning.offline import after_migrations, before_migrations
from src.database.provisioning.restored import require_whole
from src.database.provisioning.safe_operations import PLUGINS, make_safe, render_check
from src.database.schema import head
from src.database.schema.creation import execute, recorded
from src.maintenance.terminal import say

# SQLAlchemy does not know the type, and `alembic check` would ignore columns of it.
ischema_names["xid8"] = TransactionId

logger = logging.getLogger("alembic.protection")
config = context.config
# The ini file of a service may contain only script_location.
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
        # The paramstyle of the driver would double every percent sign in functions.
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
    passed_url = config.attributes.get("url")
    url = normalise_url(passed_url) if passed_url is not None else url_of_settings()
    engine = make_engine(url, PoolOptions(application_name="alembic", size=1))
    try:
        # The lock is held on a separate connection, so it survives commits of a migration.
        with migration_lock(engine):
            with engine.connect() as connection:
                reached = migrate(connection)
            if goes_down():
                leave_to_older_code(engine, reached)
            elif moves_revisions():
                protect(engine, reached)
    finally:
        engine.dispose()


def url_of_settings() -> URL:
    """Say which database the settings name, and return its URL.

    An embedded database is created only from the folder of the ini file: a job that runs elsewhere, without the `.env`
    of its project, would migrate an empty one instead.
    """
    settings = load_settings()
    say(f"alembic: {describe(settings)}", err=True)
    at_home = config.config_file_name is not None and Path(config.config_file_name).absolute().parent == Path.cwd()
    return owner_url(settings, create=at_home)


def migrate(connection: Connection) -> tuple[str, ...]:
    """Run the command; return the revision of the tables afterwards, empty below the baseline."""
    require_server(connection)
    connection.exec_driver_sql(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
    connection.exec_driver_sql(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'")
    connection.commit()
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        transaction_per_migration=True,
        compare_type=True,
        compare_server_default=False,  # defaults are compared exactly at the end
        include_name=include_layer_name,
        autogenerate_plugins=PLUGINS,
        render_item=render_check,
        process_revision_directives=make_safe,
    )
    if command_name() == "upgrade":
        require_whole(connection)
    if moves_revisions() and applied_by_newer(connection) is None:
        create_missing_functions(connection)
    connection.commit()
    with context.begin_transaction():
        context.run_migrations()
    return tuple(context.get_context().get_current_heads())


def goes_down() -> bool:
    """Whether the command is a downgrade; one to the current revision reverts a change of functions."""
    return command_name() == "downgrade"


def command_name() -> str:
    """Return the name of the command that moves revisions: upgrade, downgrade, or another one."""
    return getattr(context.get_context().opts.get("fn"), "__name__", "")


def protect(engine: Engine, reached: tuple[str, ...]) -> None:
    """Apply functions and protection if the tables are at the revision of this code."""
    if reached == (head(),):
        for difference in apply(engine):
            logger.warning("%s", difference)
    else:
        leave_to_older_code(engine, reached)


def leave_to_older_code(engine: Engine, reached: tuple[str, ...]) -> None:
    """Record build 0, so that the older code of this revision applies its functions with its own upgrade."""
    if reached:
        with engine.begin() as connection:
            execute(connection, recorded(reached[0], build=0))


def run() -> None:
    if "url" in config.attributes:
        # A program of this layer, which reports errors itself.
        (run_offline if context.is_offline_mode() else run_online)()
        return
    try:
        (run_offline if context.is_offline_mode() else run_online)()
    except KeyboardInterrupt:
        say("alembic: interrupted", err=True)
        sys.exit(130)
    except Exception as error:  # noqa: BLE001 - all end as one line
        if "debug" in context.get_x_argument():
            for line in "".join(traceback.format_exception(error)).splitlines():
                say(line, err=True)
        sentence, code = explain(error, debug="Run it as alembic -x debug … for the traceback")
        say(f"alembic: {sentence}", err=True)
        sys.exit(code)


run()
