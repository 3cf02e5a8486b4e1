"""The registry of settings: Variables, environment variables, connections and pools.

Code reads settings through these objects, and docs/configuration.md is generated from them. A malformed value
is replaced by the default and named in an alert. If no default is safe (`strict`), the task that needs the
setting fails.
"""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import msgspec

from catalog.core.setting import Address, Count, Kind, Line, Link, Setting
from catalog.core.setting_values import (
    Databases,
    Deploy,
    Nodes,
    Reviews,
    Silencing,
    SkippedError,
    TimeoutOverride,
)

T = TypeVar("T")


def airflow_variable(name: str) -> str:
    """Return the name of the environment variable that sets a Variable of Airflow."""
    return f"AIRFLOW_VAR_{name}"


_all: list[Setting[Any]] = []
Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]


def _declare(
    kind: Kind,
    name: str,
    shown: str | None,
    meaning: str,
    *,
    of: Any = str,
    value: T = None,  # type: ignore[assignment]
    strict: bool = False,
    entry: Any = None,
    check: Callable[[Any], str | None] | None = None,
    placeholder: str | None = None,
) -> Setting[T]:
    """Declare a setting.

    Args:
        kind: Where it is set.
        name: Its name.
        shown: What applies without it, in Markdown; None for the default itself.
        meaning: Its meaning, in Markdown.
        of: Type of the value.
        value: The default.
        strict: See `Setting`.
        entry: See `Setting`.
        check: See `Setting`.
        placeholder: See `Setting`.
    """
    shown = f"`{msgspec.to_builtins(value)}`" if shown is None else shown
    setting = Setting(name, kind, shown, meaning, of, value, strict, entry, check, placeholder)
    _all.append(setting)
    return setting


def _text(
    name: str, shown: str | None, meaning: str, of: Any = str, value: Any = None, strict: bool = False
) -> Setting[Any]:
    return _declare("Variable", name, shown, meaning, of=of, value=value, strict=strict)


def _switch(name: str, value: bool, meaning: str, strict: bool = False) -> Setting[bool]:
    shown = f"`{str(value).lower()}`"
    return _declare("Variable, JSON", name, shown, meaning, of=bool, value=value, strict=strict)


def _number(name: str, value: int, meaning: str, *, least: int, most: int) -> Setting[int]:
    """Declare a Variable with a whole number."""
    of = Annotated[int, msgspec.Meta(ge=least, le=most)]
    return _declare("Variable, JSON", name, None, meaning, of=of, value=value)


def _connection(conn_id: str, shown: str, meaning: str) -> str:
    """Declare an Airflow connection, and return its id."""
    return _declare("connection", conn_id, shown, meaning).name


def connection_variable(conn_id: str) -> str:
    """Return the environment variable in which Airflow looks for a connection."""
    return f"AIRFLOW_CONN_{conn_id.upper()}"


CATALOG_DB = _connection("postgres_openledger_upstream", "required", "the catalog database")
API_DB = _connection(
    "postgres_openledger_api",
    "needed by the data refresh",
    "the API's database; its own migrations make its tables",
)
STAGING_DB = _connection(
    "postgres_openledger_api_staging", "needed by staging DAGs", "the API's staging database"
)
SEARCH = _connection(
    "elasticsearch_http_production",
    "needed by the data refresh",
    "the search engine, type HTTP; its extra: see [below](#search-engines)",
)
STAGING_SEARCH = _connection(
    "elasticsearch_http_staging", "needed by staging DAGs", "the staging search engine; extra as above"
)
SENSITIVE_TERMS = _connection(
    "sensitive_terms", "`SENSITIVE_TERMS_URL`", "HTTP address of the list of sensitive terms"
)
_connection("aws_default", "needed on AWS", "object storage, where `OBJECT_STORAGE` is on S3; RDS")
SLACK_NOTIFICATIONS = _connection("slack_notifications", "task log only", "webhook for reports")
SLACK_ALERTS = _connection("slack_alerts", "task log only", "webhook for failures and alerts")

