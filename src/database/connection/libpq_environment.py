"""libpq's own environment variables: none may choose another server, port or login than the URL names."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import URL

from src.errors import ConfigurationError

# libpq uses these for what the URL leaves out.
_FOR_MISSING = {"PGHOST": "host", "PGPORT": "port", "PGUSER": "username", "PGDATABASE": "database"}
_QUERY_NAMES = {"host": "host", "port": "port", "username": "user", "database": "dbname"}


def require_plain(url: URL, environment: Mapping[str, str]) -> None:
    """Raise ConfigurationError when a variable of libpq would redirect the connections of this URL.

    PGSERVICE and PGHOSTADDR apply even where the URL names a host.
    """
    redirecting = [name for name in ("PGSERVICE", "PGHOSTADDR") if environment.get(name)]
    if "hostaddr" in url.query:
        redirecting = [name for name in redirecting if name != "PGHOSTADDR"]
    if "service" in url.query:
        redirecting = [name for name in redirecting if name != "PGSERVICE"]
    redirecting += [
        name
        for name, part in _FOR_MISSING.items()
        if environment.get(name) and not getattr(url, part) and not url.query.get(_QUERY_NAMES[part])
    ]
    if redirecting:
        raise ConfigurationError(
            f"{', '.join(redirecting)}: set in the environment, and would change which server or login libpq uses;"
            " write it into the settings (DATABASE_URL or POSTGRES_*) and unset it."
        )
