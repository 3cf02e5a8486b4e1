"""From what a database holds to the steps that make it ours, and to what stands in the way.

A step that is planned is also entered in the model of the database, so that the next ones are planned on what
will be there.
"""

import copy
import re
from collections.abc import Iterable

import msgspec
from psycopg import sql

from catalog.core.columns import SIZES
from catalog.database.adoption import first_revision
from catalog.database.adoption.duplicates import Doubled
from catalog.database.adoption.first_revision import Column
from catalog.database.adoption.hazards import aside_name
from catalog.database.adoption.inventory import (
    DELETED,
    MEDIA,
    METRICS,
    REPLACED_FUNCTIONS,
    REPLACED_VIEWS,
    SET_KEY,
    Found,
    Index,
    Inventory,
)
from catalog.database.adoption.refusals import refusals
from catalog.database.adoption.rows import LONGEST_ENTRY, Counts
from catalog.database.adoption.steps import BESIDE_WRITERS, EXCLUSIVE, ROWS, SCAN, SORT, Lock, Step
from catalog.database.adoption.uniqueness import KEY, UNIQUE, URL

_OPTIONAL_METRICS = ("percentile", "val", "constant")
_NOTE = (
    (
        "create table if not exists catalog_version "
        "(version_num varchar(32) not null, constraint catalog_version_pkc primary key (version_num))"
    ),
    "insert into catalog_version values ('0001')",
)  # as Alembic does it


