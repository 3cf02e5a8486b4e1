"""GitHub as tasks use it: the token of the Variable GITHUB_API_KEY, the address of GITHUB_API_URL."""

from typing import Any

from catalog.core.settings import GITHUB_API_KEY, GITHUB_API_URL
from catalog.dags.operators.settings import mask
from catalog.dags.operators.variables import value_of


def github(base: str | None = None) -> Any:
    """Without a token only what anybody may read. base: another address than GITHUB_API_URL's, which is for an enterprise server."""
    from catalog.core.secrets import Secret
    from catalog.core.setting import GITHUB_API
    from catalog.maintenance.github import GitHub

    token = value_of(GITHUB_API_KEY)
    if token in (None, "", "not_set"):
        token = None
    else:
        mask(token)
    return GitHub(Secret(token) if token else None, base or value_of(GITHUB_API_URL) or GITHUB_API)
