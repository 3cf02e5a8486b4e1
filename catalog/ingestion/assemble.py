"""Builds the parts of a pull from plain values, for tasks and the command line alike."""

from collections.abc import Collection
from datetime import date
from pathlib import Path

from requests.adapters import BaseAdapter

from catalog.core.errors import Fatal, MissingKey
from catalog.core.secrets import Redactor, Secret
from catalog.ingestion.addresses import host_of
from catalog.ingestion.client import Client
from catalog.ingestion.counted import Counted
from catalog.ingestion.credentials import Credentials, KeyCredentials
from catalog.ingestion.pagination import Paginator
from catalog.ingestion.provider import Provider
from catalog.ingestion.rate import Throttle
from catalog.ingestion.recorder import RecordingAdapter
from catalog.ingestion.recording import find_recording
from catalog.ingestion.registry import provider_class
from catalog.ingestion.replay import ReplayAdapter
from catalog.ingestion.sender import Limits
from catalog.ingestion.transport import BaseUrlTransport
from catalog.ingestion.user_agent import user_agent
from catalog.ingestion.windows import FIRST_DAY, Window, day_window


def replay_of(name: str, folder: str | Path | None) -> ReplayAdapter | None:
    """Return a transport that replays the provider's recording.

    Args:
        name: The provider's name.
        folder: Holds the recording, directly or below the provider's name; None for no replay.

    Raises:
        Fatal: The provider is unknown, or its recording is missing or malformed.
    """
    return (
        ReplayAdapter(find_recording(Path(folder), name), *offsets_of(provider_class(name)))
        if folder
        else None
    )


def offsets_of(provider: type[Provider]) -> tuple[str | None, str | None]:
    """Return the name of the offset parameter and the path of the items; None for both without offsets."""
    pages = _pages_of(provider)
    return (pages.param, pages.items) if isinstance(pages, Counted) and pages.step > 1 else (None, None)


def api_hosts(provider: type[Provider]) -> tuple[str, ...]:
    """Return the hosts that may receive a provider's key or token: its key's hosts, else that of its pages.

    Raises:
        Fatal: Neither names a host.
    """
    if provider.key and provider.key.hosts:
        return provider.key.hosts
    host = host_of(_url_of(provider))
    if not host:
        raise Fatal(
            f"{provider.name}: the host that its key belongs to is unknown, because its pages have no `url`; "
            "declare `hosts` in the key."
        )
    return (host,)


def _url_of(provider: type[Provider]) -> str:
    pages = _pages_of(provider)
    return pages.url if pages else ""


def _pages_of(provider: type[Provider]) -> Paginator | None:
    """Return the paginator, which some providers create per instance; None for a dump."""
    pages: Paginator | None = getattr(provider, "pages", None) or getattr(provider(), "pages", None)
    return pages


def client_for(
    provider: type[Provider],
    key: Secret | None,
    *,
    replay: ReplayAdapter | None = None,
    throttle: Throttle | None = None,
    tokens: Credentials | None = None,
    contact: str | None = None,
    record_to: Path | None = None,
    day: date | None = None,
    private_hosts: Collection[str] = (),
    base_url: str | None = None,
    retries: int | None = None,
    limits: Limits | None = None,
) -> Client:
    """Build the client of a provider.

    Args:
        provider: The declaration of the provider.
        key: The value of its key; not needed for a replay or with tokens.
        replay: Replaces the network.
        throttle: The provider's rate limit, shared with other tasks.
        tokens: Sign the requests in place of the key.
        contact: The operator's address, for the User-Agent.
        record_to: Folder to record all requests and responses to.
        day: The day that is recorded.
        private_hosts: Names of hosts that may have private addresses; see `Client`.
        base_url: Replaces the API's address, for example by that of a test server, which gets no key.
        retries: Attempts after the first one; default: as the provider declares.
        limits: Time and size limits of a request.

    Raises:
        MissingKey: There is no key; the message says where to get one.
        Fatal: The host that the key belongs to, or that `base_url` replaces, is unknown; or `base_url` is not
            an address.
    """
    is_signed = replay is None and base_url is None
    credentials = (tokens or _key_credentials(provider, key)) if is_signed else None
    transport: BaseAdapter | None = replay
    elsewhere = None
    if base_url is not None and replay is None:
        transport = elsewhere = _transport_to(base_url, provider, private_hosts)
    if record_to is not None:
        hidden = frozenset([provider.key.param] if provider.key else [])
        redact = Redactor(credentials.secrets() if credentials else ())
        pages = _pages_of(provider)
        transport = RecordingAdapter(
            record_to,
            provider.name,
            day.isoformat() if day else None,
            redact,
            hidden,
            private_hosts,
            paging=pages.own_params if pages else (),
            headers=pages.own_headers if pages else (),
            through=elsewhere,
        )
    return Client(
        headers=provider.headers,
        credentials=credentials,
        retries=provider.retries if retries is None else retries,
        rate=provider.rate,
        throttle=throttle,
        transport=transport,
        limits=limits,
        user_agent=user_agent(contact),
        private_hosts=private_hosts,
        blocking_statuses=provider.blocking_statuses,
    )


def _transport_to(
    base_url: str, provider: type[Provider], private_hosts: Collection[str]
) -> BaseUrlTransport:
    """Return the transport that sends the requests to the API elsewhere. Raises Fatal; see `client_for`."""
    host = host_of(_url_of(provider))
    if not host:
        raise Fatal(
            f"{provider.name}: the host whose requests `base_url` replaces is unknown, because its pages "
            "have no `url`; declare it in the paginator."
        )
    return BaseUrlTransport(host, base_url, private_hosts)


def _key_credentials(provider: type[Provider], key: Secret | None) -> Credentials | None:
    """Return what signs requests with a key; None if the provider needs none. Raises MissingKey."""
    if not provider.key:
        return None
    if key is None:
        raise MissingKey(
            f"{provider.name} needs a key. Get one at {provider.key.get_at} and set it as the Airflow "
            f"Variable {provider.key.variable} (on the command line: the environment variable). "
            "Nothing was requested."
        )
    return KeyCredentials(provider.key, key, api_hosts(provider))


def since(provider: type[Provider], day: date | None) -> Window | None:
    """Return the window of a provider that is not dated: None, or all since a day.

    Raises:
        Fatal: A day is given, but the API cannot be asked for what was added since.
    """
    if day and not provider.since:
        raise Fatal(f"{provider.name} has no days, it is pulled as a whole; leave out the date.")
    return day_window(day) if day else None


def window_of(provider: type[Provider], day: date | None, replay: ReplayAdapter | None) -> Window | None:
    """Return the window to pull: the given day, else that of the recording; None for undated providers.

    Raises:
        Fatal: The provider is dated and no day is given; a day is given to one that is pulled as a whole; or
            it is before 1970.
    """
    if day and day < FIRST_DAY:
        raise Fatal(f"the date {day} is before {FIRST_DAY}; give a later one.")
    if not provider.dated:
        return since(provider, day)
    if day is None and replay is not None and replay.date:
        day = date.fromisoformat(replay.date)
    if day is None:
        raise Fatal(f"{provider.name} is pulled day by day; give a date.")
    return day_window(day)
