"""The options of a pull."""

import msgspec

from catalog.core.errors import StopsPull
from catalog.core.jsontypes import JsonObject, Params


class Options(msgspec.Struct, frozen=True):
    """Options of a pull, from conf and Variables; the DAG's parameters document their meaning."""

    limit: int = 0
    initial_query_params: Params | None = None
    query_params_list: list[Params] | None = None
    additional_query_params: Params = {}
    skip_errors: bool = False
    skip_predicates: tuple[str, ...] = ()
    accept_shortfall: bool = False

    def is_unrestricted(self) -> bool:
        """Return whether the pull covers everything of a provider, or of its window."""
        return self.query_params_list is None and not (
            self.limit or self.initial_query_params or self.additional_query_params
        )

    def requests(self) -> JsonObject:
        """Return the options that decide what is requested and kept, without those at their default."""
        names = ("limit", "initial_query_params", "query_params_list", "additional_query_params")
        values = {name: getattr(self, name) for name in names}
        return {name: value for name, value in values.items() if value != getattr(Options(), name)}

    def skips(self, error: Exception) -> bool:
        """Return whether to skip the page of an error; predicates match parts of its text, in any case."""
        if isinstance(error, StopsPull):
            return False
        text = repr(error).lower()
        return self.skip_errors or any(p.lower() in text for p in self.skip_predicates)
