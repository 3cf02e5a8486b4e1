"""Putting a pull together from plain values: what a task and the command line have in common."""

from datetime import date
from pathlib import Path

from requests.adapters import BaseAdapter

from catalog.ingestion.client import Client, user_agent
from catalog.ingestion.errors import Fatal, MissingKey
from catalog.ingestion.provider import Provider
from catalog.ingestion.rate import Throttle
from catalog.ingestion.replay import RecordingAdapter, ReplayAdapter, find
from catalog.ingestion.secrets import Credentials, KeyCredentials, Redactor, Secret
from catalog.ingestion.windows import Window, day_window


def replay_of(name: str, folder: str | Path | None) -> ReplayAdapter | None:
    """The transport that answers from the provider's recording below `folder`; None without one. Raises Fatal when there is none."""
    return ReplayAdapter(find(Path(folder), name)) if folder else None


def client_for(
    provider: type[Provider], key: Secret | None, *, replay: ReplayAdapter | None = None, throttle: Throttle | None = None,
    tokens: Credentials | None = None, contact: str | None = None, record_to: Path | None = None, day: date | None = None,
) -> Client:  # fmt: skip
    """The client of a provider. key: the value of its secret; not needed for a replay, nor with tokens.

    record_to: write every exchange into this folder, as a recording. Raises MissingKey, saying where to get one.
    """
    credentials = tokens if replay is None else None
    if provider.key and replay is None and credentials is None:
        if key is None:
            raise MissingKey(
                f"{provider.name} needs a key. Get one at {provider.key.get_at} and set it as the Airflow Variable {provider.key.variable} "
                f"(on the command line: the environment variable of that name). Nothing was requested."
            )
        credentials = KeyCredentials(provider.key, key)
    transport: BaseAdapter | None = replay
    if record_to is not None:
        hidden = frozenset([provider.key.param] if provider.key else [])
        redact = Redactor(credentials.secrets() if credentials else ())
        transport = RecordingAdapter(
            record_to, provider.name, day.isoformat() if day else None, redact, hidden
        )
    return Client(
        headers=provider.headers, credentials=credentials, retries=provider.retries, rate=provider.rate, throttle=throttle,
        transport=transport, user_agent=user_agent(contact),
    )  # fmt: skip


def window_of(provider: type[Provider], day: date | None, replay: ReplayAdapter | None) -> Window | None:
    """The day to pull of a dated provider: the given one, else the recording's; None for the others. Raises Fatal when none is known."""
    if not provider.dated:
        return day_window(day) if day and provider.since else None
    if day is None and replay is not None and replay.date:
        day = date.fromisoformat(replay.date)
    if day is None:
        raise Fatal(f"{provider.name} is pulled day by day; give a date.")
    return day_window(day)
