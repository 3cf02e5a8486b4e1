"""Obstacles to an adoption that do not depend on the rows, each with its remedy."""

from catalog.database.adoption import first_revision
from catalog.database.adoption.column_refusals import column_refusals
from catalog.database.adoption.hazards import duplicates_table
from catalog.database.adoption.inventory import (
    DELETED,
    MEDIA,
    REPLACED_FUNCTIONS,
    REPLACED_VIEWS,
    TABLES,
    Inventory,
)
from catalog.database.adoption.uniqueness import UNIQUE

OF_THE_API = ("api_deletedimage", "api_deletedaudio", "catalog_api_version")
_ROUTINES = {"p": "a procedure", "a": "an aggregate", "w": "a window function"}
_VERSION_TABLE = (
    "create table catalog_version "
    "(version_num varchar(32) not null constraint catalog_version_pkc primary key)"
)


def refusals(inventory: Inventory) -> list[str]:
    """Return a sentence for each obstacle that does not depend on the rows, with its remedy."""
    if revision := lost_revision(inventory):
        if inventory.has("catalog_version"):
            state, remedy = "empty", "insert its revision"
        else:
            state, remedy = "missing", f"run `{_VERSION_TABLE}`, insert its revision"
        return [
            (
                f"this is a current catalog whose table catalog_version is {state}: {remedy} (probably "
                f"{revision}, whose objects all exist), then run `catalog db upgrade`."
            )
        ]
    texts = [*unreadable(inventory), *_names_taken(inventory), *_losing(inventory)]
    texts += [
        f"event trigger {name} fires on statements of adoption: alter event trigger {name} disable, adopt, "
        "then enable it."
        for name in inventory.hazards.event_triggers
    ]
    for name, dependents in inventory.dependents.items():
        kind = inventory.relations[name].kind if inventory.has(name) else "function"
        texts += [
            f"{dependent} depends on the {kind} {name}, which is replaced: keep its definition, drop it, "
            "adopt, then create it again."
            for dependent in dependents
        ]
    return texts


def lost_revision(inventory: Inventory) -> str:
    """Return the newest revision whose objects all exist, if the database names no revision.

    Returns:
        An empty string if the database names a revision, or lacks objects of the first one.
    """
    if inventory.revision or inventory.foreign_version:
        return ""
    if inventory.has("catalog_version") and not inventory.relations["catalog_version"].owned:
        return ""
    names = {*inventory.relations, *(function.name for function in inventory.functions)}
    complete = ""
    for revision, created in first_revision.names_by_revision().items():
        if not created <= names:
            break
        complete = revision
    return complete


def unreadable(inventory: Inventory) -> list[str]:
    """Return the obstacles because of which rows cannot be read, or do not mean what is expected."""
    return [*_session(inventory), *_database(inventory), *_relations(inventory), *column_refusals(inventory)]


def _losing(inventory: Inventory) -> list[str]:
    """Refuse tables that lose rows after a crash, and those in which a change does not happen."""
    found = [
        f"{name} is an unlogged table, which PostgreSQL empties after a crash and standbys lack: "
        f"alter table {name} set logged, which rewrites it."
        for name in (*TABLES, "catalog_version")
        if inventory.has(name) and inventory.relations[name].unlogged
    ]
    found += [
        f"rule {rule} of {table} does something else instead of {event}, so that rows would not be changed: "
        f"drop rule {rule} on {table}, or alter table {table} disable rule {rule}."
        for table, event, rule in inventory.hazards.replacing
    ]
    found += [
        f"{table} is published, but without a key of its rows, so that PostgreSQL refuses to change them: "
        f"alter table {table} replica identity default, or full if it has no primary key."
        for table in inventory.hazards.unpublished_keys
    ]
    return found


def _session(inventory: Inventory) -> list[str]:
    session, texts = inventory.session, []
    if session.server < 130_000:
        texts.append(f"the server is PostgreSQL {session.server // 10_000}: upgrade it to 13 or a newer one.")
    if session.encoding != "UTF8":
        texts.append(
            f"the encoding is {session.encoding}: dump the database, and restore it into one with the "
            "encoding UTF8."
        )
    if session.read_only:
        texts.append(
            "the database is read-only (a standby, or default_transaction_read_only is on): connect to the "
            "primary."
        )
    if not session.may_create:
        texts.append(
            f"role {session.user} may not create objects in the schema public: "
            f"grant create on schema public to {session.user}."
        )
    if not session.may_create_temporary:
        texts.append(
            f"role {session.user} may not create temporary tables: "
            f"grant temporary on database … to {session.user}."
        )
    return texts


