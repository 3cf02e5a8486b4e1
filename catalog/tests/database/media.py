"""Rows of the media tables, made up, and killing what works on them, for the tests of this folder."""

import os
import subprocess
import sys
import threading

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


def killed_until_done(source, dsn, how, each=lambda: None, most=200):
    """Runs a program again and again, with a signal at ever later moments after it said that it is at work, until it says that it is done.

    each: called after every try. Returns how often it was stopped.
    """
    stopped = 0
    while True:
        with subprocess.Popen(
            [sys.executable, "-c", source, dsn], stdout=subprocess.PIPE, text=True, env={**os.environ}
        ) as worker:
            worker.stdout.readline()
            timer = threading.Timer(0.02 + 0.014 * stopped, lambda w=worker: w.send_signal(how))
            timer.start()
            finished = "done" in worker.stdout.read()
            timer.cancel()
        each()
        if finished:
            return stopped
        stopped += 1
        assert stopped < most
