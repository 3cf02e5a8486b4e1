"""Keys and tokens of providers: how requests are signed with them, and which hosts may receive them."""

from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

import msgspec

from catalog.core.errors import Fatal
from catalog.core.jsontypes import Params
from catalog.core.secrets import Secret


class Signed(msgspec.Struct, frozen=True):
    """A signed request.

    Attributes:
        params: All query parameters, signed.
        headers: The headers that hold the secret.
    """

    params: Params
    headers: Mapping[str, str] = {}


class ApiKey(msgspec.Struct, frozen=True):
    """The declaration of a provider's key. Override `sign` for another way to send it.

    Attributes:
        variable: The Airflow Variable that holds the key.
        param: The query parameter that carries the key.
        get_at: Where to get a key.
        header: True if `param` names a request header instead.
        scheme: Prefix of the key in the header, such as `"Token "`.
        hosts: The only hosts that receive the key; if empty, the host of the provider's pages.
    """

    variable: str
    param: str
    get_at: str
    header: bool = False
    scheme: str = ""
    hosts: tuple[str, ...] = ()

    def sign(self, url: str, params: Params, secret: Secret) -> Signed:
        """Return the request's parameters and headers with the key added."""
        if self.header:
            return Signed(params, {self.param: self.scheme + secret.reveal()})
        return Signed({**params, self.param: secret.reveal()})


class Credentials(Protocol):
    """Authentication of a client's requests."""

    @property
    def hosts(self) -> Collection[str]:
        """The only hosts whose requests are signed, in lower case."""

    def secrets(self) -> Iterable[Secret]:
        """The values that must not appear in any message."""

    def sign(self, url: str, params: Params) -> Signed: ...

    def renew(self) -> bool:
        """Renew the credentials after the API refused them; return True if the request may be repeated."""


def own_hosts(hosts: Collection[str]) -> frozenset[str]:
    """Return the hosts that may receive a secret, in lower case.

    Raises:
        Fatal: No host is named.
    """
    if not hosts:
        raise Fatal(
            "The key or token has no host that it may be sent to; declare `hosts` in the provider's key."
        )
    return frozenset(host.lower() for host in hosts)


class KeyCredentials:
    """Credentials that consist of a fixed key."""

    def __init__(self, key: ApiKey, secret: Secret, hosts: Collection[str]) -> None:
        """Bind a key to its hosts.

        Args:
            key: The declaration of the key.
            secret: Its value.
            hosts: The only hosts that receive it; see `assemble.api_hosts`.

        Raises:
            Fatal: No host is named.
        """
        self._key, self._secret = key, secret
        self.hosts = own_hosts(hosts)

    def secrets(self) -> Iterable[Secret]:
        return (self._secret,)

    def sign(self, url: str, params: Params) -> Signed:
        return self._key.sign(url, params, self._secret)

    def renew(self) -> bool:
        return False
