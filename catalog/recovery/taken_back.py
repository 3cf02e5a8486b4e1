"""Copies records that a restored catalog lacks back from the API database, with their identifiers.

Pulling a provider again gives the same records new identifiers. Links and users' lists refer to the
old identifiers, and the next data refresh would delete those records.
"""

from datetime import datetime, timedelta
from uuid import UUID

from psycopg import sql

from catalog.core.media import MediaType
from catalog.core.queries import database_time
from catalog.core.session import Connection, settle
from catalog.database.deletion import value_of_old_record

_DAY = timedelta(days=1)  # by which the clock that made a key may be ahead of this one
_RENAMED = {"set_position": "audio_set_position"}  # catalog column → API column


def take_back(catalog: Connection, api: Connection, media_type: MediaType, since: datetime) -> int:
    """Copy records from the API database, as they were at the last data refresh; later pulls update them.

    Records that the catalog holds under any key, and records that were deleted, are not copied. Neither are
    those with random identifiers, which do not tell when they were created: they are of an older generation
    of the catalog, from before its adoption.

    Args:
        catalog: Connection to the catalog database, in autocommit.
        api: Connection to the API database, in autocommit.
        media_type: Media type of the records.
        since: Only records whose identifier was created then or later; identifiers of version 7 tell when.

    Returns:
        The number of copied records.
    """
    settle(catalog)
    settle(api)
    shared = _shared(catalog, api, media_type)
    names = {
        "table": sql.Identifier("public", media_type),
        "deleted": sql.Identifier("public", f"deleted_{media_type}"),
        "columns": sql.SQL(", ").join(map(sql.Identifier, shared)),
        "values": sql.SQL(", ").join(value_of_old_record(media_type, name) for name in shared),
        "api_columns": sql.SQL(", ").join(map(sql.Identifier, shared.values())),
        "first": sql.Literal(str(_first_key(since))),
        "end": sql.Literal(str(_first_key(database_time(catalog) + _DAY))),
    }
    with catalog.transaction():
        catalog.execute(
            sql.SQL(
                "create temporary table taken_back on commit drop as"
                " select {columns} from {table} with no data"
            ).format(**names)
        )
        # Between the two keys are hardly any random ones, nearly all of which are greater than both.
        wanted = sql.SQL(
            "copy (select {api_columns} from {table} where identifier >= {first} and identifier < {end}"
            " and get_byte(uuid_send(identifier), 6) >> 4 = 7) to stdout"
        )
        into = sql.SQL("copy taken_back ({columns}) from stdin")
        with (
            api.cursor().copy(wanted.format(**names)) as source,
            catalog.cursor().copy(into.format(**names)) as target,
        ):
            for block in source:
                target.write(block)
        return catalog.execute(
            sql.SQL("""
                insert into {table} ({columns}) select {values} from taken_back t
                 where url is not null
                   and not exists (select from {deleted} d where d.identifier = t.identifier)
                on conflict do nothing
            """).format(**names)
        ).rowcount


def _first_key(moment: datetime) -> UUID:
    """Return the smallest version 7 UUID of a moment."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)


def _shared(catalog: Connection, api: Connection, media_type: MediaType) -> dict[str, str]:
    """Return the columns that both tables have: name in the catalog → name in the API database."""
    own, other = (
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
    named = {name: _RENAMED.get(name, name) for name in own}
    return {name: api_name for name, api_name in named.items() if api_name in other}
