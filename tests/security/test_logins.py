"""The logins of members and of administrators: who needs which, and what a session can change about its own."""

from __future__ import annotations

import io

import pytest
from psycopg2 import extensions
from sqlalchemy import event, select, text
from sqlalchemy.exc import DBAPIError

from src.database import Case, Database, User
from src.database.connection.actor_tokens import Actor
from src.database.connection.engine import PoolOptions, make_engine
from src.database.provisioning.apply import apply
from src.database.provisioning.comparison import compare
from src.database.provisioning.logins import provide_logins
from src.errors import AdminLoginRequired, Busy, LoginRefused, SignInFailed, UnsafeConnection
from src.services import accounts, cases

PASSWORD = "correct horse battery"


def members_only(db, **options):
    """A Database like that of a service that serves members only."""
    return Database(db.engine.url, signing_key=db.signing_key, storage=db.storage, **options)


def test_an_administrator_needs_the_login_of_administrators(db):
    with members_only(db) as limited:
        with pytest.raises(AdminLoginRequired, match="POSTGRES_ADMIN_USER"), limited.session(actor="root"):
            pass
        with (
            pytest.raises(AdminLoginRequired),
            limited.engine.execution_options(actor=Actor("root")).connect() as connection,
        ):
            connection.execute(text("SELECT 1"))
        with limited.session(actor="alice") as session:
            cases.open_case(session, title="served")
        assert limited.admin_engine is None


def test_a_user_who_becomes_or_ceases_to_be_an_administrator_gets_the_right_login(db):
    with db.session(actor="alice") as session:
        cases.open_case(session, title="of Alice")
    for role, login in (("admin", "sti_admin"), ("user", "sti_app"), ("admin", "sti_admin")):
        with db.session(actor="root") as session:
            accounts.assign_role(session, accounts.find_user(session, "bob"), role)
        for _ in range(2):
            with db.session(actor="bob") as session:
                assert session.scalar(text("SELECT current_user")) == login
                assert len(session.scalars(select(Case)).all()) == (role == "admin")


def test_the_login_of_administrators_serves_no_member(db):
    wrong = db.admin_engine.execution_options(actor=Actor("alice"))
    with pytest.raises(Exception, match="alice is not an administrator"), wrong.connect() as connection:
        connection.execute(text("SELECT 1"))


@pytest.mark.parametrize("setting", ["search_path = x", "work_mem = '64kB'", "default_transaction_read_only = on"])
@pytest.mark.parametrize("where", ["", " IN DATABASE {database}"])
def test_a_setting_of_our_roles_is_refused_named_and_repaired(db, owner, speech_server, setting, where):
    name = setting.partition(" ")[0]
    # A session can change the settings of its own login, for all later connections.
    login = make_engine(db.engine.url, PoolOptions(size=1))
    with login.begin() as connection:
        where = where.format(database=owner.url.database)
        connection.execute(text(f"ALTER ROLE CURRENT_USER{where} SET {setting}"))
    login.dispose()
    try:
        refused = pytest.raises(UnsafeConnection, match=f"RESET {name}")
        with members_only(db) as fresh, refused, fresh.session(actor="alice"):
            pass
        with owner.connect() as connection:
            found = [str(one) for one in compare(connection, speech_server.keys.roles_of_logins)]
        assert found == [f"the setting {name} of the role {db.engine.url.username} applies to all its sessions"]
    finally:
        assert apply(owner, speech_server.keys.roles_of_logins) == []
    with members_only(db) as fresh, fresh.session(actor="alice") as session:
        assert session.scalars(select(User.username).where(User.username == "alice")).one() == "alice"


def test_a_setting_of_a_role_without_login_stops_nobody_and_is_named(db, owner, speech_server):
    """A session can change the settings of its own role too; PostgreSQL applies those of logins only."""
    with db.session(actor="alice") as session:
        session.execute(text("ALTER ROLE sti_app SET work_mem = '64kB'"))
    try:
        with members_only(db) as fresh, fresh.session(actor="bob") as session:
            assert session.scalar(text("SHOW work_mem")) != "64kB"
        with owner.connect() as connection:
            found = [str(one) for one in compare(connection, speech_server.keys.roles_of_logins)]
        assert found == ["the setting work_mem of the role sti_app applies to all its sessions"]
    finally:
        assert apply(owner, speech_server.keys.roles_of_logins) == []


