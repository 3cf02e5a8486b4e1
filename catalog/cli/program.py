"""Runs a command so that an error is one line that says what to do; a traceback is shown on request."""

import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import psycopg
import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from typer.exceptions import TyperException

from catalog.core.errors import CatalogError, Refused
from catalog.core.secrets import without_secrets

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Terminal(Console):
    """A console that prints data as data: `:cat:` is not an emoji, and control characters do nothing."""

    def __init__(self, **options: Any) -> None:
        super().__init__(emoji=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(_CONTROL.sub("", segment.text), segment.style)


# A log file has room for whole tables. Brackets in what is printed are data, not Rich's markup.
out = Terminal(width=None if sys.stdout.isatty() else 200, markup=False, highlight=False)
err = Terminal(stderr=True, markup=False, highlight=False)
TRACEBACK = "CATALOG_TRACEBACK"  # environment variable; if it is not empty, tracebacks are shown too
# Advice by SQLSTATE, or by a prefix of it.
_ADVICE = {
    "25006": "The database is read-only: connect to the primary, or reset default_transaction_read_only.",
    "42501": "Grant the role what docs/running_in_production.md lists, or use the role that owns the tables.",
    "42P01": "Check that it is the right database: `catalog db status` shows its schema.",
    "55P03": "Another session holds a lock on it: `select pid, usename, query from pg_stat_activity` shows "
    "the sessions. Repeat the command.",
    "53": "Wait until the server has free resources, then repeat the command.",
    "57": "The server is shutting down or starting; repeat the command when it is running.",
}
_UNREACHABLE = (
    "Check that the server is running, and the host, port, database, user and password of its address."
)


def run(command: Callable[[], Any], name: str, *expected: type[Exception]) -> NoReturn:
    """Run a command and end the process with its exit status.

    Args:
        command: The command; an integer that it returns is the exit status.
        name: The name that users type, such as `catalog`; an error message starts with it.
        expected: Exceptions whose message is written for users, besides `CatalogError`, `Refused` and
            `OSError`.
    """
    try:
        sys.exit(command())
    except BrokenPipeError:
        # Python flushes stdout once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    except TyperException as misuse:
        if message := " ".join(misuse.format_message().split()):  # empty if the help was shown
            _print_error(name, f"{without_secrets(message.rstrip('.'))}; --help shows the usage")
        sys.exit(2)
    except Exception as error:
        if os.environ.get(TRACEBACK):
            Console(stderr=True).print_exception()
        _print_error(name, in_one_line(error, expected))
        sys.exit(1)


def run_function(function: Callable[..., Any], name: str, *expected: type[Exception]) -> NoReturn:
    """Run a function whose annotations declare its command line; see `run`."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(function)
    run(lambda: app(standalone_mode=False), name, *expected)


def notify(message: str) -> None:
    """Print a message to stderr."""
    err.print(message, soft_wrap=True)


def _print_error(name: str, text: str) -> None:
    console = Terminal(stderr=True)
    console.print(f"[bold red]{name}:[/] ", end="")
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def in_one_line(error: Exception, expected: tuple[type[Exception], ...] = ()) -> str:
    """Return what happened and what to do, in one line and without secrets.

    Args:
        error: Any exception.
        expected: Exceptions whose message is written for users.
    """
    return without_secrets(" ".join(_text(error, expected).split()))


def _text(error: Exception, expected: tuple[type[Exception], ...]) -> str:
    reported = _of_a_database(error)
    if reported is not None:
        return _database_error(reported)
    if isinstance(error, (CatalogError, Refused, *expected)):
        return str(error)
    if isinstance(error, OSError):
        parts = [str(part) for part in (error.filename, error.strerror) if part is not None]
        return ": ".join(parts) or str(error) or type(error).__name__
    return (
        f"unexpected {type(error).__name__}: {error} (with {TRACEBACK}=1 in the environment the traceback is "
        "shown; please report it)"
    )


def _of_a_database(error: BaseException | None) -> psycopg.Error | None:
    """Return PostgreSQL's error, which SQLAlchemy may have wrapped; None for other exceptions."""
    original = getattr(error, "orig", error)
    return original if isinstance(original, psycopg.Error) else None


def _database_error(error: psycopg.Error) -> str:
    message = (error.diag.message_primary or str(error) or type(error).__name__).strip()
    return f"the database reports: {message.rstrip('.?!')}. {next(_advice(error), '')}"


def _advice(error: psycopg.Error) -> Iterator[str]:
    for state, advice in _ADVICE.items():
        if (error.sqlstate or "").startswith(state):
            yield advice
    if isinstance(error, psycopg.OperationalError):
        yield _UNREACHABLE
    yield f"With {TRACEBACK}=1 in the environment the traceback is shown."
