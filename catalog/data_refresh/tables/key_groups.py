"""Comparison of the keys of the catalog and of the API's table, without sending all of them.

Keys are divided into groups by their hash. Each database counts the keys of each group and adds up their
hashes; only the keys of groups that differ are sent and compared.
"""

from typing import LiteralString

from psycopg import sql

from catalog.core.errors import Fatal
from catalog.core.queries import execute, value
from catalog.core.session import Connection
from catalog.database.estimates import analyzed_rows
from catalog.moderation.tables import moderated_name

SIZE = 128  # keys of a group, about
MIN_GROUPS, MAX_GROUPS = 1 << 12, 1 << 20  # groups
DEAD = 0.01  # share of dead rows from which index-only scans are avoided
LOOK_UP = 0.05  # share of all keys that are looked up one by one, instead of reading all groups that differ
BATCH = 50_000  # keys of one look-up; up to this number, they are always looked up
_PROBE = "00112233-4455-6677-8899-aabbccddeeff"
_SUMMED = ~(1 << 31)  # the bits of a hash that sums contain
# A sum of 2 billion hashes of 31 bits fits into a bigint.
# Marked keys are returned, too: each is a group of its own.
_SUMS: LiteralString = """
    select (h & {mask})::integer as part, key, count(*) as number,
           sum((h >> 32)::integer) as high, sum((h & 2147483647)::integer) as low
      from (
        select uuid_hash_extended(identifier, 0) as h, case when marked then identifier end as key
          from ({keys}) k
      ) hashed group by 1, 2
"""


def copy_keys(upstream: Connection, api: Connection, name: str, query: sql.Composable) -> None:
    """Copy the keys that a query of the catalog returns to a new temporary table of the API database."""
    _copy(upstream, api, name, "identifier uuid", query)


def _copy(
    upstream: Connection, api: Connection, name: str, columns: LiteralString, query: sql.Composable
) -> None:
    target = sql.Identifier("pg_temp", name)
    api.execute(sql.SQL("create temporary table {} ({}) on commit drop").format(target, sql.SQL(columns)))
    with (
        upstream.cursor() as reader,
        reader.copy(sql.SQL("copy ({}) to stdout (format binary)").format(query)) as rows,
        api.cursor() as writer,
        writer.copy(sql.SQL("copy {} from stdin (format binary)").format(target)) as copy,
    ):
        for data in rows:
            copy.write(data)
    api.execute(sql.SQL("analyze {}").format(target))


