"""The catalog's columns as the loader sees them: how a stored value and a new one become one."""

from typing import Literal, LiteralString

import msgspec
from psycopg import sql

from catalog.core.columns import COLUMNS
from catalog.core.media import MediaType

Merge = Literal["newest", "object", "tags", "elements", "names"]
_MERGES: dict[str, Merge] = {
    "meta_data": "object",
    "audio_set": "object",
    "tags": "tags",
    "alt_files": "elements",
    "genres": "names",
}
_KEY = ("provider", "foreign_identifier")

_MERGED: dict[Merge, LiteralString] = {
    "newest": "coalesce(new.{c}, old.{c})",
    "object": "merged_object(old.{c}, new.{c})",
    "tags": "merged_tags(old.{c}, new.{c}, old.provider)",
    "elements": "merged_elements(old.{c}, new.{c})",
    # An array of arrays, which only an adopted catalog holds, cannot be joined to a list; its elements can.
    "names": (
        "merged_names(case when array_ndims(old.{c}) > 1"
        " then array(select unnest(old.{c})) else old.{c} end, new.{c})"
    ),
}
# The cheap test comes first: most rows of a reload are exactly as stored, and nothing is merged.
_DIFFERS: dict[Merge, LiteralString] = {
    "newest": "coalesce(new.{c}, old.{c}) is distinct from old.{c}",
    "object": (
        "(new.{c} is distinct from old.{c} and merged_object(old.{c}, new.{c}) is distinct from old.{c})"
    ),
    "tags": (
        "(new.{c} is distinct from old.{c}"
        " and not same_elements(merged_tags(old.{c}, new.{c}, old.provider), old.{c}))"
    ),
    # The merged array keeps the stored one's order, so the two need not be compared as sets.
    "elements": (
        "(new.{c} is distinct from old.{c} and merged_elements(old.{c}, new.{c}) is distinct from old.{c})"
    ),
    "names": f"(new.{{c}} is distinct from old.{{c}} and not same_names({_MERGED['names']}, old.{{c}}))",
}
_INSERTED: dict[Merge, LiteralString] = {
    "object": "merged_object(null, new.{c})",
    "tags": "case when jsonb_typeof(new.{c}) = 'array' then new.{c} end",
    "elements": "merged_elements(null, new.{c})",  # several of one key in one record are merged, too
}


class Column(msgspec.Struct, frozen=True):
    """A column that comes from TSV."""

    name: str
    merge: Merge

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.name)

    def merged(self) -> sql.Composed:
        """What an update stores, from rows `old` and `new`."""
        return sql.SQL(_MERGED[self.merge]).format(c=self.identifier)

    def differs(self) -> sql.Composed:
        """Would an update store something else than there is? Arrays are compared as sets."""
        return sql.SQL(_DIFFERS[self.merge]).format(c=self.identifier)

    def inserted(self) -> sql.Composed:
        """What an insert stores."""
        return sql.SQL(_INSERTED.get(self.merge, "new.{c}")).format(c=self.identifier)


def columns(media_type: MediaType) -> list[Column]:
    """The columns of a TSV part, in its order."""
    return [Column(name, _MERGES.get(name, "newest")) for name in COLUMNS[media_type]]


def updated(media_type: MediaType) -> list[Column]:
    """Those that an update may change: all but the key."""
    return [c for c in columns(media_type) if c.name not in _KEY]
