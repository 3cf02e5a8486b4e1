"""Life of the indexes of a refresh: creation, moderation, checks, promotion, deletion.

Each method can be called again at any later time: it works on the same indexes, or refuses.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from psycopg import sql

from catalog.core import loss_limits
from catalog.core.errors import Refused
from catalog.core.queries import value
from catalog.core.session import Connection
from catalog.data_refresh.refresh import Hidden, Refresh
from catalog.data_refresh.search.customizing import customized
from catalog.data_refresh.search.findable import refuse_unfindable
from catalog.data_refresh.search.hidden import hidden_by, revealed
from catalog.data_refresh.search.identity import filtered_name
from catalog.data_refresh.search.index_writes import Contents, contents_of
from catalog.data_refresh.search.indexes import Indexes
from catalog.data_refresh.search.kinds import kind_of
from catalog.data_refresh.search.mapping import SHARDS, TERMS, index_body, index_meta
from catalog.data_refresh.search.moderation import follow
from catalog.data_refresh.search.readiness import finalize
from catalog.data_refresh.search.recount import Recount, recount
from catalog.data_refresh.search.tag_policy import policy_from
from catalog.data_refresh.tables.shrinkage import FILTERED, shrunken_alias, subject_of
from catalog.database.refusals import Finding, Judge
from catalog.moderation.decisions import number_deleted

if TYPE_CHECKING:
    from catalog.data_refresh.search.changed_documents import Updated

log = logging.getLogger(__name__)
REPLICA_TIMEOUT = 6 * 3600.0  # seconds


def _lost(before: Mapping[str, int], now: Mapping[str, int]) -> dict[str, int]:
    """Return how many documents are missing, by subject of a finding: of all, and of each source."""
    lost = {subject_of(source): number - now.get(source, 0) for source, number in before.items()}
    return {subject_of(None): sum(before.values()) - sum(now.values()), **lost}


class RefreshIndexes:
    """Operations of a refresh on its own indexes.

    Attributes:
        engine: Operations on any index.
    """

    def __init__(self, refresh: Refresh, engine: Indexes) -> None:
        self._refresh, self._plan, self.engine = refresh, refresh.plan, engine

    def create(self, name: str, shards: int | None = None) -> str:
        """Create a new, empty index; `_meta` holds the DAG run, the tag policy and the list of terms.

        Args:
            name: Name of the index; one that an earlier attempt created is replaced.
            shards: Number of primary shards; by default that of the media type.

        Returns:
            The engine's uuid of the index.
        """
        plan, refresh = self._plan, self._refresh
        meta = index_meta(plan.media_type, refresh.dag_id, refresh.run_id, policy_from(plan.policy))
        terms = plan.terms if name == plan.filtered else ""
        if plan.copy:
            meta["copied_from"] = plan.copy.origin
            terms = self.engine.meta(plan.copy.origin).get(TERMS, "")
        if terms:
            meta[TERMS] = terms
        body = index_body(plan.media_type, meta, shards or SHARDS[plan.media_type])
        if plan.copy:
            body = customized(body, plan.copy.settings, plan.copy.mappings)
            if unkept := self.engine.unkept(plan.copy.origin):  # so that the copy says what it lacks
                body["mappings"]["_source"] = {"excludes": unkept}
        return self.engine.create(name, body)

    def follow_moderation(self, api: Connection, name: str) -> None:
        """Apply the decisions that moderators have made since the refresh began."""
        plan, uuid = self._plan, self._refresh.made(name).uuid
        follow(api, self.engine, name, plan.media_type, plan.since, uuid=uuid)

    def require_origin(self) -> None:
        """Check the index from which a filtered index is copied.

        Raises:
            Refused: It is not the recorded one, or this refresh fills it and has not completed it.
        """
        plan = self._plan
        found = self.engine.identity(plan.index)
        if found is None or found.uuid != self._refresh.made(plan.index).uuid:
            raise Refused(
                f"the index {plan.index} is missing, or was replaced by another one; trigger a new run."
            )
        if plan.table:
            self._refresh.counted(plan.index)

    def refuse_shrinkage(
        self,
        name: str,
        *,
        judge: Judge,
        left_out: Mapping[str, int] | None = None,
        why: Callable[[], str] = str,
        hidden: Hidden | None = None,
    ) -> None:
        """Compare the numbers of documents, of all and of each source, with those of the live index.

        Of a filtered index, the number of documents that it hides is compared as well, if it was made with
        another list of terms.

        Args:
            name: Name of the new index.
            judge: Says whether far fewer documents, or far fewer hidden ones, are accepted.
            left_out: Why records have no document → their number.
            why: Returns a sentence about why records may be missing, for the refusal.
            hidden: What the last filtered index has hidden, in case that none is behind its alias any more.

        Raises:
            Refused: There are far fewer, and that is not accepted. The message says what is not.
        """
        plan = self._plan
        alias = next(alias for alias, index in plan.aliases.items() if index == name)
        limit = FILTERED if name == plan.filtered else loss_limits.TOTAL
        before, now = plan.documents.get(alias, {}), self.engine.sources(name)
        lacking = shrunken_alias(alias, before, now, limit)
        if name == plan.filtered:
            lacking = self._unexplained(lacking, before, now)
        found = {kind_of("documents", alias, plan.search): lacking}
        if name == plan.filtered and before:
            # An earlier release may have recorded the plan, without the documents of the main index.
            everything = plan.documents.get(plan.media_type) or self.engine.sources(plan.media_type)
            number = sum(everything.values()) - sum(before.values())
            hidden = hidden_by(self.engine, plan.live.get(alias) or alias, number)
        if name == plan.filtered and hidden:
            number = self.engine.count(plan.index) - sum(now.values())
            found[kind_of("hidden documents", alias, plan.search)] = revealed(
                alias, hidden, hidden_by(self.engine, name, number)
            )
        judged = judge(found)
        if judged.refused:
            counted = ", ".join(f"{number:,} {what}" for what, number in (left_out or {}).items() if number)
            named = counted and f"Records without a document: {counted}."
            raise Refused(judged.message(f"{judged.problems}.", named, why()))

    def _unexplained(
        self, findings: Sequence[Finding], before: Mapping[str, int], now: Mapping[str, int]
    ) -> list[Finding]:
        """Return what the filtered index lacks beyond what the main index of this refresh lacks, too.

        That is accepted by now: otherwise, the main index would have been refused.

        Args:
            findings: What it has lost.
            before: Documents by source behind its alias.
            now: Its documents by source.
        """
        plan = self._plan
        if not findings or not plan.table:  # it is copied from an index that is there
            return list(findings)
        had, has = plan.documents.get(plan.media_type, {}), self.engine.sources(plan.index)
        lacks, lacking = (_lost(*counts) for counts in ((had, has), (before, now)))
        of_main = {one.subject for one in shrunken_alias(plan.media_type, had, has, loss_limits.TOTAL)}
        return [
            one for one in findings if one.subject not in of_main or lacking[one.subject] > lacks[one.subject]
        ]

    def open(self, replicas: int) -> None:
        """Create the replicas, before the indexes are searched."""
        for name in self._plan.targets:
            finalize(self.engine, name, replicas, REPLICA_TIMEOUT, uuid=self._refresh.made(name).uuid)

    def require_complete(self, api: Connection) -> None:
        """Check that each index is the completed one, has its replicas, and still has all its documents.

        Documents of media that moderators have deleted since the refresh began may be missing.

        Raises:
            Refused: An index holds more or fewer documents, or was made after the others were opened.
            Fatal: An index is missing, or another one has its name.
        """
        plan, refresh = self._plan, self._refresh
        for name in plan.aliases.values():
            self.engine.require(name, refresh.made(name).uuid)
            now = recount(self.engine, api, plan.media_type, name, refresh.counted(name), plan.since)
            if not now.explained:
                raise Refused(f"{now.text}; clear create_index and all tasks after it, or trigger a new run.")
            if self.engine.is_filling(name):
                raise Refused(
                    f"{name} was made after open_indexes: it has no replicas, and would not show what is "
                    "written to it. Clear open_indexes and all tasks after it."
                )

    def require_findable(self, judge: Judge) -> None:
        """Check that the API's search finds documents of indexes that are not live yet.

        Args:
            judge: Says whether it is accepted that far fewer are found.

        Raises:
            Refused: The engine refuses the search, or finds far fewer than it should.
        """
        wanted = {a: name for a, name in self._plan.aliases.items() if self.engine.resolve_alias(a) != name}
        for text in refuse_unfindable(self.engine, wanted, judge, self._plan.search):
            log.warning("%s", text)

    def count_updated(self, api: Connection, updated: "Updated") -> dict[str, Contents]:
        """Count the documents of the live indexes after an incremental refresh, and return them by index.

        Args:
            api: Connection to the API database.
            updated: Result of the update.

        Raises:
            Refused: An index holds more or fewer documents than it should.
        """
        plan = self._plan
        query = sql.SQL("select count(*) from {} where not removed_from_source")
        rows = value(api, query.format(sql.Identifier("public", plan.media_type)))
        deleted = number_deleted(api, plan.media_type, plan.since)
        alias = filtered_name(plan.media_type)
        kept = plan.counts[alias] - plan.replaced[alias]
        wanted = {
            plan.index: rows - len(updated.rejected),
            plan.filtered: kept + updated.documents - updated.hidden,
        }
        contents = {}
        for name, number in wanted.items():
            contents[name] = contents_of(self.engine, name)
            now = Recount(name, contents[name].documents, number, deleted)
            if not now.explained:
                raise Refused(
                    f"{name} holds {now.found:,} documents instead of {number:,}: another program has "
                    "changed the table or the index meanwhile. Trigger a new run, which is a full refresh."
                )
        return contents

    def point_aliases(self, api: Connection) -> None:
        """Move the aliases to these indexes, after applying all decisions of moderators."""
        plan = self._plan
        self.require_complete(api)
        self._follow_all(api)
        self.engine.swap_aliases(
            plan.aliases, {name: made.uuid for name, made in self._refresh.indexes.items()}
        )
        self._follow_all(api)  # decisions between the two steps above

    def _follow_all(self, api: Connection) -> None:
        for name in self._plan.aliases.values():
            self.follow_moderation(api, name)

    def require_live(self) -> None:
        """Check that the aliases of a promoted refresh still point at its indexes; raises Refused."""
        for alias, index in self._plan.aliases.items():
            if (found := self.engine.resolve_alias(alias)) != index:
                raise Refused(f"{alias} points at {found}, not at {index} any more; trigger a new run.")

    def delete_replaced(self) -> list[str]:
        """Delete the indexes that were live before, unless an alias points at them; return their names."""
        deleted = []
        for name in filter(None, self._plan.live.values()):
            if name in self._plan.aliases.values():
                continue
            if aliases := self.engine.delete_unless_aliased(name):
                log.warning("%s is kept: %s points at it.", name, ", ".join(aliases))
            else:
                deleted.append(name)
        return deleted

    def delete_leftovers(self, made_by: Iterable[str], keep: set[str] | None = None) -> list[str]:
        """Delete the indexes without an alias that other refreshes have left; return their names.

        Args:
            made_by: Ids of the DAGs that created them.
            keep: Uuids of indexes to keep.
        """
        plan = self._plan
        found = set(self.engine.orphans(list(made_by), plan.media_type, keep or set()))
        return self.engine.delete(sorted(found - {plan.index, plan.filtered}))
