"""Copy of the records that have changed since the last refresh, for an incremental refresh."""

import logging

from psycopg import sql

from catalog.core.errors import Fatal, Interrupted
from catalog.core.loss_limits import allowed_rejects
from catalog.core.session import settle
from catalog.data_refresh.tables import progress
from catalog.data_refresh.tables.changes import NONE, batch, find_changes
from catalog.data_refresh.tables.columns import Column, api_columns, temp_name
from catalog.data_refresh.tables.copy import TableCopy
from catalog.data_refresh.tables.duplicates import reject_duplicates
from catalog.data_refresh.tables.marks import mark
from catalog.data_refresh.tables.oversized import reject_oversized
from catalog.data_refresh.tables.progress import TableProgress
from catalog.data_refresh.tables.rejects import RejectedRecords
from catalog.database.estimates import analyzed_rows

log = logging.getLogger(__name__)


class ChangesCopy(TableCopy):
    """Copies the changed records of a media table to `temp_import_<table>`.

    All of them are read in one snapshot of the catalog, so that the live table becomes the catalog's table of
    that moment. An attempt that is interrupted starts over.
    """

    def copy(self, began: int, *, rejected: list[str], most: int) -> TableProgress:
        """Find and copy the changed records.

        Args:
            began: Horizon of the catalog database before the last refresh.
            rejected: Identifiers of records that count as changed in any case.
            most: Maximum number of changed records.

        Raises:
            TooManyChanges: There are more.
            Interrupted: `should_stop` returned True.
            Fatal: Too many records are rejected, or the live table has changed.
        """
        settle(self._upstream)
        settle(self._api)
        progress.claim(self._api, self._table)
        if (state := self._resume()) and state.done:
            return state
        copied = self._begin()
        with self._upstream.transaction():
            self._upstream.execute("set transaction isolation level repeatable read, read only")
            with self._api.transaction():
                found = mark(self._api, self._table)
                if found is None:
                    raise Fatal(
                        f"the API's table {self._table} has been replaced since the refresh began; "
                        "trigger a new run."
                    )
                number = find_changes(
                    self._upstream,
                    self._api,
                    self._table,
                    found,
                    began,
                    also=self._members_of_other_sets(),
                    rejected=rejected,
                    most=most,
                )
            log.info("%s records of %s may have changed", f"{number:,}", self._table)
            columns = api_columns(self._upstream, self._api, self._table)
            allowed = allowed_rejects(analyzed_rows(self._upstream, self._source) or 0)
            while keys := batch(self._api, self._table, copied.after):
                rejects = RejectedRecords()
                with self._api.transaction():
                    for merge in self._copy_keys(columns, keys, self._table, copied, rejects):
                        self._count(copied, merge, rejects)
                    rejects.check(copied, allowed)
                    rejects.note(self._api, copied)
                    copied.after = keys[-1]
                    progress.note(self._api, copied)
                self._report(copied)
                if self._should_stop():
                    raise Interrupted(
                        f"asked to stop after {copied.rows:,} changed records; the next attempt starts over."
                    )
        with self._api.transaction():
            reject_oversized(self._api, copied, allowed)
            reject_duplicates(self._api, copied, allowed)
            self._complete(copied)
            copied.done = True
            progress.note(self._api, copied)
        return copied

    def _prepare(self, columns: list[Column], copied: TableProgress) -> None:
        """Nothing is prepared: records are read by key."""

    def _members_of_other_sets(self) -> sql.Composable:
        """Return the condition for audio files of sets that appear or disappear."""
        if self._table != "audio":
            return NONE
        query = """
            with live as (select foreign_identifier, provider from {live}),
                 new as (select foreign_identifier, provider from {temp})
            (select * from live except select * from new) union (select * from new except select * from live)
        """
        live, temp = (sql.Identifier("public", name) for name in ("audioset", temp_name("audioset")))
        if not (sets := self._api.execute(sql.SQL(query).format(live=live, temp=temp)).fetchall()):
            return NONE
        condition = sql.SQL(
            "(audio_set_foreign_identifier, provider) in (select * from unnest({}::text[], {}::text[]))"
        )
        return condition.format(*(sql.Literal([one[place] for one in sets]) for place in (0, 1)))
