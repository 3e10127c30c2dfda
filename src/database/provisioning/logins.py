"""The logins that serve sessions and the key that signs actor tokens: creation, rotation, and the key file."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
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


@dataclass(frozen=True)
class Login:
    """A login for sessions: its name, its configured password if any, and the roles that its sessions may take."""

    name: str
    password: str | None
    roles: tuple[str, ...]


def provide_logins(
    connection: Connection,
    path: Path,
    members: Login,
    administrators: Login,
    *,
    reset: bool = False,
    passwords: bool = True,
) -> KeyFile:
    """Create or repair the logins for sessions and the signing key; return the new content of the key file at `path`.

    The file is written before the transaction of `connection` commits: after a crash in between, the next run finds the
    file and creates the logins that it names. A configured password has precedence over that of the file; without
    either, a random one is used. `reset` gives existing logins new passwords; `passwords=False` gives them none, for
    authentication by certificate or peer. Raises ConfigurationError when a login exists and its password is unknown,
    RightMissing with the statements for the administrator of the server.
    """
    known = KeyFile.load(path)
    stored = {known.login: known.password, known.admin_login: known.admin_password} if known else {}
    chosen: dict[str, str] = {}
    logins = (members, administrators)
    # Checked first, so that errors are raised before any change.
    present = {login.name: _inspect_login(connection, login.name) for login in logins}
    for login in logins:
        secret = login.password or (None if reset else stored.get(login.name)) or None
        if passwords and present[login.name] and secret is None and not reset:
            raise errors.ConfigurationError(
                f"The login {login.name} exists, and its password is unknown. Copy the key file {path} from the machine"
                " where init_db was run, set POSTGRES_APP_PASSWORD and POSTGRES_ADMIN_PASSWORD, or set new passwords"
                " with: init_db --reset-login"
            )
        chosen[login.name] = (secret or secrets.token_urlsafe(32)) if passwords else ""
    _require_alterable(connection, [login for login in logins if reset and present[login.name]])
    keys = KeyFile(
        members.name,
        chosen[members.name],
        _signing_key(connection, known),
        administrators.name,
        chosen[administrators.name],
    )
    if keys != known:
        keys.save(path)
    try:
        for login in logins:
            _write_login(connection, login, chosen[login.name], exists=present[login.name])
    except DBAPIError as error:
        if getattr(error.orig, "pgcode", None) != "42501":
            raise
        statements = " ".join(
            f"CREATE ROLE \"{login.name}\" LOGIN NOINHERIT PASSWORD '…';"
            f' GRANT {", ".join(login.roles)} TO "{login.name}";'
            for login in logins
            if not present[login.name]
        )
        raise errors.RightMissing(
            f"This login may not create or change the logins {members.name} and {administrators.name}. Ask the"
            f" administrator of the server to run: {statements} and set POSTGRES_APP_USER, POSTGRES_APP_PASSWORD,"
            " POSTGRES_ADMIN_USER and POSTGRES_ADMIN_PASSWORD; or to run what this prints: init_db --admin-sql"
        ) from error
    return keys


def prepare_keys(
    path: Path, members: Login, administrators: Login, *, passwords: bool = True, reset: bool = False
) -> KeyFile:
    """Return the key file for logins that the administrator of the server creates, before there is a database.

    Missing passwords are random, and the file is written when it changes; a new signing key is used by the first
    init_db. `reset` replaces passwords that are not configured.
    """
    known = KeyFile.load(path)
    stored = {known.login: known.password, known.admin_login: known.admin_password} if known and not reset else {}
    chosen = [
        (login.password or stored.get(login.name) or secrets.token_urlsafe(32)) if passwords else ""
        for login in (members, administrators)
    ]
    keys = KeyFile(
        members.name, chosen[0], known.signing_key if known else SigningKey.generate(), administrators.name, chosen[1]
    )
    if keys != known:
        keys.save(path)
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
            " Set POSTGRES_APP_USER or POSTGRES_ADMIN_USER to another login."
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


def _write_login(connection: Connection, login: Login, password: str, *, exists: bool) -> None:
    quote = connection.dialect.identifier_preparer.quote_identifier
    name = quote(login.name)
    if not exists or _may_alter(connection, login.name):
        # NOSUPERUSER etc. are the defaults of CREATE ROLE; in ALTER ROLE only a superuser may specify them. An existing
        # login gets its password again: a session can change the password and the settings of its own login.
        attributes = "LOGIN NOINHERIT" if exists else "LOGIN NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS"
        verifier = f"PASSWORD '{_verifier(connection, login.name, password)}'" if password else "PASSWORD NULL"
        connection.exec_driver_sql(f"{'ALTER' if exists else 'CREATE'} ROLE {name} {attributes} {verifier}")
    _write_memberships(connection, login, name)
    database = quote(str(connection.engine.url.database))
    if not connection.scalar(
        text("SELECT has_database_privilege(:login, current_database(), 'CONNECT')"), {"login": login.name}
    ):
        connection.exec_driver_sql(f"GRANT CONNECT ON DATABASE {database} TO {name}")
    for role in login.roles:
        # Bulk inserts use a temporary table; PUBLIC has this privilege by default, but it may have been revoked.
        if not connection.scalar(
            text("SELECT has_database_privilege(:role, current_database(), 'TEMP')"), {"role": role}
        ):
            connection.exec_driver_sql(f"GRANT TEMPORARY ON DATABASE {database} TO {role}")


def _verifier(connection: Connection, login: str, password: str) -> str:
    from psycopg2.extensions import encrypt_password  # noqa: PLC0415 - loads the driver

    # Hashed on the client, so that the password does not appear in the log of the server.
    driver: Any = connection.connection.dbapi_connection
    return str(encrypt_password(password, login, driver, "scram-sha-256"))


def _require_alterable(connection: Connection, logins: list[Login]) -> None:
    """Raise RightMissing unless this login may set their passwords: the key file would have others than the server."""
    for login in logins:
        if not _may_alter(connection, login.name):
            raise errors.RightMissing(
                f"This login may not change the password of {login.name}. Ask the administrator of the server to run"
                " what this prints: init_db --admin-sql --reset-login"
            )


def _may_alter(connection: Connection, login: str) -> bool:
    # Before PostgreSQL 16, CREATEROLE is enough; since then, the role must be administered by this one.
    return bool(
        connection.scalar(
            text(
                "SELECT me.rolsuper OR me.rolcreaterole AND (current_setting('server_version_num')::integer < 160000"
                " OR EXISTS (SELECT FROM pg_auth_members m WHERE m.roleid = to_regrole(quote_ident(:login))"
                "             AND m.member = me.oid AND m.admin_option)) FROM pg_roles me WHERE rolname = current_user"
            ),
            {"login": login},
        )
    )


def _write_memberships(connection: Connection, login: Login, name: str) -> None:
    present = set(
        connection.scalars(
            text(
                "SELECT g.rolname::text FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid"
                " WHERE m.member = to_regrole(quote_ident(:login))"
            ),
            {"login": login.name},
        )
    )
    for role in SESSION_ROLES:
        if role in login.roles and role not in present:
            connection.exec_driver_sql(f"GRANT {role} TO {name}")
        elif role in present and role not in login.roles:
            connection.exec_driver_sql(f"REVOKE {role} FROM {name}")
