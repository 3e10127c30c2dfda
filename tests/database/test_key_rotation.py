"""Rotation of the signing key while services run: both keys are valid until the old one is retired."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import func, select, text

from src.database import Case, Database
from src.database.connection.key_file import KeyFile
from src.database.provisioning.logins import provide_logins, rotate_key
from src.errors import NotSignedIn
from src.services import cases


def visible(database):
    with database.session(actor="alice") as session:
        return session.scalar(select(func.count()).select_from(Case))


def test_the_old_key_is_valid_until_retired_and_the_new_one_immediately(db, owner, owner_url, speech_server, tmp_path):
    path = tmp_path / "keys.json"
    with db.session(actor="alice") as session:
        cases.open_case(session, title="Before")

    renewed = rotate_key(owner, path, speech_server.keys, grace=timedelta(hours=1))

    assert renewed == KeyFile.load(path)
    assert renewed.signing_key.id == speech_server.signing_key.id + 1
    with Database(speech_server.serving_url(owner_url), signing_key=renewed.signing_key) as restarted:
        assert visible(db) == visible(restarted) == 1
        with owner.begin() as connection:
            connection.execute(text("UPDATE actor_keys SET retired_at = now() WHERE retired_at IS NOT NULL"))
        assert visible(restarted) == 1
        with pytest.raises(NotSignedIn, match="does not know the signing key"):
            visible(db)


def test_init_db_replaces_an_outdated_key_file(owner, speech_server, tmp_path):
    path = tmp_path / "keys.json"
    speech_server.keys.save(path)
    renewed = rotate_key(owner, tmp_path / "elsewhere.json", speech_server.keys, grace=timedelta(hours=1))

    with owner.begin() as connection:
        provide_logins(connection, path, *speech_server.logins)

    assert KeyFile.load(path).signing_key.inner_pad == renewed.signing_key.inner_pad