OBJECT_STORAGE = _text(
    "OBJECT_STORAGE",
    "required",
    "root of the TSV parts, such as `s3://aws_default@bucket/tsv`; `file://` is refused with remote "
    "executors",
    Address,
    strict=True,
)
DATASET_STORAGE = _text(
    "DATASET_STORAGE",
    "needed by [`publish_dataset`](../DAGs.md#publish_dataset)",
    "folder of the dataset's versions, such as `s3://aws_default@bucket/dataset`; `file://` as above",
    Address,
    strict=True,
)
_text("API_KEY_…", "the provider's run fails", "keys, as [the table of providers](providers.md) names them")
INATURALIST_DUMP = _text(
    "INATURALIST_DUMP", None, "folder of iNaturalist's four files", value="s3://inaturalist-open-data"
)
CATALOGUE_OF_LIFE = _text(
    "CATALOGUE_OF_LIFE",
    "the published archive",
    "archive of common names (ColDP, a ZIP): an address or path, or `none`",
)
SENSITIVE_TERMS_URL = _text(
    "SENSITIVE_TERMS_URL",
    "needed by the data refresh",
    "list of terms, one per line: `file://`, `s3://aws_default@…` or `https://`",
    Address,
    strict=True,
)
ES_INDEX_THROTTLING_RATE: Setting[float] = _declare(
    "Variable",
    "ES_INDEX_THROTTLING_RATE",
    None,
    "documents per second while an index is copied by the engine; `-1` for no limit",
    of=float,
    value=20_000,
    check=lambda rate: None if rate > 0 or rate == -1 else "Expected a number > 0, or -1",
)
ENVIRONMENT = _text("ENVIRONMENT", None, "Slack messages are sent in `production` only", value="local")
CONTACT_EMAIL = _text("CONTACT_EMAIL", "none", "address in the User-Agent", Line)
CATALOG_RDS_DB_IDENTIFIER = _text(
    "CATALOG_RDS_DB_IDENTIFIER",
    "needed by [`rotate_db_snapshots`](../DAGs.md#rotate_db_snapshots)",
    "the catalog's RDS instance",
    strict=True,
)
GITHUB_API_KEY: Setting[str | None] = _declare(
    "Variable", "GITHUB_API_KEY", "public data only", "token for GitHub", of=Line, placeholder="not_set"
)
GITHUB_API_URL = _text("GITHUB_API_URL", "GitHub's own", "address of an enterprise server", Address)
_text("batched_update_start_<query_id>", "written by a batched update", "the row that it has reached")
_text(
    "malformed_setting_<name>",
    "written when a setting is malformed",
    "when the last alert about it was sent; one alert per day",
)
_text(
    "search_engine_health_<environment>",
    "written by the healthchecks",
    "the state of the search engine that was reported last",
)

