"""Locks on live tables: short attempts, so that readers do not queue behind a refresh."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

import psycopg
from psycopg import sql

from catalog.core.errors import Fatal, Retry
from catalog.core.session import Connection
from catalog.database.locks import set_lock_timeout

log = logging.getLogger(__name__)
LOCK_SECONDS, LOCK_ATTEMPTS = 5.0, 60  # limit of each attempt to lock tables, and the number of attempts
Result = TypeVar("Result")


def lock_live_tables(
    api: Connection,
    tables: Sequence[str],
    mode: Literal["share row exclusive", "exclusive", "access exclusive"],
    seconds: float,
) -> None:
    """Lock tables until the current transaction ends. Raises LockNotAvailable after `seconds`."""
    set_lock_timeout(api, seconds, in_transaction=True)
    names = sql.SQL(", ").join(sql.Identifier("public", table) for table in tables)
    api.execute(sql.SQL("lock table {} in {} mode").format(names, sql.SQL(mode)))


def retry_while_held(
    work: Callable[[], Result],
    tables: str,
    *,
    refusal: Callable[[psycopg.DatabaseError], str],
    state: str,
    pause: Callable[[float], None] = time.sleep,
) -> Result:
    """Repeat work that locks tables until it gets the locks, and return its result.

    Args:
        work: Locks the tables and changes them, in one transaction.
        tables: The tables, for messages.
        refusal: Returns the message for an error of the database.
        state: Sentence about the tables, for the message after the last attempt.
        pause: Called with the seconds to wait before the next attempt.

    Raises:
        Retry: Other sessions held a table for minutes.
        Fatal: The database refused the work.
    """
    for attempt in range(LOCK_ATTEMPTS):
        try:
            return work()
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            log.info("attempt %d of %d: other sessions hold %s.", attempt + 1, LOCK_ATTEMPTS, tables)
            pause(2)
        except psycopg.OperationalError:
            raise
        except psycopg.DatabaseError as error:
            raise Fatal(refusal(error)) from None
    raise Retry(f"{tables} could not be locked; end the sessions that hold it. {state}")
