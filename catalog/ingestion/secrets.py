"""Keys and tokens: how they are sent, values that print as ***, and taking them out of texts."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol
from urllib.parse import quote, quote_plus

import msgspec


class Secret:
    """A secret's value; shows as *** wherever it is printed. `reveal()` is called where a request is made, nowhere else."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__


class Signed(msgspec.Struct, frozen=True):
    """What a request carries so that the API lets it pass: all its query parameters, and headers beside the usual ones."""

    params: Mapping[str, Any]
    headers: Mapping[str, str] = {}


class ApiKey(msgspec.Struct, frozen=True):
    """What a provider needs: the Variable that holds the key, the query parameter it is sent as, where keys are had.

    header: `param` is a request header instead, and `scheme` stands before the key in it. Another way to send it overrides `sign`.
    """

    variable: str
    param: str
    get_at: str
    header: bool = False
    scheme: str = ""

    def sign(self, url: str, params: Mapping[str, Any], secret: Secret) -> Signed:
        if self.header:
            return Signed(params, {self.param: self.scheme + secret.reveal()})
        return Signed({**params, self.param: secret.reveal()})


class Credentials(Protocol):
    """What lets a client's requests pass."""

    def secrets(self) -> Iterable[Secret]:
        """Values that no text may show."""

    def sign(self, url: str, params: Mapping[str, Any]) -> Signed: ...

    def renew(self) -> bool:
        """After the API refused them: are there others to try now?"""


class KeyCredentials:
    """A key that stays the same."""

    def __init__(self, key: ApiKey, secret: Secret) -> None:
        self._key, self._secret = key, secret

    def secrets(self) -> Iterable[Secret]:
        return (self._secret,)

    def sign(self, url: str, params: Mapping[str, Any]) -> Signed:
        return self._key.sign(url, params, self._secret)

    def renew(self) -> bool:
        return False


class Redactor:
    """Replaces secrets in a text by ***, plain or percent-encoded."""

    def __init__(self, secrets: Iterable[Secret] = ()) -> None:
        self._forms: list[str] = []
        self.add(secrets)

    def add(self, secrets: Iterable[Secret]) -> None:
        """From now on these, too."""
        forms = {
            form
            for s in secrets
            if (v := s.reveal())
            for form in (v, quote(v, safe=""), quote(v), quote_plus(v))
        }
        self._forms = sorted(forms.union(self._forms), key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for form in self._forms:
            text = text.replace(form, "***")
        return text
