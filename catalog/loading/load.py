"""Loads TSV parts in one transaction: COPY, clean, classify, insert and update, report.

A join with the stored rows classifies each row of the parts as new, changed or unchanged, or rejects it with
a reason. Only new and changed rows are written. The report row is written in the same transaction, so a load
that is repeated does nothing. A killed load leaves nothing behind: its loading table was never committed.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Set

import msgspec
from psycopg import sql
from upath import UPath

from catalog.core.errors import Fatal
from catalog.core.media import MediaType
from catalog.core.session import Connection, raise_memory
from catalog.database.estimates import correct_estimate
from catalog.ingestion.completeness import Expectations, unseen, unusual
from catalog.ingestion.parts import Counts, Manifest, page_of
from catalog.ingestion.reasons import ALTERED, DELETED, SUPERSEDED, SUPPRESSED
from catalog.loading.copy import LineCopy, chunks, copy_exactly, lines_of
from catalog.loading.history import (
    LaterLoad,
    comparable_loads,
    has_read_all,
    items_that_came,
    later_loads,
    load_before,
)
from catalog.loading.lines import LineCheck
from catalog.loading.rejects import LIMIT, Rejects
from catalog.loading.report import LoadKey, LoadReport, find, save
from catalog.loading.statements import Statements, from_file, placeholders
from catalog.loading.writing import Writing

log = logging.getLogger(__name__)
_MAX_UNKNOWN_FAULTS = 1000  # lines that PostgreSQL refuses although LineCheck finds no fault


class Load:
    """A load of the TSV parts of one provider and media type.

    Args:
        connection: Connection to the catalog database, not in autocommit; `run` commits.
        media_type: Media type of the rows.
        provider: Name of the provider in the catalog, for this media type.
        source: TSV files, in order, or a query that returns the columns of such files.
        manifest: Manifest of the pull that wrote the source.
        key: Identifies the load.
        include_deleted: Restore records that were deleted from the catalog.
        rejects: File to list rejected rows in, one JSON object per line; None to list none.
        reject_limit: Maximum number of listed rows.
        expected: Limits for comparison with earlier loads; None to skip the comparison.
        progress: Called with a sentence after each step.

    Attributes:
        repeated: True after `run` if an earlier attempt has loaded everything.
    """

    def __init__(
        self,
        connection: Connection,
        media_type: MediaType,
        provider: str,
        source: list[UPath] | sql.Composable,
        manifest: Manifest,
        key: LoadKey,
        *,
        include_deleted: bool = False,
        rejects: UPath | None = None,
        reject_limit: int = LIMIT,
        expected: Expectations | None = None,
        progress: Callable[[str], None] = log.info,
    ) -> None:
        self._connection, self._media_type, self._provider = connection, media_type, provider
        self._source, self._manifest, self._key = source, manifest, key
        self._counts = manifest.counts.get(media_type) or Counts()
        self._rejects = Rejects(rejects, media_type, reject_limit)
        self._expected, self._progress = expected, progress
        self._statements = Statements(connection, placeholders(media_type, provider, include_deleted))
        self.repeated = False

    def run(self) -> LoadReport:
        """Load, report and commit.

        Raises:
            Fatal: The parts do not match the manifest, or the counts do not add up; nothing is loaded.
        """
        began = time.monotonic()
        for table in (self._media_type, f"deleted_{self._media_type}"):
            correct_estimate(self._connection, table)
        with self._rejects, self._connection.transaction():
            raise_memory(self._connection, "work_mem", "256MB")
            lock_provider(self._connection, self._media_type, self._provider)
            if done := find(self._connection, self._key, self._media_type, self._manifest):
                self._progress(f"{self._media_type}: this pull was loaded before; nothing to do.")
                self.repeated = True
                return done
            dated = self._without_times_to_come()
            later = later_loads(self._connection, self._provider, self._media_type, dated)
            pages = {load: dated.first_page_since(load.began) for load in later}
            ends = self._copy(sorted({page for page in pages.values() if page is not None}))
            marked = self._clean()
            self._statements.set(superseded=_superseded(pages, ends, self._which_read_all(later)))
            written = Writing(self._statements, self._media_type, self._progress).run()
            if marked or written["url taken"] or written["refused"]:
                self._list_rejects()
            report = self._report(written, time.monotonic() - began)
            report.unusual = self._unusual(report)
            if self._manifest.accepted and (self._manifest.shortfalls or report.unusual):
                missing = self._unseen(report)
                report.unusual += missing
                report.accepted = not missing
            save(self._connection, self._key, self._manifest, report)
            self._statements.execute("drop table {loading}")
            self._rejects.publish()  # last, because a file cannot be rolled back
        for sentence in report.advice():
            self._progress(sentence)
        return report

    # later loads

    def _without_times_to_come(self) -> Manifest:
        """Return the manifest with the times that can be right by the server's clock."""
        [(now,)] = self._connection.execute("select now()").fetchall()
        dated = self._manifest.without_times_to_come(now)
        if dated.started != self._manifest.started:
            self._progress(
                f"{self._media_type}: the clock of the pull was wrong ({self._manifest.started:%Y-%m-%d}). "
                "It is not known when it began, so rows that another pull has brought stay."
            )
        return dated

    def _which_read_all(self, later: list[LaterLoad]) -> set[LaterLoad]:
        """Return the later loads whose pulls count as having read about all records of this one.

        The stored rows are looked at only if they may decide.
        """

        def read_all(load: LaterLoad, written: int) -> bool:
            return has_read_all(load, self._manifest, self._media_type, written)

        found = {load for load in later if read_all(load, 0)}
        rest = {load for load in later if load not in found and read_all(load, self._counts.written)}
        moments = sorted({load.since for load in rest if load.since})
        if moments:
            counted = self._statements.run(
                "written_since", moments=sql.Literal(moments), oldest=sql.Literal(moments[0])
            )
            written = dict(counted.fetchall())
            found |= {load for load in rest if read_all(load, written.get(load.since, 0))}
        return found

    # copy

    def _copy(self, pages: list[int]) -> dict[int, int]:
        """Fill the loading table; return the number of the last row before each of some pages of the pull."""
        ends: dict[int, int] = {}
        execute = self._statements.execute
        execute("create unlogged table {loading} as select {columns} from {table} with no data")
        # `n` is the order of the lines, which may differ from the physical order (ctid).
        execute("alter table {loading} add n bigint generated always as identity, add rejected text")
        expected = self._counts.written
        if isinstance(self._source, sql.Composable):
            what, rows = "the query", self._select(self._source)
            remedy = "clear the task"
        else:
            what = f"{len(self._source)} parts"
            rows, ends = self._copy_files(self._source, expected, pages)
            remedy = "if files are missing or altered, clear the pull when its run has ended"
        if rows + self._rejects.counts.total() != expected:
            raise Fatal(
                f"{rows:,} rows came from {what}, but the manifest lists {expected:,}; nothing was loaded: "
                f"{remedy}."
            )
        # A small sample: the planner needs the number of rows, and that the values are distinct.
        execute("set local default_statistics_target = 10")
        execute("analyze {loading} (provider, foreign_identifier, url, rejected)")
        self._progress(f"{self._media_type}: copied {rows:,} rows from {what}")
        return ends

    def _select(self, query: sql.Composable) -> int:
        return self._statements.execute("insert into {loading} ({columns}) {query}", query=query).rowcount

    def _copy_files(self, parts: list[UPath], expected: int, pages: list[int]) -> tuple[int, dict[int, int]]:
        """Copy all parts; they may be deleted after they were listed."""
        try:
            return self._copy_parts(parts, expected, pages)
        except FileNotFoundError as error:
            raise Fatal(
                f"{error.filename or error} was deleted; nothing was loaded: clear the pull when its "
                "run has ended."
            ) from error

    def _copy_parts(self, parts: list[UPath], expected: int, pages: list[int]) -> tuple[int, dict[int, int]]:
        """Copy all parts at once; or block by block, if PostgreSQL does not read each line as one row.

        Args:
            parts: The files, in the order of their pages.
            expected: The number of rows.
            pages: Pages of which the first row is to be known, so that what is before them is copied first.

        Returns:
            The number of rows; and page → the number of the last row before it.
        """
        statement = self._statements.compose("copy {loading} ({columns}) from stdin")
        if not pages:
            problem = copy_exactly(self._connection, statement, chunks(parts), lambda: expected)
            if problem is None:
                return expected, {}
            log.warning("The parts cannot be copied at once (%s); checking each line.", problem)
        check = LineCheck(self._media_type, self._widths())
        copy = LineCopy(
            self._connection,
            statement,
            fault=lambda line: check.fault(line.rstrip(b"\n")),
            refuse=self._refuse,
            limit=_MAX_UNKNOWN_FAULTS,
        )
        rows = begin = 0
        ends: dict[int, int] = {}
        for page in pages:
            rows += copy.run(lines_of(part for part in parts if begin <= page_of(part) < page))
            [(ends[page],)] = self._statements.execute("select coalesce(max(n), 0) from {loading}").fetchall()
            begin = page
        return rows + copy.run(lines_of(part for part in parts if begin <= page_of(part))), ends

    def _widths(self) -> dict[str, int | None]:
        """Return the maximum number of characters of each column; None for no limit."""
        found = self._statements.execute(
            "select attname, case when atttypid = 'varchar'::regtype and atttypmod > 4 then atttypmod - 4 end"
            " from pg_attribute where attrelid = to_regclass({name}) and attnum > 0"
        )
        return dict(found.fetchall())

    def _refuse(self, reason: str, line: bytes) -> None:
        self._rejects.add(reason, line=line.decode("utf-8", "backslashreplace"))

    # clean

    def _clean(self) -> int:
        """Mark rows without a required value, and all but the last of rows with the same identifier.

        The marks are in the loading table: PostgreSQL plans no parallel workers for a temporary table.

        Returns:
            The number of marked rows.
        """
        run = self._statements.run
        return run("unusable").rowcount + run("duplicates").rowcount

    # report

    def _list_rejects(self) -> None:
        """List the rejected rows after the unreadable lines; streamed, because it may be every row."""
        found = self._statements.run("reject_counts").fetchall()
        unlisted: Counter[str] = Counter(dict(found))
        if unlisted and self._rejects.room:
            listing = self._statements.compose(from_file("rejects"), room=sql.Literal(self._rejects.room))
            with self._connection.cursor("rejects") as cursor:  # a named cursor is a server-side cursor
                for reason, record, belongs_to in cursor.execute(listing):
                    more = {"belongs_to": belongs_to} if belongs_to else {}
                    self._rejects.add(reason, record=record, **more)
                    unlisted[reason] -= 1
        for reason, number in sorted(unlisted.items()):
            self._rejects.add_unlisted(reason, number)

    def _report(self, written: Counter[str], seconds: float) -> LoadReport:
        skipped = Counter(self._counts.skipped)
        if written["deleted"]:
            skipped[DELETED] += written["deleted"]
        if written["superseded"]:
            skipped[SUPERSEDED] += written["superseded"]
        if written["suppressed"]:
            skipped[SUPPRESSED] += written["suppressed"]
        cleaned = Counter(self._counts.cleaned)
        if written["altered"]:
            cleaned[ALTERED] += written["altered"]
        report = LoadReport(
            provider=self._provider,
            media_type=self._media_type,
            complete=self._manifest.complete,
            fetched=self._counts.fetched,
            inserted=written["new"],
            updated=written["changed"],
            unchanged=written["unchanged"],
            skipped=dict(skipped),
            rejected=dict(Counter(self._counts.rejected) + self._rejects.counts),
            cleaned=dict(cleaned),
            pull_seconds=self._manifest.seconds,
            load_seconds=round(seconds, 3),
            replayed=self._manifest.replayed,
        )
        if not report.accounted():
            raise Fatal(f"the counts do not add up; nothing was loaded: {report}")
        return report

    def _unusual(self, report: LoadReport) -> list[str]:
        """Return what is suspicious about a pull that was complete and whole."""
        manifest = self._manifest
        if self._expected is None or not (manifest.complete and manifest.whole):
            return []
        before = comparable_loads(
            self._connection,
            self._provider,
            self._media_type,
            manifest.window,
            excluding=self._key,
            token=manifest.token,
        )
        return unusual(report.outcome(), before, self._expected)

    def _unseen(self, report: LoadReport) -> list[str]:
        """Return what is missing beyond what was reported last.

        Of a first pull of everything, nothing can have been lost. A day without any pull may be mistyped. A
        replay counts for nothing, whatever it lacks.
        """
        if self._expected is None or self._manifest.replayed:
            return []
        found = load_before(
            self._connection, self._provider, self._media_type, self._manifest, excluding=self._key
        )
        if found is None and self._manifest.window is None:
            return []
        before, short = found or (None, False)
        came = {
            name: items_that_came(counts.fetched, counts.skipped)
            for name, counts in self._manifest.counts.items()
        }
        now = msgspec.structs.replace(report.outcome(), announced=self._manifest.announced, came=came)
        return unseen(now, before if short else None)