def test_init_db_sets_the_passwords_again(db, owner, owner_url, speech_server, tmp_path):
    login = make_engine(db.engine.url, PoolOptions(size=1))
    with login.begin() as connection:
        connection.execute(text("ALTER ROLE CURRENT_USER PASSWORD 'mine'"))
    login.dispose()
    try:
        served_by_trust = False
        with members_only(db) as fresh, fresh.session(actor="alice"):
            served_by_trust = True  # the server does not ask this connection for a password
    except LoginRefused:
        pass
    finally:
        with owner.begin() as connection:
            provide_logins(connection, tmp_path / "keys.json", *speech_server.logins)
    with members_only(db) as fresh, fresh.session(actor="alice"):
        assert not served_by_trust or owner_url.host is None or "host" in owner_url.query


def test_no_statement_contains_a_hash(db):
    """Neither the text of a statement nor a parameter: the driver writes parameters into the text."""
    sent: list[str] = []

    class ListeningCursor(extensions.cursor):
        def execute(self, query, parameters=None):
            sent.append(str(self.mogrify(query, parameters), "utf-8") if parameters else str(query))
            super().execute(query, parameters)

        def copy_expert(self, sql, file, *rest):
            sent.append(str(sql))
            super().copy_expert(sql, file, *rest)

    for engine in (db.engine, db.side_engine, db.admin_engine):
        event.listen(engine, "do_connect", lambda _, __, ___, options: options.update(cursor_factory=ListeningCursor))
        engine.dispose()
    with db.session(actor="root") as session:
        carol = accounts.create_user(session, username="carol", password=PASSWORD)
        accounts.change_password(session, carol, f"{PASSWORD} staple")
    with db.session() as session:
        accounts.authenticate(session, "carol", f"{PASSWORD} staple")
    with pytest.raises(SignInFailed), db.session() as session:
        accounts.authenticate(session, "carol", "wrong")
    assert any("COPY public.credential_changes" in statement for statement in sent)
    assert [statement for statement in sent if "$2b$" in statement or "bcrypt" in statement] == []


def test_a_rejected_credential_is_not_in_the_error_of_the_server(db):
    with db.engine.execution_options(actor=Actor("alice")).begin() as connection:
        cursor = connection.connection.dbapi_connection.cursor()
        with pytest.raises(Exception, match="does not allow") as caught:
            cursor.copy_expert("COPY credential_changes FROM STDIN", io.StringIO("x\tbcrypt:$2b$12$secret\n"))
        connection.get_transaction().rollback()
    # The text format of COPY quotes the line; the binary one, which the services use, does not.
    assert "the password was not changed" in str(caught.value)


def test_the_statement_that_begins_the_actor_has_its_timeout(db, owner):
    options = PoolOptions(size=1, statement_timeout_seconds=0.2)
    with members_only(db, pool=options) as impatient:
        with impatient.session(actor="alice"):
            pass
        with owner.begin() as connection:
            connection.execute(text("LOCK TABLE actor_keys IN ACCESS EXCLUSIVE MODE"))
            with pytest.raises(Busy, match="statement timeout"), impatient.session(actor="alice"):
                pass


def test_a_login_without_a_password_is_refused_one(owner, speech_server, tmp_path):
    keys = speech_server.keys
    try:
        with owner.begin() as connection:
            made = provide_logins(connection, tmp_path / "keys.json", *speech_server.logins, passwords=False)
            assert (made.password, made.admin_password) == ("", "")
    finally:
        with owner.begin() as connection:
            provide_logins(connection, tmp_path / "again.json", *speech_server.logins)
    engine = make_engine(owner.url.set(username=keys.login, password=keys.password), PoolOptions(size=1))
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT session_user")) == keys.login
    engine.dispose()
    with pytest.raises(DBAPIError), owner.begin() as connection:
        connection.execute(text(f"SET SESSION AUTHORIZATION {keys.login}"))
