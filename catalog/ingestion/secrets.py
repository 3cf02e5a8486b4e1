"""Keys and tokens: values that print as ***, and taking them out of texts."""

from collections.abc import Iterable
from urllib.parse import quote, quote_plus

import msgspec


class ApiKey(msgspec.Struct, frozen=True):
    """What a provider needs: the Variable that holds the key, the query parameter it is sent as, where keys are had."""

    variable: str
    param: str
    get_at: str


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


class Redactor:
    """Replaces secrets in a text by ***, plain or percent-encoded."""

    def __init__(self, secrets: Iterable[Secret] = ()) -> None:
        forms = {form for s in secrets if (v := s.reveal()) for form in (v, quote(v, safe=""), quote(v), quote_plus(v))}
        self._forms = sorted(forms, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for form in self._forms:
            text = text.replace(form, "***")
        return text
