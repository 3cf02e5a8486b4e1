"""What a task fetches from Airflow before it calls the library: Variables, connections, conf, the object store, its own state."""

import json
import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar, cast
from urllib.parse import quote, quote_plus
from uuid import uuid4

import psycopg
from airflow.sdk import Connection, ObjectStoragePath, Variable
from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException
from airflow.sdk.log import mask_secret
from upath import UPath

from catalog.database.connections import arguments_of
from catalog.ingestion.errors import Fenced
from catalog.ingestion.provider import Provider
from catalog.ingestion.rate import SharedThrottle
from catalog.ingestion.secrets import Secret

CATALOG_DB, API_DB, STAGING_DB = (
    "postgres_openledger_upstream",
    "postgres_openledger_api",
    "postgres_openledger_api_staging",
)
SEARCH, STAGING_SEARCH = "elasticsearch_http_production", "elasticsearch_http_staging"
T = TypeVar("T")
DATABASES = {
    CATALOG_DB: "the catalog database",
    API_DB: "the API database",
    STAGING_DB: "the API's staging database",
}


def json_variable(name: str, default: Any) -> Any:
    """A Variable that holds JSON; `default` when it is not set. Fails the task, naming the Variable, when it is not JSON.

    Airflow's own `deserialize_json` takes a Variable that is not JSON for one that is not set.
    """
    value = Variable.get(name, default=None)
    if value is None:
        return default
    try:
        return json.loads(value)
    except ValueError as error:
        raise AirflowFailException(f"the Variable {name} is not valid JSON: {error}") from None


def variable_as(name: str, kind: type[T], default: Any) -> T:
    """A JSON Variable as a typed value. Fails the task, naming the Variable and the field, when it is not one."""
    import msgspec

    try:
        return msgspec.convert(json_variable(name, default), kind)
    except msgspec.ValidationError as error:
        raise AirflowFailException(f"{name}: {error}") from None


def mask(value: str) -> None:
    """Hide a secret in everything Airflow logs, plain and as it stands in a URL."""
    for form in {value, quote(value, safe=""), quote_plus(value)}:
        mask_secret(form)


def secret_for(provider: type[Provider]) -> Secret | None:
    """The value of the provider's key; None when the Variable is not set (a replay needs none)."""
    if provider.key is None or not (value := Variable.get(provider.key.variable, default=None)):
        return None
    mask(value)
    return Secret(value)


def database_connection(conn_id: str, autocommit: bool = False) -> psycopg.Connection[Any]:
    """A connection to a PostgreSQL database, as the Airflow connection says."""
    try:
        found = Connection.get(conn_id)
    except AirflowNotFoundException:
        raise AirflowFailException(
            f"there is no connection {conn_id}; make one to {DATABASES.get(conn_id, 'a database')}."
        ) from None
    return psycopg.connect(**arguments_of(found, application_name="catalog"), autocommit=autocommit)


def catalog_connection(autocommit: bool = False) -> psycopg.Connection[Any]:
    return database_connection(CATALOG_DB, autocommit)


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

    try:
        found = Connection.get("sensitive_terms")
    except AirflowNotFoundException:
        url, login = Variable.get("SENSITIVE_TERMS_URL", default=None), None
    else:
        host = found.host or ""
        url = f"{host if '://' in host else f'https://{host}'}{f':{found.port}' if found.port else ''}/{(found.schema or '').lstrip('/')}"
        login = (found.login, found.password or "") if found.login else None
    if not url:
        raise AirflowFailException(
            "no list of sensitive terms: set the Variable SENSITIVE_TERMS_URL or the connection sensitive_terms."
        )
    if not url.startswith(("http://", "https://")):
        return parse_terms(cast(UPath, ObjectStoragePath(url)).read_text(encoding="utf-8"))
    answer = requests.get(url, auth=login, timeout=60)
    answer.raise_for_status()
    return parse_terms(answer.content.decode("utf-8"))


def throttle_for(provider: type[Provider]) -> SharedThrottle:
    """The provider's rate limit, shared through the catalog database by all that use the same key."""
    key = provider.key.variable if provider.key else provider.name
    return SharedThrottle(lambda: catalog_connection(autocommit=True), key, provider.rate, provider.quota)


def storage() -> UPath:
    """Root of the TSV parts: the Variable OBJECT_STORAGE, for example `s3://aws_default@bucket/prefix`.

    A file:// root works on one machine only, so it is refused with executors that run tasks elsewhere.
    """
    root = Variable.get("OBJECT_STORAGE", default=None)
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
    executors = os.environ.get("AIRFLOW__CORE__EXECUTOR", "LocalExecutor").split(",")
    return ", ".join(e for e in executors if "Local" not in e and "Sequential" not in e)


def check_conf(conf: Mapping[str, Any] | None, known: Mapping[str, Any]) -> None:
    """Fail, without retries, when the run's conf has a key that the DAG does not know (Airflow lets those through)."""
    if unknown := sorted(set(conf or {}) - set(known)):
        raise AirflowFailException(
            f"conf: unknown key {', '.join(map(repr, unknown))}; this DAG knows {', '.join(sorted(known))}."
        )


class TaskStateCheckpoint:
    """A pull's state in the task's own state store: survives retries, and clearing a task that failed."""

    def __init__(self, store: Any, key: str = "pull") -> None:
        self._store, self._key = store, key

    def load(self) -> dict[str, Any] | None:
        return self._store.get(self._key, default=None)  # type: ignore[no-any-return]

    def save(self, state: dict[str, Any]) -> None:
        self._store.set(self._key, state, retention=timedelta(days=400))

    def clear(self) -> None:
        self._store.delete(self._key)


class Lease:
    """Only the newest attempt of a task may write.

    Taking the lease makes an attempt the newest one; calling it proves that it still is. `number` is greater than
    that of any attempt before, so that what an older one writes can be told apart.
    """

    def __init__(self, task: str, connect: Callable[[], psycopg.Connection[Any]]) -> None:
        self._task, self._holder, self._connection = task, uuid4(), connect()
        row = self._connection.execute("select nextval('pull_attempt')").fetchone()
        assert row
        self.number: int = row[0]
        self._connection.execute(
            "insert into pull_lease (task, holder) values (%s, %s) "
            "on conflict (task) do update set holder = excluded.holder, renewed_on = now()",
            [self._task, self._holder],
        )

    def __call__(self) -> None:
        renewed = self._connection.execute(
            "update pull_lease set renewed_on = now() where task = %s and holder = %s",
            [self._task, self._holder],
        )
        if renewed.rowcount != 1:
            raise Fenced("a newer try of this task has taken over; this one stops without writing.")

    def release(self) -> None:
        self._connection.execute(
            "delete from pull_lease where task = %s and holder = %s", [self._task, self._holder]
        )
        self._connection.close()
