"""The types of single Variables' values."""

import re
from datetime import timedelta
from typing import Annotated

import msgspec

GITHUB_API = "https://api.github.com"
Repository = Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$")]
InstanceName = Annotated[str, msgspec.Meta(pattern="^[a-zA-Z][a-zA-Z0-9-]{0,62}$")]


class Silencing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An entry of SILENCED_SLACK_NOTIFICATIONS. An empty predicate would silence every alert."""

    issue: str
    predicate: Annotated[str, msgspec.Meta(min_length=1)]
    task_id_pattern: str | None = None

    def __post_init__(self) -> None:
        _check_pattern(self.task_id_pattern or "")


class SkippedError(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
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
