"""Keys and tokens: how and where they are sent, values that print as ***, and taking them out of texts."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Protocol

import msgspec

from catalog.core import redaction
from catalog.core.errors import Fatal

_MOST_READ = 1 << 20  # bytes of a body that an excerpt is made of


class Secret:
    """A secret's value; shows as *** wherever it is printed. `reveal()` is for making a request."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__


class Signed(msgspec.Struct, frozen=True):
    """What a request carries so that the API lets it pass: all query parameters, and the secret's headers."""

    params: Mapping[str, Any]
    headers: Mapping[str, str] = {}


class ApiKey(msgspec.Struct, frozen=True):
    """What a provider needs to be asked. Another way to send the key overrides `sign`.

    Attributes:
        variable: The Airflow Variable that holds the key.
        param: The query parameter it is sent as.
        get_at: Where keys are had.
        header: `param` is a request header instead.
        scheme: What stands before the key in the header.
        hosts: The only hosts that get the key; empty stands for the host of the provider's pages.
    """

    variable: str
    param: str
    get_at: str
    header: bool = False
    scheme: str = ""
    hosts: tuple[str, ...] = ()

    def sign(self, url: str, params: Mapping[str, Any], secret: Secret) -> Signed:
        if self.header:
            return Signed(params, {self.param: self.scheme + secret.reveal()})
        return Signed({**params, self.param: secret.reveal()})


class Credentials(Protocol):
    """What lets a client's requests pass."""

    @property
    def hosts(self) -> Collection[str]:
        """The only hosts whose requests are signed, in lower case."""

    def secrets(self) -> Iterable[Secret]:
        """Values that no text may show."""

    def sign(self, url: str, params: Mapping[str, Any]) -> Signed: ...

    def renew(self) -> bool:
        """After the API refused them: are there others to try now?"""


def own_hosts(hosts: Collection[str]) -> frozenset[str]:
    """Hosts that may be sent a secret, in lower case. Raises Fatal when none is named."""
    if not hosts:
        raise Fatal("no host is named that the key or token belongs to; it would be sent nowhere.")
    return frozenset(host.lower() for host in hosts)


class KeyCredentials:
    """A key that stays the same, for the hosts it names, or else the given ones. Raises Fatal without any."""

    def __init__(self, key: ApiKey, secret: Secret, hosts: Collection[str] = ()) -> None:
        self._key, self._secret = key, secret
        self.hosts = own_hosts(key.hosts or hosts)

    def secrets(self) -> Iterable[Secret]:
        return (self._secret,)

    def sign(self, url: str, params: Mapping[str, Any]) -> Signed:
        return self._key.sign(url, params, self._secret)

    def renew(self) -> bool:
        return False


class Redactor:
    """Replaces secrets in a text by `***`, in whatever form they stand there; see `redaction`."""

    def __init__(self, secrets: Iterable[Secret] = ()) -> None:
        self._values: list[str] = []
        self._forms: frozenset[str] = frozenset()
        self.add(secrets)

    def add(self, secrets: Iterable[Secret]) -> None:
        """Hide these from now on, too."""
        new = {value for secret in secrets if (value := secret.reveal())} - set(self._values)
        self._values = sorted(new.union(self._values), key=len, reverse=True)
        self._forms = self._forms.union(*map(redaction.forms, new))

    def __call__(self, text: str) -> str:
        if not self._values:
            return text
        for value in self._values:
            text = text.replace(value, redaction.MASK)
        return redaction.without(text, self._forms)

    def excerpt(self, text: str | bytes, size: int) -> str:
        """The beginning of a text or body, cut after the secrets are gone, so that no part of one is left.

        Args:
            text: Of a body, at most 1 MiB is read.
            size: Characters.
        """
        if isinstance(text, bytes):
            text = text[:_MOST_READ].decode("utf-8", "replace")
        return self(text)[:size]