class KeyComparison:
    """Adds the keys that only one database has, and those of edited rows, to the changed ones.

    Media that moderators have deleted are in the catalog, but not in the live table, so both are compared
    with the catalog.

    Args:
        upstream: Connection to the catalog database, in a transaction that reads one snapshot.
        api: Connection to the API database, in a transaction.
        table: Name of the media table, which has the same name in both databases.
        changes: Table of the changed keys in the API database.
        known: Temporary table there, with those of the changed keys that are left out of the comparison; most
            new records are among them. It must exist when `run` is called.
        edited: Condition that others have written a row of the live table.
        here: Table of the API database that is compared with the catalog's; the live one by default.
    """

    def __init__(
        self,
        upstream: Connection,
        api: Connection,
        table: str,
        changes: sql.Composable,
        *,
        known: str,
        edited: sql.Composable,
        here: sql.Composable | None = None,
    ) -> None:
        self._upstream, self._api, self._table = upstream, api, table
        self._rows = analyzed_rows(upstream, table) or 0
        groups = min(max(1 << (self._rows // SIZE).bit_length(), MIN_GROUPS), MAX_GROUPS)
        self._parts: dict[str, sql.Composable] = {
            "changes": changes,
            "source": sql.Identifier("public", table),
            "live": here or sql.Identifier("public", table),
            "moderated": sql.Identifier("public", moderated_name("deleted", table)),
            "known": sql.Identifier("pg_temp", known),
            "edited": edited,
            "mask": sql.Literal(groups - 1),
        }

    def read_catalog(self, changed: sql.Composable) -> sql.Composable:
        """Add up the keys of the catalog, in the scan that finds its changed rows.

        Args:
            changed: Condition that a row of the catalog has changed.

        Returns:
            A query of the API database for the keys of the changed rows.

        Raises:
            Fatal: The servers hash keys differently.
        """
        probe = "select uuid_hash_extended(%s::uuid, 0)"
        if value(self._upstream, probe, [_PROBE]) != value(self._api, probe, [_PROBE]):
            raise Fatal("the servers of catalog and API hash keys differently; use the mode full.")
        self._avoid_slow_scans(self._upstream)
        # The empty branch hides from the planner that the keys are unique. Otherwise it expects as many
        # groups as keys, and no advantage of parallel workers.
        keys: LiteralString = """
            select identifier, {changed} as marked from {source} union all select null, false where false
        """
        _copy(
            self._upstream,
            self._api,
            "sums",
            "part integer, key uuid, number bigint, high bigint, low bigint",
            self._sums(keys, changed=changed),
        )
        return sql.SQL("select key as identifier from pg_temp.sums where key is not null")

    def run(self) -> None:
        """Compare, and add the keys. `read_catalog` must have been called."""
        self._avoid_slow_scans(self._api)
        self._find_groups()
        if groups := self._unexplained():
            self._list_likely()
            if self._look_up():
                groups = self._unexplained()
            if groups:
                self._list_here(groups)
                self._compare(groups)
        self._do(
            "insert into {changes} select key from pg_temp.own where key is not null on conflict do nothing"
        )

    def _avoid_slow_scans(self, connection: Connection) -> None:
        """Read the table itself if many rows have changed since its last vacuum.

        The planner does not know how many pages an index-only scan would look up, in random order: each page
        with a changed row, once for each of its rows.
        """
        dead = "select n_dead_tup from pg_stat_user_tables where relid = to_regclass(%s)"
        found = connection.execute(dead, [f"public.{self._table}"]).fetchone()
        if found and found[0] > self._rows * DEAD:
            connection.execute("set local enable_indexonlyscan = off")

    def _find_groups(self) -> None:
        """List the groups that differ, and the differences of their sums."""
        self._do("create temporary table missing (identifier uuid) on commit drop")
        # CREATE TABLE AS, because PostgreSQL plans no parallel workers for INSERT.
        self._do(
            "create temporary table own on commit drop as {sums}",
            sums=self._sums("""
                select identifier, {edited} as marked from {live}
                union all select identifier, false from {moderated} m
                 where not exists (select from {live} l where l.identifier = m.identifier)
            """),
        )
        self._do(
            """
            create temporary table differing on commit drop as
            select part, sum(number)::bigint as number, sum(high)::bigint as high, sum(low)::bigint as low
              from (
                select part, number, high, low from pg_temp.sums
                union all select part, -number, -high, -low from pg_temp.own
                union all select part, -number, -high, -low from ({known_keys}) k
                union all select part, number, high, low from ({both}) b
            ) s group by part having sum(number) <> 0 or sum(high) <> 0 or sum(low) <> 0
            """,
            known_keys=self._sums("select identifier, false as marked from {known}"),
            both=self._sums("""
                select identifier, false as marked from {known} k
                 where exists (select from {live} l where l.identifier = k.identifier)
                    or exists (select from {moderated} m where m.identifier = k.identifier)
            """),
        )

    def _sums(self, keys: LiteralString, **parts: sql.Composable) -> sql.Composed:
        return sql.SQL(_SUMS).format(keys=sql.SQL(keys).format(**self._parts, **parts), **self._parts)

    def _unexplained(self) -> list[int]:
        """Return the groups that differ by more than the keys that were found to be missing."""
        query = sql.SQL("""
            select part from pg_temp.differing d left join ({missing}) m using (part)
             where d.number + coalesce(m.number, 0) <> 0 or d.high + coalesce(m.high, 0) <> 0
                or d.low + coalesce(m.low, 0) <> 0
             order by 1
        """).format(missing=self._sums("select identifier, false as marked from pg_temp.missing"))
        return [part for (part,) in self._api.execute(query)]

    def _list_likely(self) -> None:
        """List the keys of the API that the catalog may lack.

        A group of which the catalog lacks only one key differs by the hash of that key. Of other groups, all
        keys are listed.
        """
        query = """
            select array_agg((-high << 32) | -low) filter (where number = -1),
                   array_agg(part) filter (where number <> -1)
              from pg_temp.differing
        """
        [(hashes, groups)] = self._api.execute(query)
        self._list(
            """
            select identifier
              from (select identifier from {live} union all select identifier from {moderated}) k
             where uuid_hash_extended(identifier, 0) & {summed} = any({hashes}::bigint[]) or {within}
            """,
            summed=sql.Literal(_SUMMED),
            hashes=sql.Literal(hashes or []),
            within=self._within(groups or []),
        )

    def _list_here(self, groups: list[int]) -> None:
        """List the keys of these groups that the API has."""
        self._list(
            """
            select identifier from {live} where {within}
             union all select identifier from {moderated} where {within}
            """,
            within=self._within(groups),
        )

    def _list(self, query: LiteralString, **parts: sql.Composable) -> None:
        """List the keys that a query of the API database returns, without those that are known to differ."""
        keys = sql.SQL(query).format(**self._parts, **parts)
        self._do("drop table if exists pg_temp.here")
        self._do("create temporary table here on commit drop as {keys}", keys=keys)
        self._do("delete from pg_temp.here h using {known} k where h.identifier = k.identifier")

    def _look_up(self) -> bool:
        """Add those of the listed keys that the catalog does not have; return False if there are too many."""
        number = value(self._api, "select count(*) from pg_temp.here")
        if number > max(self._rows * LOOK_UP, BATCH):
            return False
        with self._api.cursor("here") as cursor:
            cursor.execute("select distinct identifier from pg_temp.here order by 1")
            while keys := [key for (key,) in cursor.fetchmany(BATCH)]:
                query = sql.SQL("select identifier from {source} where identifier = any(%s)").format(
                    **self._parts
                )
                found = {key for (key,) in self._upstream.execute(query, [keys])}
                missing = [key for key in keys if key not in found]
                self._api.execute("insert into pg_temp.missing select unnest(%s::uuid[])", [missing])
        self._do("insert into {changes} select identifier from pg_temp.missing on conflict do nothing")
        return True

    def _compare(self, groups: list[int]) -> None:
        """Add the keys of these groups that only one database has; reads all keys of the catalog."""
        within = self._within(groups)
        query = sql.SQL("select identifier from {source} where {within}").format(within=within, **self._parts)
        copy_keys(self._upstream, self._api, "catalog_keys", query)
        self._do(
            """
            insert into {changes}
            (select identifier from pg_temp.catalog_keys
             except select identifier from pg_temp.here
             except select identifier from {known})
            union
            (select identifier from pg_temp.here where {within}
             except select identifier from pg_temp.catalog_keys)
            on conflict do nothing
            """,
            within=within,
        )

    def _within(self, groups: list[int]) -> sql.Composed:
        # The type of the array decides whether PostgreSQL looks values up by hash.
        return sql.SQL(
            "(uuid_hash_extended(identifier, 0) & {mask})::integer = any({groups}::integer[])"
        ).format(groups=sql.Literal(groups), **self._parts)

    def _do(self, statement: LiteralString, **parts: sql.Composable) -> None:
        execute(self._api, statement, **self._parts, **parts)
