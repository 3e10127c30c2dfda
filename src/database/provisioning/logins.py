"""The login that serves sessions and the key that signs actor tokens: creation, rotation, and the key file."""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, func, insert, select, text, update
from sqlalchemy.exc import DBAPIError

from src import errors
from src.database.connection.actor_tokens import SigningKey
from src.database.connection.key_file import KeyFile
from src.database.models import ActorKey
from src.database.schema import SESSION_ROLES


def provide_login(
    connection: Connection,
    path: Path,
    *,
    login: str,
    password: str | None = None,
    reset: bool = False,
) -> KeyFile:
    """Create the login that serves sessions and the signing key; return the new content of the key file at `path`.

    The file is written before the transaction of `connection` commits: after a crash in between, the next run finds the
    file and creates the login that it names. `password` is the configured one; default: that of the file, or a random
    one. `reset` gives an existing login a new password. Raises ConfigurationError when the login exists and its
    password is unknown, RightMissing with the statements for the administrator of the server.
    """
    known = KeyFile.load(path)
    # Checked first, so that errors are raised before any change.
    exists = _inspect_login(connection, login)
    if known is not None and known.login != login:
        known = KeyFile(login, "", known.signing_key)
    secret = password or (known.password if known and known.password and not reset else None)
    if exists and secret is None and not reset:
        raise errors.ConfigurationError(
            f"The login {login} exists, and its password is unknown. Copy the key file {path} from the machine where"
            " init_db was run, set POSTGRES_APP_PASSWORD, or set a new password with: init_db --reset-login"
        )
    keys = KeyFile(login, secret or secrets.token_urlsafe(32), _signing_key(connection, known))
    if keys != known:
        keys.save(path)
    try:
        _write_login(connection, keys, exists=exists, set_password=reset)
    except DBAPIError as error:
        if getattr(error.orig, "pgcode", None) != "42501":
            raise
        raise errors.RightMissing(
            f"This login may not create the login {login}. Ask the administrator of the server to run:"
            f' CREATE ROLE "{login}" LOGIN NOINHERIT PASSWORD \'…\'; GRANT {", ".join(SESSION_ROLES)} TO "{login}";'
            " and set POSTGRES_APP_USER and POSTGRES_APP_PASSWORD."
        ) from error
    return keys


def rotate_key(engine: Engine, path: Path, keys: KeyFile, *, grace: timedelta) -> KeyFile:
    """Replace the signing key; old keys stay valid for `grace`, so that running services are not interrupted.

    The new key is stored in the database before the file: after a crash in between, the next init_db writes the file.
    """
    with engine.begin() as connection:
        last = connection.scalar(select(func.max(ActorKey.id))) or 0
        key = SigningKey.generate(last + 1)
        connection.execute(update(ActorKey).where(ActorKey.retired_at.is_(None)).values(retired_at=func.now() + grace))
        connection.execute(insert(ActorKey).values(id=key.id, inner_pad=key.inner_pad, outer_pad=key.outer_pad))
    renewed = replace(keys, signing_key=key)
    renewed.save(path)
    return renewed


def _inspect_login(connection: Connection, login: str) -> bool:
    row = connection.execute(
        text("SELECT rolsuper OR rolbypassrls OR rolcreaterole FROM pg_roles WHERE rolname = :login"), {"login": login}
    ).one_or_none()
    if row is not None and row[0]:
        raise errors.UnsafeConnection(
            f"The login {login} has too many privileges to serve sessions: it could bypass row security."
            " Set POSTGRES_APP_USER to another login."
        )
    return row is not None


def _signing_key(connection: Connection, known: KeyFile | None) -> SigningKey:
    valid = [
        SigningKey.from_pads(row.id, bytes(row.inner_pad))
        for row in connection.execute(
            select(ActorKey.id, ActorKey.inner_pad).where(ActorKey.retired_at.is_(None)).order_by(ActorKey.id.desc())
        )
    ]
    own_key = known.signing_key if known else None
    if own_key is not None and any(own_key.inner_pad == key.inner_pad and own_key.id == key.id for key in valid):
        return own_key
    if valid:
        return valid[0]
    last = connection.scalar(select(ActorKey.id).order_by(ActorKey.id.desc()).limit(1)) or 0
    key = own_key if own_key is not None and own_key.id > last else SigningKey.generate(last + 1)
    connection.execute(insert(ActorKey).values(id=key.id, inner_pad=key.inner_pad, outer_pad=key.outer_pad))
    return key


def _write_login(connection: Connection, keys: KeyFile, *, exists: bool, set_password: bool) -> None:
    quote = connection.dialect.identifier_preparer.quote_identifier
    name = quote(keys.login)
    driver: Any = connection.connection.dbapi_connection
    attributes = "LOGIN NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
    if not exists or set_password:
        from psycopg2.extensions import encrypt_password  # noqa: PLC0415 - loads the driver

        # Hashed on the client, so that the password does not appear in the log of the server.
        verifier = encrypt_password(keys.password, keys.login, driver, "scram-sha-256")
        verb = "ALTER" if exists else "CREATE"
        # NOSUPERUSER etc. are the defaults of CREATE ROLE; in ALTER ROLE only a superuser may specify them.
        options = "LOGIN NOINHERIT" if exists else attributes
        connection.exec_driver_sql(f"{verb} ROLE {name} {options} PASSWORD '{verifier}'")
    elif connection.scalar(text("SELECT rolinherit FROM pg_roles WHERE rolname = :login"), {"login": keys.login}):
        connection.exec_driver_sql(f"ALTER ROLE {name} NOINHERIT")
    for role in SESSION_ROLES:
        member = connection.scalar(
            text(
                "SELECT EXISTS (SELECT FROM pg_auth_members"
                " WHERE roleid = to_regrole(:role) AND member = to_regrole(:name))"
            ),
            {"role": role, "name": name},
        )
        if not member:
            connection.exec_driver_sql(f"GRANT {role} TO {name}")
    database = quote(str(connection.engine.url.database))
    if not connection.scalar(
        text("SELECT has_database_privilege(:login, current_database(), 'CONNECT')"), {"login": keys.login}
    ):
        connection.exec_driver_sql(f"GRANT CONNECT ON DATABASE {database} TO {name}")
    for role in SESSION_ROLES:
        # Bulk inserts use a temporary table; PUBLIC has this privilege by default, but it may have been revoked.
        if not connection.scalar(
            text("SELECT has_database_privilege(:role, current_database(), 'TEMP')"), {"role": role}
        ):
            connection.exec_driver_sql(f"GRANT TEMPORARY ON DATABASE {database} TO {role}")
