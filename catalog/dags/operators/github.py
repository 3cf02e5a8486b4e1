"""GitHub as tasks use it: the token of the Variable GITHUB_API_KEY, the address of GITHUB_API_URL."""

from typing import Any

from airflow.sdk import Variable

from catalog.dags.operators.settings import mask


def github(base: str | None = None) -> Any:
    """Without a token only what anybody may read. base: another address than GITHUB_API_URL's, which is for an enterprise server."""
    from catalog.ingestion.secrets import Secret
    from catalog.maintenance.github import API, GitHub

    token = Variable.get("GITHUB_API_KEY", default=None)
    if token in (None, "", "not_set"):
        token = None
    else:
        mask(token)
    return GitHub(
        Secret(token) if token else None, base or Variable.get("GITHUB_API_URL", default=None) or API
    )
