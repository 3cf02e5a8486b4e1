"""Keys that must be unique for the catalog's statements to work."""

from catalog.database.adoption.inventory import DELETED, MEDIA, METRICS

KEY, URL = ("provider", "md5(foreign_identifier)"), ("url",)
IDENTIFIER, PROVIDER = ("identifier",), ("provider",)
UNIQUE: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    table: tuple((f"{table}_{suffix}", keys) for suffix, keys in wanted)
    for tables, wanted in (
        (DELETED, (("identifier_key", IDENTIFIER), ("provider_fid_idx", KEY))),
        (MEDIA, (("identifier_key", IDENTIFIER), ("provider_fid_idx", KEY), ("url_key", URL))),
        (METRICS, (("provider_key", PROVIDER),)),
    )
    for table in tables
}
"""Table → (name, keys) of its unique indexes. An index of another name with the same keys is sufficient."""


def column_of(key: str) -> str:
    """Return the column that a key reads: `foreign_identifier` for `md5(foreign_identifier)`."""
    return key.removeprefix("md5(").removesuffix(")")
