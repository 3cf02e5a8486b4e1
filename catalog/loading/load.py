"""TSV parts into the catalog: COPY → loading table → clean → classify → insert and update → report, in one transaction.

Every row of the parts is classified by one join against what is stored: new, changed, unchanged, or not to be kept with a reason. Only new
and changed rows are written. The report row stands in the same transaction, so a load that is repeated after it was done does nothing.
Nothing is left behind by a load that was killed: the loading table was never visible to anybody else.
"""

import logging
import re
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, LiteralString

import msgspec
import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb
from upath import UPath

from catalog.ingestion.errors import Fatal
from catalog.ingestion.parts import Counts, Manifest, json_line, write_whole
from catalog.ingestion.records import MediaType
from catalog.ingestion.tsv import REQUIRED
from catalog.loading.columns import columns, updated
from catalog.loading.lines import LineCheck

log = logging.getLogger(__name__)
Connection = psycopg.Connection[Any]
_CHUNK = 1 << 20
_MAX_BAD_LINES = 1000  # that COPY refuses although LineCheck finds nothing wrong
_LINE = re.compile(r"\bline (\d+)")
DELETED = "deleted from the catalog"


class RunKey(msgspec.Struct, frozen=True):
    """Which load this is: the DAG's, the run's, and the day shift of a reingestion."""

    dag_id: str
    run_id: str
    day_shift: int = 0


class LoadReport(msgspec.Struct):
    """What came of a pull's items of one media type: fetched = inserted + updated + unchanged + skipped + rejected."""

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

    def accounted(self) -> bool:
        kept = self.inserted + self.updated + self.unchanged
        return self.fetched == kept + sum(self.skipped.values()) + sum(self.rejected.values())