def _database(inventory: Inventory) -> list[str]:
    """Refuse the API's database, whose media tables have the same names but rows of their own."""
    evidence = [name for name in OF_THE_API if inventory.has(name)]
    evidence += [f"{table}.view_count" for table in MEDIA if "view_count" in inventory.columns.get(table, {})]
    if not evidence:
        return []
    return [
        f"this is the API's database, which has {', '.join(evidence)}: give the catalog's address instead."
    ]


def of_another_kind(inventory: Inventory) -> list[str]:
    """Return the obstacles that are views, partitioned or foreign tables with the name of a table."""
    return [
        f"{name} is a {inventory.relations[name].kind}: replace it with a plain table."
        for name in TABLES
        if inventory.has(name) and inventory.relations[name].kind != "table"
    ]


def _relations(inventory: Inventory) -> list[str]:
    texts = of_another_kind(inventory)
    for name in TABLES:
        relation = inventory.relations.get(name)
        if relation and relation.kind == "table" and not relation.standalone:
            texts.append(f"{name} is a table with children or a parent: replace it with a plain table.")
        if relation and relation.hides_rows and relation.owned:
            texts.append(
                f"row-level security of {name} applies to {inventory.session.user} as well, so that rows are "
                f"hidden: alter table {name} no force row level security."
            )
    for name in REPLACED_VIEWS:
        relation = inventory.relations.get(name)
        if relation and relation.kind not in ("view", "materialized view"):
            texts.append(f"{name} is a {relation.kind}; adoption creates a view of that name: rename it.")
    texts += [
        f"{f.name}({f.arguments}) is {_ROUTINES[f.kind]}; adoption creates a function of that name: "
        "rename or drop it."
        for f in inventory.functions
        if f.name in REPLACED_FUNCTIONS and f.kind in _ROUTINES
    ]
    return texts + _owners(inventory)


def _owners(inventory: Inventory) -> list[str]:
    """Refuse objects of other roles. The remedy is never `grant <owner> to <role>`: it may be a superuser."""
    user = inventory.session.user
    owners = {inventory.relations[t].owner for t in MEDIA if inventory.has(t)} - {user}
    texts = [
        f"the media tables belong to {owner}, but objects that {user} creates would not: connect as {owner}, "
        f"or set the role with PGOPTIONS='-c role={owner}'."
        for owner in sorted(owners)
        if inventory.relations["image" if inventory.has("image") else "audio"].owned
    ]
    others = [
        (inventory.relations[n].kind, n, inventory.relations[n].owner)
        for n in (*TABLES, *REPLACED_VIEWS, "catalog_version")
        if inventory.has(n) and not inventory.relations[n].owned
    ]
    others += [
        ("function", f"{f.name}({f.arguments})", f.owner)
        for f in inventory.functions
        if f.name in REPLACED_FUNCTIONS and not f.owned
    ]
    texts += [
        f"{name} belongs to {owner}: as {owner}, alter {kind} {name} owner to {user}."
        for kind, name, owner in others
    ]
    return texts


def _names_taken(inventory: Inventory) -> list[str]:
    """Refuse objects with a name that a revision gives to another object."""
    older = {
        *TABLES,
        *REPLACED_VIEWS,
        *REPLACED_FUNCTIONS,
        *(name for indexes in UNIQUE.values() for name, _ in indexes),
        "catalog_version",
        "catalog_version_pkc",
    }
    # Existing tables, views and indexes of an older catalog are checked elsewhere; these are to be created.
    names = first_revision.names_of_later_revisions() - older
    names |= {name for table in DELETED if not inventory.has(table) for name, _ in UNIQUE[table]}
    if not inventory.has("catalog_version"):
        names |= {"catalog_version_pkc"}
    existing = [(r.kind, r.name) for r in inventory.relations.values()]
    existing += [("function", f.name) for f in inventory.functions]
    existing += [("type", name) for name in inventory.types]
    row_types = {name for name in (*TABLES, *REPLACED_VIEWS, "catalog_version") if not inventory.has(name)}
    taken = [
        f"{kind} {name} has a name that the catalog uses for another object: rename or drop it."
        for kind, name in existing
        if name in names
    ]
    taken += [
        f"type {name} has a name that the catalog uses for a table or view: rename or drop it."
        for name in inventory.types
        if name in row_types
    ]
    if inventory.foreign_version:
        taken.append(
            f"catalog_version {inventory.foreign_version}, so it is not the catalog's: rename or drop it."
        )
    for table in (*MEDIA, *DELETED):
        name = duplicates_table(table)
        if inventory.has(name) and inventory.relations[name].kind != "table":
            taken.append(
                f"{name} is a {inventory.relations[name].kind}; duplicates are moved to a table of that "
                "name: rename it."
            )
    return taken
