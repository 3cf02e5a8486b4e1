"""The columns of the dataset: names, types, meanings, and how the server sends them.

JSON columns are published as JSON text, because their keys differ by provider, and parsing them would cost
more than everything else. Tags have one form, so they are a nested type.
"""

from typing import Literal, LiteralString, NamedTuple

import pyarrow as pa

from catalog.core.media import MediaType

SCHEMA_VERSION = 1  # of the files; a change that readers notice needs another one
Kind = Literal["text", "number", "decimal", "boolean", "time", "json", "tags", "names"]
TAG = pa.struct([("name", pa.string()), ("provider", pa.string()), ("accuracy", pa.float64())])
TYPES: dict[Kind, pa.DataType] = {
    "text": pa.string(),
    "number": pa.int64(),
    "decimal": pa.float64(),
    "boolean": pa.bool_(),
    "time": pa.timestamp("us", tz="UTC"),
    "json": pa.string(),
    "tags": pa.list_(TAG),
    "names": pa.list_(pa.string()),
}
# Adopted catalogs may contain values without a counterpart in Arrow or Python: infinite times and those
# before year 1 or after 9999, and arrays with several dimensions or another lower bound than 1.
_EXPRESSIONS: dict[Kind, LiteralString] = {
    "text": "{column}::text",
    "number": "{column}::bigint",
    "decimal": "{column}::double precision",
    "boolean": "{column}",
    "time": (
        "case when {column} >= '0001-01-01 00:00+00' and {column} < '10000-01-01 00:00+00' then {column} end"
    ),
    "json": "{column}",
    "tags": "{column}",
    "names": (
        "case when array_ndims({column}) = 1 and array_lower({column}, 1) = 1 then {column}::text[]"
        " when {column} is not null then array(select unnest({column})::text) end"
    ),
}


class Column(NamedTuple):
    """A column of the dataset.

    Attributes:
        name: Its name, also that of the catalog's column.
        kind: Determines its type.
        about: What it contains.
    """

    name: str
    kind: Kind
    about: str

    @property
    def type(self) -> pa.DataType:
        """Type in Arrow and Parquet."""
        return TYPES[self.kind]

    @property
    def expression(self) -> LiteralString:
        """SQL expression of the value, with `{column}` in place of the column's quoted name."""
        return _EXPRESSIONS[self.kind]


_FIRST = (
    Column("identifier", "text", "the record's UUID, the same in every version"),
    Column("provider", "text", "the API that the record comes from"),
    Column("source", "text", "the institution that the provider got it from, or the provider itself"),
    Column("foreign_identifier", "text", "the provider's own identifier; unique within a provider"),
    Column("foreign_landing_url", "text", "the page that shows the work"),
    Column("url", "text", "the media file"),
    Column("thumbnail", "text", "a small image of it"),
    Column("title", "text", "the title, as plain text"),
    Column("creator", "text", "the name of the creator"),
    Column("creator_url", "text", "a page of the creator"),
    Column("license", "text", "short name of the license, such as `by-sa`"),
    Column("license_version", "text", "its version, such as `4.0`"),
    Column("category", "text", "kind of the work, such as `photograph` or `music`"),
    Column("filetype", "text", "extension of the file"),
    Column("filesize", "number", "size of the file in bytes"),
)
_OWN: dict[MediaType, tuple[Column, ...]] = {
    "image": (Column("width", "number", "width in pixels"), Column("height", "number", "height in pixels")),
    "audio": (
        Column("duration", "number", "duration in milliseconds"),
        Column("bit_rate", "number", "bits per second"),
        Column("sample_rate", "number", "samples per second"),
        Column("genres", "names", "names of genres"),
        Column("audio_set_foreign_identifier", "text", "the provider's identifier of the album or set"),
        Column("set_position", "number", "position in it"),
        Column("audio_set", "json", "the album or set, as JSON text"),
        Column("alt_files", "json", "other files of the same recording, as JSON text"),
    ),
}
_LAST = (
    Column("tags", "tags", "tags: name, the provider or machine that gave it, and a machine's confidence"),
    Column("meta_data", "json", "further values of the provider, as JSON text; keys differ by provider"),
    Column("watermarked", "boolean", "whether the file has a watermark"),
    Column("ingestion_type", "text", "how the record came into the catalog"),
    Column("standardized_popularity", "decimal", "popularity within the provider, from 0 to 1"),
    Column("created_on", "time", "when the record came into the catalog"),
    Column("updated_on", "time", "when it was last changed there"),
    Column("last_synced_with_source", "time", "when a pull last changed it"),
)


def columns(media_type: MediaType) -> tuple[Column, ...]:
    """Return the columns of a media type, in the order of the files."""
    return (*_FIRST, *_OWN[media_type], *_LAST)


def schema(media_type: MediaType) -> pa.Schema:
    """Return the Arrow schema of the files of a media type."""
    return pa.schema(
        [pa.field(c.name, c.type, metadata={"description": c.about}) for c in columns(media_type)]
    )