class Load:
    """One load. connection: to the catalog database, not in autocommit; this class commits it.

    source: TSV files, in order, or a query for the columns of such files.

    provider: the provider string of this media type. include_deleted: bring back records that were deleted from the catalog.
    rejects: where rows that were not kept are written, one JSON object a line. progress: called with what has just been done.
    """

    def __init__(
        self, connection: Connection, media_type: MediaType, provider: str, source: list[UPath] | sql.Composable, manifest: Manifest,
        key: RunKey, *,
        include_deleted: bool = False, rejects: UPath | None = None, progress: Callable[[str], None] = log.info,
    ) -> None:  # fmt: skip
        self._connection, self._media_type, self._provider, self._source = (
            connection,
            media_type,
            provider,
            source,
        )
        self._manifest, self._key, self._rejects, self._progress = manifest, key, rejects, progress
        name = f"load_{media_type}_{re.sub('[^a-z0-9]+', '_', provider.lower())[:30]}_{uuid.uuid4().hex[:10]}"
        columns_, changeable = columns(media_type), updated(media_type)
        self._columns = [c.name for c in columns_]
        comma, either = sql.SQL(", "), sql.SQL("\n            or ")
        self._names: dict[str, sql.Composable] = {
            "table": sql.Identifier(media_type),
            "deleted": sql.Identifier(f"deleted_{media_type}"),
            "include_deleted": sql.Literal(include_deleted),
            "metrics": sql.Identifier(f"{media_type}_popularity_metrics"),
            "loading": sql.Identifier(name),
            "columns": comma.join(c.identifier for c in columns_),
            "inserted": comma.join(c.inserted() for c in columns_),
            "merged": comma.join(sql.SQL("{} = {}").format(c.identifier, c.merged()) for c in changeable),
            "differs": either.join(c.differs() for c in changeable),
            "merged_meta": next(c for c in columns_ if c.name == "meta_data").merged(),
        }
        self._rejected: Counter[str] = Counter()
        self._reject_lines: list[bytes] = []

    def run(self) -> LoadReport:
        """Load, commit, and report. Raises Fatal when the parts are not what the manifest says; then nothing is changed."""
        began = time.monotonic()
        with self._connection.transaction():
            self._execute("set local work_mem = '256MB'")
            self._execute(
                "select pg_advisory_xact_lock(hashtext(%s))", [f"load {self._media_type} {self._provider}"]
            )
            if report := self._done_before():
                self._progress(f"{self._media_type}: this pull is loaded already; nothing to do.")
                return report
            self._copy()
            self._clean()
            written = self._write()
            report = self._report(written, time.monotonic() - began)
            self._write_rejects()
            self._save(report)
        return report

    def _execute(self, statement: LiteralString, args: Any = None) -> psycopg.Cursor[Any]:
        return self._connection.execute(sql.SQL(statement).format(**self._names), args)

    # COPY

    def _copy(self) -> None:
        self._execute("create unlogged table {loading} as select {columns} from {table} with no data")
        self._execute(
            "alter table {loading} add n bigint generated always as identity"
        )  # the order of the lines; ctid does not keep it
        expected = self._counts.written
        if isinstance(self._source, sql.Composable):
            what, rows = "the query", self._select(self._source)
        else:
            what, rows = f"{len(self._source)} parts", self._copy_parts(self._source)
        if rows + sum(self._rejected.values()) != expected:
            raise Fatal(
                f"{rows:,} rows came from {what}, but the manifest lists {expected:,}; nothing was loaded."
            )
        self._execute("analyze {loading} (provider, foreign_identifier, url)")
        self._progress(f"{self._media_type}: copied {rows:,} rows from {what}")

    def _select(self, query: sql.Composable) -> int:
        statement = sql.SQL("insert into {loading} ({columns}) {query}").format(**self._names, query=query)
        return self._connection.execute(statement).rowcount

    def _copy_parts(self, parts: list[UPath]) -> int:
        rows = self._copy_fast(parts)
        return self._copy_checked(parts) if rows is None else rows

    def _copy_fast(self, parts: list[UPath]) -> int | None:
        """All parts as they are; None when PostgreSQL refused a line."""
        try:
            with self._connection.transaction():
                return self._copy_chunks(_chunks(parts))
        except (psycopg.DataError, psycopg.errors.BadCopyFileFormat) as error:
            log.warning("COPY refused a line (%s); checking each line.", error.diag.message_primary or error)
            return None

    def _copy_chunks(self, chunks: Iterable[bytes]) -> int:
        statement = sql.SQL("copy {loading} ({columns}) from stdin").format(**self._names)
        with self._connection.cursor() as cursor:
            with cursor.copy(statement) as copy:
                for chunk in chunks:
                    copy.write(chunk)
            return cursor.rowcount

    def _copy_checked(self, parts: list[UPath]) -> int:
        """Line by line; those with a fault become rejects. What PostgreSQL still refuses is taken out one by one."""
        check = LineCheck(self._media_type)
        refused: dict[int, str] = {}
        while True:
            faults: list[tuple[str, bytes]] = []
            passed: list[int] = []  # numbers, among all lines, of those sent

            def good_lines(
                faults: list[tuple[str, bytes]] = faults, passed: list[int] = passed
            ) -> Iterator[bytes]:
                for number, line in enumerate(_lines(parts)):
                    if reason := refused.get(number) or check.fault(line.rstrip(b"\n")):
                        faults.append((reason, line))
                    else:
                        passed.append(number)
                        yield line

            try:
                with self._connection.transaction():
                    rows = self._copy_chunks(good_lines())
            except (psycopg.DataError, psycopg.errors.BadCopyFileFormat) as error:
                match = _LINE.search(error.diag.context or "")
                if match is None or len(refused) >= _MAX_BAD_LINES:
                    raise
                refused[passed[int(match.group(1)) - 1]] = (
                    f"refused by PostgreSQL: {error.diag.message_primary}"
                )
                continue
            for reason, line in faults:
                self._rejected[reason] += 1
                self._reject_lines.append(
                    json_line({"reason": reason, "line": line.decode("utf-8", "backslashreplace")})
                )
            return rows

    # clean

    def _clean(self) -> None:
        """Take out what cannot be kept: rows that lack a required value, and all but the last of those with one identifier."""
        self._execute("create temp table load_reject (n bigint, reason text, record jsonb) on commit drop")
        reason = sql.SQL(" ").join(
            sql.SQL("when {} is null then {}").format(sql.Identifier(c), sql.Literal(f"missing {c}"))
            for c in (*REQUIRED, "provider")
        )
        missing = sql.SQL(" or ").join(
            sql.SQL("{} is null").format(sql.Identifier(c)) for c in (*REQUIRED, "provider")
        )
        statement: LiteralString = """
            with gone as (delete from {loading} where {missing} returning *)
            insert into load_reject select n, case {reason} end, to_jsonb(gone) - 'n' from gone
        """
        self._connection.execute(sql.SQL(statement).format(**self._names, missing=missing, reason=reason))
        self._execute("""
            with doubled as (
                select provider, foreign_identifier, max(n) as last from {loading} group by 1, 2 having count(*) > 1
            ), gone as (
                delete from {loading} l using doubled d
                 where (l.provider, l.foreign_identifier) = (d.provider, d.foreign_identifier) and l.n <> d.last
                returning l.*
            )
            insert into load_reject select n, 'duplicate identifier in the batch', to_jsonb(gone) - 'n' from gone
        """)

    # classify and write

    def _write(self) -> Counter[str]:
        """Classify, insert, update; again when another writer inserted one of our new rows meanwhile."""
        for attempt in (1, 2, 3):
            try:
                with self._connection.transaction():
                    self._classify()
                    counted = Counter(
                        dict(self._execute("select kind::text, count(*) from verdict group by 1").fetchall())
                    )
                    self._progress(
                        f"{self._media_type}: {counted['n']:,} new, {counted['c']:,} changed, {counted['u']:,} unchanged, "
                        f"{counted['x'] + counted['d']:,} not to be kept"
                    )
                    self._insert()
                    self._update()
                    return counted
            except (psycopg.errors.UniqueViolation, psycopg.errors.DeadlockDetected) as error:
                if attempt == 3:
                    raise
                log.info(
                    "Another writer was faster (%s); classifying again.",
                    error.diag.constraint_name or error.diag.message_primary,
                )
        raise AssertionError

    def _classify(self) -> None:
        """One narrow row for each row to load: n new, c changed, u unchanged, x its URL is another's, d deleted before.

        Stored and deleted rows are looked up in one statement: a record that is deleted or restored meanwhile is seen in one place.
        """
        self._execute("drop table if exists verdict")
        self._execute("""
            create temp table verdict on commit drop as
            select new.ctid as tid, new.n, old.identifier, new.url, old.url is distinct from new.url as brings_url,
                   (case when old.identifier is null and gone.provider is not null then 'd'
                         when old.identifier is null then 'n'
                         when old.removed_from_source or {differs} then 'c'
                         else 'u' end)::"char" as kind
              from {loading} new
              left join {table} old on old.provider = new.provider and md5(old.foreign_identifier) = md5(new.foreign_identifier)
              left join {deleted} gone
                on gone.provider = new.provider and md5(gone.foreign_identifier) = md5(new.foreign_identifier) and not {include_deleted}
        """)
        self._execute("""
            with bringing as (
                select tid, url, identifier, row_number() over (partition by url order by n) as place
                  from verdict where brings_url and kind <> 'd'
            ), clashing as (
                select b.tid from bringing b where b.place > 1
                 union
                select b.tid from bringing b join {table} owner on owner.url = b.url where owner.identifier is distinct from b.identifier
            )
            update verdict set kind = 'x' from clashing where verdict.tid = clashing.tid
        """)
        self._execute("delete from load_reject where reason = 'URL belongs to another record'")
        self._execute("""
            insert into load_reject
            select new.n, 'URL belongs to another record', to_jsonb(new) - 'n'
              from verdict join {loading} new on new.ctid = verdict.tid where verdict.kind = 'x'
        """)

    def _insert(self) -> None:
        self._execute("""
            insert into {table} ({columns}, identifier, created_on, updated_on, last_synced_with_source, removed_from_source,
                                 standardized_popularity)
            select {inserted}, time_ordered_uuid(), now(), now(), now(), false,
                   case when m.constant is not null then
                       metric_value(new.meta_data, m.metric) / nullif(metric_value(new.meta_data, m.metric) + m.constant, 0)
                   end
              from verdict join {loading} new on new.ctid = verdict.tid left join {metrics} m on m.provider = new.provider
             where verdict.kind = 'n'
        """)

    def _update(self) -> None:
        self._execute("""
            update {table} old
               set {merged}, updated_on = now(), last_synced_with_source = now(), removed_from_source = false,
                   standardized_popularity = case when m.constant is not null then
                       metric_value({merged_meta}, m.metric) / nullif(metric_value({merged_meta}, m.metric) + m.constant, 0)
                   else old.standardized_popularity end
              from verdict join {loading} new on new.ctid = verdict.tid left join {metrics} m on m.provider = new.provider
             where verdict.kind = 'c' and old.identifier = verdict.identifier
        """)

    # report

    @property
    def _counts(self) -> Counts:
        return self._manifest.counts.get(self._media_type) or Counts()

    def _report(self, written: Counter[str], seconds: float) -> LoadReport:
        rejected = Counter(self._counts.rejected) + self._rejected
        rejected.update(dict(self._execute("select reason, count(*) from load_reject group by 1").fetchall()))
        skipped = Counter(self._counts.skipped)
        if written["d"]:
            skipped[DELETED] += written["d"]
        report = LoadReport(
            self._provider, self._media_type, self._manifest.complete, self._counts.fetched, written["n"], written["c"], written["u"],
            dict(skipped), dict(rejected), dict(self._counts.cleaned), self._manifest.seconds, round(seconds, 3), self._manifest.replayed,
        )  # fmt: skip
        if not report.accounted():
            raise Fatal(f"the counts do not add up, nothing was loaded: {report}")
        return report

    def _write_rejects(self) -> None:
        if self._rejects is None:
            return
        lines = self._reject_lines
        for reason, record in self._execute("select reason, record from load_reject order by n"):
            lines.append(json_line({"media_type": self._media_type, "reason": reason, "record": record}))
        if lines:
            write_whole(self._rejects, b"".join(lines))

    def _done_before(self) -> LoadReport | None:
        """The report of this very load, when it is there: the task died after its commit and came again."""
        row = self._execute(
            """
            select provider, media_type, complete, fetched, inserted, updated, unchanged, skipped_reasons, rejected_reasons,
                   cleaned_reasons, pull_seconds, load_seconds, replayed
              from ingestion_report
             where (dag_id, run_id, day_shift, media_type, manifest_token, manifest_pages, complete) = (%s, %s, %s, %s, %s, %s, %s)
            """,
            [
                *msgspec.structs.astuple(self._key),
                self._media_type,
                self._manifest.token,
                self._manifest.pages,
                self._manifest.complete,
            ],
        ).fetchone()
        return LoadReport(*row) if row else None

    def _save(self, report: LoadReport) -> None:
        start, end = self._manifest.window or (None, None)
        values: dict[str, Any] = {
            "dag_id": self._key.dag_id, "run_id": self._key.run_id, "day_shift": self._key.day_shift, "provider": self._provider,
            "media_type": self._media_type, "manifest_token": self._manifest.token, "manifest_pages": self._manifest.pages,
            "window_start": start, "window_end": end, "replayed": report.replayed, "complete": report.complete,
            "whole": self._manifest.whole,
            "fetched": report.fetched, "inserted": report.inserted, "updated": report.updated, "unchanged": report.unchanged,
            "skipped": sum(report.skipped.values()), "rejected": sum(report.rejected.values()), "skipped_reasons": Jsonb(report.skipped),
            "rejected_reasons": Jsonb(report.rejected), "cleaned_reasons": Jsonb(report.cleaned), "pull_seconds": report.pull_seconds,
            "load_seconds": report.load_seconds,
        }  # fmt: skip
        key = ("dag_id", "run_id", "day_shift", "media_type")
        statement: LiteralString = """
            insert into ingestion_report ({names}) values ({values})
            on conflict (dag_id, run_id, day_shift, media_type) do update set {renewed}, finished_on = now()
        """
        identifiers = [sql.Identifier(name) for name in values]
        renewed = [
            sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in values if name not in key
        ]
        self._connection.execute(
            sql.SQL(statement).format(
                names=sql.SQL(", ").join(identifiers),
                values=sql.SQL(", ").join(map(sql.Placeholder, values)),
                renewed=sql.SQL(", ").join(renewed),
            ),
            values,
        )
        self._execute("drop table {loading}")


def _chunks(parts: list[UPath]) -> Iterator[bytes]:
    for part in parts:
        with part.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk


def _lines(parts: list[UPath]) -> Iterator[bytes]:
    for part in parts:
        with part.open("rb") as file:
            yield from file
