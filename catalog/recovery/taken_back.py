"""Records that the API's database holds and a restored catalog does not: taken back with their identifiers.

A provider that is pulled again brings the same records, but they would get new keys. Links and people's lists
know a record by its key, and the next data refresh would take the old one for gone.
"""

from datetime import datetime
from uuid import UUID

from psycopg import sql

from catalog.core.media import MediaType
from catalog.core.session import Connection, settle

_RENAMED = {"set_position": "audio_set_position"}  # catalog column → API column


def take_back(catalog: Connection, api: Connection, media_type: MediaType, since: datetime) -> int:
    """Copy records that were first loaded since, as of the last data refresh; pulls update them.

    A record that the catalog has, under any key, stays as it is; so does one that was deleted.

    Args:
        catalog: To the catalog database, in autocommit.
        api: To the API database, in autocommit.
        media_type: Names the tables.
        since: Records whose key was made earlier are not looked at.

    Returns:
        The number of records that came back.
    """
    settle(catalog)
    settle(api)
    shared = _shared(catalog, api, media_type)
    names = {
        "table": sql.Identifier("public", media_type),
        "deleted": sql.Identifier("public", f"deleted_{media_type}"),
        "ours": sql.SQL(", ").join(map(sql.Identifier, shared)),
        "theirs": sql.SQL(", ").join(map(sql.Identifier, shared.values())),
        "first": sql.Literal(str(_first_key(since))),
    }
    with catalog.transaction():
        catalog.execute(
            sql.SQL(
                "create temporary table taken_back on commit drop as select {ours} from {table} with no data"
            ).format(**names)
        )
        wanted = sql.SQL("copy (select {theirs} from {table} where identifier >= {first}) to stdout")
        into = sql.SQL("copy taken_back ({ours}) from stdin")
        with (
            api.cursor().copy(wanted.format(**names)) as source,
            catalog.cursor().copy(into.format(**names)) as target,
        ):
            for block in source:
                target.write(block)
        return catalog.execute(
            sql.SQL("""
                insert into {table} ({ours}) select {ours} from taken_back t
                 where url is not null
                   and not exists (select from {deleted} d where d.identifier = t.identifier)
                on conflict do nothing
            """).format(**names)
        ).rowcount


def _first_key(moment: datetime) -> UUID:
    """Return the smallest UUID version 7 of a moment."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)


def _shared(catalog: Connection, api: Connection, media_type: MediaType) -> dict[str, str]:
    """Columns of the catalog's table that the API's has, too → their names there."""
    ours, theirs = (
        [
            name
            for (name,) in connection.execute(
                "select attname from pg_attribute"
                " where attrelid = %s::regclass and attnum > 0 and not attisdropped"
                " and attgenerated = '' order by attnum",
                [f"public.{media_type}"],
            )
        ]
        for connection in (catalog, api)
    )
    named = {name: _RENAMED.get(name, name) for name in ours}
    return {name: other for name, other in named.items() if other in theirs}
