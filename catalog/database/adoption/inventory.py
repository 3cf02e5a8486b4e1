"""Inventory of a database: the objects that its system catalogs list, and those that adoption works on."""

import msgspec

from catalog.core.media import MEDIA_TYPES
from catalog.database.adoption.first_revision import Column
from catalog.database.adoption.hazards import Hazards

MEDIA = ("image", "audio")
METRICS = tuple(f"{media}_popularity_metrics" for media in MEDIA)
DELETED = tuple(f"deleted_{media}" for media in MEDIA)
TABLES = (*MEDIA, *DELETED, *METRICS)
SET_VIEW, SET_KEY = "audioset_view", "audio_set_foreign_identifier"
REPLACED_VIEWS = (SET_VIEW, *(f"{m}_view" for m in MEDIA), *(f"{m}_popularity_constants" for m in MEDIA))
"""Views, materialized or not, that adoption drops; it creates some of them again with the same name."""
DROPPED_VIEWS = tuple(f"{media}_view" for media in MEDIA)
"""Replaced views that adoption does not create again."""
REPLACED_FUNCTIONS = tuple(
    name for m in MEDIA for name in (f"{m}_popularity_percentile", f"standardized_{m}_popularity")
)
assert sorted(MEDIA) == sorted(MEDIA_TYPES)


class ExistingColumn(Column, frozen=True):
    """A column of an existing table.

    Attributes:
        has_default: Whether it has a default or is an identity or generated column.
        generated: Whether it is a generated column.
        declared_type: Its type as format_type() formats it.
        domain: Whether its type is a domain.
    """

    has_default: bool = False
    generated: bool = False
    declared_type: str = ""
    domain: bool = False


class Relation(msgspec.Struct, frozen=True):
    """An existing table, view, index or sequence.

    Attributes:
        name: Name without the schema.
        kind: Kind, such as "materialized view".
        rows: The planner's estimate; negative if there is none.
        bytes: Size with indexes.
        owned: Whether the current role may alter it.
        owner: Role that owns it.
        standalone: Whether it is neither partitioned nor part of an inheritance tree.
        unlogged: Whether it is an unlogged table, which is empty after a crash of the server.
        hides_rows: Whether row-level security applies to the current role.
    """

    name: str
    kind: str
    rows: int
    bytes: int
    owned: bool
    owner: str
    standalone: bool
    unlogged: bool
    hides_rows: bool


class Index(msgspec.Struct, frozen=True):
    """An index; its keys are columns and expressions as `bare` writes them."""

    name: str
    table: str
    unique: bool
    valid: bool
    keys: tuple[str, ...]

    def ensures_unique(self, keys: tuple[str, ...]) -> bool:
        """Return whether it is a valid unique index of exactly these keys, in any order."""
        return self.unique and self.valid and sorted(self.keys) == sorted(map(bare, keys))


class Function(msgspec.Struct, frozen=True):
    """A function, procedure or aggregate.

    Attributes:
        name: Name without the schema.
        arguments: Types of the arguments, as DROP FUNCTION accepts them.
        kind: `prokind` of PostgreSQL.
        owned: Whether the current role may alter it.
        owner: Role that owns it.
    """

    name: str
    arguments: str
    kind: str
    owned: bool
    owner: str


class Session(msgspec.Struct, frozen=True):
    """The current role and the server that it is connected to."""

    user: str
    server: int
    encoding: str
    read_only: bool
    may_create: bool
    may_create_temporary: bool


class Inventory(msgspec.Struct):
    """The objects of a database.

    Attributes:
        session: The current role and the server.
        revision: Newest revision that the table catalog_version names; None if there is none.
        relations: Relations of the schema public, by name.
        columns: Table → columns by name, of the catalog's tables.
        indexes: Table → indexes, of the catalog's tables.
        functions: Functions of the schema public.
        types: Names of enums, domains and ranges.
        pinned: (table, column) → objects that prevent a change of its type or that it would rebuild,
            except those that adoption replaces.
        dependents: View or function that adoption replaces → objects that depend on it, except those that
            adoption replaces too.
        attached: Triggers, rules, policies and constraints of the catalog's tables, for people.
        schemas: Other schemas, with the number of their relations and functions.
        extensions: Names of installed extensions.
        grants: Recreated view → statements that grant others the rights they have now.
        set_view_reads_table: Whether audioset_view reads the table audio rather than a view.
        audio_view_knows_sets: Whether audio_view has the key of the audio set.
        hazards: Foreign objects that a step would trigger, be blocked by or lose.
        foreign_version: Why the table catalog_version is not the catalog's; empty if it is or is missing.
        providers: Table of metrics → providers that it lists.
    """

    session: Session
    revision: str | None
    relations: dict[str, Relation]
    columns: dict[str, dict[str, ExistingColumn]]
    indexes: dict[str, list[Index]]
    functions: list[Function]
    types: list[str]
    pinned: dict[tuple[str, str], list[str]]
    dependents: dict[str, list[str]]
    attached: list[str]
    schemas: list[str]
    extensions: list[str]
    grants: dict[str, list[str]]
    set_view_reads_table: bool
    audio_view_knows_sets: bool
    hazards: Hazards
    foreign_version: str
    providers: dict[str, list[str]]

    def has(self, name: str) -> bool:
        """Return whether the schema public has a relation of this name."""
        return name in self.relations

    def lacks_unique(self, table: str, keys: tuple[str, ...]) -> bool:
        """Return whether no index makes these keys of a table unique."""
        return not any(index.ensures_unique(keys) for index in self.indexes.get(table, []))


def bare(key: str) -> str:
    """Return a key without casts, quotes and parentheses.

    `md5((foreign_identifier)::text)` becomes `md5foreign_identifier`.
    """
    return key.replace("::text", "").replace("(", "").replace(")", "").replace(" ", "").replace('"', "")
