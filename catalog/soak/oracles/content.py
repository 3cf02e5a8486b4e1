"""Oracles of the catalog database: content, keys, accounts and requests."""

from collections import Counter

from catalog.core.media import MEDIA_TYPES
from catalog.core.session import Connection
from catalog.core.wording import join_first
from catalog.soak import made_up
from catalog.soak.made_up import Source, group_of
from catalog.soak.model import Model, Update
from catalog.soak.oracles.rows import first_keys, rows
from catalog.soak.violations import Violation, Violations

_METRICS = "{}_popularity_metrics"


def check_pull(
    connection: Connection, run_id: str, source: Source, generation: int, model: Model
) -> Violations:
    """After a successful pull: its report adds up, and all records that are not deleted are there."""
    return _report(connection, run_id, source, generation) + check_records(connection, source, model)


def check_records(connection: Connection, source: Source, model: Model) -> Violations:
    """A provider's records are those of the certain groups, each of a possible generation."""
    stored = rows(
        connection,
        "select provider, foreign_identifier, title from {table} where provider = %s",
        source.catalog_name,
        table=source.media_type,
    )
    have = {(row[0], row[1]) for row in stored}
    certain = {key for key in model.certain(source.media_type, True) if key[0] == source.catalog_name}
    deleted = {key for key in model.certain(source.media_type, False) if key[0] == source.catalog_name}
    problems: list[str] = []
    if missing := model.keys(source.media_type, certain) - have:
        problems.append(f"lacks {len(missing):,} records: {first_keys(missing)}")
    if present := model.keys(source.media_type, deleted) & have:
        problems.append(f"has {len(present):,} records that are deleted: {first_keys(present)}")
    if unknown := [row for row in stored if not group_of(row[1])]:
        problems.append(f"has {len(unknown):,} records that its API never had")
    known = [row for row in stored if (row[0], group_of(row[1])) in certain]
    if wrong := model.wrong_titles(known):
        problems.append(f"has {len(wrong):,} wrong titles: {'; '.join(wrong[:3])}")
    return [Violation("content", f"{source.catalog_name} {problem}") for problem in problems]


def check_update(connection: Connection, query_id: str, update: Update) -> Violations:
    """A batched update has changed each of its rows once, whatever was cleared, and no other row."""
    source = update.source
    counts = rows(
        connection,
        "select foreign_identifier, meta_data ->> %s from {table} where provider = %s and meta_data ? %s",
        query_id,
        source.catalog_name,
        query_id,
        table=source.media_type,
    )
    wanted = {i for i in source.identifiers("core") if i.endswith(str(update.digit))}
    changes = Counter(int(number) for identifier, number in counts if identifier in wanted)
    violations: Violations = []
    allowed = range(update.passes, update.passes + update.again + 1)
    if not changes.keys() <= {*allowed} or changes.total() != len(wanted):
        message = (
            f"{query_id} must change each of {len(wanted):,} rows {update.passes} times; "
            f"rows by number of changes: {dict(changes)}"
        )
        violations.append(Violation("content", message))
    if others := {identifier for identifier, _ in counts} - wanted:
        message = f"{query_id} changed {len(others):,} rows outside its query: {join_first(sorted(others))}"
        violations.append(Violation("content", message))
    return violations


def check_deletion(connection: Connection, source: Source, group: str) -> Violations:
    """After a successful deletion: all records of a group are in the table of deleted ones only."""
    return _moved(connection, source, group, gone_from=source.media_type, to=f"deleted_{source.media_type}")


def check_restoration(connection: Connection, source: Source, group: str) -> Violations:
    """After a restore: all records of a group are in the catalog table only."""
    return _moved(connection, source, group, gone_from=f"deleted_{source.media_type}", to=source.media_type)


def _moved(connection: Connection, source: Source, group: str, *, gone_from: str, to: str) -> Violations:
    wanted, violations = set(source.identifiers(group)), Violations()
    for table, expected in ((gone_from, set[str]()), (to, wanted)):
        stored = rows(
            connection,
            "select foreign_identifier from {table} where provider = %s and foreign_identifier = any(%s)",
            source.catalog_name,
            list(wanted),
            table=table,
        )
        have = {identifier for (identifier,) in stored}
        if have != expected:
            message = (
                f"{source.catalog_name} {group}: {len(have):,} of its records are in {table} "
                f"instead of {len(expected):,}"
            )
            violations.append(Violation("content", message))
    return violations


