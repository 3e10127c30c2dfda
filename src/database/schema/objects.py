"""The kinds of database objects that Alembic cannot see, as plain values that turn into SQL."""

from __future__ import annotations

from dataclasses import dataclass

APP_ROLE = "sti_app"
WIDE_ROLE = "sti_wide"
ADMIN_ROLE = "sti_admin"
MEMBER_ROLES = (APP_ROLE, WIDE_ROLE)
SESSION_ROLES = (*MEMBER_ROLES, ADMIN_ROLE)


@dataclass(frozen=True)
class Function:
    """A function in `public`: nobody may execute it but its owner and the roles in `callers`.

    `definition` is all that follows the signature. Every body qualifies what it names and pins `search_path`: a dump is
    restored under an empty one, and a caller must not be able to put a table of its own in front of ours.
    """

    signature: str
    definition: str
    callers: tuple[str, ...] = ()

    @property
    def identity(self) -> str:
        """The signature as DROP and GRANT want it: argument types only."""
        name, _, arguments = self.signature.partition("(")
        arguments = arguments.rsplit(")", 1)[0]
        types = [argument.split(" DEFAULT ")[0].split()[1] for argument in arguments.split(", ") if argument]
        return f"{name}({', '.join(types)})"

    def create(self) -> str:
        grants = f"\nGRANT EXECUTE ON FUNCTION {self.identity} TO {', '.join(self.callers)};" if self.callers else ""
        return (
            f"CREATE OR REPLACE FUNCTION {self.signature}\n{self.definition.strip()};\n"
            f"REVOKE ALL ON FUNCTION {self.identity} FROM PUBLIC;{grants}"
        )

    def drop(self) -> str:
        return f"DROP FUNCTION IF EXISTS {self.identity} CASCADE;"


@dataclass(frozen=True)
class Trigger:
    """A trigger on a table of ours.

    `always`: it fires under session_replication_role = replica too. `deferred`: it fires when the transaction commits.
    """

    name: str
    table: str
    event: str
    function: str
    arguments: tuple[str, ...] = ()
    when: str | None = None
    each: str = "ROW"
    always: bool = False
    deferred: bool = False
    transition: str = ""

    @property
    def definition(self) -> str:
        """The CREATE statement alone."""
        arguments = ", ".join(f"'{argument}'" for argument in self.arguments)
        kind = "CONSTRAINT TRIGGER" if self.deferred else "OR REPLACE TRIGGER"
        deferral = "DEFERRABLE INITIALLY DEFERRED " if self.deferred else ""
        transition = f"{self.transition} " if self.transition else ""
        when = f" WHEN ({self.when})" if self.when else ""
        return (
            f"CREATE {kind} {self.name} {self.event} ON public.{self.table}\n"
            f"    {deferral}{transition}FOR EACH {self.each}{when}"
            f" EXECUTE FUNCTION public.{self.function}({arguments})"
        )

    def create(self) -> str:
        # A constraint trigger is the one kind that cannot be replaced.
        drop = f"DROP TRIGGER IF EXISTS {self.name} ON public.{self.table};\n" if self.deferred else ""
        always = f"\nALTER TABLE public.{self.table} ENABLE ALWAYS TRIGGER {self.name};" if self.always else ""
        return f"{drop}{self.definition};{always}"


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

    def create(self) -> str:
        using = f"\n    USING ({self.using})" if self.using else ""
        check = f"\n    WITH CHECK ({self.check})" if self.check else ""
        return (
            f"DROP POLICY IF EXISTS {self.name} ON public.{self.table};\n"
            f"CREATE POLICY {self.name} ON public.{self.table} FOR {self.command} TO {self.role}{using}{check};"
        )


@dataclass(frozen=True)
class Grant:
    """Rights of a role on a table, on some of its columns where `columns` names them."""

    table: str
    rights: str
    roles: tuple[str, ...]
    columns: tuple[str, ...] = ()

    def create(self) -> str:
        columns = f" ({', '.join(self.columns)})" if self.columns else ""
        rights = ", ".join(f"{right}{columns}" for right in self.rights.split(", "))
        return f"GRANT {rights} ON public.{self.table} TO {', '.join(self.roles)};"
