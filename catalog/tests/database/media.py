"""Rows of the media tables, made up, for the tests of this folder."""

IMAGES = """
    insert into image (identifier, created_on, updated_on, provider, source, foreign_identifier, foreign_landing_url, url, thumbnail,
                       license, license_version, title, meta_data, tags, removed_from_source)
    select time_ordered_uuid(), now(), '2024-01-01', provider, provider, provider || n, 'https://example.org/' || provider || n,
           'https://example.org/' || provider || n || '.jpg', 'https://example.org/t' || n, 'by', '4.0', 'Title ' || n,
           jsonb_build_object('views', n::text), '[{{"name": "made up"}}]', false
      from generate_series(1, {rows}) n cross join unnest(array[{providers}]) provider
"""


def fill(connection, rows=1000, providers=("flickr", "smk")):
    """So many images of each provider."""
    names = ", ".join(f"'{p}'" for p in providers)
    connection.execute(IMAGES.format(rows=rows, providers=names))
    connection.execute("analyze image")


def count_updates(connection):
    """A trigger that counts how often each row is updated, in the table `touched`."""
    connection.execute("""
        create table touched (identifier uuid, at timestamptz default clock_timestamp());
        create function note_update() returns trigger language plpgsql as
            $$ begin insert into touched (identifier) values (new.identifier); return new; end $$;
        create trigger note_update after update on image for each row execute function note_update();
    """)
