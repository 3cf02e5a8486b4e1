"""Generates media for a catalog or an API database; the same seed gives the same media."""

from pathlib import Path
from typing import LiteralString

from psycopg import sql

from catalog.core.session import Connection
from catalog.core.sql_files import read_sql
from catalog.database.revision import Which

BATCH = 50_000
LISTS = 3  # in the API database, of up to a hundred media each
_COMMON: LiteralString = """
    md5({seed} || {table} || n)::uuid as identifier,
    timestamptz '2020-01-01' + mod(n, 1500) * interval '1 day' as created_on,
    timestamptz '2024-06-01' as updated_on,
    timestamptz '2024-06-01' as last_synced_with_source,
    'provider_api' as ingestion_type,
    provider,
    provider as source,
    provider || '-' || {seed} || '-' || n as foreign_identifier,
    site || 'media/' || {seed} || '/' || n as foreign_landing_url,
    site || {seed} || '/' || n || {suffix} as url,
    site || 't/' || n as thumbnail,
    (1000 + pg_temp.pick(n, 10, 9000000))::integer as filesize,
    (array['by', 'by-sa', 'cc0', 'by-nc'])[1 + mod(n, 4)] as license,
    case when mod(n, 4) = 2 then '1.0' else '4.0' end as license_version,
    initcap(pg_temp.word(n, 11) || ' ' || pg_temp.word(n, 12)) as creator,
    site || 'people/' || mod(n, 997) as creator_url,
    case when n <> 10 then
        initcap(pg_temp.word(n, 13)) || ' ' || pg_temp.word(n, 14) || ' ' || pg_temp.word(n, 15) end as title,
    case when n < 10 then odd_meta else jsonb_strip_nulls(jsonb_build_object(
        'views', pg_temp.pick(n, 2, 100000),
        'license_url', 'https://creativecommons.org/licenses/by/4.0/',
        'description', description
    )) end as meta_data,
    case when n < 10 then odd_tags else pool_tags end as tags,
    false as watermarked,
    n = 11 as removed_from_source,
    case n when 12 then 0 when 13 then 1 when 14 then 1.7 when 15 then null
           else pg_temp.pick(n, 16, 1000) / 1000.0 end::double precision as standardized_popularity,
"""
_IMAGE: LiteralString = """
    case when n <> 16 then 200 + pg_temp.pick(n, 20, 4000) end::integer as width,
    (200 + pg_temp.pick(n, 21, 3000))::integer as height,
    (array['jpg', 'png', 'svg'])[1 + mod(n, 3)] as filetype,
    (array['photograph', 'illustration', null])[1 + mod(n, 3)] as category
"""
_AUDIO: LiteralString = """
    case n when 17 then 0 when 18 then null else 5000 + pg_temp.pick(n, 22, 900000) end::integer as duration,
    320000 as bit_rate,
    44100 as sample_rate,
    array[pg_temp.word(n, 23)]::varchar(80)[] as genres,
    'mp3' as filetype,
    (array['music', 'sound_effect', null])[1 + mod(n, 3)] as category,
    case when mod(n, 5) = 0 then
        jsonb_build_array(
            jsonb_build_object('url', site || {seed} || '/' || n || '.ogg', 'filetype', 'ogg')
        ) end as alt_files,
    case when mod(n, 2) = 0 then 'set-' || n / 20 end as audio_set_foreign_identifier,
    case when mod(n, 2) = 0 then mod(n, 20) end::integer as set_position,
    case when mod(n, 2) = 0 then mod(n, 20) end::integer as audio_set_position,
    case when mod(n, 2) = 0 then
        jsonb_build_object(
            'title', 'Set ' || n / 20, 'url', site || 'sets/' || {seed} || '/' || n / 20) end as audio_set
"""
_MEDIA: LiteralString = """
    select {fields}
      from (select n, provider, 'https://' || provider || '.example.org/' as site,
                   o.tags as odd_tags, o.meta_data as odd_meta, p.tags as pool_tags, p.description
              from (select n, (array[{providers}])[1 + pg_temp.pick(n, 5, {number})] as provider
                      from generate_series(%(first)s::bigint, %(last)s::bigint) n) numbers
              left join oddity o using (n) join pool p on k = pg_temp.pick(n, 6, 5000)) drawn
"""
_PROVIDERS = {
    "image": ("flickr", "stocksnap", "smithsonian_institution", "met", "geograph"),
    "audio": ("jamendo", "freesound", "ccmixter"),
}
_SUFFIX: dict[str, LiteralString] = {
    "image": "case when mod(n, 7) = 0 then '.JPG?size=l' when mod(n, 11) = 0 then '' else '.jpg' end",
    "audio": "'.mp3'",
}
# Rows of tables that only the API has.
_API_ROWS: dict[str, LiteralString] = {
    "audioset": """
        insert into audioset (created_on, updated_on, foreign_identifier, title, url, provider)
        select distinct on (2, 4) now(), now(), audio_set_foreign_identifier,
               'Set of ' || audio_set_foreign_identifier,
               'https://example.org/sets/' || {seed} || '/' || provider || audio_set_foreign_identifier,
               provider
          from audio where audio_set_foreign_identifier is not null on conflict do nothing
    """,
    "nsfw_reports": """
        insert into nsfw_reports (created_at, identifier, reason, status)
        select now(), identifier, (array['mature', 'dmca', 'other'])[1 + id % 3],
               (array['pending_review', 'no_action'])[1 + id % 2]
          from image where id % 211 = 0 and not exists (select from nsfw_reports)
    """,
    "nsfw_reports_audio": """
        insert into nsfw_reports_audio (created_at, identifier, reason, status)
        select now(), identifier, 'other', (array['pending_review', 'no_action'])[1 + id % 2]
          from audio where id % 211 = 0 and not exists (select from nsfw_reports_audio)
    """,
    "api_matureimage": """
        insert into api_matureimage select now(), identifier from image where id % 499 = 20
        on conflict do nothing
    """,
    "api_matureaudio": """
        insert into api_matureaudio select now(), identifier from audio where id % 499 = 20
        on conflict do nothing
    """,
    "api_deletedimage": """
        insert into api_deletedimage
        select now(), now(), md5({seed} || 'gone' || n)::uuid from generate_series(1, 5) n
        on conflict do nothing
    """,
    "api_throttledapplication": """
        insert into api_throttledapplication
               (client_id, client_secret, name, created, updated, rate_limit_model, verified)
        select 'client-' || n, 'made up', 'Application ' || n, now(), now(), 'standard', true
          from generate_series(1, 3) n
        on conflict do nothing
    """,
}


