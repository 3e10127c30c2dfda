"""Show the storages of the database; decide what belongs to it after a restore, a copy or a move. Run as the owner."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer
from sqlalchemy.orm import Session

from src.config import Settings, load_settings
from src.database.scripts.command import import_backends, owner_engine, run_several, served_storages, storage_of
from src.errors import InvalidInput, SpeechError
from src.maintenance import adopting, claiming, confirming, unknown_objects
from src.maintenance.terminal import say
from src.services.recordings.locating import open_registered
from src.services.recordings.registered import KnownStorage, place
from src.storage import StorageBackend, open_backend
from src.storage.marker import read_marker

StorageId = Annotated[str, typer.Argument(help="The id of the storage, as shown by: storage show.", metavar="ID")]


def show() -> None:
    """Print who this database is, its storages, and what their markers say; exit 1 when something does not fit."""
    settings = load_settings()
    import_backends(settings)
    with owner_engine(settings, "storage") as engine, Session(engine) as session:
        register = claiming.registered(session)
        here = storage_of(settings).name
    say(f"database {register.identity or 'without an identity; run init_db'}")
    wrong = register.identity is None
    if register.quarantine is not None:
        say(f"quarantine: {register.quarantine}")
        wrong = True
    for known in register.storages:
        found, fits = _state(known, settings, register.identity)
        say(f"storage {known.storage} {known.name} {place(known)}: {found}")
        wrong = wrong or not fits
    say(f"new recordings: {here}")
    if wrong:
        raise typer.Exit(1)


def register(
    name: Annotated[str | None, typer.Argument(help="Name of a backend; default: that of the settings.")] = None,
    location: Annotated[
        str | None, typer.Option(help='Options that open it, as JSON, such as {"path": "/srv/shelf"}.')
    ] = None,
) -> None:  # fmt: skip
    """Claim one more storage: that of the settings, or a backend of AUDIO_STORAGE_MODULES."""
    settings = load_settings()
    import_backends(settings)
    backend = storage_of(settings) if name is None else _opened(settings, name, location)
    with owner_engine(settings, "storage") as engine, Session(engine) as session:
        claiming.check_place(session, backend)
        backend.probe()
        say(claiming.claim(session, backend, location=_options(location)))


def confirm(
    *,
    leave: Annotated[
        bool, typer.Option("--leave", help="This is the copy: the storages stay with the other database.")
    ] = False,
) -> None:
    """Decide, after a restore or a copy, that this database owns its storages; every other one is then refused."""
    settings = load_settings()
    import_backends(settings)
    with owner_engine(settings, "storage") as engine, Session(engine) as session:
        pairs = [(known, _backend(known, settings)) for known in claiming.registered(session).storages]
        for sentence in confirming.confirm(session, pairs, leave=leave):
            say(sentence)
        if not leave:
            count = sum(1 for _ in unknown_objects.offered(session, served_storages(session, settings)))
            if count:
                say(f"{count} objects may be recordings that this database does not know: storage offered lists them")
    if leave:
        say("set another folder, bucket or prefix for new recordings, then run init_db")


def mark(storage: StorageId) -> None:
    """Write the lost or damaged marker of a storage again, if its objects are there."""
    settings = load_settings()
    import_backends(settings)
    with owner_engine(settings, "storage") as engine, Session(engine) as session:
        known = claiming.registered(session).find(_uuid(storage))
        if known is None:
            raise InvalidInput(f"Storage {storage} is not known; storage show lists those that are.")
        say(confirming.write_marker_again(session, known, open_registered(known, settings)))


def move(
    storage: StorageId,
    root: Annotated[Path | None, typer.Option(help="The folder where it is now.")] = None,
    bucket: Annotated[
        str | None, typer.Option(help="The bucket where it is now; the rest is as in the settings.")
    ] = None,
    location: Annotated[str | None, typer.Option(help="Options of another backend, as JSON.")] = None,
) -> None:
    """Store where a storage is now that was moved together with its marker."""
    settings = load_settings()
    import_backends(settings)
    with owner_engine(settings, "storage") as engine, Session(engine) as session:
        known = claiming.registered(session).find(_uuid(storage))
        name = "" if known is None else known.name
        if root is not None:
            backend = open_backend("local", root=root)
        elif bucket is not None:
            backend = open_backend("s3", **(settings.model_copy(update={"s3_bucket": bucket}).s3_options()))
        elif location is not None:
            backend = _opened(settings, name, location)
        else:
            backend = storage_of(settings)
        say(confirming.move(session, _uuid(storage), backend))


def offered() -> None:
    """List objects that this database may have forgotten since it was restored; reads the listing of the storages."""
    settings = load_settings()
    with owner_engine(settings, "storage") as engine, Session(engine) as session:
        for backend, key in unknown_objects.offered(session, served_storages(session, settings)):
            say(f"{backend.name}: {key}")


def adopt(
    key: Annotated[str, typer.Argument(help="The key of the object, as listed by: storage offered, sweep unknown.")],
    *,
    case: Annotated[int, typer.Option(help="The id of the case that gets the recording.")],
    user: Annotated[str, typer.Option(help="The user to whom the recording is attributed.")],
    name: Annotated[str | None, typer.Option(help="The file name of the recording; default: from the key.")] = None,
) -> None:
    """Make a recording of an object that no recording has; its bytes are read, hashed and decoded."""
    settings = load_settings()
    with owner_engine(settings, "storage") as engine, Session(engine) as session:
        made = adopting.adopt(
            session,
            served_storages(session, settings),
            key,
            case,
            username=user,
            name=name,
            timeout_seconds=settings.probe_timeout_seconds,
        )
    say(f"recording {made}: {key}, adopted into case {case}")


def _state(known: KnownStorage, settings: Settings, identity: UUID | None) -> tuple[str, bool]:
    try:
        marker = read_marker(_backend(known, settings)) if known.is_marked else None
    except SpeechError as error:
        return str(error), False
    if marker is None:
        return "keeps no marker" if not known.is_marked else "no marker is there", not known.is_marked
    if marker.storage != known.storage:
        return f"storage {marker.storage} is there", False
    if marker.owner != identity:
        return f"owned by database {marker.owner} ({marker.database})", not known.is_owned
    if marker.sequence > known.sequence:
        return f"used by a later state of this database ({marker.sequence}, here {known.sequence})", False
    return f"owned by this database, number {known.sequence}", True


def _backend(known: KnownStorage, settings: Settings) -> StorageBackend:
    """Return the backend of the settings if it leads to the storage, else that of the place where it was registered."""
    current = storage_of(settings)
    if current.name == known.name:
        marker = read_marker(current)
        if marker is not None and marker.storage == known.storage:
            return current
    return open_registered(known, settings)


def _options(location: str | None) -> dict[str, Any]:
    try:
        options = json.loads(location or "{}")
    except ValueError as error:
        raise InvalidInput(f"--location: {error}; give a JSON object.") from error
    if not isinstance(options, dict):
        raise InvalidInput("--location: give a JSON object.")
    return options


def _opened(settings: Settings, name: str, location: str | None) -> StorageBackend:
    options = _options(location)
    if name == "s3":
        options = {**(settings.s3_credentials() if location else settings.s3_options()), **options}
    elif name == "local" and location is None:
        options = {"root": settings.audio_storage_root}
    try:
        return open_backend(name, **options)
    except TypeError as error:
        raise InvalidInput(
            f"The storage {name!a} cannot be opened: {error}; give its options with --location."
        ) from error


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise InvalidInput(f"{text!a} is not the id of a storage; storage show lists those that are known.") from error


if __name__ == "__main__":
    run_several("storage", show, register, confirm, mark, move, offered, adopt)
