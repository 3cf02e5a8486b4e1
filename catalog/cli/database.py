"""`catalog db`: upgrades and status of a database's schema, and restoration of deleted records."""

from typing import Annotated

import typer

from catalog.cli.connections import NAMES, Dsn, DsnOf, connected, dsn_of
from catalog.cli.output import AsJson, print_json
from catalog.cli.program import notify, out
from catalog.core.errors import CatalogError, Refused
from catalog.core.media import MediaType
from catalog.database import deletion, locks, schema
from catalog.database.revision import OLDER, Which, require
from catalog.database.statements import no_record, parse_condition, verify_condition

db = typer.Typer(no_args_is_help=True, help="The catalog database's schema.")

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
        out.print(f"{NAMES[which]} database: {after}; nothing to apply")
        return
    applied = ", ".join(after.applied) or "nothing to apply"
    if before.pending and not after.applied:
        applied = "another upgrade has applied them meanwhile"
    out.print(f"{NAMES[which]} database: {after.before or 'empty'} → {after.current} ({applied})")


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
    table: Annotated[MediaType, typer.Option(help="image or audio")] = "image",
    dry_run: Annotated[bool, typer.Option(help="Only count what the condition selects.")] = False,
) -> None:
    """Restore deleted records, except for their scores. A record whose key or URL is taken stays deleted.

    The records are selected once, in one statement. After an interruption, the same command resumes. URLs
    that a restored record had in earlier deletions (table `deleted_before`) are free for other records again.
    """
    with connected(dsn) as connection:
        require(connection)
        try:
            condition = parse_condition(table, where, "--where")
            verify_condition(connection, table, condition, of=f"deleted_{table}", field="--where")
            if dry_run:
                selected = deletion.Restoration(connection, table, condition).count()
                if not selected:
                    raise no_record(f"deleted_{table}", "so nothing would be restored", "--where")
                out.print(f"{selected:,} records of deleted_{table} match; nothing was changed")
                return
            restored = deletion.restore(connection, table, condition)
            if not restored.total:
                raise no_record(f"deleted_{table}", "so nothing was restored", "--where")
        except Refused as error:
            raise CatalogError(f"refused: {error}") from None
    stay = (
        f"; {restored.missing:,} stay deleted: their key or URL is taken, or others restored them"
        if restored.missing
        else ""
    )
    free = f"; {restored.freed:,} URLs of earlier deletions of them are free again" if restored.freed else ""
    out.print(f"{restored.updated:,} records of {table} restored{free}{stay}")
