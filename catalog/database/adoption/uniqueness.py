"""What must be unique, or our statements go wrong."""

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
"""Of each table the unique indexes that our statements rely on, by name; an index of another name with these keys does as well."""
