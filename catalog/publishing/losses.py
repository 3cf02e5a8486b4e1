"""What a new version lacks, or shows although it was left out, compared with the version before.

Each kind of loss is found, reported and accepted apart: who accepts that records are gone has seen nothing of
a list of terms that finds none.
"""

from collections.abc import Iterator, Mapping

import msgspec

from catalog.core import loss_limits
from catalog.core.media import MEDIA_TYPES
from catalog.core.session import Connection
from catalog.database.refusals import Finding
from catalog.publishing import part_counts, versions
from catalog.publishing.manifest import Manifest


def kind(what: str, media_type: str = "all") -> str:
    """Return the name of a kind of loss, for `refusals.judge`."""
    return f"dataset, {media_type}: {what}"


class Comparison(msgspec.Struct, frozen=True):
    """A new version and the one before.

    Attributes:
        before: The version before.
        left_out: Records that it has left out, by media type; None if that is not known.
        now: The new version.
        decided: Number of moderators' decisions when the new version was begun, by media type.
        decisions_known: Whether decisions that counted for the version before were looked for by themselves,
            when the new one was begun.
        terms: What the newest list of terms that was counted has found; None if none was.
    """

    before: Manifest
    left_out: Mapping[str, int] | None
    now: Manifest
    decided: Mapping[str, int]
    decisions_known: bool
    terms: part_counts.Terms | None = None

    @classmethod
    def of(
        cls, connection: Connection, before: Manifest, now: Manifest, version: versions.Version
    ) -> "Comparison":
        """Compare two versions.

        Manifests of earlier releases do not say how many records are left out, but the tables have the number
        of rows that were read.

        Args:
            connection: Connection to the catalog.
            before: The version before.
            now: The new version.
            version: The new version, as the catalog database records it.
        """
        left_out: Mapping[str, int] = before.left_out
        if not left_out:
            read = part_counts.rows_read(connection, before.token)
            left_out = {m: number - before.rows.get(m, 0) for m, number in read.items()}
        known = version.settings.get(versions.DECISIONS, {})
        decided = {m: sum(kind["number"] for kind in kinds.values()) for m, kinds in known.items()}
        # A version that includes sensitive records has looked for no terms, and says nothing about a list.
        terms = part_counts.counted_terms(connection, version)
        if before.with_term:
            terms = part_counts.Terms(before.version, before.with_term, before.settings.get(versions.TERMS))
        decisions_known = versions.DECISIONS in versions.settings_of(connection, before.token)
        return cls(before, left_out or None, now, decided, decisions_known, terms)

    def found(self) -> dict[str, list[Finding]]:
        """Return what is beyond the usual, by kind; kinds of which nothing is are empty."""
        found = {
            kind("unknown terms"): [*self._unknown_terms()],
            kind("moderators"): [*self._without_moderators()],
        }
        for media_type in sorted(MEDIA_TYPES):
            found[kind("records", media_type)] = [*self._of_records(media_type)]
            found[kind("terms", media_type)] = [*self._shown_again(media_type)]
        return found

    @property
    def _list(self) -> str:
        """The list of terms of the new version: what was reported of one is not accepted of another."""
        return str(self.now.settings.get(versions.TERMS, ""))

    def _unknown_terms(self) -> Iterator[Finding]:
        """Yield a finding if nothing tells whether the list of sensitive terms is the right one."""
        if self.left_out is not None or not self._may_reveal():
            return
        left_out = sum(self.now.left_out.values())
        numbers = ", ".join(f"{number:,} {media_type}" for media_type, number in self.now.left_out.items())
        yield Finding(
            self._list,
            left_out,
            left_out,
            f"version {self.before.version} does not say how many sensitive records it has left out, so that "
            f"the list of terms may be a wrong one; this version has left out {numbers} records",
        )

    def _of_records(self, media_type: str) -> Iterator[Finding]:
        """Yield what is gone of the records of a media type, as a whole and by provider."""
        yield from self._of_media_type(media_type)
        before, now = (
            {one.provider: one.rows for one in version.providers if one.media_type == media_type}
            for version in (self.before, self.now)
        )
        for provider in loss_limits.shrunken_sources(before, now):
            rows, name = now.get(provider, 0), provider or "no provider"
            text = f"{media_type}: {rows:,} records of {name}, {before[provider]:,} are published"
            yield Finding(f"of {name}", before[provider], rows, text)

    def _of_media_type(self, media_type: str) -> Iterator[Finding]:
        """Yield whether a media type has lost many records, also if as many others came."""
        rows, now = self.before.rows.get(media_type, 0), self.now.rows.get(media_type, 0)
        gone = self._gone(media_type)
        if loss_limits.lost_too_many(rows, now, loss_limits.TOTAL):
            yield Finding("all", rows, now, f"{media_type}: {now:,} records, {rows:,} are published")
        elif rows < loss_limits.SOURCE_SIZE:
            return
        elif gone is None:
            yield Finding(
                f"unknown, {self._lost} of version {self.before.version}",
                rows,
                now,
                f"{media_type}: it is not known how many of {rows:,} published records are gone, "
                f"because {self._lost} of version {self.before.version} is missing or altered",
            )
        elif loss_limits.lost_too_many(rows, rows - gone, loss_limits.TOTAL):
            yield Finding(
                "kept",
                rows,
                rows - gone,
                f"{media_type}: {gone:,} of {rows:,} published records are gone, and others came; "
                "another catalog may publish to this folder",
            )

    @property
    def _lost(self) -> str:
        """The file without which nothing was compared."""
        return self.now.changes.lost if self.now.changes else ""

    def _gone(self, media_type: str) -> int | None:
        """Return how many published records are gone, besides those left out now; None if not known."""
        removed = self.now.changes.removed.get(media_type) if self.now.changes else None
        if removed is None:
            return None
        if self.left_out is None or media_type not in self.left_out:
            return removed
        return removed - max(0, self.now.left_out.get(media_type, 0) - self.left_out[media_type])

    def _without_moderators(self) -> Iterator[Finding]:
        """Yield a finding if decisions of moderators counted before, and do not now."""
        if self.before.settings.get(versions.MODERATED) and not self.now.settings.get(versions.MODERATED):
            text = "what moderators have deleted is not left out, as it was before: there is no connection to"
            subject = f"connection, version {self.before.version}"
            yield Finding(subject, 0, 0, f"{text} the API's database", may_be_away=True)
        elif not self.decisions_known:
            for media_type in sorted(MEDIA_TYPES):
                yield from self._fewer_decided(media_type)

    def _fewer_decided(self, media_type: str) -> Iterator[Finding]:
        """Yield whether far fewer records are left out that only moderators have decided about.

        Their number is all that tells if this database does not know the version before, as after a restore.
        """
        then, now = (_only_decided(version, media_type) for version in (self.before, self.now))
        if then is not None and now is not None and loss_limits.lost_decisions(then, now):
            yield Finding(
                f"{media_type}, version {self.before.version}",
                then,
                now,
                f"{media_type}: {now:,} records without a sensitive term are left out because of moderators, "
                f"{then:,} in the version before, whose decisions this database does not know",
                may_be_away=True,
            )

    def _shown_again(self, media_type: str) -> Iterator[Finding]:
        """Yield whether another list of terms finds far fewer records."""
        if media_type not in self.now.left_out:
            return
        text = self._fewer_with_term(media_type) or self._fewer_left_out(media_type)
        if text:
            before = (self.terms.found if self.terms else self.left_out or {}).get(media_type, 0)
            found = self.now.with_term.get(media_type, self.now.left_out[media_type])
            text = f"{media_type}: {text}, so the list of terms may be a wrong one"
            yield Finding(self._list, before, found, text)

    def _fewer_with_term(self, media_type: str) -> str:
        """Compare what two lists of terms have found.

        If records with a term were deleted from the catalog meanwhile, another list that is right finds fewer
        as well. That cannot be told apart: nobody has the former list any more, and a deletion does not say
        whether the record had a term.
        """
        if self.terms is None or _includes_sensitive(self.now):
            return ""
        then, now = self.terms.found.get(media_type), self.now.with_term.get(media_type)
        if then is None or now is None or not loss_limits.hides_too_few(then, now):
            return ""
        if self.terms.digest and self.terms.digest == self.now.settings.get(versions.TERMS):
            return ""
        compared = self.terms.version
        where = "the version before" if compared == self.before.version else f"version {compared}"
        return f"{now:,} records contain a sensitive term, {then:,} in {where}"

    def _fewer_left_out(self, media_type: str) -> str:
        """Compare what is left out, but not because of moderators: earlier releases did not count terms.

        Moderators may have decided about records with a term, so the fewest that can have had one count: a
        wrong list that finds at least half of these passes once. What moderators have decided about is left
        out all the same.
        """
        if not self._may_reveal():
            return ""
        then, now = (version.with_term.get(media_type) for version in (self.before, self.now))
        if then is not None and now is not None:
            return ""
        all_then, all_now = (self.left_out or {}).get(media_type, 0), self.now.left_out.get(media_type, 0)
        moderated = self.before.settings.get(versions.MODERATED_RECORDS, {}).get(media_type)
        decided = self.decided.get(media_type)
        # Decisions may be about records with a term, too.
        if not loss_limits.hides_too_few(
            all_then - int(moderated or 0), max(now or 0, all_now - (decided or 0))
        ):
            return ""
        return (
            f"{all_now:,} records are left out{_by_moderators(decided)}, {all_then:,} in the version before"
            f"{_by_moderators(moderated)}, and those with a sensitive term were not counted in both"
        )

    def _may_reveal(self) -> bool:
        """Return whether another list of terms than before decides which records are left out.

        By the same list, fewer are left out because their texts have changed, or because they are gone.
        """
        if _includes_sensitive(self.before) or _includes_sensitive(self.now):
            return False
        before, now = (version.settings.get(versions.TERMS) for version in (self.before, self.now))
        return before is None or before != now


def _only_decided(version: Manifest, media_type: str) -> int | None:
    """Return how many records are left out because of moderators only; None if that is not known."""
    if _includes_sensitive(version):  # only what they have deleted is left out, and terms are not looked for
        return version.left_out.get(media_type)
    left_out, with_term = version.left_out.get(media_type), version.with_term.get(media_type)
    return None if left_out is None or with_term is None else left_out - with_term


def _includes_sensitive(version: Manifest) -> bool:
    return bool(version.settings.get("include_sensitive"))


def _by_moderators(most: int | None) -> str:
    return "" if most is None else f" (up to {most:,} by moderators)"
