"""Plans the last step, which replaces views and functions and stores the revision in one transaction."""

from catalog.database.adoption import first_revision
from catalog.database.adoption.draft import Draft, add_column, alter_table
from catalog.database.adoption.inventory import DELETED, MEDIA, METRICS, REPLACED_FUNCTIONS, REPLACED_VIEWS
from catalog.database.adoption.steps import EXCLUSIVE, Lock
from catalog.database.adoption.widths import Widths

_OPTIONAL_METRICS = ("percentile", "val", "constant")
_VERSION_TABLE = (  # as Alembic creates it
    "create table if not exists catalog_version "
    "(version_num varchar(32) not null, constraint catalog_version_pkc primary key (version_num))"
)
_STORE_REVISION = (_VERSION_TABLE, "insert into catalog_version values ('0001')")


def plan_replacement(draft: Draft, widths: Widths) -> None:
    """Plan the step that turns the database into a current catalog.

    Args:
        draft: Plan to extend.
        widths: Columns of the same plan to widen.
    """
    inventory = draft.inventory
    locks = [Lock(view, EXCLUSIVE) for view in REPLACED_VIEWS if inventory.has(view)]
    statements = [*_metrics(draft), *_drops(draft)]
    for table in (*MEDIA, *DELETED):
        if changes := widths.widen(table):
            statements.append(alter_table(table, changes))
            locks.append(Lock(table, EXCLUSIVE))
    locks += [Lock(table, EXCLUSIVE) for table in METRICS if inventory.has(table)]
    for created in first_revision.statements():
        statements += _missing(draft, created)
    statements += _STORE_REVISION
    title = "replace views and functions, create the tables of ingestion, store revision 0001"
    draft.add_step(title, statements, locks)


def _metrics(draft: Draft) -> list[str]:
    """Return statements that add columns to the metrics, and fill them from the views of constants."""
    inventory = draft.inventory
    statements = []
    for media, table in zip(MEDIA, METRICS, strict=True):
        if not inventory.has(table):
            continue
        wanted = first_revision.columns(table)
        changes = [
            add_column(wanted[name]) for name in _OPTIONAL_METRICS if name not in inventory.columns[table]
        ]
        statements.append(alter_table(table, [*changes, "alter column percentile set default 0.85"]))
        view = f"{media}_popularity_constants"
        found = inventory.hazards.constants.get(view, [])
        if not {"provider", "metric", "val", "constant"} <= set(found):
            continue
        percentile = ", percentile = coalesce(c.percentile, m.percentile)" if "percentile" in found else ""
        statements.append(  # the names are constants
            f"update public.{table} m set val = c.val, constant = c.constant{percentile} "  # noqa: S608
            f"from public.{view} c where c.provider = m.provider and c.metric = m.metric "
            "and m.val is null and m.constant is null"
        )
    return statements


def _drops(draft: Draft) -> list[str]:
    inventory = draft.inventory
    views = [
        f"drop {inventory.relations[view].kind} public.{view}"
        for view in REPLACED_VIEWS
        if inventory.has(view)
    ]
    functions = [
        f"drop routine public.{f.name}({f.arguments})"
        for f in inventory.functions
        if f.name in REPLACED_FUNCTIONS
    ]
    return views + functions


def _missing(draft: Draft, created: first_revision.Statement) -> list[str]:
    """Return a statement of the first revision if the database lacks what it creates."""
    inventory = draft.inventory
    if created.kind == "extension":
        return []
    if created.kind in ("table", "index"):
        return [] if inventory.has(created.table or created.name) else [created.text]
    if created.kind == "view":
        return [created.text, *inventory.grants.get(created.name, ())]
    if created.kind == "rows" and inventory.has(created.table):
        return [f"{created.text.rstrip(';')} on conflict (provider) do nothing"]
    return [created.text]
