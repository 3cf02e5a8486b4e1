"""The report of a load, and its row in `ingestion_report`."""

from pathlib import Path
from typing import Any, LiteralString

import msgspec
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from catalog.core.session import Connection
from catalog.core.sql_files import read_sql
from catalog.ingestion.completeness import Outcome
from catalog.ingestion.parts import Manifest
from catalog.ingestion.reasons import URL_TAKEN, URL_TAKEN_HINT

_KEEP_EARLIER = Path(__file__).parent / "sql/keep_earlier.sql"


class LoadKey(msgspec.Struct, frozen=True):
    """Identity of a load.

    Attributes:
        dag_id: DAG of the run.
        run_id: The run.
        day_shift: Day of a reingestion, or number of a batch of a dump; 0 otherwise.
    """

    dag_id: str
    run_id: str
    day_shift: int = 0


class LoadReport(msgspec.Struct):
    """Result of a load: fetched = inserted + updated + unchanged + skipped + rejected.

    Attributes:
        unusual: Reasons why the load does not count as whole although the pull was complete, in sentences.
        accepted: It falls short, and a person has accepted that.
    """

    provider: str
    media_type: str
    complete: bool
    fetched: int
    inserted: int
    updated: int
    unchanged: int
    skipped: dict[str, int]
    rejected: dict[str, int]
    cleaned: dict[str, int]
    pull_seconds: float
    load_seconds: float
    replayed: bool = False
    unusual: list[str] = []
    accepted: bool = False

    @property
    def kept(self) -> int:
        """Number of items that the catalog holds."""
        return self.inserted + self.updated + self.unchanged

    def outcome(self) -> Outcome:
        """Return the counts that are compared with those of other loads."""
        return Outcome.of(self.fetched, self.kept, self.skipped, sum(self.rejected.values()))

    def accounted(self) -> bool:
        """Return whether every fetched item is counted exactly once."""
        return self.fetched == self.kept + sum(self.skipped.values()) + sum(self.rejected.values())

    def advice(self) -> list[str]:
        """Return explanations of the counts, in sentences."""
        taken = self.rejected.get(URL_TAKEN)
        if not taken:
            return []
        return [f"{self.media_type}: {taken:,} rejected, {URL_TAKEN}. {URL_TAKEN_HINT}"]


def find(connection: Connection, key: LoadKey, media_type: str, manifest: Manifest) -> LoadReport | None:
    """Return the report of a load that an earlier attempt of the task has committed, or None.

    Args:
        connection: Connection to the catalog database.
        key: Identifies the load.
        media_type: Media type of the load.
        manifest: Manifest of the pull; a report of another pull of the same run is not returned.
    """
    query = """
        select provider, media_type, complete, fetched, inserted, updated, unchanged,
               skipped_reasons as skipped, rejected_reasons as rejected, cleaned_reasons as cleaned,
               pull_seconds, load_seconds, replayed, shortfalls, accepted
          from ingestion_report
         where (dag_id, run_id, day_shift, media_type, manifest_token, manifest_pages, complete)
               = (%s, %s, %s, %s, %s, %s, %s)
    """
    values = [*msgspec.structs.astuple(key), media_type, manifest.token, manifest.pages, manifest.complete]
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(query, values).fetchone()
    if row is None:
        return None
    shortfalls = row.pop("shortfalls")
    return LoadReport(**row, unusual=[text for text in shortfalls if text not in manifest.shortfalls])


def save(connection: Connection, key: LoadKey, manifest: Manifest, report: LoadReport) -> None:
    """Write the row of a report; that of an earlier load with the same key is kept in `earlier_load`."""
    start, end = manifest.window or (None, None)
    values: dict[str, Any] = {
        **msgspec.structs.asdict(key),
        "provider": report.provider,
        "media_type": report.media_type,
        "manifest_token": manifest.token,
        "manifest_pages": manifest.pages,
        "pull_began": manifest.started,
        "window_start": start,
        "window_end": end,
        "replayed": report.replayed,
        "complete": report.complete,
        "whole": manifest.whole and (report.accepted or not report.unusual),
        "shortfalls": Jsonb([*manifest.shortfalls, *report.unusual]),
        "accepted": report.accepted,
        "announced": manifest.announced,
        "fetched": report.fetched,
        "inserted": report.inserted,
        "updated": report.updated,
        "unchanged": report.unchanged,
        "skipped": sum(report.skipped.values()),
        "rejected": sum(report.rejected.values()),
        "skipped_reasons": Jsonb(report.skipped),
        "rejected_reasons": Jsonb(report.rejected),
        "cleaned_reasons": Jsonb(report.cleaned),
        "pull_seconds": report.pull_seconds,
        "load_seconds": report.load_seconds,
    }
    statement: LiteralString = """
        insert into ingestion_report ({names}) values ({values})
        on conflict (dag_id, run_id, day_shift, media_type) do update set {renewed}, finished_on = now(),
            loaded_before = '{{}}'
    """
    comma = sql.SQL(", ")
    connection.execute(read_sql(_KEEP_EARLIER), values)
    renewed = [sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in values]
    connection.execute(
        sql.SQL(statement).format(
            names=comma.join(map(sql.Identifier, values)),
            values=comma.join(map(sql.Placeholder, values)),
            renewed=comma.join(renewed),
        ),
        values,
    )
