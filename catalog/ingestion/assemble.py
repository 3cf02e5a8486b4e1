"""Putting a pull together from plain values: what a task and the command line have in common."""

from collections.abc import Collection
from datetime import date
from pathlib import Path

from requests.adapters import BaseAdapter

from catalog.core.errors import Fatal, MissingKey
from catalog.core.secrets import Credentials, KeyCredentials, Redactor, Secret
from catalog.ingestion.client import Client, user_agent
from catalog.ingestion.provider import Provider, provider_class
from catalog.ingestion.rate import Throttle
from catalog.ingestion.replay import RecordingAdapter, ReplayAdapter, find
from catalog.ingestion.transport import host_of
from catalog.ingestion.windows import Window, day_window


def replay_of(name: str, folder: str | Path | None) -> ReplayAdapter | None:
    """The transport that answers from the provider's recording below `folder`; None without one.

    Raises:
        Fatal: There is no such provider, or no recording of it, or that is malformed.
    """
    return ReplayAdapter(find(Path(folder), name), *offsets_of(provider_class(name))) if folder else None


def offsets_of(provider: type[Provider]) -> tuple[str | None, str | None]:
    """The parameter that is an offset in a provider's requests, and the path of its items; else Nones."""
    pages = _pages_of(provider)
    if getattr(pages, "step", 1) <= 1:
        return None, None
    return getattr(pages, "param", None), getattr(pages, "items", None)


def api_hosts(provider: type[Provider]) -> tuple[str, ...]:
    """The hosts that may be sent a provider's key or token: those its key names, else the one of its pages.

    Raises:
        Fatal: Neither tells.
    """
    if provider.key and provider.key.hosts:
        return provider.key.hosts
    host = host_of(getattr(_pages_of(provider), "url", None) or "")
    if not host:
        raise Fatal(
            f"{provider.name}: its pages have no `url` that tells which host its key belongs to; "
            "declare `hosts` in the key."
        )
    return (host,)


def _pages_of(provider: type[Provider]) -> object:
    """The paginator, which some providers make for each instance."""
    return getattr(provider, "pages", None) or getattr(provider(), "pages", None)


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
) -> Client:
    """The client of a provider.

    Args:
        provider: Its declaration.
        key: The value of its secret; not needed for a replay, nor with tokens.
        replay: Answers in place of the network.
        throttle: The provider's limit, shared with others.
        tokens: Sign the requests in place of the key.
        contact: The operator's address, for the User-Agent.
        record_to: Write every exchange into this folder, as a recording.
        day: The day that is recorded.
        private_hosts: Names of hosts that may be at private addresses; see `Client`.

    Raises:
        MissingKey: There is no key; the text says where to get one.
        Fatal: Nothing tells which host the key belongs to.
    """
    credentials = tokens if replay is None else None
    if provider.key and replay is None and credentials is None:
        if key is None:
            raise MissingKey(
                f"{provider.name} needs a key. Get one at {provider.key.get_at} and set it as the Airflow "
                f"Variable {provider.key.variable} (on the command line: the environment variable)."
                " Nothing was requested."
            )
        credentials = KeyCredentials(provider.key, key, api_hosts(provider))
    transport: BaseAdapter | None = replay
    if record_to is not None:
        hidden = frozenset([provider.key.param] if provider.key else [])
        redact = Redactor(credentials.secrets() if credentials else ())
        transport = RecordingAdapter(
            record_to, provider.name, day.isoformat() if day else None, redact, hidden, private_hosts
        )
    return Client(
        headers=provider.headers,
        credentials=credentials,
        retries=provider.retries,
        rate=provider.rate,
        throttle=throttle,
        transport=transport,
        user_agent=user_agent(contact),
        private_hosts=private_hosts,
        blocking_statuses=provider.blocking_statuses,
    )


def window_of(provider: type[Provider], day: date | None, replay: ReplayAdapter | None) -> Window | None:
    """The day to pull of a dated provider: the given one, else the recording's; None for the others.

    Raises:
        Fatal: It is dated, and no day is known.
    """
    if not provider.dated:
        return day_window(day) if day and provider.since else None
    if day is None and replay is not None and replay.date:
        day = date.fromisoformat(replay.date)
    if day is None:
        raise Fatal(f"{provider.name} is pulled day by day; give a date.")
    return day_window(day)
