"""What must hold, as functions of real databases, a real engine and the model: each returns (oracle, what is wrong).

O1: tables are as the model says. O2: no key twice. O3: accounts add up. O4: what is requested again. O5:
nothing is left over. O6: the canary stands nowhere. O7: states tell the truth. O8: readers see whole states
(`readers`).
"""

import re
import warnings
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from elasticsearch.exceptions import GeneralAvailabilityWarning
from psycopg import sql

from catalog.core.media import MEDIA_TYPES, MediaType
from catalog.core.session import Connection
from catalog.data_refresh.search import Indexes
from catalog.data_refresh.sensitive import sensitive
from catalog.soak import made_up
from catalog.soak.made_up import Source, group_of
from catalog.soak.model import Model, Update
from catalog.soak.visitors import Visits, on_lists, views
from catalog.soak.world import identifiers_in

Found = list[tuple[str, str]]
_METRICS = "{}_popularity_metrics"


def _rows(connection: Connection, text: str, *values: Any, **names: str) -> list[tuple[Any, ...]]:
    """Rows of a statement with names in it."""
    parts = {key: sql.Identifier(name) for key, name in names.items()}
    return connection.execute(sql.SQL(text).format(**parts), values).fetchall()


# O1


def pull_is_whole(
    connection: Connection, run_id: str, source: Source, generation: int, model: Model
) -> Found:
    """After a green pull: its report adds up, and all records that nobody deleted are there, as the API told them."""
    found = _report(connection, run_id, source, generation)
    return found + records_are_right(connection, source, model)


def records_are_right(connection: Connection, source: Source, model: Model) -> Found:
    """A provider's records are those of the groups that are certain, each of a generation that it may be of."""
    rows = _rows(
        connection,
        "select provider, foreign_identifier, title from {table} where provider = %s",
        source.string,
        table=source.media_type,
    )
    have = {(row[0], row[1]) for row in rows}
    certain = {key for key in model.certain(source.media_type, True) if key[0] == source.string}
    gone = {key for key in model.certain(source.media_type, False) if key[0] == source.string}
    found: Found = []
    if missing := model.keys(source.media_type, certain) - have:
        found.append(("O1", f"{source.string} lacks {len(missing):,} records: {_named(missing)}"))
    if there := model.keys(source.media_type, gone) & have:
        found.append(("O1", f"{source.string} has {len(there):,} records that are deleted: {_named(there)}"))
    if unknown := [row for row in rows if not group_of(row[1])]:
        found.append(("O1", f"{source.string} has {len(unknown):,} records that its API never had"))
    known = [row for row in rows if (row[0], group_of(row[1])) in certain]
    if wrong := model.wrong_titles(known):
        found.append(("O1", f"{source.string}: {len(wrong):,} titles are wrong: {'; '.join(wrong[:3])}"))
    return found


def update_is_whole(connection: Connection, query_id: str, update: Update) -> Found:
    """A batched update has changed each of its rows once, whatever was cleared, and no other row."""
    source = update.source
    rows = _rows(
        connection,
        "select foreign_identifier, meta_data ->> %s from {table} where provider = %s and meta_data ? %s",
        query_id,
        source.string,
        query_id,
        table=source.media_type,
    )
    wanted = {i for i in source.identifiers("core") if i.endswith(str(update.digit))}
    counted = Counter(int(number) for identifier, number in rows if identifier in wanted)
    found: Found = []
    allowed = range(update.passes, update.passes + update.again + 1)
    if not counted.keys() <= {*allowed} or counted.total() != len(wanted):
        text = f"{query_id} changes each row {update.passes} times: of {len(wanted):,} rows, changed so often: {dict(counted)}"
        found.append(("O1", text))
    if others := {identifier for identifier, _ in rows} - wanted:
        found.append(
            (
                "O1",
                f"{query_id} changed {len(others):,} rows that were not asked for: {identifiers_in(others)}",
            )
        )
    return found


def group_is_deleted(connection: Connection, source: Source, group: str) -> Found:
    """After a green deletion: none of the records is in the table, all are in the table of deleted ones."""
    return _moved(connection, source, group, away=source.media_type, to=f"deleted_{source.media_type}")


def group_is_restored(connection: Connection, source: Source, group: str) -> Found:
    """After a restore: the other way round."""
    return _moved(connection, source, group, away=f"deleted_{source.media_type}", to=source.media_type)


