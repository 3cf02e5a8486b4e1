"""Secrets that tasks read from Airflow; each is masked in the task log."""

from urllib.parse import quote, quote_plus

from airflow.sdk import Variable
from airflow.sdk.log import mask_secret

from catalog.core.secrets import Secret
from catalog.ingestion.provider import Provider


def mask(value: str) -> None:
    """Hide a secret in everything Airflow logs, plain and as it stands in a URL."""
    for form in {value, quote(value, safe=""), quote_plus(value)}:
        mask_secret(form)


def secret_for(provider: type[Provider]) -> Secret | None:
    """The value of the provider's key; None when the Variable is not set (a replay needs none)."""
    if provider.key is None or not (
        value := (Variable.get(provider.key.variable, default=None) or "").strip()
    ):
        return None
    mask(value)
    return Secret(value)
