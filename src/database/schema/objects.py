"""Database objects that Alembic does not manage, as values that render SQL."""

from __future__ import annotations

from dataclasses import dataclass

APP_ROLE = "sti_app"
WIDE_ROLE = "sti_wide"
ADMIN_ROLE = "sti_admin"
MEMBER_ROLES = (APP_ROLE, WIDE_ROLE)
SESSION_ROLES = (*MEMBER_ROLES, ADMIN_ROLE)
# Settings of our roles and logins that change nothing for other sessions and hide nothing. Any other is refused: a
# session can change the settings of its own login.
HARMLESS_SETTINGS = ("track_activities",)


@dataclass(frozen=True)
class Trigger:
    """A trigger on a table; derivation fills in the table.

    `always`: it also fires under session_replication_role = replica. `deferred`: it fires at commit.
    """

    name: str
    event: str
    function: str
    arguments: tuple[str, ...] = ()
    when: str | None = None
    each: str = "ROW"
    always: bool = True
    deferred: bool = False
    transition: str = ""
    table: str = ""

    @property
    def definition(self) -> str:
        """The CREATE statement alone."""
        arguments = ", ".join(f"'{argument}'" for argument in self.arguments)
        kind = "CONSTRAINT TRIGGER" if self.deferred else "OR REPLACE TRIGGER"
        deferral = "DEFERRABLE INITIALLY DEFERRED " if self.deferred else ""
        transition = f"REFERENCING NEW TABLE AS {self.transition} " if self.transition else ""
        condition = self.when
        if self.always and "TRUNCATE" not in self.event:
            # Those of the publisher have done their work for what its replicas receive.
            condition = f"({condition}) AND public.triggers_act()" if condition else "public.triggers_act()"
        when = f" WHEN ({condition})" if condition else ""
        return (
            f"CREATE {kind} {self.name} {self.event} ON public.{self.table}\n"
            f"    {deferral}{transition}FOR EACH {self.each}{when}"
            f" EXECUTE FUNCTION public.{self.function}({arguments})"
        )

    def drop(self) -> str:
        return f"DROP TRIGGER IF EXISTS {self.name} ON public.{self.table};"

    def enable(self) -> str:
        """Return the statement that enables the trigger, ALWAYS if declared."""
        return f"ALTER TABLE public.{self.table} ENABLE{' ALWAYS' if self.always else ''} TRIGGER {self.name};"

    def create(self) -> str:
        # CREATE OR REPLACE does not support constraint triggers.
        drop = f"{self.drop()}\n" if self.deferred else ""
        always = f"\n{self.enable()}" if self.always else ""
        return f"{drop}{self.definition};{always}"


def stamped(column: str) -> tuple[Trigger, ...]:
    """Return the triggers that replace a moment set by a session with the time of the server."""
    changed = f"NEW.{column} IS NOT NULL AND OLD.{column} IS DISTINCT FROM NEW.{column}"
    return (
        Trigger(
            f"stamp_{column}", "BEFORE INSERT", "stamp_moment", (column,), f"NEW.{column} IS NOT NULL", always=False
        ),
        Trigger(f"stamp_new_{column}", f"BEFORE UPDATE OF {column}", "stamp_moment", (column,), changed, always=False),
    )


@dataclass(frozen=True)
class Policy:
    """A row policy for one command and one role."""

    table: str
    command: str
    role: str
    using: str | None = None
    check: str | None = None

    @property
    def name(self) -> str:
        return f"{self.table}_{self.role.removeprefix('sti_')}_{self.command.lower()}"

    @property
    def definition(self) -> str:
        """The CREATE statement alone."""
        using = f"\n    USING ({self.using})" if self.using else ""
        check = f"\n    WITH CHECK ({self.check})" if self.check else ""
        return f"CREATE POLICY {self.name} ON public.{self.table} FOR {self.command} TO {self.role}{using}{check};"

    def drop(self) -> str:
        return f"DROP POLICY IF EXISTS {self.name} ON public.{self.table};"

    def create(self) -> str:
        return f"{self.drop()}\n{self.definition}"


@dataclass(frozen=True)
class Grant:
    """Privileges of roles on a table, or on its `columns`."""

    table: str
    rights: tuple[str, ...]
    roles: tuple[str, ...]
    columns: tuple[str, ...] = ()

    def create(self) -> str:
        columns = f" ({', '.join(self.columns)})" if self.columns else ""
        rights = ", ".join(f"{right}{columns}" for right in self.rights)
        return f"GRANT {rights} ON public.{self.table} TO {', '.join(self.roles)};"