def _moved(connection: Connection, source: Source, group: str, *, away: str, to: str) -> Found:
    wanted, found = set(source.identifiers(group)), list[tuple[str, str]]()
    query = "select foreign_identifier from {table} where provider = %s and foreign_identifier = any(%s)"
    for table, expected in ((away, set[str]()), (to, wanted)):
        have = {i for (i,) in _rows(connection, query, source.string, list(wanted), table=table)}
        if have != expected:
            text = f"{source.string} {group}: {len(have):,} of its records are in {table} instead of {len(expected):,}"
            found.append(("O1", text))
    return found


def scores_are_right(connection: Connection) -> Found:
    """Scores lie in [0, 1], and are those of the constant where a provider counts as scored with it."""
    found: Found = []
    for media_type in MEDIA_TYPES:
        function = f"standardized_{media_type}_popularity"
        for provider, number in _rows(
            connection,
            "select provider, count(*) from {table} where not standardized_popularity between 0 and 1 group by 1",
            table=media_type,
        ):
            found.append(("O1", f"{number:,} scores of {provider} do not lie between 0 and 1"))
        for provider, number in _rows(
            connection,
            "select provider, count(*) from {table} join {metrics} using (provider) where constant = refreshed_constant"
            " and abs(coalesce(standardized_popularity, -1) - coalesce({function}(provider, meta_data), -1)) > 1e-9"
            " group by 1",
            table=media_type,
            metrics=_METRICS.format(media_type),
            function=function,
        ):
            found.append(
                (
                    "O1",
                    f"{number:,} scores of {provider} are not those of its constant, which counts as applied",
                )
            )
    return found


def api_is_the_catalog(
    catalog: Connection, api: Connection, media_type: MediaType, deleted: Iterable[str]
) -> Found:
    """After a refresh that nothing disturbed: the API's table holds the catalog's records but for the moderated ones."""
    query = "select identifier::text, title from {table}"
    wanted, have = (dict(_rows(c, query, table=media_type)) for c in (catalog, api))
    for identifier in deleted:
        wanted.pop(identifier, None)
    if wanted == have:
        return []
    missing, more = wanted.keys() - have.keys(), have.keys() - wanted.keys()
    other = [i for i in wanted.keys() & have.keys() if wanted[i] != have[i]]
    text = f"{len(missing):,} are missing, {len(more):,} too many, {len(other):,} have another title"
    return [
        (
            "O1",
            f"the API's table {media_type} is not the catalog's: {text} ({identifiers_in(missing | more)})",
        )
    ]


def visits_are_kept(
    api: Connection, media_type: MediaType, visits: Visits, listed: list[str], deleted: Iterable[str]
) -> Found:
    """What only the API knows has outlived every refresh: views, and the media on lists, but for moderated ones."""
    found, gone = list[tuple[str, str]](), set(deleted)
    have = views(api, media_type)
    wrong = {
        identifier: (have.get(identifier), sure)
        for identifier, sure in visits.sure.items()
        if identifier not in gone
        and not sure <= (have.get(identifier) or 0) <= sure + visits.unsure[identifier]
    }
    if wrong:
        few = ", ".join(f"{i}: {count} instead of {sure}" for i, (count, sure) in list(wrong.items())[:3])
        found.append(
            ("O1", f"{len(wrong):,} media of the table {media_type} have another number of views ({few})")
        )
    if lost := set(listed) - gone - on_lists(api, media_type):
        found.append(("O1", f"{len(lost):,} media left the list of {media_type}: {identifiers_in(lost)}"))
    return found


