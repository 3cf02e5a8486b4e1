"""Catalog databases of older generations, built from what is known of their schemas, with irregular rows.

    python -m catalog.tests.database.generations postgresql://… "mid 2023" 500000

fills an empty database, for a manual test of an adoption.
"""

import sys

import psycopg

GENERATIONS = (
    "before December 2021",
    "December 2021",
    "2022",
    "mid 2023",
    "autumn 2023",
    "October 2023",
    "December 2023",
    "2024",
)
_MEDIA_COLUMNS = {
    "image": """
        identifier uuid default public.uuid_generate_v4() not null,
        created_on timestamptz not null, updated_on timestamptz not null,
        {deleted_on}
        ingestion_type varchar(80), provider varchar(80), source varchar(80), foreign_identifier {long}(3000),
        foreign_landing_url {long}(1000), url {long}(3000) not null, thumbnail {long}(3000),
        width integer, height integer, filesize integer, license varchar(50) not null,
        license_version varchar(25), creator {long}(2000), creator_url {long}(2000), title {long}(5000),
        meta_data jsonb, tags jsonb, watermarked boolean, last_synced_with_source timestamptz,
        removed_from_source boolean not null, filetype varchar(5), category varchar(80)
    """,
    "audio": """
        identifier uuid default public.uuid_generate_v4() not null,
        created_on timestamptz not null, updated_on timestamptz not null,
        {deleted_on}
        ingestion_type varchar(80), provider varchar(80), source varchar(80), foreign_identifier {long}(3000),
        foreign_landing_url {long}(1000), url {long}(3000) not null, thumbnail {long}(3000),
        filetype varchar(5), duration integer, bit_rate integer, sample_rate integer, category varchar(80),
        genres varchar(80)[], audio_set jsonb, set_position integer, alt_files jsonb, filesize integer,
        license varchar(50) not null, license_version varchar(25), creator {long}(2000),
        creator_url {long}(2000), title {long}(5000), meta_data jsonb, tags jsonb, watermarked boolean,
        last_synced_with_source timestamptz, removed_from_source boolean not null
    """,
}
_METRICS = {
    "image": {
        "flickr": "views",
        "nappy": "downloads",
        "rawpixel": "download_count",
        "stocksnap": "downloads_raw",
        "wikimedia": "global_usage_count",
    },
    "audio": {"jamendo": "listens", "wikimedia_audio": "global_usage_count", "freesound": "num_downloads"},
}
# They read the constants view, later the metrics themselves. Their parameters had other names.
_FUNCTIONS = """
    create function {media}_popularity_percentile(provider_name text, field text, p float) returns float as $$
        select percentile_disc(p) within group (order by (meta_data ->> field)::float) from public.{media}
          where provider = provider_name
    $$ language sql stable returns null on null input;
    create function standardized_{media}_popularity(provider_name text, meta jsonb) returns float as $$
        select (meta ->> metric)::float / ((meta ->> metric)::float + constant) from public.{constants}
          where provider = provider_name
    $$ language sql stable returns null on null input;
"""
_VIEWS_OF_MEDIA = """
    create materialized view {media}_popularity_constants as
    select provider, metric, percentile, v as val,
           (1 - percentile) / percentile * coalesce(nullif(v, 0), 1) as constant
      from (select *, {media}_popularity_percentile(provider, metric, percentile) as v
              from {media}_popularity_metrics) m
     where v is not null;
    create unique index on {media}_popularity_constants (provider, metric);
    {functions}
    create materialized view {media}_view as
    select *, standardized_{media}_popularity(provider, meta_data) as standardized_popularity {set_key}
      from {media};
    create unique index on {media}_view (identifier);
    create unique index on {media}_view (provider, md5(foreign_identifier));
"""
_SET_VIEW = """
    create view audioset_view as
    select distinct on (set_id, provider)
           set_id::{long}(1000) as foreign_identifier, (audio_set ->> 'title')::{long}(2000) as title,
           (audio_set ->> 'foreign_landing_url')::{long}(1000) as foreign_landing_url,
           (audio_set ->> 'creator')::{long}(2000) as creator,
           (audio_set ->> 'creator_url')::{long}(2000) as creator_url,
           (audio_set ->> 'url')::{long}(1000) as url,
           (audio_set ->> 'filesize')::integer as filesize,
           (audio_set ->> 'filetype')::varchar(80) as filetype,
           (audio_set ->> 'thumbnail')::{long}(1000) as thumbnail, provider
      from (select {set_key} as set_id, * from {source}) a
     where set_id is not null and audio_set is not null
     order by set_id, provider {newest}
"""