class Plan:
    """The steps, in order, and what speaks against them.

    Args:
        there: What the database holds; not changed.
        counts: What its rows tell.
        move_duplicates: Whether older duplicates may be moved out of the way.

    Attributes:
        steps: What is to be done.
        refused: One sentence each; with any of them nothing is done.
        notes: What stays as it is although ours is different, and what that means.
    """

    def __init__(self, there: Inventory, counts: Counts, *, move_duplicates: bool = False) -> None:
        self._there = copy.deepcopy(there)
        self._counts, self._move_duplicates = counts, move_duplicates
        self.steps: list[Step] = []
        self.refused: list[str] = []
        self._staying: dict[str, list[str]] = {}  # why a width stays → columns
        self.refused += refusals(there)
        for media in MEDIA:
            self._add_columns(media)
        for media in MEDIA:
            self._deleted(media)
        for table in (*DELETED, *MEDIA, *METRICS):
            self._unique(table)
        for table in ("audio", "deleted_audio"):
            self._fill(table)
        self._switch()

    # columns

    def _add_columns(self, media: str) -> None:
        if not self._there.has(media):
            return
        wanted, found = first_revision.columns(media), self._there.columns.get(media, {})
        missing = [column for name, column in wanted.items() if name not in found and not column.required]
        if missing:
            self._alter(f"add {_names(missing)}", media, [_add(column) for column in missing])
            found |= {column.name: _found(column) for column in missing}

    def _deleted(self, media: str) -> None:
        table = f"deleted_{media}"
        if not self._there.has(media):
            return
        if not self._there.has(table):
            statements = [first_revision.statement("table", table)]
            statements += [
                s.text for s in first_revision.statements() if s.kind == "index" and s.table == table
            ]
            generated = [c.name for c in self._there.columns[media].values() if c.generated]
            if generated:  # LIKE makes plain columns of them, which no deletion would fill
                statements.append(_alter(table, [f"drop column {_quoted(name)}" for name in generated]))
            self._step(f"make {table}", statements, [Lock(media, "ACCESS SHARE")], table)
            self._model_deleted(media, table)
            return
        found, wanted = self._there.columns[table], self._there.columns[media]
        own = {name: c for name, c in first_revision.columns(table).items() if name.startswith("deleted_")}
        missing = [_found(c) for name, c in wanted.items() if name not in found and not c.generated]
        missing += [_found(c) for name, c in own.items() if name not in found and not c.required]
        loose = []
        for name, column in found.items():
            like = own.get(name) or wanted.get(name)
            if column.required and not column.filled and not (like and like.required):
                loose.append(name)
        changes = [*self._widened(table), *(_add(column) for column in missing)]
        widened = len(changes) > len(missing)
        changes += [f"alter column {_quoted(name)} drop not null" for name in loose]
        if changes:
            titles = [f"add {_names(missing)}"] if missing else []
            titles += [f"{', '.join(loose)} may be NULL, as in {media}"] if loose else []
            titles += [f"as wide as {media}"] if widened else []
            self._alter("; ".join(titles), table, changes)
            found |= {column.name: column for column in missing}
            for name in loose:
                found[name] = msgspec.structs.replace(found[name], required=False)
        self.refused += [
            f"{table}.{name} is of type {column.sql_type}, narrower than {media}.{name}, and cannot be changed because of "
            f"{', '.join(self._there.pinned.get((table, name), []))}: drop that, adopt, then make it again."
            for name, column in found.items()
            if name in wanted and _narrower(column, wanted[name])
        ]

    def _model_deleted(self, media: str, table: str) -> None:
        own = {n: c for n, c in first_revision.columns(table).items() if n.startswith("deleted_")}
        self._there.columns[table] = {
            name: _found(c)
            for name, c in {**self._there.columns[media], **own}.items()
            if not _is_generated(c)
        }
        like = self._there.relations[media]
        self._there.relations[table] = msgspec.structs.replace(like, name=table, rows=0, bytes=0, mine=True)
        self._there.indexes[table] = [
            Index(name, table, unique=True, valid=True, keys=tuple(map(_bare, keys)))
            for name, keys in UNIQUE[table]
        ]
        self._pin(table, f"{table}_provider_fid_idx", KEY)

    # unique indexes

    def _unique(self, table: str) -> None:
        if not self._there.has(table) or not self._there.columns.get(table):
            return
        missing = [
            (name, keys)
            for name, keys in UNIQUE[table]
            if self._there.missing_unique(table, keys) and not any(self._lacks(table, key) for key in keys)
        ]
        self._doubled(table, [keys for _, keys in missing])
        for name, keys in missing:
            drop = self._in_the_way(table, name)
            rows, size = self._counts.rows.get(table, 0), self._there.relations[table].bytes
            shown = ", ".join(keys)
            make = f"create unique index concurrently {name} on public.{table} ({shown})"
            seconds = 2 * size / SCAN + rows / SORT
            self.steps.append(
                Step(
                    f"make {shown} unique in {table}, beside readers and writers",
                    "index",
                    (*drop, make),
                    (Lock(table, BESIDE_WRITERS, seconds),),
                    table,
                    rows=rows,
                )
            )
            self._pin(table, name, keys)

    def _pin(self, table: str, index: str, keys: tuple[str, ...]) -> None:
        if keys == KEY:
            self._there.pinned.setdefault((table, "foreign_identifier"), []).append(f"index {index}")

    def _lacks(self, table: str, key: str) -> bool:
        name = key.removeprefix("md5(").removesuffix(")")
        return name not in self._there.columns[table]

    def _in_the_way(self, table: str, name: str) -> list[str]:
        """Return steps that free the name of an index; an invalid one of a killed run is dropped."""
        if not self._there.has(name):
            return []
        left = next((i for i in self._there.indexes.get(table, []) if i.name == name and not i.valid), None)
        if left:
            return [f"drop index concurrently public.{name}"]
        self.refused.append(
            f"{name} is there and is no unique index of {table} with the keys that are needed: rename it "
            f"(alter index {name} rename to …), or drop it."
        )
        return []

    def _doubled(self, table: str, missing: list[tuple[str, ...]]) -> None:
        doubled = [d for d in self._counts.doubled if d.table == table and d.keys in missing and d.rows]
        if shared := self._counts.shared.get(table):
            self.refused.append(
                f"{table}: {shared:,} identifier{'s' * (shared > 1)} of different records, none of which may go: "
                "give all but one of each another identifier, by gen_random_uuid()."
            )
        if rows := self._counts.too_long.get(table):
            self.refused.append(
                f"{table}: {rows:,} row{'s' * (rows > 1)} with a url that is too long for an index: shorten or delete "
                f"those with pg_column_size(url) > {LONGEST_ENTRY}."
            )
        if not doubled:
            return
        if table in METRICS or not self._move_duplicates:
            self.refused += [self._found_doubled(table, found) for found in doubled]
            return
        aside = aside_name(table)
        to_deleted = table in MEDIA and URL in {found.keys for found in doubled}
        self.refused += self._in_the_way_of_moving(table, to_deleted=to_deleted)
        where = aside
        if to_deleted:
            where += f"; other records with the URL of one that stays to deleted_{table}"
        shown = " or the same ".join(", ".join(found.keys) for found in doubled)
        rows = sum(found.rows for found in doubled)
        self.steps.append(
            Step(
                f"move older rows with the same {shown}, at most {rows:,}, from {table} to {where}",
                "duplicates",
                ("delete … returning *, and insert what it returns",),
                (Lock(table, ROWS, rows / SORT),),
                table,
                keys=tuple(found.keys for found in doubled),
                rows=rows,
            )
        )

    def _found_doubled(self, table: str, found: Doubled) -> str:
        way = (
            "delete the rows that are wrong"
            if table in METRICS
            else "look at them; --duplicates newest keeps the newest of each and moves the others aside"
        )
        return (
            f"{table}: {found.rows:,} row{'s' * (found.rows > 1)} too many {'have' if found.rows > 1 else 'has'} the same "
            f"{', '.join(found.keys)}, in {found.groups:,} group{'s' * (found.groups > 1)}, such as "
            f"{'; '.join(found.examples)}: {way}."
        )

    def _in_the_way_of_moving(self, table: str, *, to_deleted: bool) -> list[str]:
        """Rows that leave a table may take those of others with them, or may be kept from leaving."""
        hazards = self._there.hazards
        found = [
            f"foreign key {key} refers to {table}, from which duplicates are to be moved, and its rows would go, change or forbid it: "
            f"drop the foreign key, adopt, then make it again."
            for key in hazards.referring.get(table, ())
        ]
        found += self._fires(table, "DELETE", "duplicates are to be moved out of it")
        if to_deleted:
            found += self._fires(f"deleted_{table}", "INSERT", "duplicates are to be moved to it")
        if why := hazards.asides.get(table):
            aside = aside_name(table)
            found.append(
                f"table {aside} is there {why}; duplicates are to be moved to a table of that name: rename it "
                f"(alter table {aside} rename to …)."
            )
        return found

    def _fires(self, table: str, event: str, why: str) -> list[str]:
        return [
            f"{what} of {table} fires on {event}, and {why}: alter table {table} disable {what}, adopt, then enable it."
            for what in self._there.hazards.fired.get((table, event), ())
        ]

    # audio sets

    def _fill(self, table: str) -> None:
        rows = self._counts.unfilled.get(table, 0)
        if not rows:
            return
        self.refused += self._fires(table, "UPDATE", f"{SET_KEY} of its rows is to be filled")
        self.steps.append(
            Step(
                f"fill {SET_KEY} of {rows:,} rows of {table} from audio_set ->> 'foreign_identifier'",
                "fill",
                ("update … where … is null, 10 000 rows at a time",),
                (Lock(table, ROWS, rows / SORT),),
                table,
                rows=rows,
            )
        )

    # the switch

    def _switch(self) -> None:
        """Return the step that replaces everything in one transaction: the switch to our schema."""
        there = self._there
        statements, locks = self._constants(), [Lock(v, EXCLUSIVE) for v in REPLACED_VIEWS if there.has(v)]
        statements += self._drops()
        for table in (*MEDIA, *DELETED):  # those of deleted media that are made by now
            if changes := self._widened(table):
                statements.append(_alter(table, changes))
                locks.append(Lock(table, EXCLUSIVE))
        locks += [Lock(table, EXCLUSIVE) for table in METRICS if there.has(table)]
        for made in first_revision.statements():
            statements += self._made(made)
        statements += _NOTE
        title = "replace views and functions, make what ingestion keeps, note revision 0001"
        self.steps.append(Step(title, "at once", tuple(statements), tuple(locks)))

    def _constants(self) -> list[str]:
        """Metrics get our columns, and then what only a materialized view of theirs holds."""
        statements = []
        for media, table in zip(MEDIA, METRICS, strict=True):
            if not self._there.has(table):
                continue
            statements.append(_alter(table, self._metrics(table)))
            view = f"{media}_popularity_constants"
            found = self._there.hazards.constants.get(view, [])
            if not {"provider", "metric", "val", "constant"} <= set(found):
                continue
            percentile = (
                ", percentile = coalesce(c.percentile, m.percentile)" if "percentile" in found else ""
            )
            statements.append(  # names of ours
                f"update public.{table} m set val = c.val, constant = c.constant{percentile} from public.{view} c "  # noqa: S608
                "where c.provider = m.provider and c.metric = m.metric and m.val is null and m.constant is null"
            )
        return statements

    def _drops(self) -> list[str]:
        there = self._there
        views = [
            f"drop {there.relations[view].kind} public.{view}" for view in REPLACED_VIEWS if there.has(view)
        ]
        functions = [
            f"drop routine public.{f.name}({f.arguments})"
            for f in there.functions
            if f.name in REPLACED_FUNCTIONS
        ]
        return views + functions

    def _widened(self, table: str) -> list[str]:
        """Changes of type that touch no row: a varchar becomes text, or is given our width."""
        changes = []
        columns = self._there.columns.get(table, {})
        for name, column in columns.items():
            wanted = self._wanted(table, name)
            if wanted is None or not _narrower(column, wanted):
                continue
            pins = self._there.pinned.get((table, name), [])
            if pins and not self._must_widen(table, column, pins):
                self._stays(table, column, pins)
                continue
            changes.append(f"alter column {_quoted(name)} type {wanted.sql_type}")
            columns[name] = _found(wanted)
        return changes

    def _must_widen(self, table: str, column: Column, pins: list[str]) -> bool:
        """Widen deleted media to what the media table holds; their few rows are indexed again."""
        return (
            table in DELETED
            and _narrower(column, self._there.columns[table.removeprefix("deleted_")][column.name])
            and all(pin.startswith("index ") for pin in pins)
        )

    def _stays(self, table: str, column: Column, pins: list[str]) -> None:
        limit = SIZES.get(column.name)
        if limit is not None and column.width is not None and column.width >= limit:
            meaning = f"Records bring at most {limit:,} characters, so nothing is lost"
        else:
            meaning = "Records that bring a longer one are refused when they are loaded, and listed"
        kinds = sorted({re.sub(r"\b(deleted_)?(image|audio)_", "…_", pin) for pin in pins})
        why = (
            f"of type {column.sql_type} because of {', '.join(kinds)}, which would be in the way, "
            f"or be built anew under a lock. {meaning}."
        )
        columns = self._staying.setdefault(why, [])
        if (name := f"{table}.{column.name}") not in columns:
            columns.append(name)

    @property
    def notes(self) -> list[str]:
        return [
            f"{', '.join(columns)} stay{'s' if len(columns) == 1 else ''} {why}"
            for why, columns in self._staying.items()
        ]

    def _wanted(self, table: str, name: str) -> Column | None:
        """Return the type that a column should have; of deleted media at least as wide as the media table's."""
        wanted = first_revision.columns(table).get(name)
        if table in DELETED and not name.startswith("deleted_"):
            media = self._there.columns[table.removeprefix("deleted_")].get(name)
            if media and (wanted is None or _narrower(wanted, media)):
                return media
        return wanted

    def _metrics(self, table: str) -> list[str]:
        found, wanted = self._there.columns[table], first_revision.columns(table)
        changes = [_add(wanted[name]) for name in _OPTIONAL_METRICS if name not in found]
        return [*changes, "alter column percentile set default 0.85"]

    def _made(self, made: first_revision.Statement) -> list[str]:
        """A statement of the first revision, where the database lacks what it makes."""
        there = self._there
        if made.kind == "extension":
            return []
        if made.kind in ("table", "index"):
            return [] if there.has(made.table or made.name) else [made.text]
        if made.kind == "view":
            return [made.text, *there.grants.get(made.name, ())]
        if made.kind == "rows" and there.has(made.table):
            return [f"{made.text.rstrip(';')} on conflict (provider) do nothing"]
        return [made.text]

    # writing

    def _alter(self, title: str, table: str, changes: Iterable[str]) -> None:
        self._step(f"{table}: {title}", [_alter(table, changes)], [Lock(table, EXCLUSIVE)], table)

    def _step(self, title: str, statements: Iterable[str], locks: Iterable[Lock], table: str) -> None:
        self.steps.append(Step(title, "at once", tuple(statements), tuple(locks), table))


def _narrower(column: Column, wanted: Column) -> bool:
    """Does the column take fewer texts than it should?"""
    if column.type.lstrip("_") != "varchar" or column.width is None:
        return False
    return wanted.width is None or column.width < wanted.width


def _found(column: Column) -> Found:
    required = column.required and not column.name.startswith("deleted_")
    written = column.written if isinstance(column, Found) else ""
    return Found(column.name, column.type, column.width, required, written=written)


def _is_generated(column: Column) -> bool:
    return isinstance(column, Found) and column.generated


def _add(column: Column) -> str:
    written = column.written if isinstance(column, Found) else ""
    return f"add column {_quoted(column.name)} {written or column.sql_type}"


def _alter(table: str, changes: Iterable[str]) -> str:
    return f"alter table public.{table} {', '.join(changes)}"


def _names(columns: Iterable[Column]) -> str:
    return ", ".join(column.name for column in columns)


def _bare(key: str) -> str:
    return key.replace("(", "").replace(")", "")


def _quoted(name: str) -> str:
    return sql.Identifier(name).as_string(None)
