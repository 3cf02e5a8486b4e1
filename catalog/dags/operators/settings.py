"""What a task fetches from Airflow before it calls the library: Variables, connections, conf, the object store, its own state."""

from datetime import timedelta
from typing import Any, NamedTuple, cast
from urllib.parse import quote, quote_plus

import psycopg
from airflow.sdk import Connection, ObjectStoragePath, Variable, conf
from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException
from airflow.sdk.log import mask_secret
from upath import UPath

from catalog.core.connections import arguments_of
from catalog.core.secrets import Secret
from catalog.core.session import settle
from catalog.core.settings import OBJECT_STORAGE, SENSITIVE_TERMS_URL
from catalog.dags.operators.iam import with_token
from catalog.dags.operators.variables import value_of
from catalog.ingestion.provider import Provider
from catalog.ingestion.rate import SharedThrottle

CATALOG_DB, API_DB, STAGING_DB = (
    "postgres_openledger_upstream",
    "postgres_openledger_api",
    "postgres_openledger_api_staging",
)
SEARCH, STAGING_SEARCH = "elasticsearch_http_production", "elasticsearch_http_staging"
DATABASES = {
    CATALOG_DB: "the catalog database",
    API_DB: "the API database",
    STAGING_DB: "the API's staging database",
}


def mask(value: str) -> None:
    """Hide a secret in everything Airflow logs, plain and as it stands in a URL."""
    for form in {value, quote(value, safe=""), quote_plus(value)}:
        mask_secret(form)


def secret_for(provider: type[Provider]) -> Secret | None:
    """The value of the provider's key; None when the Variable is not set (a replay needs none)."""
    if provider.key is None or not (
        value := (Variable.get(provider.key.variable, default=None) or "").strip()
    ):
        return None
    mask(value)
    return Secret(value)


def database_connection(conn_id: str, autocommit: bool = False) -> psycopg.Connection[Any]:
    """A connection to a PostgreSQL database, as the Airflow connection says, with the settings that our statements rely on."""
    try:
        found = Connection.get(conn_id)
    except AirflowNotFoundException:
        raise AirflowFailException(
            f"there is no connection {conn_id}; make one to {DATABASES.get(conn_id, 'a database')}."
        ) from None
    arguments = with_token(arguments_of(found, application_name="catalog"), found)
    connection = psycopg.connect(**arguments, autocommit=True)
    settle(connection)
    connection.autocommit = autocommit
    return connection


def catalog_connection(autocommit: bool = False) -> psycopg.Connection[Any]:
    """A connection to the catalog database. Fails the task when its schema is older than this release needs."""
    from catalog.core.errors import Fatal
    from catalog.database.schema import require

    connection = database_connection(CATALOG_DB, autocommit)
    try:
        with connection.transaction():
            require(connection)
    except Fatal as error:
        connection.close()
        raise AirflowFailException(str(error)) from None
    return connection


def api_connection(autocommit: bool = False) -> psycopg.Connection[Any]:
    return database_connection(API_DB, autocommit)


class SearchConnection(NamedTuple):
    """The search engine of an Airflow connection. shards: of an index, None for the usual number; replicas: of each shard."""

    client: Any
    shards: int | None
    replicas: int


def search_connection(conn_id: str = SEARCH) -> SearchConnection:
    """Extra of the connection: `engine` (elasticsearch, the default, elasticsearch8 or opensearch), `shards`, `replicas`, `ca_certs`,
    `verify_certs`, `api_key`."""
    from catalog.data_refresh.client import connect_to

    try:
        found = Connection.get(conn_id)
    except AirflowNotFoundException:
        raise AirflowFailException(
            f"there is no connection {conn_id}; make one (type http) to the search engine."
        ) from None
    extra = dict(found.extra_dejson or {})
    for value in (found.password, extra.get("api_key")):
        if value:
            mask(str(value))
    client = connect_to(found.host, found.port, found.schema, found.login, found.password, extra)
    return SearchConnection(
        client, int(extra["shards"]) if "shards" in extra else None, int(extra.get("replicas", 1))
    )


