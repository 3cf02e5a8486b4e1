"""The GitHub client of tasks, with the token of GITHUB_API_KEY and the address of GITHUB_API_URL."""

from catalog.core.secrets import Secret
from catalog.core.setting_values import GITHUB_API
from catalog.core.settings import GITHUB_API_KEY, GITHUB_API_URL
from catalog.dags.common.secrets import mask
from catalog.dags.common.variables import value_of
from catalog.maintenance.github import GitHub


def github(base: str | None = None) -> GitHub:
    """Return a client; without a token it reads public data only.

    Args:
        base: Another address than that of GITHUB_API_URL, which is for an enterprise server.
    """
    token = value_of(GITHUB_API_KEY)
    if token:
        mask(token)
    return GitHub(Secret(token) if token else None, base or value_of(GITHUB_API_URL) or GITHUB_API)
