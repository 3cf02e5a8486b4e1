"""What a pull is to read: of its provider all, a window, or what options pick out."""

from datetime import datetime, timedelta

from catalog.core.errors import Fatal
from catalog.core.jsontypes import JsonObject, Params, as_json
from catalog.ingestion.client import Client
from catalog.ingestion.completeness import Uncovered
from catalog.ingestion.options import Options
from catalog.ingestion.pagination import Cursor
from catalog.ingestion.provider import Provider
from catalog.ingestion.state import Round, State
from catalog.ingestion.windows import Window

CLOCKS = timedelta(minutes=1)  # by which the clock of the database may be behind the scheduler's


class Scope:
    """What a pull is to read, whatever of it was read before.

    Args:
        provider: The provider.
        client: Sends the requests by which a provider finds its rounds, or what no round covers.
        window: The window; None for all that the provider has.
        options: Options from conf and Variables.
    """

    def __init__(self, provider: Provider, client: Client, window: Window | None, options: Options) -> None:
        self.provider, self.client, self.window, self._options = provider, client, window, options

    def identity(self) -> JsonObject:
        """Return what decides which requests are sent, as JSON: a state of anything else is not resumed."""
        return as_json(
            {
                "provider": self.provider.name,
                "window": [self.window.start, self.window.end] if self.window else None,
                "source": self.client.source,
                "params": self.provider.params,
                **self._options.requests(),
            }
        )

    def rounds(self) -> list[Round]:
        """Return the rounds to read, from the one at which the options say to begin."""
        options = self._options
        if options.query_params_list is not None:
            return [Round(dict(params), single_page=True) for params in options.query_params_list]
        fixed = self.provider.rounds(self.client, self.provider.requested(self.window))
        if not options.initial_query_params:
            return [Round(params) for params in fixed]
        first = dict(options.initial_query_params)
        begin = next((n for n, params in enumerate(fixed) if params and params.items() <= first.items()), 0)
        rounds = [Round(params) for params in fixed[begin:]] or [Round({})]
        rounds[0] = Round({**rounds[0].params, **first})
        return rounds

    def first_cursor(self, params: Params) -> Cursor:
        """Return the first page of a round.

        Raises:
            Fatal: The conf names a page that cannot be one.
        """
        pages = self.provider.pages
        if ignored := self._options.additional_query_params.keys() & {*pages.own_params}:
            raise Fatal(
                f"additional_query_params: the pull itself sets {', '.join(sorted(ignored))}; use "
                "initial_query_params to begin at another page."
            )
        try:
            return pages.start(params)
        except (TypeError, ValueError) as error:
            if not self._options.initial_query_params and self._options.query_params_list is None:
                raise
            raise Fatal(
                f"initial_query_params or query_params_list: {params} names no page of {self.provider.name} "
                f"({error})."
            ) from None

    def is_over(self, now: datetime) -> bool:
        """Return whether the window had ended, so that nothing more belongs to it; a recording's counts."""
        return self.window is None or self.client.replayed or self.window.end <= now + CLOCKS

    def is_whole_list(self, round_: Round) -> bool:
        """Return whether a round reads all that the API lists, and is compared with the announced total."""
        return round_.is_complete() and self._options.is_unrestricted()

    def is_everything(self, started: datetime) -> bool:
        """Return whether the pull covers everything, or all of its window; one since a date does not."""
        restricted = not self._options.is_unrestricted() or (self.provider.since and self.window)
        return not restricted and self.is_over(started)

    def uncovered(self, state: State) -> Uncovered | None:
        """Return what no round covers. A recording does not hold the whole collection."""
        if self.client.replayed:
            return None
        requested = self.provider.requested(self.window)
        return self.provider.uncovered(self.client, requested, state.total if state.is_announced() else None)
