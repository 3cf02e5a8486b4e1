"""What prevents an adoption whatever the rows hold, with the way out of each."""

from catalog.database.adoption import first_revision
from catalog.database.adoption.first_revision import Column
from catalog.database.adoption.hazards import aside_name
from catalog.database.adoption.inventory import (
    DELETED,
    MEDIA,
    METRICS,
    REPLACED_FUNCTIONS,
    REPLACED_VIEWS,
    TABLES,
    Found,
    Inventory,
)
from catalog.database.adoption.uniqueness import UNIQUE

OF_THE_API = ("api_deletedimage", "api_deletedaudio", "catalog_api_version")
_FILLED = tuple(f"{table}.percentile" for table in METRICS)  # adoption gives it a default
_ROUTINES = {"p": "a procedure", "a": "an aggregate", "w": "a window function"}
_TEXTS = ("varchar", "text")
_VERSION_TABLE = "create table catalog_version (version_num varchar(32) not null constraint catalog_version_pkc primary key)"
_WIDER = {"varchar": _TEXTS, "_varchar": ("_varchar", "_text"), "int4": ("int4", "int8"), "text": _TEXTS}


def refusals(there: Inventory) -> list[str]:
    """What stands in the way whatever the rows hold; one sentence each, with the way out."""
    if revision := lost_revision(there):
        if there.has("catalog_version"):
            state, way = "empty", "put its revision there"
        else:
            state, way = "missing", f"`{_VERSION_TABLE}`, then put its revision there"
        return [
            (
                f"this is a catalog of ours whose table catalog_version is {state}: {way}, {revision} if that is "
                f"the one it was at (all that it makes is there), then run `catalog db upgrade`."
            )
        ]
    found = [*unreadable(there), *_names_taken(there)]
    found += [
        f"event trigger {name} fires on what adoption runs: alter event trigger {name} disable, adopt, then enable it."
        for name in there.hazards.event_triggers
    ]
    for name, dependents in there.dependents.items():
        kind = there.relations[name].kind if there.has(name) else "function"
        found += [
            f"{what} depends on the {kind} {name}, which is replaced: keep its definition, drop it, adopt, then make it again."
            for what in dependents
        ]
    return found


def lost_revision(there: Inventory) -> str:
    """Return the newest revision that is complete, if the database is ours and says none; else an empty string."""
    if there.revision or there.foreign_version:
        return ""
    if there.has("catalog_version") and not there.relations["catalog_version"].mine:
        return ""
    names = {*there.relations, *(function.name for function in there.functions)}
    complete = ""
    for revision, made in first_revision.names_by_revision().items():
        if not made <= names:
            break
        complete = revision
    return complete


def unreadable(there: Inventory) -> list[str]:
    """Those of them with which the rows cannot be looked at, or mean something else than is thought."""
    return [*_session(there), *_database(there), *_relations(there), *_columns(there)]


def _session(there: Inventory) -> list[str]:
    found = []
    if there.session.server < 130_000:
        found.append(
            f"the server is PostgreSQL {there.session.server // 10_000}; 13 or a newer one is needed."
        )
    if there.session.encoding != "UTF8":
        found.append(
            f"the encoding is {there.session.encoding}; UTF8 is needed: dump the database, restore it into one with that encoding."
        )
    if there.session.reads_only:
        found.append(
            "the database only reads (a standby, or default_transaction_read_only is on): connect to the primary."
        )
    if not there.session.may_create:
        found.append(
            f"role {there.session.user} may not make objects in the schema public: grant create on schema public to {there.session.user}."
        )
    if not there.session.may_make_temporary:
        found.append(
            f"role {there.session.user} may not make temporary tables: grant temporary on database … to {there.session.user}."
        )
    return found


def _database(there: Inventory) -> list[str]:
    """The API's tables of media have the names of the catalog's, and rows of their own."""
    signs = [name for name in OF_THE_API if there.has(name)]
    signs += [f"{table}.view_count" for table in MEDIA if "view_count" in there.columns.get(table, {})]
    if not signs:
        return []
    return [
        f"this is a database of the API's ({', '.join(signs)} is there): give the address of the catalog's."
    ]


