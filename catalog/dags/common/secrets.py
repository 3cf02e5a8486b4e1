"""Secrets that tasks read from Airflow; each is masked in the task log."""

from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

from airflow.sdk import Variable
from airflow.sdk.log import mask_secret

from catalog.core.secrets import Secret, is_secret, remember
from catalog.ingestion.provider import Provider


def mask(value: str) -> None:
    """Hide a secret in everything Airflow logs, plain and as it stands in a URL, and in messages."""
    remember(value)
    for form in {value, quote(value, safe=""), quote_plus(value)}:
        mask_secret(form)


def mask_address(url: str) -> None:
    """Hide the password and the secret parameters of a URL in everything Airflow logs."""
    try:
        parts = urlsplit(url)
    except ValueError:  # the request says what is wrong with it
        return
    found = [value for name, value in parse_qsl(parts.query) if is_secret(name)]
    for value in (*found, unquote(parts.password or "")):
        if value:
            mask(value)


def secret_for(provider: type[Provider]) -> Secret | None:
    """The value of the provider's key; None when the Variable is not set (a replay needs none)."""
    if provider.key is None or not (
        value := (Variable.get(provider.key.variable, default=None) or "").strip()
    ):
        return None
    mask(value)
    return Secret(value)
