"""What the tasks of a provider's run share: recording, window, client, and the folder of TSV parts."""

import logging
from datetime import date
from typing import Any

from airflow.sdk import Context

from catalog.core.settings import CONTACT_EMAIL, PRIVATE_HOSTS
from catalog.dags.common.connections import connect_to_catalog
from catalog.dags.common.context import DagRun, show_in_map_index
from catalog.dags.common.oauth2 import credentials_for
from catalog.dags.common.secrets import secret_for
from catalog.dags.common.storage import storage
from catalog.dags.common.variables import value_of
from catalog.ingestion.assemble import client_for, replay_of, since
from catalog.ingestion.client import Client
from catalog.ingestion.parts import Parts, pull_key
from catalog.ingestion.provider import Provider
from catalog.ingestion.rate import SharedThrottle
from catalog.ingestion.registry import dag_id_of, provider_class
from catalog.ingestion.replay import ReplayAdapter
from catalog.ingestion.shortfalls import accepting
from catalog.ingestion.windows import Window, day_window, run_window

log = logging.getLogger(__name__)


class ProviderRun:
    """One pull of a provider in a run of a DAG.

    Attributes:
        provider: Its declaration.
        replay: The recording that answers instead of the network, if the conf names one.
        window: The days that the pull covers; None for a provider that is not dated.
    """

    def __init__(self, provider: str, context: Context, day_shift: int = 0) -> None:
        """Find recording and window, and show the window in the UI for mapped tasks.

        Args:
            provider: Its name.
            context: Context of the task.
            day_shift: Days before the first day of the run's interval, for a reingestion.

        Raises:
            Fatal: The conf names a recording that does not exist.
        """
        self.provider = provider_class(provider)
        self._run, self._params, self._day_shift = context["dag_run"], context["params"], day_shift
        self.replay = replay_of(provider, self._params.get("replay"))
        recorded_on = self.replay.date if self.replay else None
        self.window = window_for(self.provider, self._run, self._params.get("date"), day_shift, recorded_on)
        show_in_map_index(covers=f"{self.window}" if self.window else provider)

    def accepting(self) -> str:
        """Return the sentence that says how to accept that the API returned less than it should.

        A day of a reingestion is accepted by a run of the provider's own DAG, which pulls only that day.
        """
        own = dag_id_of(self.provider.name)
        elsewhere = self.provider.dated and self._run.dag_id != own
        days = [self.window.day] if self.window else []
        return accepting(own if elsewhere else None, days, self._params.get("replay"))

    def client(self) -> Client:
        return provider_client(self.provider, self.replay)

    def parts(self, attempt: int = 0) -> Parts:
        """Return the folder of TSV parts: the same for every attempt, and for pull and load."""
        run = self._run
        key = pull_key(run.dag_id, run.run_id, self._day_shift)
        return Parts(storage(), self.provider.name, run.run_after, self.window, key, attempt)


def window_for(
    cls: type[Provider], run: DagRun, day: str | None, day_shift: int = 0, recorded_on: str | None = None
) -> Window | None:
    """Return the window that a run covers.

    A manual run on a recording covers its day, unless the conf names another. Scheduled runs and backfills
    cover their interval.

    Args:
        cls: The provider.
        run: The DAG run.
        day: The conf's `date`, as YYYY-MM-DD.
        day_shift: Days to go back from the first day of the interval.
        recorded_on: The day of the recording, as YYYY-MM-DD.

    Returns:
        None for a provider that is not dated, unless it can be asked for everything since `day`.

    Raises:
        Fatal: A day is given to a provider that is pulled as a whole.
    """
    if not cls.dated:
        return since(cls, date.fromisoformat(day) if day else None)
    if day is None and is_manual(run):
        day = recorded_on
    interval = (run.data_interval_start, run.data_interval_end)
    window = run_window(run.run_after, date.fromisoformat(day) if day else None, interval)
    if window == day_window(window.day) and not day_shift:
        return window
    return run_window(run.run_after, window.day, days_back=day_shift)


def is_manual(run: DagRun) -> bool:
    return bool(getattr(run.run_type, "value", run.run_type) == "manual")


def provider_client(cls: type[Provider], replay: ReplayAdapter | None) -> Client:
    """Return the provider's client, with its credentials and the shared rate limit unless it replays."""
    if replay:
        log.warning("REPLAY: answers come from %s; nothing is requested.", replay.folder)
    contact, private_hosts = value_of(CONTACT_EMAIL), value_of(PRIVATE_HOSTS)
    if cls.needs_contact and not contact and not replay:
        log.warning("%s asks for the operator's address; set the Variable CONTACT_EMAIL.", cls.name)
    shared: dict[str, Any] = (
        {} if replay else {"throttle": _throttle_for(cls), "tokens": credentials_for(cls)}
    )
    return client_for(
        cls, secret_for(cls), replay=replay, contact=contact, private_hosts=private_hosts, **shared
    )


def _throttle_for(provider: type[Provider]) -> SharedThrottle:
    """Return the provider's rate limit, shared through the catalog database by pulls with the same key."""
    key = provider.key.variable if provider.key else provider.name
    return SharedThrottle(lambda: connect_to_catalog(autocommit=True), key, provider.rate, provider.quota)