def fill(connection: Connection, which: Which, rows: int, seed: int = 1) -> dict[str, int]:
    """Insert images, a tenth as many audio files, and related rows.

    A record is the same in both kinds of database, so that a data refresh finds it in the API database.

    Args:
        connection: Connection to the database, in autocommit.
        which: Kind of the database.
        rows: Number of images.
        seed: Another seed gives other records.

    Returns:
        The number of added rows by table.
    """
    pools = read_sql(Path(__file__).with_name("sample_rows.sql"))
    connection.execute(sql.SQL(pools).format(seed=sql.Literal(seed)))
    added = {
        table: _fill_media(connection, table, number, seed)
        for table, number in (("image", rows), ("audio", rows // 10))
    }
    if which == "api":
        added |= _fill_api(connection, seed)
    connection.execute("analyze")
    return added


def _fill_media(connection: Connection, table: str, rows: int, seed: int) -> int:
    have = {
        name
        for (name,) in connection.execute(
            "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0", [table]
        )
    }
    names = _PROVIDERS[table]
    media = sql.SQL(_MEDIA).format(
        fields=sql.SQL(_COMMON + (_IMAGE if table == "image" else _AUDIO)).format(
            seed=sql.Literal(seed), table=sql.Literal(table), suffix=sql.SQL(_SUFFIX[table])
        ),
        providers=sql.SQL(", ").join(map(sql.Literal, names)),
        number=len(names),
    )
    shape = connection.execute(media, {"first": 1, "last": 0}).description or []
    statement = sql.SQL(
        "insert into {table} ({columns}) select {columns} from ({media}) media on conflict do nothing"
    ).format(
        table=sql.Identifier(table),
        columns=sql.SQL(", ").join(sql.Identifier(c.name) for c in shape if c.name in have),
        media=media,
    )
    return sum(
        connection.execute(statement, {"first": first, "last": min(first + BATCH - 1, rows)}).rowcount
        for first in range(1, rows + 1, BATCH)
    )


def _fill_api(connection: Connection, seed: int) -> dict[str, int]:
    """Insert audio sets, moderation, lists and applications."""
    _fill_lists(connection)
    return {
        table: connection.execute(sql.SQL(text).format(seed=sql.Literal(str(seed)))).rowcount
        for table, text in _API_ROWS.items()
    }


def _fill_lists(connection: Connection) -> None:
    for media, plural in (("image", "images"), ("audio", "audios")):
        connection.execute(
            sql.SQL("""
            insert into {list} (created_on, updated_on, title, slug, auth)
            select now(), now(), 'List ' || n, 'list-' || n, md5(n::text) from generate_series(1, {lists}) n
            on conflict do nothing
        """).format(list=sql.Identifier(f"{media}list"), lists=sql.Literal(LISTS))
        )
        connection.execute(
            sql.SQL("""
            insert into {through} ({list_id}, {media_id})
            select l.id, m.id
              from {list} l
             cross join lateral (
                select id from {media} where id % {lists} = l.id % {lists} order by id limit 100) m
            on conflict do nothing
        """).format(
                through=sql.Identifier(f"{media}list_{plural}"),
                list=sql.Identifier(f"{media}list"),
                media=sql.Identifier(media),
                list_id=sql.Identifier(f"{media}list_id"),
                media_id=sql.Identifier(f"{media}_id"),
                lists=sql.Literal(LISTS),
            )
        )