def _superseded(
    pages: Mapping[LaterLoad, int | None], ends: Mapping[int, int], read_all: Set[LaterLoad]
) -> sql.Composable:
    """Return the condition that a later pull has brought what row `old` holds, after row `new` was read.

    Args:
        pages: Later load → the first page that was read after its pull began; None if no page was.
        ends: Page → the number of the last row before it.
        read_all: Loads whose pulls count as having read about all records of this one.
    """
    either: list[sql.Composable] = [sql.SQL("false")]
    for page in set(pages.values()):
        loads = [load for load, first in pages.items() if first == page]
        either.append(
            sql.SQL(
                "({older} and ({read_all} or old.last_synced_with_source = any({moments}::timestamptz[])))"
            ).format(
                older=sql.SQL("true") if page is None else sql.SQL("new.n <= {}").format(ends[page]),
                read_all=not read_all.isdisjoint(loads),
                moments=[load.moment for load in loads],
            )
        )
    return sql.SQL(" or ").join(either)


def lock_provider(connection: Connection, media_type: MediaType, provider: str) -> None:
    """Lock a provider against other loads until the transaction ends; waits for a running load.

    Args:
        connection: Connection to the catalog database, in a transaction.
        media_type: Media type of the load.
        provider: Name of the provider in the catalog.
    """
    connection.execute("select pg_advisory_xact_lock(hashtext(%s))", [f"load {media_type} {provider}"])
