"""Classifies the rows of a loading table, and writes the new and the changed ones.

An attempt may turn out to be worthless; then its savepoint is rolled back, and the rows are classified again.
Another writer may have inserted one of the new rows. A trigger or a constraint of an adopted table may keep
a record from giving up its URL to another record of the load, or from taking its new one. Or the table
refuses rows, which are looked for then, and rejected.
"""

import logging
from collections import Counter
from collections.abc import Callable
from uuid import UUID

import psycopg
from psycopg import sql

from catalog.core.media import MediaType
from catalog.database.suppression import suppressors
from catalog.loading.refusals import BisectingWriter, is_refusal, mark_refused
from catalog.loading.statements import Statements

log = logging.getLogger(__name__)
_ATTEMPTS = 3  # to write beside concurrent writers


class _UrlsKept(Exception):
    """Records that should give their URL to others cannot do so.

    Attributes:
        identifiers: The records.
        constraint: What keeps them; "" if triggers or rules do.
    """

    def __init__(self, identifiers: list[UUID], constraint: str = "") -> None:
        super().__init__(identifiers)
        self.identifiers, self.constraint = identifiers, constraint


class _UrlsFree(Exception):
    """Rows were rejected because refused ones bring the same URL.

    Attributes:
        refused: The refused rows, and why.
    """

    def __init__(self, refused: dict[int, str]) -> None:
        super().__init__(refused)
        self.refused = refused