def _relations(there: Inventory) -> list[str]:
    found = []
    for name in TABLES:
        relation = there.relations.get(name)
        if relation and (relation.kind != "table" or not relation.plain):
            what = relation.kind if relation.kind != "table" else "table with children or a parent"
            found.append(f"{name} is a {what}; a plain table is needed.")
    for name in REPLACED_VIEWS:
        relation = there.relations.get(name)
        if relation and relation.kind not in ("view", "materialized view"):
            found.append(f"{name} is a {relation.kind}; adoption makes a view of that name: rename it.")
    owners = {there.relations[t].owner for t in MEDIA if there.has(t)} - {there.session.user}
    found += [
        f"the media tables belong to {owner}, and what {there.session.user} makes would not: connect as {owner}, or become it with "
        f"PGOPTIONS='-c role={owner}'."
        for owner in sorted(owners)
        if there.relations["image" if there.has("image") else "audio"].mine
    ]
    # Not `grant <owner> to <role>`: the owner may be a superuser, whose rights the role must not have.
    owned = [
        (there.relations[n].kind, n, there.relations[n].owner)
        for n in (*TABLES, *REPLACED_VIEWS, "catalog_version")
        if there.has(n) and not there.relations[n].mine
    ]
    owned += [
        ("function", f"{f.name}({f.arguments})", f.owner)
        for f in there.functions
        if f.name in REPLACED_FUNCTIONS and not f.mine
    ]
    found += [
        f"{f.name}({f.arguments}) is {_ROUTINES[f.kind]}; adoption makes a function of that name: rename or drop it."
        for f in there.functions
        if f.name in REPLACED_FUNCTIONS and f.kind in _ROUTINES
    ]
    found += [
        f"{name} belongs to {owner}: as {owner}, alter {kind} {name} owner to {there.session.user}."
        for kind, name, owner in owned
    ]
    return found


def _columns(there: Inventory) -> list[str]:
    found = []
    for table in TABLES:
        columns = there.columns.get(table)
        if columns is None:
            continue
        wanted = first_revision.columns(table)
        keys = (
            {"identifier", "provider", "foreign_identifier", "url"}
            if table in MEDIA + DELETED
            else {"provider", "metric"}
        )
        for name, column in wanted.items():
            if name not in columns:
                if column.required or name in keys:
                    found.append(
                        f"{table} has no column {name}, which every older catalog has: is this one of them?"
                    )
            else:
                found += _of_another_type(table, column, columns[name])
        if table in MEDIA + METRICS:
            found += [
                f"{table}.{name} is NOT NULL without a default, and no record brings it: give it a default, or drop the NOT NULL."
                for name, column in columns.items()
                if name not in wanted and column.required and not column.filled
            ]
    return found


def _of_another_type(table: str, wanted: Column, column: Found) -> list[str]:
    name = f"{table}.{column.name}"
    alter = f"alter table {table} alter {column.name}"
    if column.generated:
        return [f"{name} is a generated column, which cannot be written to: {alter} drop expression."]
    if column.domain or column.type not in _WIDER.get(wanted.type, (wanted.type,)):
        way = f"{alter} type {wanted.sql_type}, which writes the whole table anew"
        return [f"{name} is of type {column.sql_type}, not {wanted.sql_type}: {way}."]
    if (
        table in MEDIA + METRICS
        and column.required
        and not wanted.required
        and not column.filled
        and name not in _FILLED
    ):
        return [f"{name} is NOT NULL, and not every record has one: {alter} drop not null."]
    return []


def _names_taken(there: Inventory) -> list[str]:
    """Objects that have a name which one of our revisions gives to another one."""
    older = {
        *TABLES,
        *REPLACED_VIEWS,
        *REPLACED_FUNCTIONS,
        *(name for u in UNIQUE.values() for name, _ in u),
        "catalog_version",
        "catalog_version_pkc",
    }
    ours = first_revision.names_of_later_revisions() - older
    # Of those that an older catalog may have, the ones that are to be made: its own tables and views are looked at elsewhere.
    ours |= {name for table in DELETED if not there.has(table) for name, _ in UNIQUE[table]}
    if not there.has("catalog_version"):
        ours |= {"catalog_version_pkc"}
    kinds = [(r.kind, r.name) for r in there.relations.values()]
    kinds += [("function", f.name) for f in there.functions] + [("type", name) for name in there.types]
    types = {name for name in (*TABLES, *REPLACED_VIEWS, "catalog_version") if not there.has(name)}
    taken = [
        f"{kind} {name} has a name that the catalog gives to something else: rename or drop it."
        for kind, name in kinds
        if name in ours
    ]
    taken += [
        f"type {name} has a name that the catalog gives to a table or view: rename or drop it."
        for name in there.types
        if name in types
    ]
    if there.foreign_version:
        taken.append(
            f"catalog_version {there.foreign_version}, so it is none of the catalog's: rename or drop it."
        )
    for table in (*MEDIA, *DELETED):
        aside = aside_name(table)
        if there.has(aside) and there.relations[aside].kind != "table":
            taken.append(
                f"{aside} is a {there.relations[aside].kind}; duplicates are moved to a table of that name: rename it."
            )
    return taken