def make(connection: psycopg.Connection, generation: str) -> None:
    """Create the schema of a generation in an empty database."""
    n = GENERATIONS.index(generation)
    # What uuid-ossp gave them; the extension itself is not at hand everywhere.
    connection.execute(
        "create function public.uuid_generate_v4() returns uuid language sql volatile "
        "as 'select pg_catalog.gen_random_uuid()'"
    )
    for media in ("image", "audio"):
        for statement in _media(media, n):
            connection.execute(_typed(statement, n))
    in_audio = n >= 4
    key = "audio_set_foreign_identifier" if n >= 2 else "audio_set ->> 'foreign_identifier'"
    view = _SET_VIEW.replace("{source}", "audio" if n >= 3 else "audio_view").replace(
        "{set_key}", key if in_audio or n == 2 else "audio_set ->> 'foreign_identifier'"
    )
    connection.execute(_typed(view.replace("{newest}", ", updated_on desc" if n >= 2 else ""), n))


def _typed(statement: str, n: int) -> str:
    """Return the type with its width if it is varchar, and without if it is text."""
    if n < 7:
        return statement.replace("{long}", "varchar")
    for width in (1000, 2000, 3000, 5000):
        statement = statement.replace(f"{{long}}({width})", "text")
    return statement


def _media(media: str, n: int) -> list[str]:
    added = ", standardized_popularity float" if n >= 3 else ""
    if media == "audio" and n >= 4:
        added += ", audio_set_foreign_identifier {long}(1000)"
    columns = _MEDIA_COLUMNS[media]
    table = (
        f"create table {media} ({columns.replace('{deleted_on}', '')} {added}, "
        f"constraint {media}_pkey primary key (identifier))"
    )
    found = [
        table,
        f"create unique index {media}_provider_fid_idx on {media} (provider, md5(foreign_identifier))",
    ]
    if n >= 1:
        found += [
            f"create unique index {media}_identifier_key on {media} (identifier)",
            f"create unique index {media}_url_key on {media} (url)",
        ]
    found.append(
        f"create table {media}_popularity_metrics (provider varchar(80) primary key, metric varchar(80), "
        "percentile float"
        + (", val float, constant float" if n >= 3 else "")
        + (", raw_val float" if n == 3 else "")
        + ")"
    )
    metrics = dict(_METRICS[media])
    if media == "audio" and n >= 6:
        metrics["ccmixter"] = "upload_num_scores"
    values = ", ".join(f"('{provider}', '{metric}', 0.85)" for provider, metric in metrics.items())
    found.append(f"insert into {media}_popularity_metrics (provider, metric, percentile) values {values}")
    if n >= 3:
        found.append(
            f"update {media}_popularity_metrics set val = 40, constant = 7.0588 "
            "where provider in ('flickr', 'jamendo')"
        )
    return [*found, *_popularity(media, n), *_deleted(media, n)]


def _popularity(media: str, n: int) -> list[str]:
    constants = f"{media}_popularity_constants" if n < 3 else f"{media}_popularity_metrics"
    functions = _FUNCTIONS.replace("{media}", media).replace("{constants}", constants)
    if n >= 3:
        return [functions]
    percentile, score = functions.split("create function standardized_")
    set_key = (
        ", audio_set ->> 'foreign_identifier' as audio_set_foreign_identifier"
        if media == "audio" and n == 2
        else ""
    )
    views = _VIEWS_OF_MEDIA.replace("{media}", media).replace("{set_key}", set_key)
    return [percentile, views.replace("{functions}", f"create function standardized_{score}")]


def _deleted(media: str, n: int) -> list[str]:
    if n < 5:
        return []
    if n == 5:  # all columns were spelled out, and some of them were to be there always
        columns = _MEDIA_COLUMNS[media].replace("{deleted_on}", "deleted_on timestamptz not null,")
        columns = columns.replace("provider varchar(80)", "provider varchar(80) not null", 1)
        return [
            f"create table deleted_{media} ({columns}, deleted_reason varchar(80), primary key (identifier))"
        ]
    return [
        (
            f"create table deleted_{media} (like {media}, deleted_on timestamptz not null, "
            "deleted_reason varchar(80))"
        ),
        (
            f"create unique index deleted_{media}_provider_fid_idx on deleted_{media} "
            "(provider, md5(foreign_identifier))"
        ),
        f"create unique index deleted_{media}_identifier_key on deleted_{media} (identifier)",
    ]