def index_is_the_table(
    api: Connection, indexes: Indexes, media_type: MediaType, marked: Iterable[str], terms: list[str]
) -> Found:
    """Documents are the rows; the filtered index is all of them but the sensitive ones; marks are there."""
    found: Found = []
    rows = {
        i
        for (i,) in _rows(api, "select identifier::text from {t} where not removed_from_source", t=media_type)
    }
    for alias in (media_type, f"{media_type}-filtered"):
        index = indexes.resolve_alias(alias)
        if index is None:
            found.append(("O8", f"there is no alias {alias}"))
            continue
        indexes.refresh(index)
        if indexes.meta(index).get("dag_id") is None:
            found.append(("O8", f"{index}, behind {alias}, has another mapping than ours"))
        documents = dict(_documents(indexes, alias))
        hidden = (
            {i for i, _ in _documents(indexes, media_type, sensitive(terms))}
            if alias != media_type
            else set()
        )
        if documents.keys() != rows - hidden:
            lacks, more = rows - hidden - documents.keys(), documents.keys() - rows - hidden
            text = f"{alias} lacks {len(lacks):,} documents and has {len(more):,} too many"
            found.append(("O1", f"{text} ({identifiers_in(lacks | more)})"))
        if bare := [i for i in marked if i in documents and not documents[i]]:
            found.append(
                ("O1", f"{alias}: {len(bare):,} media are marked as mature, their documents are not")
            )
        if seen := documents.keys() & hidden:
            found.append(("O1", f"{alias} shows {len(seen):,} sensitive documents"))
    return found


def _documents(
    indexes: Indexes, name: str, query: dict[str, Any] | None = None
) -> Iterator[tuple[str, bool]]:
    """(identifier, whether it is mature) of all documents."""
    after: list[Any] | None = None
    while True:
        more = {"search_after": after} if after else {}
        hits = indexes.client.search(
            index=name,
            size=5000,
            sort=["id"],
            query=query,
            source_includes=["mature"],
            **more,  # type: ignore[arg-type]
        )["hits"]["hits"]
        if not hits:
            return
        for hit in hits:
            yield hit["_id"], bool(hit["_source"].get("mature"))
        after = hits[-1]["sort"]


# O2


def no_key_twice(connection: Connection, *, is_catalog: bool) -> Found:
    """No identifier and no pair of provider and foreign identifier stands twice, nor in both tables of a medium."""
    found: Found = []
    for media_type in MEDIA_TYPES:
        for columns in ("identifier", "provider, foreign_identifier"):
            query = (
                f"select count(*) from (select from {{table}} group by {columns} having count(*) > 1) twice"
            )
            [(number,)] = _rows(connection, query, table=media_type)
            if number:
                found.append(("O2", f"{number:,} keys ({columns}) stand twice in {media_type}"))
        if is_catalog:
            [(number,)] = _rows(
                connection,
                "select count(*) from {table} m join {deleted} d on d.provider = m.provider"
                " and d.foreign_identifier = m.foreign_identifier",
                table=media_type,
                deleted=f"deleted_{media_type}",
            )
            if number:
                found.append(
                    ("O2", f"{number:,} records stand both in {media_type} and in deleted_{media_type}")
                )
    return found


# O3


def _report(connection: Connection, run_id: str, source: Source, generation: int) -> Found:
    columns = "fetched, inserted + updated + unchanged, skipped, rejected, complete, whole"
    rows = _rows(connection, f"select {columns} from ingestion_report where run_id = %s", run_id)
    if len(rows) != 1:
        return [("O3", f"{run_id} is green and has {len(rows)} reports")]
    fetched, kept, skipped, rejected, complete, whole = rows[0]
    listed, odd = len(made_up.items(source.name, generation)), made_up.odd(source.name, generation)
    found: Found = []
    if fetched != listed:
        found.append(("O3", f"{run_id}: {fetched:,} items are reported, the API listed {listed:,}"))
    if skipped < odd or rejected or kept + skipped != listed:
        text = f"{kept:,} kept, {skipped:,} skipped (at least {odd} must be), {rejected:,} rejected"
        found.append(("O3", f"{run_id}: the accounts are wrong: {text}, of {listed:,}"))
    if not (complete and whole):
        found.append(("O7", f"{run_id} is green, but its report says complete {complete}, whole {whole}"))
    return found


def accounts_add_up(connection: Connection) -> Found:
    """In every report; the table's own constraint says so, too."""
    rows = _rows(
        connection,
        "select dag_id, run_id from ingestion_report where fetched <> inserted + updated + unchanged + skipped + rejected",
    )
    return [("O3", f"the report of {dag_id} {run_id} does not add up") for dag_id, run_id in rows]


# O4


def requested_again(run_id: str, delivered: int, wanted: int, more_tries: int) -> Found:
    """A pull that was killed asks for one page again at most. wanted: pages of its passes. more_tries: beside one a pass."""
    again = delivered - wanted
    if again <= max(more_tries, 0):
        return []
    return [("O4", f"{run_id}: {again} pages were delivered again, with {more_tries} tries more than needed")]


# O5


