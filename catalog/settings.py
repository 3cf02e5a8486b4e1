"""Every name by which the catalog is configured: what it means, and what holds without it.

The README's table is made of this, and a test holds it against the code, so that no name is undocumented or documented for nothing.
"""

from typing import Literal

import msgspec

Kind = Literal["connection", "Variable", "Variable, JSON", "environment", "pool"]


class Setting(msgspec.Struct, frozen=True):
    """default: in Markdown; "required" where nothing works without it."""

    name: str
    kind: Kind
    default: str
    meaning: str


def _all(kind: Kind, *entries: tuple[str, str, str]) -> list[Setting]:
    return [Setting(name, kind, default, meaning) for name, default, meaning in entries]


SETTINGS: tuple[Setting, ...] = (
    *_all(
        "connection",
        ("postgres_openledger_upstream", "required", "the catalog database"),
        ("postgres_openledger_api", "needed by the data refresh", "the API's database; its own migrations make its tables"),
        ("postgres_openledger_api_staging", "needed by staging DAGs", "the API's staging database"),
        ("elasticsearch_http_production", "needed by the data refresh",
         "the search engine, type HTTP; its extra: see [below](#search-engines)"),
        ("elasticsearch_http_staging", "needed by `recreate_full_staging_index`", "the staging search engine; extra as above"),
        ("sensitive_terms", "`SENSITIVE_TERMS_URL`", "HTTP address of the list of sensitive terms"),
        ("aws_default", "needed on AWS", "object storage, where `OBJECT_STORAGE` is on S3; RDS"),
        ("slack_notifications", "task log only", "webhook for reports"),
        ("slack_alerts", "task log only", "webhook for failures and alerts"),
    ),
    *_all(
        "Variable",
        ("OBJECT_STORAGE", "required",
         "root of the TSV parts, such as `s3://aws_default@bucket/tsv`; `file://` is refused with remote executors"),
        ("API_KEY_…", "the provider's run fails", "keys, as [the table of providers](#providers) names them"),
        ("INATURALIST_DUMP", "`s3://inaturalist-open-data`", "where iNaturalist's four files lie"),
        ("CATALOGUE_OF_LIFE", "the published archive", "archive of common names (ColDP, a ZIP): an address or path, or `none`"),
        ("SENSITIVE_TERMS_URL", "needed by the data refresh", "list of terms, one a line: `file://`, `s3://aws_default@…` or `https://`"),
        ("ES_INDEX_THROTTLING_RATE", "`20000`", "documents a second while a filtered index is copied; `-1` for no limit"),
        ("ENVIRONMENT", "`local`", "Slack messages are sent in `production` only"),
        ("CONTACT_EMAIL", "none", "address in the User-Agent"),
        ("CATALOG_RDS_DB_IDENTIFIER", "needed by [`rotate_db_snapshots`](DAGs.md#rotate_db_snapshots)", "the catalog's RDS instance"),
        ("GITHUB_API_KEY", "public data only", "token for GitHub"),
        ("GITHUB_API_URL", "GitHub's own", "address of an enterprise server"),
        ("batched_update_start_<query_id>", "written by a batched update", "the row it is at"),
    ),
    *_all(
        "Variable, JSON",
        ("OAUTH2_PROVIDER_SECRETS", "none", "see [`oauth2_authorization`](DAGs.md#oauth2_authorization)"),
        ("OAUTH2_AUTH_KEYS", "none", "one-time codes; see [`oauth2_authorization`](DAGs.md#oauth2_authorization)"),
        ("OAUTH2_ACCESS_TOKENS", "written by the oauth2 DAGs", "access and refresh tokens"),
        ("TAG_POLICY", "in code", "[which tags are searched](docs/tag_filtering.md)"),
        ("DATA_REFRESH_INDEX_TASKS", "`8`", "tasks that fill an index, at most 64"),
        ("DATA_REFRESH_LIMIT", "`0`: all", "copy so many rows only"),
        ("SLACK_MESSAGE_OVERRIDE", "`false`", "`true` sends from any environment"),
        ("SILENCED_SLACK_NOTIFICATIONS", "none", '`{dag_id: [{"issue", "predicate", "task_id_pattern"?}]}`: messages not to send'),
        ("SKIPPED_INGESTION_ERRORS", "none", '`{dag_id: [{"issue", "predicate"}]}`: errors that pass over their page; reported at the end'),
        ("INGESTION_LIMIT", "`0`: no limit", "stop every pull after so many records"),
        (
            "PRIVATE_HOSTS",
            "none",
            '`["api.internal.example.org"]`: hosts that requests may reach at addresses that are not global',
        ),
        ("PROBE_HTTPS", "`true`", "ask unknown hosts once whether they speak https"),
        ("CONFIGURATION_OVERRIDES", "none", '`{dag_id: [{"task_id_pattern", "timeout": "1d:2h:3m:4s"}]}`; read when DAG files are parsed'),
        ("CATCHUP_ENABLED", "`false`", "`true` lets dated DAGs catch up from their start date; read when DAG files are parsed"),
        ("HELD_SCHEDULES", "none", "`{dag_id: reason}`: scheduled runs of these DAGs skip their tasks"),
        ("STAGING_RESTORE_DATABASES", "see there", "instances of [`staging_database_restore`](DAGs.md#staging_database_restore)"),
        ("STAGING_DEPLOY", "none", "deployment of the API to staging; see [`staging_database_restore`](DAGs.md#staging_database_restore)"),
        ("SKIP_STAGING_DATABASE_RESTORE", "`false`", "`true` skips its runs"),
        ("CATALOG_RDS_SNAPSHOTS_TO_RETAIN", "needed by [`rotate_db_snapshots`](DAGs.md#rotate_db_snapshots)", "snapshots that stay"),
        ("PR_REVIEW_REPOSITORIES", "its runs skip", "see [`pr_review_reminders`](DAGs.md#pr_review_reminders)"),
        ("PR_REVIEW_REMINDER_DRY_RUN", "`true`", "`false` lets reminders be written"),
    ),
    *_all(
        "environment",
        ("DEFAULT_RETRY_COUNT", "`2`", "retries of a task"),
        ("DEFAULT_RETRY_DELAY", "`300`", "seconds between them"),
        ("DATA_REFRESH_EXECUTOR", "the first one", "executor of the tasks that fill an index, for example `CeleryExecutor`"),
        ("DATA_REFRESH_POKE_INTERVAL", "`60`", "seconds between looks of tasks that wait for other DAGs"),
        ("AWS_RDS_CONN_ID", "`aws_default`", "AWS connection for RDS"),
        ("AWS_RDS_POKE_INTERVAL", "`60`", "seconds between looks of tasks that wait for RDS"),
        ("CATALOG_COMMIT", "as pip knows it", "Git commit of the installed package; DAG files of a Git bundle must be of the same one"),
        ("DJANGO_ADMIN_URL", "`http://localhost:8000/admin`", "the API's admin pages, for links"),
    ),
    *_all(
        "pool",
        ("data_refresh", "required, 1 slot",
         "DAGs that would disturb each other take turns here; the local stack makes it, elsewhere `airflow pools set data_refresh 1 x`"),
    ),
)  # fmt: skip
