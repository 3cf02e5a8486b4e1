"""How the loader merges a stored value and a new one, for each column of a media table.

Null never overwrites, with one exception: a value that describes another one, such as the size of a file,
stays only as long as that one does.
"""

from typing import Literal, LiteralString

import msgspec
from psycopg import sql

from catalog.core.columns import COLUMNS
from catalog.core.media import MediaType

Merge = Literal["newest", "address", "object", "tags", "elements", "names"]
_MERGES: dict[str, Merge] = {
    "url": "address",
    "foreign_landing_url": "address",
    "thumbnail": "address",
    "creator_url": "address",
    "meta_data": "object",
    "audio_set": "object",
    "tags": "tags",
    "alt_files": "elements",
    "genres": "names",
}
_KEY = ("provider", "foreign_identifier")
# What a column describes. The thumbnail of a recording is no picture of its file, but the cover of an album.
_DESCRIBED: dict[MediaType, dict[str, str]] = {
    "image": {
        "creator_url": "creator",
        **dict.fromkeys(("thumbnail", "filetype", "filesize", "width", "height"), "url"),
    },
    "audio": {
        "creator_url": "creator",
        **dict.fromkeys(("filetype", "filesize", "duration", "bit_rate", "sample_rate"), "url"),
        **dict.fromkeys(("audio_set", "set_position"), "audio_set_foreign_identifier"),
    },
}

# The address that is stored with https comes with http. The stored one stays: that a host has https was seen,
# that it has not may only mean that it was away when it was asked. So addresses do not change to and fro.
_LESS_SECURE = "(starts_with(new.{c}, 'http:') and old.{c} = 'https' || substr(new.{c}, 5))"

_MERGED: dict[Merge, LiteralString] = {
    "newest": "coalesce(new.{c}, old.{c})",
    "address": "coalesce(new.{c}, old.{c})",
    "object": "merged_object(old.{c}, new.{c})",
    "tags": "merged_tags(old.{c}, new.{c}, old.provider)",
    "elements": "merged_elements(old.{c}, new.{c})",
    # An adopted catalog may hold an array of arrays: flatten it, so that it can be merged with a list.
    "names": (
        "merged_names(case when array_ndims(old.{c}) > 1"
        " then array(select unnest(old.{c})) else old.{c} end, new.{c})"
    ),
}
# The cheap test comes first: most rows of a reload are exactly as stored, so nothing needs to be merged.
_DIFFERS: dict[Merge, LiteralString] = {
    "newest": "coalesce(new.{c}, old.{c}) is distinct from old.{c}",
    "address": f"(coalesce(new.{{c}}, old.{{c}}) is distinct from old.{{c}} and {_LESS_SECURE} is not true)",
    "object": (
        "(new.{c} is distinct from old.{c} and merged_object(old.{c}, new.{c}) is distinct from old.{c})"
    ),
    "tags": (
        "(new.{c} is distinct from old.{c}"
        " and not same_elements(merged_tags(old.{c}, new.{c}, old.provider), old.{c}))"
    ),
    # The merged array keeps the order of the stored one, so the two are compared as they are.
    "elements": (
        "(new.{c} is distinct from old.{c} and merged_elements(old.{c}, new.{c}) is distinct from old.{c})"
    ),
    "names": f"(new.{{c}} is distinct from old.{{c}} and not same_names({_MERGED['names']}, old.{{c}}))",
}
_INSERTED: dict[Merge, LiteralString] = {
    "object": "merged_object(null, new.{c})",
    "tags": "case when jsonb_typeof(new.{c}) = 'array' then new.{c} end",
    "elements": "merged_elements(null, new.{c})",  # merges elements of one record that have the same key
}


def same_file(one: sql.Composable, other: sql.Composable) -> sql.Composed:
    """Return the condition that two URLs are about the same file: at most their scheme differs.

    With "or", the expressions are no key of a hash join, which each row would compute.
    """
    return sql.SQL(
        "({one} = {other} or regexp_replace({one}, '^https?:', '') = regexp_replace({other}, '^https?:', ''))"
    ).format(one=one, other=other)


class Column(msgspec.Struct, frozen=True):
    """A column of a TSV part.

    Attributes:
        name: Its name.
        merge: How a stored value and a new one are merged.
        describes: The column whose value it describes, if any.
    """

    name: str
    merge: Merge
    describes: str | None = None

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.name)

    def merged(self) -> sql.Composed:
        """Return the value that an update stores, from rows `old` and `new`."""
        merged = sql.SQL(_MERGED[self.merge]).format(c=self.identifier)
        if self.describes is not None:
            merged = sql.SQL("case when {stays} then {merged} else {inserted} end").format(
                stays=_stays(self.describes), merged=merged, inserted=self.inserted()
            )
        if self.merge == "address":
            merged = sql.SQL(f"case when {_LESS_SECURE} then old.{{c}} else {{merged}} end").format(
                c=self.identifier, merged=merged
            )
        return merged

    def differs(self) -> sql.Composed:
        """Return the condition that an update would change the value; arrays are compared as sets.

        If what the column describes does not stay, the row is changed anyway, so it is not looked at here.
        """
        return sql.SQL(_DIFFERS[self.merge]).format(c=self.identifier)

    def inserted(self) -> sql.Composed:
        """Return the value that an insert stores."""
        return sql.SQL(_INSERTED.get(self.merge, "new.{c}")).format(c=self.identifier)


def _stays(described: str) -> sql.Composed:
    """Return the condition that an update leaves a described value as it is."""
    old, new = sql.Identifier("old", described), sql.Identifier("new", described)
    if described == "url":
        return same_file(old, new)
    return sql.SQL("({new} is null or {new} is not distinct from {old})").format(old=old, new=new)


def columns(media_type: MediaType) -> list[Column]:
    """Return the columns of a TSV part, in its order."""
    described = _DESCRIBED[media_type]
    return [Column(name, _MERGES.get(name, "newest"), described.get(name)) for name in COLUMNS[media_type]]


def updated(media_type: MediaType) -> list[Column]:
    """Return the columns that an update may change: all but the key."""
    return [c for c in columns(media_type) if c.name not in _KEY]