OAUTH2_PROVIDER_SECRETS: Setting[dict[str, dict[str, Any]]] = _declare(
    "Variable, JSON",
    "OAUTH2_PROVIDER_SECRETS",
    "none",
    "see [`oauth2_authorization`](../DAGs.md#oauth2_authorization)",
    of=dict[str, dict[str, Any]],
    value={},
    strict=True,
)
OAUTH2_AUTH_KEYS: Setting[dict[str, str | None]] = _declare(
    "Variable, JSON",
    "OAUTH2_AUTH_KEYS",
    "none",
    "one-time codes; see [`oauth2_authorization`](../DAGs.md#oauth2_authorization)",
    of=dict[str, str | None],
    value={},
    strict=True,
)
OAUTH2_ACCESS_TOKENS: Setting[dict[str, dict[str, str | None]]] = _declare(
    "Variable, JSON",
    "OAUTH2_ACCESS_TOKENS",
    "written by the oauth2 DAGs",
    "access and refresh tokens",
    of=dict[str, dict[str, str | None]],
    value={},
    strict=True,
)
TAG_POLICY: Setting[dict[str, Any] | None] = _declare(
    "Variable, JSON",
    "TAG_POLICY",
    "in code",
    "[which tags are searched](tag_filtering.md)",
    of=dict[str, Any],
    strict=True,
)
DATA_REFRESH_INDEX_TASKS = _number(
    "DATA_REFRESH_INDEX_TASKS", 8, "tasks that fill an index, at most 64", least=1, most=64
)
DATA_REFRESH_COPY_TASKS = _number(
    "DATA_REFRESH_COPY_TASKS",
    4,
    "tasks that copy a large table and create its indexes, at most 32",
    least=1,
    most=32,
)
DATA_REFRESH_LIMIT: Setting[int] = _declare(
    "Variable, JSON", "DATA_REFRESH_LIMIT", "`0`: all", "copy only this many rows", of=Count, value=0
)
DATA_REFRESH_FULL_AFTER_DAYS = _number(
    "DATA_REFRESH_FULL_AFTER_DAYS",
    35,
    "age of the last full data refresh, in days, from which the mode `auto` chooses a full one",
    least=0,
    most=36_500,
)
DATA_REFRESH_MOST_CHANGED = _number(
    "DATA_REFRESH_MOST_CHANGED",
    10,
    "percentage of records that may have changed for an incremental data refresh (10,000 records may in any "
    "case; `0`: none)",
    least=0,
    most=100,
)
DATASET_TASKS = _number("DATASET_TASKS", 2, "tasks that write the dataset, at most 32", least=1, most=32)
DATASET_VERSIONS = _number(
    "DATASET_VERSIONS", 3, "versions of the dataset to keep, at least 1", least=1, most=1_000
)
DATASET_INCLUDE_SENSITIVE = _switch(
    "DATASET_INCLUDE_SENSITIVE",
    False,
    "`true` publishes records whose text contains a sensitive term; otherwise the list of terms is needed",
    strict=True,
)
SEARCH_ENGINE_NODES: Setting[Nodes] = _declare(
    "Variable, JSON",
    "SEARCH_ENGINE_NODES",
    "not compared",
    '`{"production": 3, "staging": 1}`: number of nodes that each search engine should have',
    of=Nodes,
    value=Nodes(),
)
DASHBOARD_THUMBNAILS = _switch(
    "DASHBOARD_THUMBNAILS",
    False,
    "`true` lets the browsers of the dashboard's users load thumbnails from the providers' hosts",
)
SLACK_MESSAGE_OVERRIDE = _switch("SLACK_MESSAGE_OVERRIDE", False, "`true` sends from any environment")
SLACK_DIGEST = _switch(
    "SLACK_DIGEST",
    False,
    "`true` collects reports of completed runs for [`daily_digest`](../DAGs.md#daily_digest)",
)
SILENCED_SLACK_NOTIFICATIONS: Setting[dict[str, list[Silencing]]] = _declare(
    "Variable, JSON",
    "SILENCED_SLACK_NOTIFICATIONS",
    "none",
    '`{dag_id: [{"issue", "predicate", "task_id_pattern"?}]}`: messages not to send',
    value={},
    entry=Silencing,
)
SKIPPED_INGESTION_ERRORS: Setting[dict[str, list[SkippedError]]] = _declare(
    "Variable, JSON",
    "SKIPPED_INGESTION_ERRORS",
    "none",
    '`{dag_id: [{"issue", "predicate"}]}`: errors whose page is skipped; reported at the end',
    value={},
    entry=SkippedError,
)
INGESTION_LIMIT: Setting[int] = _declare(
    "Variable, JSON",
    "INGESTION_LIMIT",
    "`0`: no limit",
    "stop every pull after this many records",
    of=Count,
    value=0,
)
PRIVATE_HOSTS: Setting[list[str]] = _declare(
    "Variable, JSON",
    "PRIVATE_HOSTS",
    "none",
    '`["api.internal.example.org"]`: hosts that requests may reach at addresses that are not global',
    of=list[str],
    value=[],
)
PROBE_HTTPS = _switch("PROBE_HTTPS", True, "check once whether an unknown host supports https")
LINK_CHECK_RATE: Setting[float] = _declare(
    "Variable, JSON",
    "LINK_CHECK_RATE",
    None,
    "requests a second that [`check_links`](../DAGs.md#check_links) sends to a host at most, all tasks "
    "together",
    of=Annotated[float, msgspec.Meta(gt=0, le=1_000)],
    value=1.0,
)
LINK_CHECK_MOST_REMOVED = _number(
    "LINK_CHECK_MOST_REMOVED",
    10,
    "percentage of a provider's records that [`check_links`](../DAGs.md#check_links) may remove within a "
    "year; if more would be, none is, until that is accepted (fewer than 10 records may in any case)",
    least=1,
    most=100,
)
LINK_CHECK_PRIVATE_HOSTS: Setting[list[str]] = _declare(
    "Variable, JSON",
    "LINK_CHECK_PRIVATE_HOSTS",
    "none",
    "hosts that [`check_links`](../DAGs.md#check_links) may reach at addresses that are not global, such as "
    '`["media.internal.example.org"]`. Records and redirects may name any host, so list only hosts that '
    "serve nothing but media. (`PRIVATE_HOSTS` does not apply there.)",
    of=list[str],
    value=[],
)
CONFIGURATION_OVERRIDES: Setting[dict[str, list[TimeoutOverride]]] = _declare(
    "Variable, JSON",
    "CONFIGURATION_OVERRIDES",
    "none",
    '`{dag_id: [{"task_id_pattern", "timeout": "1d:2h:3m:4s"}]}`; read when DAG files are parsed',
    value={},
    entry=TimeoutOverride,
)
CATCHUP_ENABLED = _switch(
    "CATCHUP_ENABLED",
    False,
    "`true` lets dated DAGs catch up from their start date; read when DAG files are parsed",
)
HELD_SCHEDULES: Setting[dict[str, Any]] = _declare(
    "Variable, JSON",
    "HELD_SCHEDULES",
    "none",
    "`{dag_id: reason}`: scheduled runs of these DAGs skip their tasks",
    of=dict[str, Any],
    value={},
)
STAGING_RESTORE_DATABASES: Setting[Databases] = _declare(
    "Variable, JSON",
    "STAGING_RESTORE_DATABASES",
    "see there",
    "instances of [`staging_database_restore`](../DAGs.md#staging_database_restore)",
    of=Databases,
    value=Databases(),
    strict=True,
)
STAGING_DEPLOY: Setting[Deploy | None] = _declare(
    "Variable, JSON",
    "STAGING_DEPLOY",
    "none",
    "deployment of the API to staging; see [`staging_database_restore`](../DAGs.md#staging_database_restore)",
    of=Deploy,
    strict=True,
)
SKIP_STAGING_DATABASE_RESTORE = _switch(
    "SKIP_STAGING_DATABASE_RESTORE", False, "`true` skips its runs", strict=True
)
CATALOG_RDS_SNAPSHOTS_TO_RETAIN: Setting[int | None] = _declare(
    "Variable, JSON",
    "CATALOG_RDS_SNAPSHOTS_TO_RETAIN",
    "needed by [`rotate_db_snapshots`](../DAGs.md#rotate_db_snapshots)",
    "number of snapshots to keep, at least 1",
    of=Annotated[int, msgspec.Meta(ge=1, le=10_000)],
    strict=True,
)
PR_REVIEW_REPOSITORIES: Setting[Reviews | None] = _declare(
    "Variable, JSON",
    "PR_REVIEW_REPOSITORIES",
    "its runs skip",
    "see [`pr_review_reminders`](../DAGs.md#pr_review_reminders)",
    of=Reviews,
    strict=True,
)
PR_REVIEW_REMINDER_DRY_RUN = _switch("PR_REVIEW_REMINDER_DRY_RUN", True, "`false` posts the reminders")

