"""Oracles of the API database and the search indexes: content after a refresh."""

from collections.abc import Iterable, Iterator
from typing import Any

from catalog.core.media import MediaType
from catalog.core.session import Connection
from catalog.core.wording import join_first
from catalog.data_refresh.search.identity import filtered_name
from catalog.data_refresh.search.indexes import Indexes
from catalog.data_refresh.search.sensitive import sensitive
from catalog.soak.oracles.rows import rows
from catalog.soak.violations import Violation, Violations
from catalog.soak.visitors import Visits, on_lists, views


def check_api_table(
    catalog: Connection, api: Connection, media_type: MediaType, deleted: Iterable[str]
) -> Violations:
    """After an undisturbed refresh: the API's table has the catalog's records, except moderated ones.

    Args:
        catalog: Connection to the catalog database.
        api: Connection to the API database.
        media_type: Table to compare.
        deleted: Identifiers that moderators have deleted.
    """
    wanted, have = (
        dict(rows(c, "select identifier::text, title from {t}", t=media_type)) for c in (catalog, api)
    )
    for identifier in deleted:
        wanted.pop(identifier, None)
    if wanted == have:
        return []
    missing, extra = wanted.keys() - have.keys(), have.keys() - wanted.keys()
    other = [i for i in wanted.keys() & have.keys() if wanted[i] != have[i]]
    counts = f"{len(missing):,} are missing, {len(extra):,} too many, {len(other):,} have another title"
    message = f"the API's table {media_type} differs from the catalog's: {counts}"
    return [Violation("content", f"{message} ({join_first(sorted(missing | extra))})")]


def check_visits(
    api: Connection, media_type: MediaType, visits: Visits, listed: list[str], deleted: Iterable[str]
) -> Violations:
    """Data that only the API has survive every refresh: views and lists, except of moderated media.

    Args:
        api: Connection to the API database.
        media_type: Table to check.
        visits: Views that were made.
        listed: Identifiers that were put on a list.
        deleted: Identifiers that moderators have deleted.
    """
    violations, ignored = Violations(), set(deleted)
    have = views(api, media_type)
    wrong = {
        identifier: (have.get(identifier), sure)
        for identifier, sure in visits.sure.items()
        if identifier not in ignored
        and not sure <= (have.get(identifier) or 0) <= sure + visits.unsure[identifier]
    }
    if wrong:
        few = ", ".join(f"{i}: {count} instead of {sure}" for i, (count, sure) in list(wrong.items())[:3])
        message = f"{len(wrong):,} media of the table {media_type} have another number of views ({few})"
        violations.append(Violation("content", message))
    if lost := set(listed) - ignored - on_lists(api, media_type):
        message = f"{len(lost):,} media left the list of {media_type}: {join_first(sorted(lost))}"
        violations.append(Violation("content", message))
    return violations


def check_indexes(
    api: Connection, indexes: Indexes, media_type: MediaType, marked: Iterable[str], terms: list[str]
) -> Violations:
    """Documents are the rows; the filtered index has all but the sensitive ones; marks are in both.

    Args:
        api: Connection to the API database.
        indexes: Indexes of the search engine.
        media_type: Table and aliases to compare.
        marked: Identifiers that moderators have marked as mature.
        terms: Sensitive terms.
    """
    violations: Violations = []
    stored = rows(api, "select identifier::text from {t} where not removed_from_source", t=media_type)
    identifiers = {identifier for (identifier,) in stored}
    for alias in (media_type, filtered_name(media_type)):
        index = indexes.resolve_alias(alias)
        if index is None:
            violations.append(Violation("readers", f"there is no alias {alias}"))
            continue
        indexes.refresh(index)
        if indexes.meta(index).get("dag_id") is None:
            violations.append(Violation("readers", f"{index} of the alias {alias} does not have our mapping"))
        is_filtered = alias != media_type
        hidden = {i for i, _ in _documents(indexes, media_type, sensitive(terms))} if is_filtered else set()
        documents = dict(_documents(indexes, alias))
        violations += _compare(alias, documents, identifiers, hidden)
        if bare := [i for i in marked if i in documents and not documents[i]]:
            message = f"{alias}: {len(bare):,} media are marked as mature, their documents are not"
            violations.append(Violation("content", message))
    return violations


def _compare(alias: str, documents: dict[str, bool], identifiers: set[str], hidden: set[str]) -> Violations:
    violations: Violations = []
    expected = identifiers - hidden
    if documents.keys() != expected:
        missing, extra = expected - documents.keys(), documents.keys() - expected
        message = f"{alias} lacks {len(missing):,} documents and has {len(extra):,} too many"
        violations.append(Violation("content", f"{message} ({join_first(sorted(missing | extra))})"))
    if shown := documents.keys() & hidden:
        violations.append(Violation("content", f"{alias} shows {len(shown):,} sensitive documents"))
    return violations


def _documents(
    indexes: Indexes, name: str, query: dict[str, Any] | None = None
) -> Iterator[tuple[str, bool]]:
    """Yield identifier and maturity of all documents."""
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
