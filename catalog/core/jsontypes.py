"""Types of decoded JSON, whose structure the type checker does not know."""

from collections.abc import Mapping
from typing import Any

Json = Any  # any decoded value
JsonObject = dict[str, Any]
Params = Mapping[str, Any]  # query parameters of a request; lists are repeated