# Values that are taken in turn; each list has a length of its own, so they meet in many ways.
_META = (
    '{"views": "12", "license_url": "https://creativecommons.org/licenses/by/4.0/"}',
    "null",
    "[]",
    '"text"',
    "7",
    '[null, {"views": "3"}, {"b": 2}]',
    '["text", {"a": 1}]',
    '{"views": "many"}',
    '{"views": "-4", "listens": "0"}',
    "{}",
    '{"views": 1e400, "description": ["no text"], "mature": "False"}',
    '{"views": {"a": null}, "authority_boost": "NaN"}',
    None,
)
_TAGS = (
    '[{"name": "a", "provider": "flickr"}, {"name": "a", "provider": "clarifai", "accuracy": 0.95}]',
    "null",
    "[]",
    '"tag"',
    "5",
    '{"name": "alone", "provider": "smk"}',
    '[null, 3, "bare", [], {}, {"name": null}, {"name": "b", "accuracy": "0.91"}]',
    None,
    '{"tags": []}',
    '[{"name": "\\u202e \\u0001", "provider": 5, "accuracy": {}}]',
    "false",
)
_SETS = (
    (
        '{"foreign_identifier": "set<set>", "title": "Set <set>", "url": "https://example.org/set<set>", '
        '"filesize": "12"}'
    ),
    None,
    "null",
    "[]",
    '"album"',
    '{"foreign_identifier": null}',
    '{"foreign_identifier": <set>}',
    '{"foreign_identifier": {"a": 1}}',
    '{"title": "without"}',
    '{"foreign_identifier": ""}',
    '[{"foreign_identifier": "in a list"}]',
    "7",
)
_FILES = (
    '[{"url": "https://example.org/f<n>.ogg", "filetype": "ogg"}]',
    "null",
    "{}",
    '{"url": "https://example.org/alone<n>"}',
    '"x"',
    '[null, "x", {"url": null}]',
    "7",
    None,
)


def _in_turn(values: tuple[str | None, ...], cast: str = "") -> str:
    """Return an SQL expression that cycles through the values by row number."""
    written = ", ".join("null" if v is None else f"'{v}'" for v in values)
    written = written.replace("<set>", "' || n / 40 || '").replace("<n>", "' || n || '")
    return f"(array[{written}]::text[])[1 + n % {len(values)}]{cast}"