class Writing:
    """Writes the rows of a loading table.

    Args:
        statements: The statements of the load.
        media_type: Media type of the rows.
        progress: Called with the numbers of each classification.
    """

    def __init__(
        self, statements: Statements, media_type: MediaType, progress: Callable[[str], None]
    ) -> None:
        self._statements, self._connection = statements, statements.connection
        self._media_type, self._progress = media_type, progress
        self._staying: list[UUID] = []  # records that keep their URLs
        self._refusing = False  # the table refuses rows, which are looked for
        self._refused: dict[int, str] = {}  # those that bring a URL which another row gets, and why

    def run(self) -> Counter[str]:
        """Return the number of rows by outcome.

        `altered` is the number of those of which a trigger kept old values, and `refused` that of those which
        the table refuses.

        Raises:
            Fatal: The table refuses too many rows.
        """
        conflicts = 0
        while True:
            self._statements.set(staying=sql.Literal([str(name) for name in self._staying]))
            try:
                with self._connection.transaction():
                    return self._write()
            except _UrlsKept as found:
                self._staying += found.identifiers  # it grows each time, so this ends
                log.warning(
                    "%s records keep the URL that others bring, because %s suppresses their update; "
                    "classifying again.",
                    f"{len(found.identifiers):,}",
                    found.constraint or suppressors(self._connection, self._media_type, "update"),
                )
            except _UrlsFree as found:
                self._refused |= found.refused  # it grows each time, so this ends
            except (psycopg.errors.UniqueViolation, psycopg.errors.DeadlockDetected) as error:
                conflicts += 1
                if conflicts == _ATTEMPTS:
                    raise
                # Not another writer's row twice, but an index that only an adopted table has.
                self._refusing |= conflicts > 1 and isinstance(error, psycopg.errors.UniqueViolation)
                log.info(
                    "Another writer may have been faster (%s); classifying again%s.",
                    error.diag.constraint_name or error.diag.message_primary,
                    ", and looking for rows that the table refuses" if self._refusing else "",
                )
            except psycopg.DatabaseError as error:
                if self._refusing or not is_refusal(error):
                    raise
                self._refusing = True
                log.warning(
                    "The table refuses rows (%s); looking for all of them.", error.diag.message_primary
                )

    def _write(self) -> Counter[str]:
        if self._refusing:  # what is deferred to the end of the transaction would be refused without a row
            self._statements.execute("set constraints all immediate")
        if self._refused:
            mark_refused(self._statements, self._refused)
        self._statements.run("classify")
        makes_way = self._make_way()
        found = self._statements.run("outcomes").fetchall()
        counted: Counter[str] = Counter(dict(found))
        self._progress(
            f"{self._media_type}: {counted['new']:,} new, {counted['changed']:,} changed, "
            f"{counted['unchanged']:,} unchanged, "
            f"{counted['url taken'] + counted['deleted']:,} not kept"
        )
        if superseded := counted["superseded"]:
            self._progress(
                f"{self._media_type}: {superseded:,} rows are superseded and stay as they are: a pull that "
                "began after they were read has written them, or is whole and has read about as many records."
            )
        bisecting = None
        if self._refusing:
            bisecting = BisectingWriter(self._statements, self._media_type, len(self._refused))
        self._insert(counted, bisecting)
        self._update(counted, bisecting)
        self._statements.execute("set constraints all immediate")  # those that wait for the commit
        if makes_way and (stays := [name for (name,) in self._statements.run("without_url")]):
            raise _UrlsKept(stays)
        refused = bisecting.refused if bisecting else {}
        if refused and self._statements.row("freed")[0]:
            raise _UrlsFree(refused)
        if number := len(self._refused) + len(refused):
            log.warning("%s rows are rejected, which the table refuses.", f"{number:,}")
        counted["refused"] = number
        return counted

    def _make_way(self) -> int:
        """Free the URLs that pass from one record to another; return their number."""
        try:
            with self._connection.transaction():
                makes_way, stays = self._statements.row("urls")
        except psycopg.DatabaseError as error:  # nobody can tell which records it is about
            if not is_refusal(error):
                raise
            holders = [name for (name,) in self._statements.run("holders")]
            if not set(holders).difference(self._staying):
                raise  # none of them makes way, so it is about none of them
            name, said = error.diag.constraint_name, error.diag.message_primary
            raise _UrlsKept(holders, f"the constraint {name}" if name else f"the error {said!r}") from None
        if stays:
            raise _UrlsKept(stays)
        return int(makes_way)

    def _execute(self, name: str, outcome: str, bisecting: BisectingWriter | None) -> tuple[int, int]:
        """Execute the insert or the update; return the numbers of written and of refused rows."""
        if bisecting is None:
            return self._statements.run(name).rowcount, 0
        before = len(bisecting.refused)
        return bisecting.write(name, outcome), len(bisecting.refused) - before

    def _insert(self, counted: Counter[str], bisecting: BisectingWriter | None) -> None:
        inserted, refused = self._execute("insert", "new", bisecting)
        counted["new"] -= refused
        if inserted < counted["new"]:
            [inserted] = self._statements.row("inserted")
        if left := counted["new"] - inserted:
            names = suppressors(self._connection, self._media_type, "insert")
            log.warning("%s new rows are kept out: %s suppresses them.", f"{left:,}", names)
        counted["new"] = inserted
        counted["suppressed"] += left

    def _update(self, counted: Counter[str], bisecting: BisectingWriter | None) -> None:
        """Update, and look at the rows again if there is anything that can leave them, or keep old values."""
        updated, refused = self._execute("update", "changed", bisecting)
        counted["changed"] -= refused
        names = suppressors(self._connection, self._media_type, "update")
        if updated == counted["changed"] and not names:
            return
        deleted, suppressed, altered = self._statements.row("remaining")
        if suppressed:
            log.warning("%s rows stay as they are: %s suppresses the update.", f"{suppressed:,}", names)
        if altered:
            log.warning(
                "%s rows were written and still differ from what their source sent, because %s changes them "
                "back. Each load writes them again; a trigger that returns null leaves a row alone.",
                f"{altered:,}",
                names,
            )
        counted["changed"] -= deleted + suppressed
        counted["deleted"] += deleted  # after they were classified
        counted["suppressed"] += suppressed
        counted["altered"] = altered