DEFAULT_RETRY_COUNT: Setting[int] = _declare(
    "environment",
    "DEFAULT_RETRY_COUNT",
    None,
    "retries of a task",
    of=Annotated[int, msgspec.Meta(ge=0, le=100)],
    value=2,
)
DEFAULT_RETRY_DELAY: Setting[float] = _declare(
    "environment",
    "DEFAULT_RETRY_DELAY",
    None,
    "seconds between retries",
    of=Annotated[float, msgspec.Meta(ge=0, le=86_400)],
    value=300,
)
DATA_REFRESH_EXECUTOR: Setting[str | None] = _declare(
    "environment",
    "DATA_REFRESH_EXECUTOR",
    "the first one",
    "executor of the tasks that fill an index, for example `CeleryExecutor`",
)
DATA_REFRESH_POKE_INTERVAL: Setting[float] = _declare(
    "environment",
    "DATA_REFRESH_POKE_INTERVAL",
    None,
    "poke interval of tasks that wait for other DAGs, in seconds",
    of=Seconds,
    value=60,
)
AWS_RDS_CONN_ID: Setting[str] = _declare(
    "environment", "AWS_RDS_CONN_ID", None, "AWS connection for RDS", value="aws_default"
)
AWS_RDS_POKE_INTERVAL: Setting[float] = _declare(
    "environment",
    "AWS_RDS_POKE_INTERVAL",
    None,
    "poke interval of tasks that wait for RDS, in seconds",
    of=Seconds,
    value=60,
)
OWNER_LINKS: Setting[dict[str, str]] = _declare(
    "environment",
    "OWNER_LINKS",
    "none",
    '`{owner: "https://…"}` (or `mailto:…`): links of the owners `ingestion`, `search`, `database`, '
    "`operations`",
    of=dict[str, Link],
    value={},
)
CATALOG_COMMIT: Setting[str | None] = _declare(
    "environment",
    "CATALOG_COMMIT",
    "as pip knows it",
    "Git commit of the installed package; DAG files of a Git bundle must come from the same commit",
)
DJANGO_ADMIN_URL: Setting[str] = _declare(
    "environment",
    "DJANGO_ADMIN_URL",
    None,
    "the API's admin pages, for links",
    value="http://localhost:8000/admin",
)
_declare(
    "pool",
    "data_refresh",
    "required, 1 slot",
    "one-slot pool that serializes conflicting DAGs; the local stack creates it, elsewhere run "
    "`airflow pools set data_refresh 1 turns`",
)

SETTINGS: tuple[Setting[Any], ...] = tuple(_all)
