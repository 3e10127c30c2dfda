"""Names that are similar to settings: a setting with a wrong name would be ignored silently."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from difflib import SequenceMatcher

# In `.env` these prefixes are those of this layer.
PREFIXES = (
    "POSTGRES_",
    "DATABASE_",
    "AUDIO_",
    "S3_",
    "EMBEDDED_",
    "KEY_",
    "SEAL_",
    "BCRYPT_",
    "PASSWORD_",
    "PROBE_",
    "ADMIN_",
    "AWS_",
)
# In the environment, which all programs share, only these are.
OWN_IN_ENVIRONMENT = (
    "AUDIO_STORAGE_",
    "EMBEDDED_POSTGRES_",
    "SEAL_KEY_",
    "SEAL_HEADS_",
    "BCRYPT_",
    "POSTGRES_APP_",
    "POSTGRES_ADMIN_",
    "POSTGRES_POOL_",
)
# Read by the container image of PostgreSQL and by the tests of this layer.
OF_OTHERS = {
    "POSTGRES_INITDB_ARGS",
    "POSTGRES_INITDB_WALDIR",
    "POSTGRES_HOST_AUTH_METHOD",
    "TEST_DATABASE_URL",
    "TEST_SERVER_BINARIES",
}
_ALIKE = 0.84

# What other programs call the settings of a server.
_SERVER = re.compile(
    r"(?:SQLALCHEMY_)?(?:DB|DATABASE|PG|PSQL|PGSQL|SQL|POSTGRES|POSTGRESQL|POSTGRE|SQLALCHEMY)_?"
    r"(HOST|HOSTNAME|HOSTADDR|SERVER|ADDRESS|PORT|NAME|DB|DBNAME|DATABASE|USER|USERNAME|LOGIN|OWNER|PASS|PASSWD|"
    r"PASSWORD|PWD|URL|URI|DSN|SSLMODE|SSL|SERVICE)"
)
_MEANING = {
    "POSTGRES_HOST": ("HOST", "HOSTNAME", "HOSTADDR", "SERVER", "ADDRESS"),
    "POSTGRES_PORT": ("PORT",),
    "POSTGRES_DB": ("NAME", "DB", "DBNAME", "DATABASE"),
    "POSTGRES_USER": ("USER", "USERNAME", "LOGIN", "OWNER"),
    "POSTGRES_PASSWORD": ("PASS", "PASSWD", "PASSWORD", "PWD"),
    "DATABASE_URL": ("URL", "URI", "DSN", "SERVICE"),
    "POSTGRES_SSLMODE": ("SSLMODE", "SSL"),
}
# In `.env` they have no effect: boto3 reads the environment only.
_OF_BOTO = {
    "AWS_REGION": "S3_REGION",
    "AWS_DEFAULT_REGION": "S3_REGION",
    "AWS_ENDPOINT_URL": "S3_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3": "S3_ENDPOINT_URL",
}


def alias(name: str) -> str | None:
    """Return the setting that another program calls `name`, if any."""
    if name in _OF_BOTO:
        return _OF_BOTO[name]
    match = _SERVER.fullmatch(name)
    return next((setting for setting, words in _MEANING.items() if match[1] in words), None) if match else None


def similar(name: str, settings: Iterable[str]) -> str | None:
    """Return the setting whose name is nearly `name`, if any."""
    plain = re.sub(r"[.-]", "_", name)
    rated = [(SequenceMatcher(None, plain, setting).ratio(), setting) for setting in settings]
    best, setting = max(rated)
    return setting if best >= _ALIKE else None


def unknown_in_file(names: Iterable[str], settings: Collection[str]) -> dict[str, str | None]:
    """Return the names in `.env` that seem to be meant for this layer, with the setting that may be meant."""
    found: dict[str, str | None] = {}
    for name in names:
        if name in settings or name in OF_OTHERS:
            continue
        meant = alias(name) or similar(name, settings)
        if meant or name.startswith(PREFIXES):
            found[name] = meant
    return found


def unknown_in_environment(
    environment: Mapping[str, str], settings: Collection[str], given: Collection[str], *, serverless: bool
) -> dict[str, str | None]:
    """Return the variables of the environment that seem to be meant for this layer, with the setting that may be meant.

    Other programs have variables there too. So a similar name counts only if the setting itself is not among those
    `given`, and the name that other programs give a setting of a server only if nothing of a server is set
    (`serverless`), or if it begins with POSTGRES_ and no URL is given. libpq's variables are not looked at here.
    """
    found: dict[str, str | None] = {}
    for name, value in environment.items():
        # Kubernetes and Docker set POSTGRES_PORT=tcp://… for a service of this name.
        if not value or name in settings or name in OF_OTHERS or value.startswith("tcp://"):
            continue
        theirs = re.fullmatch(r"PG[A-Z]+|AWS_\w+", name) is not None
        if name.startswith(OWN_IN_ENVIRONMENT):
            found[name] = similar(name, settings)
        elif not theirs and (meant := alias(name)):
            ours = name.startswith("POSTGRES_") and {meant, "DATABASE_URL"}.isdisjoint(given)
            if serverless or (ours and meant != "DATABASE_URL"):
                found[name] = meant
        elif not theirs and len(name) > 8:
            meant = similar(name, settings)
            if meant and meant not in given:
                found[name] = meant
    return found


def sentence(found: Mapping[str, str | None], where: Mapping[str, str]) -> str:
    """Return one sentence about unknown names; `where` says for each where it is."""
    parts = [
        f"{name} ({where[name]}) is not a setting" + (f": {meant} is probably meant" if meant else "")
        for name, meant in found.items()
    ]
    return f"{'; '.join(parts)}. Correct the name or remove it."
