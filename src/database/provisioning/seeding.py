"""Apply the seeds: repeatable, safe for concurrent processes, without overwriting changes of an operator."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, func, insert, select, text, update
from sqlalchemy.orm import aliased

from src.database import models
from src.database.models import UserRole
from src.database.models.lookups import Lookup
from src.database.provisioning import seeds
from src.database.provisioning.operator_locks import hold_in_transaction

_LOCK_KEY = 7_311_860_220


@dataclass
class SeedReport:
    """The codes of one table's seeds, by result."""

    table: str
    inserted: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    """Changed by an operator, and therefore not updated."""

    def __str__(self) -> str:
        kept = f", {len(self.kept)} changed by an operator and kept ({', '.join(self.kept)})" if self.kept else ""
        return (
            f"{self.table}: {len(self.inserted)} inserted, {len(self.updated)} updated,"
            f" {len(self.unchanged)} unchanged{kept}"
        )


def hold_lock(connection: Connection) -> None:
    """Allow only one initialisation of this database at a time, until the transaction ends."""
    hold_in_transaction(connection, _LOCK_KEY)


def apply_seeds(connection: Connection, *, force: bool = False) -> list[SeedReport]:
    """Insert missing seeds, update unmodified ones, and keep those that an operator changed.

    `force` overwrites these too. Returns a report for each table.
    """
    report = []
    for model, rows in _lookups(connection):
        report.append(_seed_table(connection, model, rows, force=force))
    report.insert(0, _seed_roles(connection, force=force))
    report.append(_seed_moves(connection))
    return report


def missing(connection: Connection) -> list[str]:
    """Return the seeds that are missing from the database, as `table.code`."""
    expected: list[tuple[type[Lookup | UserRole], set[str]]] = [(UserRole, {role.code for role in seeds.ROLES})]
    expected += [(model, {row["code"] for row in rows}) for model, rows in _lookups(connection)]
    absent = []
    for model, codes in expected:
        if connection.scalar(select(func.to_regclass(f"public.{model.__tablename__}"))) is None:
            continue  # the comparison reports the table
        present = set(connection.scalars(select(model.code)))
        absent += [f"{model.__tablename__}.{code}" for code in sorted(codes - present)]
    return absent + [f"case_status_moves.{move}" for move in _missing_moves(connection)]


def _lookups(connection: Connection) -> list[tuple[type[Lookup], list[dict[str, Any]]]]:
    shipped = set(
        connection.scalars(
            text("SELECT cfgname::text FROM pg_ts_config WHERE cfgnamespace = 'pg_catalog'::regnamespace")
        )
    )
    languages = [
        {**seed._asdict(), "search_config": seed.search_config if seed.search_config in shipped else "simple"}
        for seed in seeds.LANGUAGES
    ]
    tables: list[tuple[type[Lookup], Iterable[Mapping[str, Any]]]] = [
        (models.CaseStatus, seeds.CASE_STATUSES),
        (models.CasePriority, seeds.CASE_PRIORITIES),
        (models.AudioStatus, seeds.AUDIO_STATUSES),
        (models.Sentiment, seeds.SENTIMENTS),
        (models.ActivityType, seeds.ACTIVITY_TYPES),
        (models.Language, languages),
    ]
    return [(model, [{"description": "", "is_active": True, **row} for row in rows]) for model, rows in tables]


def _seed_roles(connection: Connection, *, force: bool) -> SeedReport:
    report = SeedReport(UserRole.__tablename__)
    for seed in seeds.ROLES:
        parent = connection.scalar(select(UserRole.id).where(UserRole.code == seed.parent))
        row = {**seed._asdict(), "parent_id": parent}
        del row["parent"]
        _seed_row(connection, UserRole, row, report, force=force)
    return report


def _seed_table(connection: Connection, model: type[Lookup], rows: list[dict[str, Any]], *, force: bool) -> SeedReport:
    report = SeedReport(model.__tablename__)
    for row in rows:
        _seed_row(connection, model, row, report, force=force)
    return report


def _seed_moves(connection: Connection) -> SeedReport:
    """Insert the missing moves between statuses; one that an operator made inactive stays so."""
    report = SeedReport(models.CaseStatusMove.__tablename__)
    missing_moves = _missing_moves(connection)
    status = {row.code: row.id for row in connection.execute(select(models.CaseStatus.code, models.CaseStatus.id))}
    for before, after in seeds.CASE_STATUS_MOVES:
        name = f"{before}-{after}"
        if name not in missing_moves:
            report.unchanged.append(name)
            continue
        connection.execute(
            insert(models.CaseStatusMove).values(from_status_id=status[before], to_status_id=status[after])
        )
        report.inserted.append(name)
    return report


def _missing_moves(connection: Connection) -> list[str]:
    before, after = aliased(models.CaseStatus), aliased(models.CaseStatus)
    move = models.CaseStatusMove
    query = (
        select(before.code, after.code)
        .join(move, move.from_status_id == before.id)
        .join(after, after.id == move.to_status_id)
    )
    present = {(row[0], row[1]) for row in connection.execute(query)}
    return [f"{move[0]}-{move[1]}" for move in seeds.CASE_STATUS_MOVES if move not in present]


def _seed_row(
    connection: Connection, model: type[Lookup | UserRole], row: dict[str, Any], report: SeedReport, *, force: bool
) -> None:
    table = model.__table__
    columns = [table.c[name] for name in row]
    present = connection.execute(
        select(*columns, table.c.seed_fingerprint).where(table.c.code == row["code"])
    ).one_or_none()
    seeded = _fingerprint(row)
    if present is None:
        connection.execute(insert(model).values(**row, seed_fingerprint=seeded))
        report.inserted.append(row["code"])
        return
    current = _fingerprint({name: getattr(present, name) for name in row})
    # Rows that a migration inserts (the log needs its activity types) have no fingerprint yet.
    modified = present.seed_fingerprint is not None and current != present.seed_fingerprint
    if current == seeded and present.seed_fingerprint == seeded:
        report.unchanged.append(row["code"])
    elif modified and not force:
        report.kept.append(row["code"])
    else:
        connection.execute(update(model).where(table.c.code == row["code"]).values(**row, seed_fingerprint=seeded))
        report.updated.append(row["code"])


def _fingerprint(row: Mapping[str, Any]) -> str:
    text_form = json.dumps(dict(row), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text_form.encode("utf-8")).hexdigest()
