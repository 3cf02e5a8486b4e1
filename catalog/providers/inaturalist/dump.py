"""Begins and ends a load of iNaturalist's open-data dump, and checks that the dump is whole.

Every step can be repeated, and resumes what an earlier attempt began.

Layout of the files: https://github.com/inaturalist/inaturalist-open-data/tree/documentation/Metadata
"""

from pathlib import Path

from upath import UPath

from catalog.core.dates import utc
from catalog.core.errors import Fatal
from catalog.core.session import Connection
from catalog.core.sql_files import read_sql
from catalog.ingestion.completeness import accepting
from catalog.provider_api import PDM, License, license_from_pair
from catalog.providers.inaturalist.dump_files import token
from catalog.providers.inaturalist.photo_batches import batches_of_whole_load
from catalog.providers.inaturalist.progress import LOADED, difference, note_checked, require

# Share of the last whole load's photos that a dump must hold, and share of its photos that must be usable.
MIN_SHARE = 0.5
SAMPLE = 10_000  # photos, to estimate how many are usable
_CODES = ("CC-BY-NC-SA", "CC-BY-NC", "CC-BY-NC-ND", "CC-BY", "CC-BY-SA", "CC-BY-ND", "CC0", "PD")


def is_loaded(connection: Connection, token: str) -> bool:
    """Return whether this dump is the one that was loaded last."""
    with connection.transaction():
        return bool(
            connection.execute(
                "select 1 from source_dump where provider = 'inaturalist' and token = %s", [token]
            ).fetchone()
        )


def prepare(connection: Connection, token: str) -> None:
    """Create empty tables for the dump; keep those of an earlier attempt that hold what it loaded of it."""
    with connection.transaction():
        if difference(connection, token, counted=True) is None:
            return
        connection.execute("drop schema if exists inaturalist cascade")
        connection.execute(read_sql(Path(__file__).with_name("tables.sql")))
        connection.execute("insert into inaturalist.dump values (%s)", [token])
        rows = [(code, found.slug, found.version, found.url) for code in _CODES if (found := _license(code))]
        connection.cursor().executemany("insert into inaturalist.licenses values (%s, %s, %s, %s)", rows)


def _license(code: str) -> License | None:
    return (
        PDM
        if code == "PD"
        else license_from_pair(code.lower().removeprefix("cc-"), "1.0" if code == "CC0" else "4.0")
    )


def check(
    connection: Connection,
    root: UPath,
    prepared: str,
    run: tuple[str, str],
    *,
    replayed: bool = False,
    accept: bool = False,
) -> list[str]:
    """Check whether the dump is whole, after its files were loaded and taxa were named.

    Args:
        connection: Connection to the catalog database.
        root: The folder of the dump.
        prepared: Token of the dump that the run has prepared.
        run: Ids of DAG and run.
        replayed: The dump is a recording; it is compared with recordings instead of real dumps.
        accept: Accept a shortfall.

    Returns:
        Descriptions of what is missing; empty for a whole dump.

    Raises:
        Fatal: Something is missing and not accepted, the files changed while they were read, or the tables
            do not hold what was loaded.
    """
    if token(root) != prepared:
        raise Fatal(f"the dump at {root} has changed while it was read; clear all tasks of the run.")
    with connection.transaction():
        require(connection, prepared, LOADED, counted=True)
        problems = [text for text in (_shrunk(connection, run, replayed), _unusable(connection)) if text]
        note_checked(connection, accept or not problems)
    if problems and not accept:
        raise Fatal(
            f"the dump is NOT WHOLE, and nothing of it was loaded: {'; '.join(problems)}. {accepting()}"
        )
    return problems


def _shrunk(connection: Connection, run: tuple[str, str], replayed: bool) -> str | None:
    """Describe a dump with far fewer photos than this DAG's last whole load; return None otherwise."""
    last = connection.execute(
        """
        select sum(fetched)::bigint, max(finished_on) from ingestion_report
         where dag_id = %s and run_id <> %s and replayed = %s
         group by run_id, manifest_token having bool_and(complete and whole)
         order by max(finished_on) desc limit 1
        """,
        [*run, replayed],
    ).fetchone()
    photos = _photos(connection)
    if last is None or photos >= MIN_SHARE * last[0]:
        return None
    return (
        f"it holds {photos:,} photos, and the last whole one, "
        f"loaded on {utc(last[1]):%Y-%m-%d}, held {last[0]:,}"
    )


def _unusable(connection: Connection) -> str | None:
    """Describe a dump most of whose photos lack an observation, taxon or observer; return None otherwise."""
    step = max(1, _photos(connection) // SAMPLE)
    found = connection.execute(read_sql(Path(__file__).with_name("usable.sql")), {"step": step}).fetchone()
    assert found
    photos, usable = found
    if usable >= MIN_SHARE * photos:
        return None
    return f"only {usable:,} of {photos:,} sampled photos have an observation, a taxon and an observer"


def _photos(connection: Connection) -> int:
    """Return the number of photos that were loaded."""
    row = connection.execute("select rows from inaturalist.loaded where name = 'photos'").fetchone()
    assert row
    return int(row[0])


def finish(connection: Connection, token: str, run: tuple[str, str], *, drop: bool) -> None:
    """Record that the dump was loaded; can be repeated.

    Args:
        connection: To the catalog database.
        token: Token of the dump.
        run: Ids of DAG and run.
        drop: Drop the tables, unless they hold another dump by now.

    Raises:
        Fatal: The run has not loaded all of this dump.
    """
    with connection.transaction():
        if batches_of_whole_load(connection, token, run) is None:
            raise Fatal(
                f"this run has not loaded all of the dump {token}; "
                "clear check_for_file_updates and all tasks after it."
            )
        connection.execute(
            "insert into source_dump values ('inaturalist', %s) "
            "on conflict (provider) do update set token = excluded.token, loaded_on = now()",
            [token],
        )
        if drop and difference(connection, token) is None:
            connection.execute("drop schema inaturalist cascade")
