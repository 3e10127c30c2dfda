"""Making a database ready to serve sessions: migrations, seeds, serving login, signing key, administrator."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from src.config import Settings
from src.database.connection.addresses import key_path, login_names, owner_url
from src.database.connection.driver_errors import first_line
from src.database.connection.engine import PoolOptions, make_engine
from src.database.connection.key_file import KeyFile
from src.database.models import DatabaseIdentity, User, UserRole
from src.database.provisioning import seeding
from src.database.provisioning.apply import applied_by_newer, apply, require_served
from src.database.provisioning.differences import Difference, Kind
from src.database.provisioning.extensions import create_extensions, create_name_indexes, unused_statistics
from src.database.provisioning.logins import Login, provide_logins, rotate_key
from src.database.provisioning.migrate import LOCK_TIMEOUT, migration_lock, upgrade
from src.database.provisioning.readiness import check as check_readiness
from src.database.provisioning.restored import require_own_tables, require_whole
from src.database.provisioning.surroundings import require_surroundings
from src.database.schema.objects import ADMIN_ROLE, MEMBER_ROLES
from src.errors import DatabaseMissing, InvalidInput, Quarantined, SpeechError
from src.maintenance.claiming import check_place, claim, registered, require_unclaimed
from src.maintenance.ending_sessions import lock_crowds, table_locks
from src.maintenance.seal_schedule import LONGEST_UNSEALED
from src.maintenance.serving_checks import Report, check_sign_in, check_storage
from src.services.history import unsealed
from src.services.recordings.registered import identify, require_owned
from src.storage import StorageBackend, open_backend

# Long enough to restart all services one after the other within working hours.
KEY_GRACE = timedelta(days=1)

# The flags of readable cases take a byte for each id up to the largest, in each statement (ADR 0012).
_IDENTITIES = DatabaseIdentity.__tablename__
MOST_BURNT_IDS = 1_000_000


class Administrator(NamedTuple):
    """The user to create with all permissions."""

    name: str
    password_hash: str


def initialise(
    engine: Engine,
    settings: Settings,
    report: Report,
    *,
    storage: StorageBackend | None = None,
    force: bool = False,
    administrator: Administrator | None = None,
    reset_login: bool = False,
    rotate: bool = False,
) -> list[Difference]:
    """Make an existing database ready to serve sessions; return the differences that could not be repaired.

    `engine` connects as the owner; `report` receives one sentence for each step. `storage` is claimed for new
    recordings, unless the database is a copy: then the reason is among the differences. Safe to repeat, and
    concurrently. A database that newer code initialised keeps its schema: it only gets the login, the key, the storage
    and the administrator.
    """
    newer = _newer(engine)
    if newer is None:
        upgrade(engine.url)
        _apply_seeds(engine, settings, report, force=force)
    else:
        report(newer)
    keys = _provide_logins(engine, settings, report, reset_login=reset_login, rotate=rotate)
    if administrator is not None:
        report(_create_administrator(engine, administrator))
    if newer is not None:
        return _claim(engine, storage, report)
    # Under the lock: newer code may be migrating by now, and then `apply` does nothing.
    with migration_lock(engine):
        apply(engine, keys.roles_of_logins)
    # Afterwards: `apply` sets the next ids of a restored database.
    quarantine = _claim(engine, storage, report)
    with engine.connect() as connection:
        return quarantine + check_readiness(
            connection, logins=keys.roles_of_logins, keys=keys, extensions=settings.postgres_required_extensions
        )


def require_own_place(settings: Settings, storage: StorageBackend) -> bool:
    """Raise ConfigurationError when the storage of the settings is another one than the database says, or of another
    database; nothing is changed, also where there is no database yet. Return whether it may be written to.
    """
    try:
        engine = make_engine(owner_url(settings, create=False), PoolOptions(size=1))
    except DatabaseMissing:
        require_unclaimed(storage)
        return True
    try:
        with Session(engine) as session:
            if _has_register(session):
                return check_place(session, storage)
    except DatabaseMissing:
        pass
    except DBAPIError:
        # A part of what is needed is missing, as after a restore that stopped: the next steps repair or name it.
        return False
    finally:
        engine.dispose()
    require_unclaimed(storage)
    return True


def _has_register(session: Session) -> bool:
    with session.begin():
        return bool(session.scalar(text("SELECT to_regprocedure('public.storage_register()') IS NOT NULL")))


def _claim(engine: Engine, storage: StorageBackend | None, report: Report) -> list[Difference]:
    if storage is None:
        return []
    with Session(engine) as session:
        try:
            report(claim(session, storage))
        except Quarantined as error:
            return [Difference(Kind.ROW, _IDENTITIES, str(error))]
    return []


def is_quarantine(difference: Difference) -> bool:
    """Return whether a difference of `initialise` says that the database is a copy, for an operator to confirm."""
    return difference.kind is Kind.ROW and difference.place == _IDENTITIES


def check(engine: Engine, settings: Settings, report: Report) -> list[str]:
    """Return what keeps this database from serving sessions, a sentence each; an empty list when it is ready.

    `report` receives notes that are not findings. Changes nothing: the storage gets temporary objects only, and none
    when it is not that of this database.
    """
    with engine.connect() as connection:
        holders = lock_crowds(connection) + table_locks(connection)
        if holders:
            # The comparison would wait for them, or find no lock.
            ended = "history seal, on a machine with the key file, ends the session; then check again"
            return [f"{holder} ({ended})" for holder in holders]
        require_surroundings(connection)
        require_own_tables(connection)
        require_whole(connection)
        require_served(connection)
        newer = applied_by_newer(connection)
    found = _check_storage(engine, settings, report)
    if newer is not None:
        return [*found, f"{newer}; check with the newer version"]
    with engine.connect() as connection:
        differences = [str(difference) for difference in _differences(connection, settings)]
        refused = list(check_sign_in(connection, settings, sound=not differences))
        return [*found, *differences, *refused, *_unsealed(connection), *burnt_case_ids(connection)]


def optional(engine: Engine) -> list[str]:
    """Return a sentence for each thing that would help an operator and is not required."""
    with engine.connect() as connection:
        statistics = unused_statistics(connection)
    with Session(engine) as session:
        is_known = registered(session).identity is not None
    anonymous = "the database has no identity yet, so its storage has no marker: init_db makes both"
    return [*([] if is_known else [anonymous]), *([] if statistics is None else [statistics])]


def _check_storage(engine: Engine, settings: Settings, report: Report) -> list[str]:
    """Return what is wrong with the storage of the settings; it is tried only when it is the right one."""
    if settings.audio_storage_type == "local" and not settings.audio_storage_root.is_dir():
        return check_storage(settings, report)
    try:
        with Session(engine) as session:
            _require_own(session, open_backend(settings.audio_storage_type, **settings.storage_options()))
    except DBAPIError as error:
        return [f"the storage was not tried, since its owner cannot be read: {first_line(error.orig or error)}"]
    except SpeechError as error:
        return [f"the storage: {error}"]
    return check_storage(settings, report)


def _require_own(session: Session, storage: StorageBackend) -> None:
    """Raise unless this database may write to the storage; without an identity it may where there is no marker."""
    register = registered(session) if _has_register(session) else None
    if register is None or register.identity is None:
        require_unclaimed(storage)
    else:
        require_owned(register, storage, identify(register, storage))


def _newer(engine: Engine) -> str | None:
    """Return a sentence when newer code made this database and admits code as old as this one: it is not changed."""
    with engine.connect() as connection:
        newer = applied_by_newer(connection)
        if newer is not None:
            require_served(connection)
    return newer


def _apply_seeds(engine: Engine, settings: Settings, report: Report, *, force: bool) -> None:
    with engine.begin() as connection:
        seeding.hold_lock(connection)
        # A member's transaction may stay open, and all others queue behind a strong lock that waits for it.
        connection.execute(select(func.set_config("lock_timeout", LOCK_TIMEOUT, True)))
        present = create_extensions(connection, settings.postgres_required_extensions)
        create_name_indexes(connection)
        months = connection.scalar(text("SELECT public.ensure_activity_partitions(3)"))
        tables = seeding.apply_seeds(connection, force=force)
    for table in tables:
        report(str(table))
    report(f"activity_logs: {months} monthly partitions added")
    absent = [name for name, installed in present.items() if not installed]
    if absent:
        report(f"extensions not available: {', '.join(absent)} (optional)")


def _provide_logins(engine: Engine, settings: Settings, report: Report, *, reset_login: bool, rotate: bool) -> KeyFile:
    path = key_path(settings)
    names = login_names(settings, engine.url.database)
    configured = (settings.postgres_app_password, settings.postgres_admin_password)
    members, administrators = (password.get_secret_value() if password else None for password in configured)
    with engine.begin() as connection:
        seeding.hold_lock(connection)
        keys = provide_logins(
            connection,
            path,
            Login(names.members, members, MEMBER_ROLES),
            Login(names.administrators, administrators, (ADMIN_ROLE,)),
            reset=reset_login,
            passwords=settings.postgres_login_passwords,
        )
    report(f"login {keys.login}: ready for sessions of members")
    report(f"login {keys.admin_login}: ready for sessions of administrators")
    report(f"key file {path}: has the signing key{' and the passwords' if keys.password else ''}")
    report(f"recordings: stored in {settings.audio_storage_root.resolve()}")
    if rotate:
        keys = rotate_key(engine, path, keys, grace=KEY_GRACE)
        report(
            f"signing key {keys.signing_key.id}: created; copy {path} to every machine within a day, then restart its"
            " services"
        )
    return keys


def _differences(connection: Connection, settings: Settings) -> list[Difference | str]:
    keys = KeyFile.load(key_path(settings))
    missing: list[Difference | str] = [] if keys else [f"the key file {key_path(settings)} is missing"]
    names = login_names(settings, connection.engine.url.database)
    logins = keys.roles_of_logins if keys else {names.members: MEMBER_ROLES, names.administrators: (ADMIN_ROLE,)}
    return missing + check_readiness(
        connection, logins=logins, keys=keys, extensions=settings.postgres_required_extensions
    )


def _unsealed(connection: Connection) -> list[str]:
    """Return a sentence when entries of the log are unsealed for too long; none for functions that are missing."""
    if connection.scalar(text("SELECT to_regprocedure('public.unsealed_entries()') IS NULL")):
        return []
    waiting = unsealed(connection)
    return [] if waiting.age <= LONGEST_UNSEALED else [f"the log: {waiting}"]


def burnt_case_ids(connection: Connection, *, most: int = MOST_BURNT_IDS) -> list[str]:
    """Return a sentence when so many ids belong to no case: a refused INSERT takes one too."""
    if connection.scalar(text("SELECT to_regclass('public.cases_id_seq') IS NULL")):
        return []
    taken, kept = connection.execute(
        text("SELECT s.last_value, (SELECT count(*) FROM public.cases) FROM public.cases_id_seq s")
    ).one()
    if taken - kept <= most:
        return []
    sentence = (
        f"{taken - kept} of {taken} ids of cases belong to no case, and sessions get slower with the largest id: find"
        " who inserts cases without end (docs/security.md)"
    )
    return [sentence]


def _create_administrator(engine: Engine, administrator: Administrator) -> str:
    with engine.begin() as connection:
        seeding.hold_lock(connection)
        role = select(UserRole.id).where(UserRole.code == "admin").scalar_subquery()
        same_name = func.lower(User.username) == func.lower(administrator.name)
        is_administrator = connection.scalar(select(User.role_id == role).where(same_name))
        if is_administrator is None:
            _insert_with_hash(connection, administrator, connection.scalar(select(role)))
    if is_administrator is None:
        return f"administrator {administrator.name}: created"
    if is_administrator:
        return f"administrator {administrator.name}: exists already, not changed"
    raise InvalidInput(f"The user {administrator.name} exists and is not an administrator; choose another name.")


def _insert_with_hash(connection: Connection, administrator: Administrator, role_id: int | None) -> None:
    # By COPY, so that the hash is not part of a statement, which the log of the server can contain.
    driver: Any = connection.connection.dbapi_connection
    with driver.cursor() as cursor:
        line = f"{administrator.name}\t{administrator.password_hash}\t{role_id}\n".replace("\\", "\\\\")
        cursor.copy_expert("COPY public.users (username, password_hash, role_id) FROM STDIN", io.StringIO(line))
