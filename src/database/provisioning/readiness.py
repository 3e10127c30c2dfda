"""Check whether a database is ready to serve sessions: the comparison, the key, the extensions and the seeds."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, text

from src.database.connection.key_file import KeyFile
from src.database.models import ActorKey
from src.database.provisioning import seeding
from src.database.provisioning.compare_rights import Roles
from src.database.provisioning.comparison import compare
from src.database.provisioning.differences import Difference, Kind


def check(connection: Connection, *, logins: Roles, keys: KeyFile | None, extensions: str = "") -> list[Difference]:
    """Return everything that prevents this database from serving sessions; an empty list when it is ready.

    `logins` serve sessions, `keys` is the content of its key file (None: no file), `extensions` are those that the
    settings require, separated by commas.
    """
    return [
        *([] if keys is None else _key(connection, keys)),
        *_extensions(connection, extensions),
        *(Difference(Kind.SEED, seed, f"the seed {seed} is missing", left="init_db inserts it")
          for seed in seeding.missing(connection)),
        *compare(connection, logins),
    ]  # fmt: skip


def _key(connection: Connection, keys: KeyFile) -> Iterator[Difference]:
    pads = connection.scalar(
        text(
            f"SELECT inner_pad FROM public.{ActorKey.__tablename__}"
            " WHERE id = :id AND (retired_at IS NULL OR retired_at > now())"
        ),
        {"id": keys.signing_key.id},
    )
    if pads is None or bytes(pads) != keys.signing_key.inner_pad:
        yield Difference(
            Kind.KEY,
            "actor_keys",
            "the key file does not belong to this database, or its key is retired: sessions would see no rows",
            left="copy the key file from the machine where init_db was run",
        )


def _extensions(connection: Connection, required: str) -> Iterator[Difference]:
    present = set(connection.scalars(text("SELECT extname::text FROM pg_extension")))
    for name in (part.strip() for part in required.split(",")):
        if name and name not in present:
            yield Difference(
                Kind.EXTENSION,
                name,
                f"the extension {name} is missing",
                left=f"init_db creates it: CREATE EXTENSION {name}",
            )
