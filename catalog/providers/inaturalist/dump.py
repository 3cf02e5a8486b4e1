"""Begins and ends a load of iNaturalist's open-data dump, and checks that the dump is whole.

Every step can be repeated, and resumes what an earlier attempt began.

Layout of the files: https://github.com/inaturalist/inaturalist-open-data/tree/documentation/Metadata
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import msgspec
from psycopg.rows import dict_row
from upath import UPath

from catalog.core.dates import utc
from catalog.core.errors import Fatal
from catalog.core.session import Connection
from catalog.core.sql_files import read_sql
from catalog.database.refusals import Finding, Judge, refuse_all
from catalog.ingestion.completeness import NOTICEABLE, Outcome, unusual
from catalog.loading.history import PULLS
from catalog.provider_api import PDM, License, license_from_pair
from catalog.providers.inaturalist.dump_files import token
from catalog.providers.inaturalist.photo_batches import UNREADABLE, batches_of_whole_load
from catalog.providers.inaturalist.progress import LOADED, difference, note_checked, require
from catalog.providers.inaturalist.provider import INaturalist
from catalog.providers.inaturalist.taxa import forget_names

MIN_SHARE = 0.5  # of the photos of a first dump that must be usable
MAX_NAMELESS = 0.1  # of the photos with a common name in the catalog that may lose it
SAMPLE = 10_000  # photos, to estimate how many are usable and have names
_SEVERAL = "photo of several observations"  # a reason of skips (batch.sql) that no sample can show
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
        connection.execute("insert into inaturalist.dump (token) values (%s)", [token])
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
    judge: Judge = refuse_all,
) -> list[str]:
    """Check whether the dump is whole, after its files were loaded and taxa were named.

    What was reported of one dump is not accepted of another: that may lack more, and nobody has seen it.

    Args:
        connection: Connection to the catalog database.
        root: The folder of the dump.
        prepared: Token of the dump that the run has prepared.
        run: Ids of DAG and run.
        replayed: The dump is a recording; it is compared with recordings instead of real dumps.
        judge: Says whether a shortfall is accepted; it notes what it refuses, so it needs a connection of
            its own.

    Returns:
        Descriptions of what is missing, and is accepted; empty for a whole dump.

    Raises:
        Fatal: Something is missing and not accepted, the files changed while they were read, or the tables
            do not hold what was loaded.
    """
    if token(root) != prepared:
        raise Fatal(f"the dump at {root} has changed while it was read; clear all tasks of the run.")
    with connection.transaction():
        require(connection, prepared, LOADED, counted=True)
        photos, unreadable = _photos(connection)
        sample = _sample(connection, photos)
        before = _whole_loads(connection, prepared, run, replayed)
        outcome = _outcome(sample, photos, unreadable)
        problems, found = unusual(outcome, before, INaturalist.expectations()), []
        if not before and (text := _unusable(sample)):
            problems.append(text)
        if problems:
            usual = max((one.kept for one in before), default=outcome.fetched)
            found.append(Finding("photos", usual, outcome.kept, "; ".join(problems)))
        if nameless := _nameless(sample):
            problems.append(nameless)
            named = sample.named - sample.nameless
            found.append(Finding("names", sample.named, named, nameless, may_be_away=True))
        judged = judge({f"inaturalist, dump {prepared}": found})
        if nameless and judged.refused:
            forget_names(connection)
        note_checked(connection, not judged.refused)
    if judged.refused:
        text = f"the dump is NOT WHOLE, and nothing of it was loaded: {judged.problems}."
        raise Fatal(judged.message(text))
    return problems


class _Sample(msgspec.Struct, frozen=True):
    """What some of the photos say about all of them.

    Attributes:
        photos: Their number.
        skipped: Reason → number of those that would be skipped.
        named: Those that have a common name in the catalog.
        nameless: Those among them that would lose it.
    """

    photos: int
    skipped: dict[str, int]
    named: int
    nameless: int


def _outcome(sample: _Sample, photos: int, unreadable: int) -> Outcome:
    """Estimate the outcome of a load. A file that is cut shows in the reasons of skips."""
    skipped = {reason: round(number * photos / sample.photos) for reason, number in sample.skipped.items()}
    # Unreadable photos will be rejects, but the load of the file has a limit of its own for them.
    return Outcome(photos + unreadable, photos - sum(skipped.values()), skipped, 0)


def _whole_loads(
    connection: Connection, prepared: str, run: tuple[str, str], replayed: bool
) -> list[Outcome]:
    """Return the outcomes of this DAG's whole loads, the newest first, as a sample would have seen them.

    If the run was cleared, they include its load of another dump, also as far as reports of batches were
    replaced since.

    Args:
        connection: Connection to the catalog database.
        prepared: Token of the dump that the run has prepared; what the run has loaded of it is left out.
        run: Ids of DAG and run.
        replayed: Return the loads of recordings instead.
    """
    query = """
        with batch as (
            -- What an earlier release has not kept of a load whose report was replaced is null.
            select distinct on (run_id, manifest_token, day_shift) *,
                   complete and whole and unchanged is not null as counts
              from every_load
             where dag_id = %(dag_id)s and replayed = %(replayed)s
               and (run_id, split_part(manifest_token, '/', 1)) <> (%(run_id)s, %(prepared)s)
             order by run_id, manifest_token, day_shift, counts desc, finished_on desc
        ), whole as (
            select run_id, manifest_token, max(finished_on) as ended from batch
             group by run_id, manifest_token having bool_and(counts)
             order by ended desc limit %(most)s
        )
        select run_id, manifest_token, ended, fetched, inserted + updated + unchanged as kept,
               skipped_reasons, rejected, coalesce(rejected_reasons, '{}') as rejected_reasons,
               accepted and shortfalls <> '[]' as accepted
          from batch join whole using (run_id, manifest_token)
         order by ended desc, run_id, manifest_token
    """
    values = {"dag_id": run[0], "run_id": run[1], "prepared": prepared, "replayed": replayed, "most": PULLS}
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(query, values).fetchall()
    each = groupby(rows, itemgetter("ended", "run_id", "manifest_token"))
    return [_of_batches([*batches]) for _, batches in each]


def _of_batches(batches: Sequence[Mapping[str, Any]]) -> Outcome:
    """Return the outcome of the load of a dump from the reports of its batches."""
    fetched, kept, rejected = (sum(b[name] for b in batches) for name in ("fetched", "kept", "rejected"))
    skipped: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    for batch in batches:
        skipped.update(batch["skipped_reasons"])
        refused.update(batch["rejected_reasons"])
    unseen = skipped[_SEVERAL] + rejected - refused[UNREADABLE]  # what the load refused could be kept
    when = f"{utc(batches[0]['ended']):%Y-%m-%d}"
    accepted = any(b["accepted"] for b in batches)
    return Outcome.of(fetched, kept + unseen, skipped, rejected, when, accepted)


def _sample(connection: Connection, photos: int) -> _Sample:
    query, step = read_sql(Path(__file__).with_name("sample.sql")), max(1, photos // SAMPLE)
    found = connection.execute(query, {"step": step}).fetchall()
    skipped = {reason: number for reason, number, _, _ in found if reason}
    number, named, nameless = (sum(row[place] for row in found) for place in (1, 2, 3))
    return _Sample(number, skipped, named, nameless)


def _unusable(sample: _Sample) -> str | None:
    """Describe a dump most of whose photos would be skipped; return None otherwise."""
    usable = sample.photos - sum(sample.skipped.values())
    if usable >= MIN_SHARE * sample.photos:
        return None
    return (
        f"only {usable:,} of {sample.photos:,} sampled photos have an observation, a taxon, an observer and "
        "an accepted license"
    )


def _nameless(sample: _Sample) -> str | None:
    """Describe a dump that would take the common names of many photos; return None otherwise."""
    if sample.nameless < NOTICEABLE or sample.nameless <= MAX_NAMELESS * sample.named:
        return None
    return (
        f"{sample.nameless:,} of {sample.named:,} sampled photos with a common name in the catalog would "
        "lose it: if the Catalogue of Life (CATALOGUE_OF_LIFE) is not whole, correct it, and clear "
        "load_catalog_of_life_names and all tasks after it"
    )


def _photos(connection: Connection) -> tuple[int, int]:
    """Return the numbers of photos that were loaded, and of unreadable ones."""
    row = connection.execute(
        "select rows, unreadable from inaturalist.loaded where name = 'photos'"
    ).fetchone()
    assert row
    return int(row[0]), int(row[1])


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
