"""The type of a setting: its name, meaning and type, and how its stored string is decoded."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec

from catalog.core.wording import join_first

T = TypeVar("T")
Kind = Literal["connection", "Variable", "Variable, JSON", "environment", "pool"]
Line = Annotated[str, msgspec.Meta(pattern=r"^[ -~]+$")]  # what may stand in a header
Address = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9+.-]*://[^\x00-\x1f]+$")]
Link = Annotated[str, msgspec.Meta(pattern=r"^(https?://[^\s/]+\S*|mailto:\S+)$")]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_NOT_A_VALUE = (msgspec.DecodeError, RecursionError, UnicodeError)  # a ValidationError is a DecodeError


class Malformed(ValueError):
    """A setting cannot be decoded. The message names the setting and the expected form, never the value."""


@dataclass(frozen=True)
class Setting(Generic[T]):
    """A name by which the catalog is configured.

    Attributes:
        name: Name of the Variable, environment variable, connection or pool.
        kind: Where it is set.
        shown: The default as documented, in Markdown.
        meaning: Markdown; also describes a well-formed value.
        of: The type of the value.
        value: The default; also replaces a malformed value.
        strict: A malformed value has no replacement: whatever needs the setting fails.
        entry: For a setting that maps DAG ids to lists, the type of the items; malformed items are ignored.
        check: Returns what is wrong with a value of the type, or None.
        placeholder: A stored string that means that it is not set.
    """

    name: str
    kind: Kind
    shown: str
    meaning: str
    of: Any = str
    value: T = None  # type: ignore[assignment]
    strict: bool = False
    entry: Any = None
    check: Callable[[Any], str | None] | None = None
    placeholder: str | None = None

    def decode(self, text: str | None) -> tuple[T, str | None]:
        """Decode and validate a stored value.

        Args:
            text: The stored string; None, an empty string, JSON's `null` and the placeholder mean that it is
                not set.

        Returns:
            The value, and a description of what is malformed, or None. A malformed value is replaced by the
            default; malformed entries of a list are removed.

        Raises:
            Malformed: The setting is strict.
        """
        text = (text or "").strip()
        if text in ("", self.placeholder) or (text == "null" and self.kind != "Variable"):
            return self.value, None
        try:
            text.encode()  # bytes of the environment that are not UTF-8 are decoded as lone surrogates
            if self.entry:
                return self._entries(text)
            if self._is_text:
                return msgspec.convert(text, self.of), None
            value = msgspec.json.decode(text, type=self.of)
            if self.check and (problem := self.check(value)):
                raise msgspec.ValidationError(problem)
            return value, None
        except _NOT_A_VALUE as error:
            problem = self._problem(f"{str(error) or type(error).__name__}")
            if self.strict:
                raise Malformed(problem) from None
            return self.value, f"{problem} Until it is corrected, {self._instead}."

    def encode(self, value: T) -> str:
        """Return the string that `decode` reads as `value`."""
        return value if isinstance(value, str) and self._is_text else msgspec.json.encode(value).decode()

    @property
    def plain_meaning(self) -> str:
        """The meaning without Markdown links."""
        return re.sub(r"\[([^]]+)]\([^)]+\)", r"\1", self.meaning)

    @property
    def _is_text(self) -> bool:
        return self.of in (str, Line, Address)

    @property
    def _instead(self) -> str:
        if self.value in (None, {}, []):
            return "the catalog works as if it were not set"
        return f"the default {self.encode(self.value)} is used"

    def _problem(self, what: str) -> str:
        return f"{self.name} is malformed: {what}. Its meaning: {self.plain_meaning}."

    def _entries(self, text: str) -> tuple[T, str | None]:
        found = msgspec.json.decode(text, type=dict[str, Any])
        kept: dict[str, list[Any]] = {}
        problems = []
        for dag_id, items in found.items():
            kept[dag_id] = []
            for number, item in enumerate(items if isinstance(items, list) else [items]):
                try:
                    kept[dag_id].append(msgspec.convert(item, self.entry))
                except msgspec.ValidationError as error:
                    problems.append(f"entry {number + 1} of {dag_id}: {error}")
        if not problems:
            return kept, None  # type: ignore[return-value]
        return (
            kept,
            f"{self._problem(join_first(problems, most=5, separator='; '))} The other entries are used.",
        )  # type: ignore[return-value]