def nothing_left(connection: Connection, database: str, before: set[str], now: set[str]) -> Found:
    """No table or sequence that was not there before, no advisory lock, no statement of ours under way."""
    found: Found = []
    if more := now - before:
        found.append(("O5", f"left over in {database}: {identifiers_in(more)}"))
    if less := before - now:
        found.append(("O5", f"missing from {database}: {identifiers_in(less)}"))
    [(locks,)] = _rows(
        connection,
        "select count(*) from pg_locks l join pg_database d on d.oid = l.database"
        " where l.locktype = 'advisory' and d.datname = current_database()",
    )
    if locks:
        found.append(("O5", f"{locks} advisory locks are held in {database}"))
    running = _rows(
        connection,
        "select left(query, 120) from pg_stat_activity where state <> 'idle' and pid <> pg_backend_pid()"
        " and application_name <> 'soak' and backend_type = 'client backend' and datname = current_database()",
    )
    found += [("O5", f"still running in {database}: {query}") for (query,) in running]
    return found


def no_index_left(indexes: Indexes) -> Found:
    """Every index of media has an alias, and nothing copies."""
    found: Found = []
    about = indexes.client.indices.get(index="image-*,audio-*", expand_wildcards="all").body
    if orphans := [name for name, index in about.items() if not index.get("aliases")]:
        found.append(("O5", f"indexes without an alias: {identifiers_in(orphans)}"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GeneralAvailabilityWarning)
        nodes = indexes.client.tasks.list(actions="*reindex").get("nodes", {})
    if nodes:
        found.append(("O5", "the engine still copies an index"))
    return found


def no_partial_file(storage: Path) -> Found:
    """No file that was begun and not ended."""
    left = [
        p.name
        for p in storage.rglob("*")
        if p.is_file() and (".partial" in p.name or p.name.endswith(".tmp"))
    ]
    return [("O5", f"partial files: {identifiers_in(left)}")] if left else []


# O6


def canary_is_nowhere(
    canary: str, files: Iterable[Path], connections: Iterable[tuple[str, Connection]], texts: Iterable[str]
) -> Found:
    """The key is in no file, no row and no message, in whatever form."""
    forms = _forms(canary)
    found: Found = []
    for path in files:
        if _holds(_content(path), forms):
            found.append(("O6", f"the canary stands in {path}"))
    for name, connection in connections:
        tables = _rows(connection, "select tablename from pg_tables where schemaname = 'public'")
        for (table,) in tables:
            rows = _rows(connection, "select t::text from {table} t", table=table)
            if any(_holds(str(text).encode("utf-8", "replace"), forms) for (text,) in rows):
                found.append(("O6", f"the canary stands in the table {table} of {name}"))
    if any(_holds(text.encode("utf-8", "replace"), forms) for text in texts):
        found.append(("O6", "the canary stands in a message"))
    return found


def _forms(canary: str) -> list[bytes]:
    """What is looked for: its first word, which no escape changes, and the base64 characters that it alone decides."""
    word = re.match(r"\w+", canary)
    data, found = canary.encode(), [word.group().encode() if word else canary.encode()]
    for offset in range(3):
        text = b64encode(bytes(offset) + data)
        found.append(text[(8 * offset + 5) // 6 : 8 * (offset + len(data)) // 6])
    return found


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it was removed, or belongs to a server
        return b""


def _holds(text: bytes, forms: list[bytes]) -> bool:
    return any(form in text for form in forms)


# O7


def states_tell_the_truth(airflow: Connection) -> Found:
    """No run is green with a failed task, none is at work, no task is running."""
    found: Found = []
    for dag_id, run_id, names in _rows(
        airflow,
        "select r.dag_id, r.run_id, string_agg(t.task_id, ', ') from dag_run r join task_instance t using (dag_id, run_id)"
        " where r.state = 'success' and t.state in ('failed', 'upstream_failed') group by 1, 2",
    ):
        found.append(("O7", f"{dag_id} {run_id} is green although tasks failed: {names}"))
    for dag_id, run_id, state in _rows(
        airflow, "select dag_id, run_id, state from dag_run where state in ('running', 'queued')"
    ):
        found.append(("O7", f"{dag_id} {run_id} is still {state}"))
    return found


def _named(keys: set[tuple[str, str]]) -> str:
    return identifiers_in(identifier for _, identifier in keys)