def check_scores(connection: Connection) -> Violations:
    """Scores are between 0 and 1, and are those of the constant that they count as computed with."""
    messages: list[str] = []
    for media_type in MEDIA_TYPES:
        outside = rows(
            connection,
            "select provider, count(*) from {table}"
            " where not standardized_popularity between 0 and 1 group by 1",
            table=media_type,
        )
        messages += [
            f"{number:,} scores of {provider} are not between 0 and 1" for provider, number in outside
        ]
        outdated = rows(
            connection,
            "select provider, count(*) from {table} join {metrics} using (provider)"
            " where constant = refreshed_constant"
            " and abs(coalesce(standardized_popularity, -1)"
            " - coalesce({function}(provider, meta_data), -1)) > 1e-9"
            " group by 1",
            table=media_type,
            metrics=_METRICS.format(media_type),
            function=f"standardized_{media_type}_popularity",
        )
        messages += [
            f"{number:,} scores of {provider} differ from those of its constant, which counts as applied"
            for provider, number in outdated
        ]
    return [Violation("content", message) for message in messages]


def check_keys(connection: Connection, *, is_catalog: bool) -> Violations:
    """No identifier and no pair of provider and foreign identifier occurs twice.

    Args:
        connection: Connection to the catalog or the API database.
        is_catalog: The database has tables of deleted records; a record is in one of the two tables.
    """
    messages: list[str] = []
    for media_type in MEDIA_TYPES:
        for columns in (("identifier",), ("provider", "foreign_identifier")):
            names = {f"column_{number}": name for number, name in enumerate(columns)}
            [(number,)] = rows(
                connection,
                "select count(*) from ("
                " select from {table} group by {column_0}, {column_1} having count(*) > 1) duplicates",
                table=media_type,
                **{"column_1": columns[0], **names},
            )
            if number:
                messages.append(f"{number:,} keys ({', '.join(columns)}) occur twice in {media_type}")
        if is_catalog:
            [(number,)] = rows(
                connection,
                "select count(*) from {table} m join {deleted} d on d.provider = m.provider"
                " and d.foreign_identifier = m.foreign_identifier",
                table=media_type,
                deleted=f"deleted_{media_type}",
            )
            if number:
                messages.append(f"{number:,} records are both in {media_type} and in deleted_{media_type}")
    return [Violation("keys", message) for message in messages]


def _report(connection: Connection, run_id: str, source: Source, generation: int) -> Violations:
    reports = rows(
        connection,
        "select fetched, inserted + updated + unchanged, skipped, rejected, complete, whole"
        " from ingestion_report where run_id = %s",
        run_id,
    )
    if len(reports) != 1:
        return [Violation("accounts", f"{run_id} has succeeded and has {len(reports)} reports")]
    fetched, kept, skipped, rejected, complete, whole = reports[0]
    listed, odd = len(made_up.items(source.name, generation)), made_up.odd(source.name, generation)
    violations: Violations = []
    if fetched != listed:
        message = f"{run_id}: {fetched:,} items are reported, the API listed {listed:,}"
        violations.append(Violation("accounts", message))
    if skipped < odd or rejected or kept + skipped != listed:
        counts = f"{kept:,} kept, {skipped:,} skipped (at least {odd} must be), {rejected:,} rejected"
        violations.append(Violation("accounts", f"{run_id}: of {listed:,} items, {counts}"))
    if not (complete and whole):
        message = f"{run_id} has succeeded, but its report says complete {complete}, whole {whole}"
        violations.append(Violation("states", message))
    return violations


def check_accounts(connection: Connection) -> Violations:
    """The counts of every report add up, as a constraint of the table says as well."""
    reports = rows(
        connection,
        "select dag_id, run_id from ingestion_report"
        " where fetched <> inserted + updated + unchanged + skipped + rejected",
    )
    return [
        Violation("accounts", f"the report of {dag_id} {run_id} does not add up")
        for dag_id, run_id in reports
    ]


def check_requests(run_id: str, delivered: int, wanted: int, more_tries: int) -> Violations:
    """An attempt of a pull requests at most one page that an earlier attempt has had.

    Args:
        run_id: Run of the pull.
        delivered: Pages that were delivered completely.
        wanted: Pages of all passes of the pull.
        more_tries: Attempts beyond one per pass.
    """
    again = delivered - wanted
    if again <= max(more_tries, 0):
        return []
    return [
        Violation(
            "requests", f"{run_id}: {again} pages were delivered again, with {more_tries} more attempts"
        )
    ]
