"""The type of a setting: its name, meaning and type, and how its stored string is decoded."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec

from catalog.core.wording import join_first

T = TypeVar("T")
Kind = Literal["connection", "Variable", "Variable, JSON", "environment", "pool"]
Line = Annotated[str, msgspec.Meta(pattern=r"^[ -~]+$")]  # what may stand in a header
Address = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9+.-]*://[^\x00-\x1f]+$")]
Link = Annotated[str, msgspec.Meta(pattern=r"^(https?://[^\s/]+\S*|mailto:\S+)$")]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
GITHUB_API = "https://api.github.com"
Repository = Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$")]
InstanceName = Annotated[str, msgspec.Meta(pattern="^[a-zA-Z][a-zA-Z0-9-]{0,62}$")]
_NOT_A_VALUE = (msgspec.DecodeError, RecursionError, UnicodeError)  # a ValidationError is a DecodeError


class Malformed(ValueError):
    """A setting cannot be decoded. The message names the setting and the expected form, never the value."""


class Silencing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An entry of SILENCED_SLACK_NOTIFICATIONS. An empty predicate would silence every alert."""

    issue: str
    predicate: Annotated[str, msgspec.Meta(min_length=1)]
    task_id_pattern: str | None = None

    def __post_init__(self) -> None:
        _check_pattern(self.task_id_pattern or "")


class PassedOver(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An entry of SKIPPED_INGESTION_ERRORS. An empty predicate would skip every error."""

    issue: str
    predicate: Annotated[str, msgspec.Meta(min_length=1)]


class TimeoutOverride(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An entry of CONFIGURATION_OVERRIDES. Without a pattern it applies to every task of the DAG."""

    timeout: str
    task_id_pattern: str = ""

    def __post_init__(self) -> None:
        _check_pattern(self.task_id_pattern)
        if parse_timeout(self.timeout) is None:
            raise ValueError("a timeout is written as `1d:2h:3m:4s`, every part optional")

    @property
    def limit(self) -> timedelta:
        limit = parse_timeout(self.timeout)
        assert limit is not None
        return limit


class Reviews(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The Variable PR_REVIEW_REPOSITORIES.

    Attributes:
        repositories: The repositories whose pull requests are checked.
        bot: The login that the token belongs to.
        base: The target branch of the pull requests.
    """

    repositories: tuple[Repository, ...]
    bot: str
    base: str = "main"


class Databases(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Identifiers of the database instances.

    Attributes:
        production: The instance whose snapshot is restored.
        staging: The instance that is replaced.
        temporary: The restored instance, until it takes staging's name.
        old: The replaced instance, until it is deleted.
    """

    production: InstanceName = "prod-openverse-db"
    staging: InstanceName = "dev-openverse-db"
    temporary: InstanceName = "dev-next-openverse-db"
    old: InstanceName = "dev-old-openverse-db"

    def __post_init__(self) -> None:
        for field in self.__struct_fields__:  # RDS stores identifiers in lower case
            msgspec.structs.force_setattr(self, field, getattr(self, field).lower())

    @property
    def ours(self) -> tuple[str, str, str]:
        return self.staging, self.temporary, self.old


class Deploy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The workflow that deploys staging's API.

    Attributes:
        repository: `owner/name`.
        workflow: Its file name.
        package: The package of the API's image, whose newest tag is deployed.
        api: Address of GitHub's REST API.
    """

    repository: str
    workflow: str
    package: str
    api: str = GITHUB_API


class Nodes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The Variable SEARCH_ENGINE_NODES: how many nodes each engine has; None if any number is right."""

    production: Annotated[int, msgspec.Meta(ge=1, le=10_000)] | None = None
    staging: Annotated[int, msgspec.Meta(ge=1, le=10_000)] | None = None


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


def parse_timeout(text: str) -> timedelta | None:
    """Parse `1d:2h:3m:4s`, every part optional; return None if `text` is malformed, zero, or too long.

    >>> parse_timeout("1d:30s")
    datetime.timedelta(days=1, seconds=30)
    """
    units = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
    parts = [re.fullmatch(r"([0-9]{1,9})([dhms])", part) for part in text.split(":")]
    if not all(parts):
        return None
    try:
        return timedelta(**{units[p.group(2)]: int(p.group(1)) for p in parts if p}) or None
    except OverflowError:
        return None


def _check_pattern(pattern: str) -> None:
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"task_id_pattern is not a regular expression: {error}") from None