def fill(connection: psycopg.Connection, media: str, rows: int) -> None:
    """Insert rows, most of them irregular.

    They have random or missing keys, JSON of other types, upper case, maximum widths, or infinite dates.
    """
    providers = (
        ("flickr", "flickr", "smk", "stocksnap", "Flickr", "", "500px", None, "wikimedia")
        if media == "image"
        else ("jamendo", "jamendo", "freesound", None, "wikimedia_audio", "Jamendo", "ccmixter")
    )
    values = {
        "identifier": "gen_random_uuid()",
        "created_on": "case n % 501 when 7 then '-infinity'::timestamptz else "
        "timestamptz '2020-01-01' + n * interval '1 minute' end",
        "updated_on": "case n % 503 when 9 then 'infinity'::timestamptz else "
        "timestamptz '2021-01-01' + n * interval '1 minute' end",
        "ingestion_type": _in_turn(("provider_api", "commoncrawl", None, "sql_bulk_load")),
        "provider": _in_turn(providers),
        "source": _in_turn(("flickr", None, "SMK")),
        "foreign_identifier": "case when n % 97 = 5 then null "
        "when n % 401 = 3 then rpad('id' || n || '-', 3000, 'x') else 'id' || n end",
        "foreign_landing_url": "case when n % 83 = 4 then null else 'https://example.org/page/' || n end",
        "url": "case when n % 407 = 3 then rpad('https://example.org/' || n || '/', 2500, md5(n::text)) "
        "else 'HTTPS://Example.org/file ' || n || '.JPG' end",
        "thumbnail": _in_turn((None, "", "no url", "https://example.org/t.jpg")),
        "filesize": _in_turn((None, "0", "-1", "2147483647"), "::integer"),
        "license": _in_turn(("by", "BY", "by-nc-sa", "", "no such license", "cc0")),
        "license_version": _in_turn(("4.0", "2.0", None, "N/A", "", "9.9")),
        "creator": "case when n % 211 = 1 then repeat('é', 2000) when n % 5 = 0 "
        "then null else 'Creator \"' || n % 50 || '\"' end",
        "creator_url": _in_turn((None, "javascript:alert(1)", "https://example.org/creator")),
        "title": "case when n % 223 = 1 then repeat('t', 5000) when n % 7 = 0 "
        "then null else E'Title\\t' || n || chr(1) || U&'\\202E' end",
        "meta_data": _in_turn(_META, "::jsonb"),
        "tags": _in_turn(_TAGS, "::jsonb"),
        "watermarked": _in_turn((None, "t", "f"), "::boolean"),
        "last_synced_with_source": "case when n % 3 = 0 then null else timestamptz '2021-06-01' end",
        "removed_from_source": "n % 31 = 0",
        "filetype": _in_turn((None, "JPG", "jpeg", "", "Jpeg")),
        "category": _in_turn((None, "photograph", "Music", "no such category")),
    }
    if media == "image":
        values |= {
            "width": _in_turn((None, "0", "-5", "2147483647", "640"), "::integer"),
            "height": _in_turn((None, "0", "480", "2147483647"), "::integer"),
        }
    else:
        values |= {
            "duration": _in_turn((None, "0", "-5", "2147483647"), "::integer"),
            "genres": _in_turn(
                (None, "{}", "{NULL,rock}", '{{"a","b"},{"c","d"}}', "{Rock,rock,rock}"), "::varchar(80)[]"
            ),
            "audio_set": _in_turn(_SETS, "::jsonb"),
            "set_position": _in_turn((None, "-1", "0"), "::integer"),
            "alt_files": _in_turn(_FILES, "::jsonb"),
        }
    there = [
        name
        for (name,) in connection.execute(
            "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0", [media]
        )
    ]
    if "standardized_popularity" in there:
        values["standardized_popularity"] = _in_turn(
            (None, "0.5", "1.5", "NaN", "-1", "Infinity", "0"), "::float"
        )
    if "audio_set_foreign_identifier" in there:  # some rows were not filled when the column came
        values["audio_set_foreign_identifier"] = "case when n % 2 = 0 then 'set' || n / 40 end"
    connection.execute(
        f"insert into {media} ({', '.join(values)}) select {', '.join(values.values())} "
        f"from generate_series(1, {rows}) n"
    )
    connection.execute(f"analyze {media}")
    if connection.execute("select to_regclass(%s) is not null", [f"deleted_{media}"]).fetchone() == (True,):
        connection.execute(
            f"insert into deleted_{media} ({_known(connection, media)}, deleted_on, deleted_reason) "
            f"select {_known(connection, media)}, now(), "
            f"case when identifier::text < '8' then 'dead link' end from {media} "
            f"where provider is not null order by identifier limit {max(1, rows // 20)}"
        )
        connection.execute(f"delete from {media} m using deleted_{media} d where d.identifier = m.identifier")


def _known(connection: psycopg.Connection, media: str) -> str:
    """Return the columns that both tables have."""
    found = connection.execute(
        "select m.attname from pg_attribute m join pg_attribute d on d.attname = m.attname "
        "where m.attrelid = %s::regclass "
        "and d.attrelid = %s::regclass and m.attnum > 0 and d.attnum > 0 order by m.attnum",
        [media, f"deleted_{media}"],
    )
    return ", ".join(name for (name,) in found)


def clutter(connection: psycopg.Connection) -> None:
    """Add objects of other tools and of an operator, none of which an adoption may change."""
    connection.execute("""
        create unlogged table load_image_20230101_flickr (like image);
        create table fix_titles_rows_to_update (row_id bigint, identifier uuid);
        create table old_image (like image);
        create schema aws_s3;
        create function aws_s3.table_import_from_s3(text, text, text, text, text,
          text) returns int language sql as 'select 1';
        create table their_notes (id int primary key, note text);
        create view their_view as select id, note from their_notes;
        create view their_images as select identifier, provider, category from image;
        create index their_source_idx on image (source);
        create function their_function() returns trigger language plpgsql as 'begin return new; end';
        create trigger their_trigger before update on image for each row execute function their_function();
        create type their_mood as enum ('good', 'bad');
        alter table image add column their_column their_mood default 'good';
        insert into image_popularity_metrics (provider, metric, percentile)
          values ('their_provider', 'likes', 0.5);
    """)


if __name__ == "__main__":
    dsn, generation, rows = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with psycopg.connect(dsn, autocommit=True) as connection:
        make(connection, generation)
        fill(connection, "image", rows)
        fill(connection, "audio", max(1, rows // 10))
        clutter(connection)
