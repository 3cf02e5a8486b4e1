"""Made-up rows of the media tables, and a helper that kills programs that work on them."""

import os
import subprocess
import sys
import threading

from catalog.tests.values import present

IMAGES = """
    insert into image (identifier, created_on, updated_on, provider, source, foreign_identifier,
                       foreign_landing_url, url, thumbnail, license, license_version, title, meta_data, tags,
                       removed_from_source)
    select time_ordered_uuid(), now(), '2024-01-01', provider, provider, provider || n,
           'https://example.org/' || provider || n, 'https://example.org/' || provider || n || '.jpg',
           'https://example.org/t' || n, 'by', '4.0', 'Title ' || n,
           jsonb_build_object('views', n::text), '[{{"name": "made up"}}]', false
      from generate_series(1, {rows}) n cross join unnest(array[{providers}]) provider
"""


def fill(connection, rows=1000, providers=("flickr", "smk")):
    """Insert this number of images per provider."""
    names = ", ".join(f"'{p}'" for p in providers)
    connection.execute(IMAGES.format(rows=rows, providers=names))
    connection.execute("analyze image")


def count_updates(connection):
    """Create a trigger that logs each update of a row in the table `touched`."""
    connection.execute("""
        create table touched (identifier uuid, at timestamptz default clock_timestamp());
        create function note_update() returns trigger language plpgsql as
            $$ begin insert into touched (identifier) values (new.identifier); return new; end $$;
        create trigger note_update after update on image for each row execute function note_update();
    """)


def suppress(connection, *identifiers):
    """Create a trigger, as an adopter may have one, that leaves these images as they are."""
    names = ", ".join(f"'{name}'" for name in identifiers)
    connection.execute(f"""
        create function keep() returns trigger language plpgsql as $$ begin return null; end $$;
        create trigger keep before update or delete on image for each row
            when (old.foreign_identifier in ({names})) execute function keep();
    """)


def change_back(connection, body, event="update"):
    """Create a trigger, as an adopter may have one, before changes of images; it ends with `return new`."""
    connection.execute(f"""
        create function theirs() returns trigger language plpgsql as $$ begin {body} return new; end $$;
        create trigger theirs before {event} on image for each row execute function theirs();
    """)


def change_back_after(connection):
    """Create a trigger, as an adopter may have one, that sets the title of an updated image back."""
    connection.execute("""
        create function after_it() returns trigger language plpgsql as $$ begin
            if pg_trigger_depth() = 1 then
                update image set title = old.title where identifier = new.identifier;
            end if;
            return null;
        end $$;
        create trigger after_it after update on image for each row execute function after_it();
    """)


def killed_until_done(source, dsn, how, each=lambda: None, most=200):
    """Run a program repeatedly, and kill it later each time, until it completes.

    Args:
        source: Source of the program; it prints a line when it starts to work, and `done` at the end.
        dsn: Its only argument.
        how: The signal.
        each: Called after every attempt.
        most: Maximum number of attempts.

    Returns:
        How often the program was stopped.
    """
    stopped = 0
    while True:
        with subprocess.Popen(
            [sys.executable, "-c", source, dsn], stdout=subprocess.PIPE, text=True, env={**os.environ}
        ) as worker:
            output = present(worker.stdout)
            output.readline()
            timer = threading.Timer(0.02 + 0.014 * stopped, lambda w=worker: w.send_signal(how))
            timer.start()
            finished = "done" in output.read()
            timer.cancel()
        each()
        if finished:
            return stopped
        stopped += 1
        assert stopped < most
