"""The base class of providers, each of which declares an API and maps its items to records.

A provider's folder is `catalog/providers/<name>/`; its module docstring is the documentation of its DAG. See
docs/adding_a_provider.md.
"""

import difflib
import inspect
import re
import threading
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from functools import cached_property
from typing import ClassVar

import msgspec

from catalog.core.errors import CatalogError, StopsPull
from catalog.core.jsontypes import Params
from catalog.core.media import CATEGORIES, Category, MediaType
from catalog.ingestion.client import Client
from catalog.ingestion.completeness import Expectations, Uncovered
from catalog.ingestion.credentials import ApiKey
from catalog.ingestion.oauth2 import OAuth2
from catalog.ingestion.pagination import Paginator, RoundParams
from catalog.ingestion.rate import Quota, Rate
from catalog.ingestion.records import FailedItem, Raw, RecordResult
from catalog.ingestion.windows import Window

_AGAIN = 3  # times that details are requested again while all fail; once if others succeed
_SCHEDULE = re.compile(r"@(hourly|daily|weekly|monthly|quarterly|yearly)|\S+( \S+){4}")
_DAILY = re.compile(r"@daily|\d+ \d+ \* \* \*")
_DAYS = {"@hourly": 1, "@weekly": 7, "@monthly": 31, "@quarterly": 92, "@yearly": 366}  # at most


class Reingestion(msgspec.Struct, frozen=True):
    """A weekly DAG that pulls past days again, mainly to update popularity.

    The DAG of a provider that is not dated pulls everything once, unless there is a recent pull.

    Attributes:
        dag_id: Id of the DAG.
        days: (step, count) pairs; see `windows.day_lists`.
        max_active_tasks: Limit of days that are pulled at the same time.
        pull_timeout: Limit of the pull of one day.
        dagrun_timeout: Limit of the whole run.
    """

    dag_id: str
    days: tuple[tuple[int, int], ...]
    max_active_tasks: int = 1
    pull_timeout: timedelta = timedelta(minutes=30)
    dagrun_timeout: timedelta = timedelta(hours=23)


class FileSizes(msgspec.Struct, frozen=True):
    """Request the size of each file whose record lacks it, with a HEAD request to its URL.

    Attributes:
        concurrency: Number of concurrent requests.
    """

    concurrency: int = 4


class _FailuresInARow:
    """Counts consecutive failures of `detail`, in the order in which the calls end; thread-safe."""

    def __init__(self, limit: int) -> None:
        self._limit, self._count, self._lock = limit, 0, threading.Lock()

    def add(self) -> bool:
        """Count a failure; return whether the limit is reached."""
        with self._lock:
            self._count += 1
            return self._count >= self._limit

    def reset(self) -> None:
        """Start counting again after a success."""
        with self._lock:
            self._count = 0

    def __bool__(self) -> bool:
        """Whether the last call failed, so that the API may still be away."""
        with self._lock:
            return self._count > 0


