"""What `init_db --admin-sql` prints: the SQL for the administrator of the server, and the passwords that it sets."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import URL, text

from src.config import Settings
from src.database.connection.addresses import key_path, login_names, owner_url
from src.database.connection.engine import PoolOptions, make_engine
from src.database.connection.key_file import KeyFile
from src.database.connection.scram import scram_verifier
from src.database.provisioning.administrator_sql import Role, administrator_sql
from src.database.provisioning.logins import Login, prepare_keys
from src.database.schema.objects import ADMIN_ROLE, MEMBER_ROLES
from src.errors import ConfigurationError, InvalidInput, LoginRefused, ServerUnreachable, Unavailable
from src.maintenance.serving_checks import Report


def sql_for_administrator(settings: Settings, report: Report, *, reset_login: bool = False) -> str:
    """Return the SQL that the administrator of the server runs, and write the key file with the passwords it sets.

    Works before the server, the login or the database exist. `report` receives what cannot be part of the SQL. Existing
    logins keep their passwords, unless `reset_login`. Raises ConfigurationError when no server is set, when no owner is
    named, or when logins exist whose passwords are not in the key file.
    """
    if settings.database_url is None and settings.postgres_host is None:
        raise ConfigurationError(
            "No server is set, and the embedded one needs no administrator. Set POSTGRES_HOST and POSTGRES_USER."
        )
    url = owner_url(settings)
    if not url.username:
        raise ConfigurationError("DATABASE_URL names no login; its form is postgresql://user:password@host:5432/name.")
    path, names = key_path(settings), login_names(settings, url.database)
    configured = (settings.postgres_app_password, settings.postgres_admin_password)
    members, administrators = (password.get_secret_value() if password else None for password in configured)
    logins = (
        Login(names.members, members, MEMBER_ROLES),
        Login(names.administrators, administrators, (ADMIN_ROLE,)),
    )
    if settings.postgres_login_passwords and not reset_login and KeyFile.load(path) is None:
        _require_new(url, [login for login in logins if login.password is None], str(path))
    keys = prepare_keys(path, *logins, passwords=settings.postgres_login_passwords, reset=reset_login)
    passwords = (keys.password, keys.admin_password)
    roles = [
        Role(login.name, _verifier(login.name, password, report), login.roles, resets=reset_login)
        for login, password in zip(logins, passwords, strict=True)
    ]
    owner = Role(url.username, _verifier(url.username, url.password, report))
    required = [name.strip() for name in settings.postgres_required_extensions.split(",") if name.strip()]
    sql = administrator_sql(str(url.database), owner, roles, required)
    report(f"key file {path}: has the passwords that this SQL sets; keep it for init_db")
    return sql


def _verifier(name: str, password: str | None, report: Report) -> str | None:
    if not password:
        return None
    try:
        return scram_verifier(str(password))
    except InvalidInput:
        report(f"the password of {name} is not plain ASCII: the administrator sets it with psql's \\password")
        return None


def _require_new(url: URL, logins: Sequence[Login], path: str) -> None:
    """Raise ConfigurationError for a login that exists, since its password is unknown; nothing without a server."""
    names = [login.name for login in logins]
    for database in (url.database, "postgres"):
        engine = make_engine(url.set(database=database), PoolOptions(size=1, application_name="init_db"))
        try:
            with engine.connect() as connection:
                found = connection.scalar(
                    text("SELECT rolname::text FROM pg_roles WHERE rolname = ANY (:names)"), {"names": names}
                )
        except (ServerUnreachable, LoginRefused):
            return
        except Unavailable:
            continue  # the database does not exist yet
        finally:
            engine.dispose()
        if found is not None:
            raise ConfigurationError(
                f"The login {found} exists, and its password is unknown. Copy the key file {path} from the machine"
                " where init_db was run, set POSTGRES_APP_PASSWORD and POSTGRES_ADMIN_PASSWORD, or print new passwords"
                " with: init_db --admin-sql --reset-login"
            )
        return
