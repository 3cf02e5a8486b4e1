"""What a provider is: a class that declares its API and maps one item of it. See docs/adding_a_provider.md.

A provider's folder is `catalog/providers/<name>/`; its module docstring is the documentation of its DAG.
"""

import threading
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from functools import cache, cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from catalog.core.errors import CatalogError, Fatal, StopsPull
from catalog.core.media import MediaType
from catalog.core.secrets import ApiKey
from catalog.ingestion.client import Client
from catalog.ingestion.completeness import Expectations
from catalog.ingestion.oauth2 import OAuth2
from catalog.ingestion.pagination import Paginator
from catalog.ingestion.rate import Quota, Rate
from catalog.ingestion.records import FailedItem, Mapped, Media, Raw
from catalog.ingestion.windows import Window

FOLDER = Path(__file__).parent.parent / "providers"


class Reingestion(msgspec.Struct, frozen=True):
    """A weekly DAG that pulls past days again, mainly to update their popularity.

    A provider that is not dated has no days: the DAG pulls the whole, once, unless that has just been done.
    """

    dag_id: str
    days: tuple[tuple[int, int], ...]
    max_active_tasks: int = 1
    pull_timeout: timedelta = timedelta(minutes=30)
    dagrun_timeout: timedelta = timedelta(hours=23)


class FileSizes(msgspec.Struct, frozen=True):
    """Ask for the size of each file whose record does not tell it, by a HEAD of its URL."""

    concurrency: int = 4


class _FailuresInARow:
    """Counts items whose details fail, in the order in which they end; safe for threads."""

    def __init__(self, most: int) -> None:
        self._most, self._count, self._lock = most, 0, threading.Lock()

    def one_more(self) -> bool:
        """Count a failure; whether that makes too many."""
        with self._lock:
            self._count += 1
            return self._count >= self._most

    def none(self) -> None:
        """Start counting again, after a success."""
        with self._lock:
            self._count = 0


