"""GitHub as tasks use it: the token of the Variable GITHUB_API_KEY, the address of GITHUB_API_URL."""

from typing import Any

from catalog.dags.operators.settings import mask
from catalog.dags.operators.variables import value_of
from catalog.settings import GITHUB_API_KEY, GITHUB_API_URL


def github(base: str | None = None) -> Any:
    """Without a token only what anybody may read. base: another address than GITHUB_API_URL's, which is for an enterprise server."""
    from catalog.ingestion.secrets import Secret
    from catalog.maintenance.github import API, GitHub

    token = value_of(GITHUB_API_KEY)
    if token in (None, "", "not_set"):
        token = None
    else:
        mask(token)
    return GitHub(Secret(token) if token else None, base or value_of(GITHUB_API_URL) or API)
