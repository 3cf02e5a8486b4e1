"""`catalog db`: upgrades and status of a database's schema, and restoration of deleted records."""

import os
from typing import Annotated

import psycopg
import typer

from catalog.cli.output import AsJson, print_json
from catalog.cli.program import err, out
from catalog.core.conninfo import conninfo
from catalog.core.errors import CatalogError, Refused
from catalog.database import deletion, locks, schema
from catalog.database.revision import OLDER, Which, require
from catalog.database.statements import parse_condition, verify_condition

db = typer.Typer(no_args_is_help=True, help="The catalog database's schema.")

_ENVIRONMENT: dict[Which, tuple[str, ...]] = {
    "catalog": ("CATALOG_DSN", "AIRFLOW_CONN_POSTGRES_OPENLEDGER_UPSTREAM"),
    "api": ("AIRFLOW_CONN_POSTGRES_OPENLEDGER_API",),
}
_NAMES: dict[Which, str] = {"catalog": "catalog", "api": "API"}
Dsn = Annotated[
    str,
    typer.Option(
        envvar=[*_ENVIRONMENT["catalog"]],
        help="Address of the catalog database: postgresql://user:password@host:port/database.",
        show_default=False,
    ),
]
DsnOf = Annotated[
    str | None,
    typer.Option(
        "--dsn",
        help="Address of the database: postgresql://user:password@host:port/database. Default: "
        "that of CATALOG_DSN or of the schema's AIRFLOW_CONN_POSTGRES_OPENLEDGER_….",
        show_default=False,
    ),
]
SchemaName = Annotated[
    Which,
    typer.Option(
        "--schema",
        help="catalog; or api, for a trial without the API, whose own migrations usually create its tables.",
    ),
]
MaxWait = Annotated[
    float, typer.Option("--wait", min=0, help="Seconds for which attempts to get a lock are repeated.")
]


def notify(message: str) -> None:
    """Print a message to stderr."""
    err.print(message, markup=False, highlight=False, soft_wrap=True)


def dsn_of(which: Which, given: str | None) -> str:
    """Return the address of a database.

    Args:
        which: The catalog's or the API's database.
        given: Address on the command line; by default, that of the environment.

    Raises:
        Refused: Neither has an address.
    """
    for dsn in (given, *(os.environ.get(name) for name in _ENVIRONMENT[which])):
        if dsn:
            return dsn
    raise Refused(
        f"give --dsn, or set {' or '.join(_ENVIRONMENT[which])}: the address of the {_NAMES[which]} database."
    )


@db.command()
def upgrade(dsn: DsnOf = None, which: SchemaName = "catalog", max_wait: MaxWait = locks.MAX_WAIT) -> None:
    """Upgrade the schema beside running work. The schema of a later release is left unchanged."""
    dsn = dsn_of(which, dsn)
    before = schema.status(dsn, which)
    for revision, taken in before.locks.items():
        if before.current:
            notify(f"{revision} locks " + ", ".join(f"{table} ({lock})" for table, lock in taken.items()))
    after = schema.upgrade(dsn, which, notify=notify, max_wait=max_wait)
    if after.newer:
        out.print(f"{_NAMES[which]} database: {after}; nothing to apply")
        return
    applied = ", ".join(after.applied) or "nothing to apply"
    if before.pending and not after.applied:
        applied = "another upgrade has applied them meanwhile"
    out.print(f"{_NAMES[which]} database: {after.before or 'empty'} → {after.current} ({applied})")


@db.command()
def status(dsn: DsnOf = None, which: SchemaName = "catalog", as_json: AsJson = False) -> None:
    """Show the revision of the schema and the pending ones; exit with 1 if there are any."""
    dsn = dsn_of(which, dsn)
    now = schema.status(dsn, which)
    if as_json:
        print_json({"current": now.current, "newest": now.head, "pending": now.pending})
        raise typer.Exit(1 if now.pending else 0)
    older = which == "catalog" and now.current is None and schema.is_older_catalog(dsn)
    out.print(f"{now}{f'; {OLDER}' if older else ''}")
    raise typer.Exit(1 if now.pending else 0)


@db.command()
def restore(
    dsn: Dsn,
    where: Annotated[str, typer.Option(help="`WHERE …` over the columns of the deleted table.")],
    table: Annotated[str, typer.Option(help="image or audio")] = "image",
    dry_run: Annotated[bool, typer.Option(help="Only count what the condition selects.")] = False,
) -> None:
    """Restore deleted records, except for their scores. A record whose key or URL is taken stays deleted.

    The records are selected once, in one statement. After an interruption, the same command resumes. URLs
    that a restored record had in earlier deletions (table `deleted_before`) are free for other records again.
    """
    with psycopg.connect(conninfo(dsn), autocommit=True) as connection:
        require(connection)
        try:
            condition = parse_condition(table, where, "--where")
            verify_condition(connection, table, condition, of=f"deleted_{table}", field="--where")
            if dry_run:
                selected = deletion.Restoration(connection, table, condition).count()
                out.print(f"{selected:,} records of deleted_{table} match; nothing was changed")
                return
            restored = deletion.restore(connection, table, condition)
        except Refused as error:
            raise CatalogError(f"refused: {error}") from None
    stay = (
        f"; {restored.missing:,} stay deleted: their key or URL is taken, or others restored them"
        if restored.missing
        else ""
    )
    free = f"; {restored.freed:,} URLs of earlier deletions of them are free again" if restored.freed else ""
    out.print(f"{restored.updated:,} records of {table} restored{free}{stay}")