class Provider:
    """Declaration and mapping of one provider. Subclasses set class attributes and write `record`.

    One instance serves one pull, so a subclass may keep what it learned during the pull (never what decides
    where to go on).
    """

    name: ClassVar[str]  # the folder's name; the DAG is `<name>_workflow`
    strings: ClassVar[
        Mapping[MediaType, str]
    ]  # media type → provider string in the catalog; order as in the docs
    pages: Paginator  # one for all instances, or one of each instance's own
    schedule: ClassVar[str] = "@monthly"
    dated: ClassVar[bool] = False  # takes a UTC day; daily DAG
    since: ClassVar[bool] = False  # pulls everything, or what came since a given day
    start_date: ClassVar[date] = date(1970, 1, 1)
    rate: ClassVar[Rate] = Rate(per_second=1)
    quota: ClassVar[Quota | None] = None
    key: ClassVar[ApiKey | None] = None
    oauth2: ClassVar[OAuth2 | None] = None  # tokens, where there are any, instead of the key
    headers: ClassVar[Mapping[str, str]] = {}
    blocking_statuses: ClassVar[Mapping[int, float]] = {}  # of a firewall → seconds to wait at least
    needs_contact: ClassVar[bool] = False  # the API asks for the operator's address in the User-Agent
    params: ClassVar[Mapping[str, Any]] = {}  # sent with every page request
    retries: ClassVar[int] = 3
    repeats: ClassVar[int] = 0  # identical pages that are no sign of a loop
    category: ClassVar[str | None] = None  # of records that name none
    strip_slashes: ClassVar[bool] = True
    dump: ClassVar[bool] = False  # no API: files, loaded by SQL through a DAG of its own
    details: ClassVar[FileSizes | None] = None
    concurrency: ClassVar[int] = 4  # requests of `detail` at a time
    max_failed_details: ClassVar[int] = 5  # items in a row whose details fail: the API is down
    max_shrinkage: ClassVar[float] = 0.5  # share by which a whole pull may be smaller than the one before
    total_tolerance: ClassVar[float] = (
        0.0  # share by which the API's totals are known to exceed what it gives
    )
    gone_reasons: ClassVar[tuple[str, ...]] = ()  # skips that say "no longer there": never most of a pull
    unique: ClassVar[bool] = (
        False  # the API lists an item more than once: only the first of a foreign identifier counts
    )
    popularity: ClassVar[str | None] = None  # key in meta_data that the popularity score is made of
    pull_timeout: ClassVar[timedelta] = timedelta(hours=24)
    load_timeout: ClassVar[timedelta] = timedelta(hours=1)
    reingestion: ClassVar[Reingestion | None] = None

    def record(self, raw: Raw) -> Mapped:
        """Map one item to its records or a `Skip`. Pure: no request, clock, environment or log."""
        raise NotImplementedError

    def rounds(self, client: Client, window: Window | None) -> list[dict[str, Any]]:
        """Return the parameters of each round of pages. May request the API (to count, to slice)."""
        return [{}]

    def complete(self, items: list[Raw], client: Client) -> list[Raw]:
        """The items of a page with what further requests tell about them: by default, `detail` of each.

        An item whose details fail becomes a reject; when several fail in a row, the API is down.

        Raises:
            CatalogError: The last of `max_failed_details` errors in a row, or one that stops the pull.
        """
        if type(self).detail is Provider.detail:
            return items
        return client.map(self._details_of(client), items, self.concurrency)

    def _details_of(self, client: Client) -> Callable[[Raw], Raw]:
        failures = self._failures

        def guarded(raw: Raw) -> Raw:
            try:
                found = self.detail(raw, client)
            except StopsPull:
                raise
            except CatalogError as error:
                if failures.one_more():
                    raise
                return FailedItem(raw, error)
            except Exception as error:  # this one item holds something unexpected
                return FailedItem(raw, error)
            failures.none()
            return found

        return guarded

    @cached_property
    def _failures(self) -> "_FailuresInARow":
        return _FailuresInARow(self.max_failed_details)

    def detail(self, raw: Raw, client: Client) -> Raw:
        """Add the details of an item from further requests. Unlike `record`, it may send requests."""
        return raw

    @classmethod
    def expectations(cls) -> Expectations:
        """What the provider's loads are held to."""
        return Expectations(cls.dated, cls.max_shrinkage, cls.gone_reasons)

    @property
    def media_types(self) -> tuple[MediaType, ...]:
        return tuple(self.strings)

    def media_type(self, record: Media) -> MediaType:
        """By the record's class."""
        return type(record).__name__.lower()  # type: ignore[return-value]


@cache
def provider_class(name: str) -> type[Provider]:
    """Import `catalog/providers/<name>/provider.py`. Raises Fatal, listing all providers, without it."""
    if name not in provider_names():
        raise Fatal(f"there is no provider {name!r}; there are {', '.join(provider_names())}.")
    module = import_module(f"catalog.providers.{name}.provider")
    classes = [
        c
        for c in vars(module).values()
        if isinstance(c, type) and issubclass(c, Provider) and c.__module__ == module.__name__
    ]
    if len(classes) != 1 or classes[0].name != name:
        raise Fatal(f"{module.__name__} must define one Provider whose name is {name!r}.")
    return classes[0]


@cache
def provider_names() -> tuple[str, ...]:
    """All providers, by folder."""
    return tuple(sorted(p.parent.name for p in FOLDER.glob("*/provider.py")))


def api_names() -> tuple[str, ...]:
    """Those that are asked through an API; the others bring dumps."""
    return tuple(name for name in provider_names() if not provider_class(name).dump)


def documentation(cls: type[Provider]) -> str:
    """The module docstring of a provider: what people read in the UI and in DAGs.md."""
    return (import_module(cls.__module__).__doc__ or "").strip()