class Provider:
    """Declaration and mapping of one provider. Subclasses set class attributes and define `record`.

    One instance serves one pull, so a subclass may keep what it learns during the pull, but not its position.

    Attributes:
        name: Name of the folder; the DAG is `<name>_workflow`.
        catalog_names: Media type → name of the provider in the catalog.
        pages: The paginator, of the class or of each instance.
        schedule: Schedule of the DAG.
        dated: A pull covers one UTC day; `schedule` is daily.
        overlap: Time before its day, in whole hours, that a pull of a dated provider requests again. A day is
            pulled as soon as it is over, when its last records may not be in the API's search index yet.
        since: A pull covers everything, or, with a date, all that was added since.
        start_date: First day of the DAG's schedule; a dated provider has items from then on.
        rate: Rate limit of the API.
        quota: Requests allowed per day or month.
        key: The API key.
        oauth2: OAuth2 endpoints; tokens, if there are any, replace the key.
        headers: Sent with every request.
        blocking_statuses: Status of a firewall → minimum wait in seconds.
        needs_contact: The API requires the operator's address in the User-Agent.
        params: Sent with every request for a page.
        retries: Attempts of a request after the first one.
        category: Category of records that have none: photograph, digitized_artwork or illustration for
            images; music, sound_effect, podcast, audiobook, news or pronunciation for audio.
        strip_slashes: Remove slashes from the end of URLs.
        dump: The provider has no API; a DAG of its own loads its files by SQL.
        details: Request the sizes of files.
        concurrency: Concurrent calls of `detail`.
        max_failed_details: Consecutive failures of `detail` after which the API counts as down.
        max_shrinkage: Share by which a whole pull may be smaller than earlier ones.
        total_surplus: Number of items by which the API's totals are known to exceed what its pages list.
        total_tolerance: The same as a share; the larger of both counts. As many items of each round may be
            missing without a word: a hundredth of a long round is much already.
        deletion_reasons: Skip reasons that mean "no longer available"; they never apply to most of a pull.
        deduplicate: The API lists items more than once; only the first item of a foreign identifier counts.
        popularity: Key in `meta_data` from which the popularity score is computed.
        pull_timeout: Timeout of the pull task.
        load_timeout: Timeout of a load task.
        reingestion: A DAG that pulls past days again.
    """

    name: ClassVar[str]
    catalog_names: ClassVar[Mapping[MediaType, str]]
    pages: Paginator
    schedule: ClassVar[str] = "@monthly"
    dated: ClassVar[bool] = False
    overlap: ClassVar[timedelta] = timedelta()
    since: ClassVar[bool] = False
    start_date: ClassVar[date] = date(1970, 1, 1)
    rate: ClassVar[Rate] = Rate(per_second=1)
    quota: ClassVar[Quota | None] = None
    key: ClassVar[ApiKey | None] = None
    oauth2: ClassVar[OAuth2 | None] = None
    headers: ClassVar[Mapping[str, str]] = {}
    blocking_statuses: ClassVar[Mapping[int, float]] = {}
    needs_contact: ClassVar[bool] = False
    params: ClassVar[Params] = {}
    retries: ClassVar[int] = 3
    category: ClassVar[Category | None] = None
    strip_slashes: ClassVar[bool] = True
    dump: ClassVar[bool] = False
    details: ClassVar[FileSizes | None] = None
    concurrency: ClassVar[int] = 4
    max_failed_details: ClassVar[int] = 5
    max_shrinkage: ClassVar[float] = 0.5
    total_surplus: ClassVar[int] = 0
    total_tolerance: ClassVar[float] = 0.0
    deletion_reasons: ClassVar[tuple[str, ...]] = ()
    deduplicate: ClassVar[bool] = False
    popularity: ClassVar[str | None] = None
    pull_timeout: ClassVar[timedelta] = timedelta(hours=24)
    load_timeout: ClassVar[timedelta] = timedelta(hours=1)
    reingestion: ClassVar[Reingestion | None] = None

    def __init_subclass__(cls) -> None:
        """Refuse a misspelt attribute, which would otherwise be ignored, and values that do not exist.

        Raises:
            TypeError: The class sets an attribute that is not declared here, but is named almost like one; or
                a media type, category or schedule that does not exist; or values that contradict each other.
        """
        super().__init_subclass__()
        declared = {
            name for base in cls.__mro__[1:] for name in (*vars(base), *inspect.get_annotations(base))
        }
        for name, value in vars(cls).items():
            if name.startswith("_") or name in declared or callable(value) or hasattr(value, "__get__"):
                continue
            if close := difflib.get_close_matches(name, declared, 1, cutoff=0.75):
                raise TypeError(f"{cls.__name__}.{name} is not declared; did you mean {close[0]!r}?")
        cls._check_values()

    @classmethod
    def _check_values(cls) -> None:
        media_types = getattr(cls, "catalog_names", {})
        if unknown := [m for m in media_types if m not in CATEGORIES]:
            raise TypeError(
                f"{cls.__name__}.catalog_names: {unknown[0]!r} is not a media type (image, audio)"
            )
        categories = [category for m in media_types for category in CATEGORIES[m]]
        if cls.category is not None and media_types and cls.category not in categories:
            raise TypeError(f"{cls.__name__}.category is {cls.category!r}; there are {', '.join(categories)}")
        if cls.overlap < timedelta() or cls.overlap % timedelta(hours=1) or (cls.overlap and not cls.dated):
            raise TypeError(f"{cls.__name__}.overlap is {cls.overlap}; it has whole hours, and needs `dated`")
        if not _SCHEDULE.fullmatch(cls.schedule):
            raise TypeError(
                f"{cls.__name__}.schedule is {cls.schedule!r}; use @daily, @weekly, … or cron's five fields"
            )
        if cls.dated and not _DAILY.fullmatch(cls.schedule):
            raise TypeError(
                f"{cls.__name__}.schedule is {cls.schedule!r}, but each run of a `dated` provider pulls one "
                "day; use @daily, or `minute hour * * *`"
            )

    def record(self, raw: Raw) -> RecordResult:
        """Map an item to a record, several records, or a `Skip`.

        Pure: uses no request, clock, environment or log. If it raises, the item is rejected.
        """
        raise NotImplementedError

    def rounds(self, client: Client, window: Window | None) -> list[RoundParams]:
        """Return the parameters of each round of pages; may send requests, such as for counts.

        Args:
            client: Sends requests.
            window: The window to request, if the pull has one; see `requested`.
        """
        return [{}]

    def requested(self, window: Window | None) -> Window | None:
        """Return what a pull requests of its window: the window and the `overlap` before it.

        The pull still covers, and reports, the window itself.
        """
        return Window(window.start - self.overlap, window.end) if window else None

    def uncovered(self, client: Client, window: Window | None, announced: int | None) -> Uncovered | None:
        """Return what none of the rounds covers, None if they cover everything.

        Called at the end of a pull of everything, or of all of its window. For rounds that divide a
        collection by a list of values or by time: a value that the API renames, or that is not on our list,
        finds nothing, which looks like a part without records; so does a part whose count is wrong. See
        `completeness.parts_shortfall`.

        Args:
            client: Sends requests, such as for a count without the value; one or two, because of quotas.
            window: The window that was requested, if the pull has one.
            announced: Sum of the rounds' totals; None if the API did not announce each of them.
        """
        return None

    def complete(self, items: list[Raw], client: Client) -> list[Raw]:
        """Complete the items of a page by further requests; by default, call `detail` for each.

        An item whose details fail becomes a reject. Details that are only away, because the API was down for
        seconds, are requested again after those of the other items. If they stay away, the pull is not whole.

        Args:
            items: The items of the page.
            client: Sends requests.

        Raises:
            CatalogError: `max_failed_details` items failed in a row, or an error stops the pull.
        """
        if type(self).detail is Provider.detail:
            return items
        found = client.map(self._details_of(client), items, self.concurrency)
        for _ in range(_AGAIN if not client.replayed else 0):  # a recording holds each response once
            away = [
                place for place, item in enumerate(found) if isinstance(item, FailedItem) and item.is_away
            ]
            again = client.map(
                self._details_of(client, again=True), [items[place] for place in away], self.concurrency
            )
            for place, item in zip(away, again, strict=True):
                found[place] = item
            if not self._failures:
                break
        return found

    def _details_of(self, client: Client, *, again: bool = False) -> Callable[[Raw], Raw]:
        failures = self._failures

        def guarded(raw: Raw) -> Raw:
            try:
                found = self.detail(raw, client)
            except StopsPull:
                raise
            except CatalogError as error:
                if not again and failures.add():
                    raise
                return FailedItem(raw, error)
            except Exception as error:  # unexpected values in a single item
                return FailedItem(raw, error)
            failures.reset()
            return found

        return guarded

    @cached_property
    def _failures(self) -> "_FailuresInARow":
        return _FailuresInARow(self.max_failed_details)

    def detail(self, raw: Raw, client: Client) -> Raw:
        """Return an item with details from further requests; unlike `record`, it may send requests."""
        return raw

    @classmethod
    def period(cls) -> timedelta:
        """Return the time between two runs; other expressions of cron than daily ones count as a month."""
        return timedelta(days=1 if _DAILY.fullmatch(cls.schedule) else _DAYS.get(cls.schedule, 31))

    @classmethod
    def patience(cls) -> timedelta:
        """Return for how long the state of a stopped pull is resumed.

        Until the next run, which reads everything again; at least a week, so that a failure before holidays
        costs no pages; and the wait for a used-up quota.
        """
        quota = {None: 0, "day": 1, "month": 31}[cls.quota.period if cls.quota else None]
        return max(timedelta(days=7), cls.period()) + timedelta(days=quota)

    @classmethod
    def expectations(cls) -> Expectations:
        """Return the limits within which the provider's loads count as usual."""
        return Expectations(cls.dated, cls.max_shrinkage, cls.deletion_reasons)

    @property
    def media_types(self) -> tuple[MediaType, ...]:
        return tuple(self.catalog_names)
