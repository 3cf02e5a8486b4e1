"""What tasks that work for long have in common: stopping when asked to, and failing so that Airflow does the right thing."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from airflow.sdk.exceptions import AirflowException, AirflowFailException

from catalog.ingestion.errors import Fatal, IngestionError, Refused


def stop_asked() -> Callable[[], bool]:
    """From now on SIGTERM (a deploy, a run marked as failed) only makes the returned function true: the work at hand is ended first."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    return stop.is_set


@contextmanager
def task_failures(hint: str = "") -> Iterator[None]:
    """The library's errors as Airflow's: what cannot succeed fails at once, what may succeed later is tried again.

    hint: what to do after a fatal one.
    """
    try:
        yield
    except Refused as error:
        raise AirflowFailException(f"refused: {error}") from None
    except Fatal as error:
        raise AirflowFailException(f"{error} {hint}".strip()) from None
    except IngestionError as error:
        raise AirflowException(str(error)) from None