def sensitive_terms() -> list[str]:
    """The list behind the HTTP connection `sensitive_terms`, or else behind the Variable SENSITIVE_TERMS_URL (file://, s3://, https://)."""
    import requests

    from catalog.data_refresh.sensitive import parse_terms

    options: dict[str, Any] = {}
    try:
        found = Connection.get("sensitive_terms")
    except AirflowNotFoundException:
        url = value_of(SENSITIVE_TERMS_URL)
    else:
        url, options = _address_of(found), _request_options(found)
    if not url:
        raise AirflowFailException(
            "no list of sensitive terms: set the Variable SENSITIVE_TERMS_URL or the connection sensitive_terms."
        )
    if not url.startswith(("http://", "https://")):
        return parse_terms(cast(UPath, ObjectStoragePath(url)).read_text(encoding="utf-8"))
    answer = requests.get(url, timeout=options.pop("timeout", 60), **options)
    answer.raise_for_status()
    return parse_terms(answer.content.decode("utf-8"))


def _address_of(found: Any) -> str:
    """The address of an HTTP connection; its schema may be the protocol, as Airflow's hook has it, or the path."""
    host, schema = found.host or "", found.schema or ""
    is_protocol = schema in ("http", "https")
    if "://" not in host:
        host = f"{schema if is_protocol else 'https'}://{host}"
    port = f":{found.port}" if found.port else ""
    path = "" if is_protocol else schema.lstrip("/")
    return f"{host}{port}/{path}" if path or port else host


def _request_options(found: Any) -> dict[str, Any]:
    """Login and extras of an HTTP connection, as Airflow's `HttpHook` reads them: what is no option is a header.

    The hook itself does not take a connection whose schema is a path.
    """
    extra = dict(found.extra_dejson or {})
    proxies = extra.pop("proxy", None)
    options = {
        name: extra.pop(name)
        for name in ("timeout", "verify", "cert", "proxies", "allow_redirects")
        if name in extra
    }
    if proxies and "proxies" not in options:
        options["proxies"] = proxies if isinstance(proxies, dict) else {"http": proxies, "https": proxies}
    if found.login:
        options["auth"] = (found.login, found.password or "")
    return {**options, "headers": {name: str(value) for name, value in extra.items()}}


def throttle_for(provider: type[Provider]) -> SharedThrottle:
    """The provider's rate limit, shared through the catalog database by all that use the same key."""
    key = provider.key.variable if provider.key else provider.name
    return SharedThrottle(lambda: catalog_connection(autocommit=True), key, provider.rate, provider.quota)


def storage() -> UPath:
    """Root of the TSV parts: the Variable OBJECT_STORAGE, for example `s3://aws_default@bucket/prefix`.

    A file:// root works on one machine only, so it is refused with executors that run tasks elsewhere.
    """
    root = value_of(OBJECT_STORAGE)
    if not root:
        raise AirflowFailException(
            "the Variable OBJECT_STORAGE is not set; give it a root such as s3://aws_default@bucket/tsv."
        )
    if root.startswith("file:") and (remote := _remote_executors()):
        raise AirflowFailException(
            f"OBJECT_STORAGE is {root}, which other machines do not see, but the executor is {remote}; use s3://."
        )
    return cast(UPath, ObjectStoragePath(root))  # it behaves as one


def _remote_executors() -> str:
    executors = conf.get("core", "executor").split(",")
    return ", ".join(e for e in executors if "Local" not in e and "Sequential" not in e)


_DONE_WITH = "done_with_max_tries"


class TaskStateCheckpoint:
    """A task's state in Airflow's store of task states: survives retries, and clearing a task that failed.

    When the work is done, its state is kept for the retries that are left: a task that is killed before it could report its success finds
    that nothing is left to do. Clearing a task raises its `max_tries`; work that was done before starts from the beginning then.
    """

    def __init__(self, context: Any, key: str = "pull") -> None:
        self._store, self._max_tries, self._key = context["task_state_store"], context["ti"].max_tries, key

    def load(self) -> dict[str, Any] | None:
        found = self._store.get(self._key, default=None)
        if isinstance(found, dict) and _DONE_WITH in found:
            return found["state"] if found[_DONE_WITH] == self._max_tries else None
        return found  # type: ignore[no-any-return]

    def save(self, state: dict[str, Any]) -> None:
        self._store.set(self._key, state, retention=timedelta(days=400))

    def clear(self) -> None:
        self.save({_DONE_WITH: self._max_tries, "state": self.load()})
