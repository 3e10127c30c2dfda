"""Create the database itself."""

from __future__ import annotations

from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError

from src import errors
from src.database.connection.engine import PoolOptions, make_engine
from src.database.provisioning.surroundings import locale_options


def create_database(url: URL) -> bool:
    """Create the database of `url` when it does not exist; return whether it was created.

    Raises DatabaseMissing when it does not exist and this login may not create it.
    """
    engine = make_engine(url, PoolOptions(size=1))
    try:
        engine.connect().close()
    except errors.DatabaseMissing as missing:
        maintenance = make_engine(url.set(database="postgres"), PoolOptions(size=1))
        try:
            with maintenance.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                name = connection.dialect.identifier_preparer.quote_identifier(str(url.database))
                folds = connection.exec_driver_sql("SELECT lower('É') = 'é' AND lower('I') = 'i'").scalar_one()
                encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
                # The locale of the server where it folds all letters, so that names are sorted as its people expect.
                options = "ENCODING 'UTF8'" if folds and encoding == "UTF8" else locale_options(connection)
                connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE template0 {options}")
        except DBAPIError as error:
            if getattr(error.orig, "pgcode", None) in {"42P04", "23505"}:
                return False  # another process created it concurrently
            raise missing from error
        finally:
            maintenance.dispose()
        return True
    finally:
        engine.dispose()
    return False
