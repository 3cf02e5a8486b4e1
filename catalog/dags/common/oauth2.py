"""OAuth2 tokens in Airflow Variables: read, masked, exchanged, renewed.

The Variables hold JSON. Airflow masks a Variable by its name only, so each value in the JSON is masked before
it is used.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias, TypeVar

import msgspec
from airflow.sdk import Variable
from airflow.sdk.exceptions import AirflowFailException

from catalog.core.errors import CatalogError, Fatal
from catalog.core.setting import Setting
from catalog.core.settings import OAUTH2_ACCESS_TOKENS, OAUTH2_AUTH_KEYS, OAUTH2_PROVIDER_SECRETS
from catalog.dags.common.connections import catalog_connection
from catalog.dags.common.secrets import mask
from catalog.dags.common.variables import value_of
from catalog.ingestion.addresses import host_of
from catalog.ingestion.assemble import api_hosts
from catalog.ingestion.oauth2 import BearerCredentials, OAuth2, TokenPair, exchange_code, refresh, usable
from catalog.ingestion.provider import Provider

SECRETS, CODES, TOKENS = OAUTH2_PROVIDER_SECRETS, OAUTH2_AUTH_KEYS, OAUTH2_ACCESS_TOKENS
T = TypeVar("T")
Tokens: TypeAlias = dict[str, dict[str, str | None]]  # the value of TOKENS


def authorize(provider: type[Provider]) -> bool:
    """Exchange the provider's code for tokens and remove the code. Return False if there is no code.

    The code is removed first. If it were still there after a kill, the next run would send it again, and then
    a provider revokes the tokens that it has issued for it (RFC 6749, section 4.1.2).

    Raises:
        CatalogError: The code was not exchanged, or the tokens cannot be renewed.
    """
    with exclusive():
        code = secret_json(CODES).get(provider.name)
        if not code:
            return False
        definition, client, tokens = _definition(provider), client_of(provider), secret_json(TOKENS)
        _save_code(provider, None)
        try:
            pair = exchange_code(definition, client, str(code))
        except CatalogError:  # it has brought no tokens, and may still be valid
            _save_code(provider, code)
            raise
        if not pair.refresh_token:
            raise Fatal(
                f"{host_of(definition.token_url)} has sent no refresh token, so the access token cannot be "
                "renewed, and is not stored. Register the application, or get a code, for offline access"
            )
        _save_pair(provider, pair, tokens)
    return True


def providers_with_code() -> set[str]:
    """Return the names for which a code is stored."""
    return {name for name, code in secret_json(CODES).items() if code}


def renew(provider: type[Provider], spent: TokenPair | None = None) -> TokenPair | None:
    """Renew the stored tokens and store the new ones.

    Args:
        provider: Whose tokens they are.
        spent: Tokens that the caller found expired. If others are stored by now, they have been renewed
            already, and are returned.

    Returns:
        The new tokens; None if none are stored.

    Raises:
        CatalogError: They were not renewed.
    """
    with exclusive():
        tokens = secret_json(TOKENS)
        pair = _pair_of(provider, tokens)
        if pair is None or (spent and pair != spent):
            return pair
        fresh = refresh(_definition(provider), client_of(provider), pair)
        if not fresh.refresh_token:  # the provider lets the old one go on (RFC 6749, section 6)
            fresh = TokenPair(fresh.access_token, pair.refresh_token)
        _save_pair(provider, fresh, tokens)
        return fresh


def credentials_for(provider: type[Provider]) -> BearerCredentials | None:
    """Return credentials that renew themselves during a pull; None for a provider without tokens.

    Raises:
        CatalogError: The stored tokens are of no use, and were not renewed.
    """
    if provider.oauth2 is None or (found := stored_pair(provider)) is None:
        return None
    if not found.access_token:
        renew(provider, found)

    def renewed(spent: TokenPair) -> TokenPair:
        return renew(provider, spent) or spent

    return BearerCredentials(lambda: stored_pair(provider), renewed, api_hosts(provider))


def stored_pair(provider: type[Provider]) -> TokenPair | None:
    return _pair_of(provider, secret_json(TOKENS))


def _pair_of(provider: type[Provider], tokens: Tokens) -> TokenPair | None:
    """Return a provider's tokens; None if none are stored. Without an access token, it is to be renewed.

    Raises:
        Fatal: Something is stored that cannot be renewed.
    """
    found = tokens.get(provider.name) or {}
    pair = TokenPair(usable(found.get("access_token")), usable(found.get("refresh_token")))
    if not pair.refresh_token and any(found.values()):
        raise Fatal(
            f"the Variable {TOKENS.name} has no usable refresh_token for {provider.name}: run "
            "oauth2_authorization with a new code, or remove the provider from the Variable"
        )
    return pair if pair.refresh_token else None


def _definition(provider: type[Provider]) -> OAuth2:
    """Return the provider's OAuth2 endpoints.

    `token_url` among the secrets replaces the address of tokens (a proxy, a test). That address is a setting
    of the operator, so it may be in the operator's network; the provider's may not.
    """
    assert provider.oauth2, provider.name
    other = secret_json(SECRETS).get(provider.name, {}).get("token_url")
    if not other:
        return provider.oauth2
    return msgspec.structs.replace(provider.oauth2, token_url=other, private_hosts=(host_of(other),))


def client_of(provider: type[Provider]) -> dict[str, str]:
    """Return the credentials of the registered application. Fails the task if there is no `client_id`."""
    client = secret_json(SECRETS).get(provider.name) or {}
    if not client.get("client_id"):
        raise AirflowFailException(
            f"the Variable {SECRETS.name} has no client_id for {provider.name}; set it to "
            f'{{"{provider.name}": {{"client_id": "…", "client_secret": "…"}}}}, as issued when the '
            "application was registered there."
        )
    return {str(key): str(value) for key, value in client.items() if key != "token_url"}


def secret_json(setting: Setting[dict[str, T]]) -> dict[str, T]:
    """Return a Variable that holds secrets by provider name; every string in it is masked from now on."""
    found = value_of(setting)
    _each_text(found, mask)
    return found


def _each_text(value: Any, act: Callable[[str], None]) -> None:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            _each_text(item, act)
    elif isinstance(value, str) and value:
        act(value)


@contextmanager
def exclusive() -> Iterator[None]:
    """Serialize changes of the Variables, which DAGs and pulls read and write whole."""
    with catalog_connection(autocommit=True) as connection:
        connection.execute("select pg_advisory_lock(hashtext('oauth2'))")
        yield  # closing the connection gives the lock back


def _save_code(provider: type[Provider], code: str | None) -> None:
    """Store a provider's code, or remove it; those of other providers stay."""
    others = {name: kept for name, kept in secret_json(CODES).items() if name != provider.name}
    _save(CODES, {**others, provider.name: code} if code else others)


def _save_pair(provider: type[Provider], pair: TokenPair, stored: Tokens) -> None:
    """Store a provider's new tokens, the only ones that are still valid.

    Args:
        provider: Whose tokens they are.
        pair: The tokens.
        stored: All tokens, as they were read before the exchange: reading them now might fail, and the new
            ones would be lost.

    Raises:
        Fatal: There is no access token among them; the refresh token is stored.
    """
    new = {"access_token": pair.access_token, "refresh_token": pair.refresh_token}
    _each_text(new, mask)
    _save(TOKENS, {**stored, provider.name: new})
    if not pair.access_token:
        raise Fatal(
            f"{provider.name} has sent no usable access token; its refresh token is stored: trigger "
            "oauth2_token_refresh to ask again"
        )


def _save(setting: Setting[Any], value: dict[str, Any]) -> None:
    Variable.set(
        setting.name, value, serialize_json=True, description="written by the oauth2 DAGs; see DAGs.md"
    )
