"""Time limits of statements, and errors that say what to do about a statement that was cancelled."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from psycopg import errors

from catalog.core.errors import Fatal, Refused

LONGEST = 2_147_483  # seconds; PostgreSQL stores a timeout in milliseconds, as an int4


def require_timeout(seconds: float) -> None:
    """Check the time limit that a user gave for an update.

    Raises:
        Refused: The timeout is out of PostgreSQL's range.
    """
    if not 0.001 <= seconds <= LONGEST:
        raise Refused(f"update_timeout: {seconds:g} s; it must be between 0.001 and {LONGEST} s.")


@contextmanager
def explain_timeout(what: str, seconds: float, advice: str) -> Iterator[None]:
    """Convert a cancelled statement to Fatal, and tell a timeout from a cancellation by its duration.

    The server's message is localized, so it cannot be used for that.

    Args:
        what: What the statement does, for the message.
        seconds: The time limit of the statement.
        advice: What to do about a timeout.

    Raises:
        Fatal: The statement took too long, or another session has cancelled it.
    """
    began = time.monotonic()
    try:
        yield
    except errors.QueryCanceled:
        kept = "Rows that were changed stay changed."
        if time.monotonic() - began < int(seconds * 1000) / 1000:
            raise Fatal(f"{what} was cancelled by another session (pg_cancel_backend). {kept}") from None
        raise Fatal(f"{what} took longer than {seconds:g} s; {advice}. {kept}") from None
