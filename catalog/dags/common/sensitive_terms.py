"""The list of sensitive terms, from the address that an Airflow connection or a Variable names."""

from typing import Any, cast

from airflow.sdk import Connection as AirflowConnection
from airflow.sdk import ObjectStoragePath
from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException
from upath import UPath

from catalog.core.errors import Fatal, Retry
from catalog.core.settings import SENSITIVE_TERMS, SENSITIVE_TERMS_URL
from catalog.dags.common.secrets import mask_address
from catalog.dags.common.variables import value_of
from catalog.data_refresh.search.sensitive import digest_of, parse_terms
from catalog.ingestion.download import download


def sensitive_terms() -> list[str]:
    """Fetch the list of sensitive terms.

    It is at the address of the HTTP connection `sensitive_terms`, or of the Variable SENSITIVE_TERMS_URL
    (file://, s3:// or https://). Secrets in the address, such as a signature, are masked in the task log.

    Raises:
        Retry: The server does not respond, has an error of its own, or limits the rate.
        Fatal: The server refuses the request, or what it sends is not a list of terms.
    """
    options: dict[str, Any] = {}
    setting = f"Variable {SENSITIVE_TERMS_URL.name}"
    try:
        connection = AirflowConnection.get(SENSITIVE_TERMS)
    except AirflowNotFoundException:
        url = value_of(SENSITIVE_TERMS_URL)
    else:
        setting = f"connection {SENSITIVE_TERMS}"
        url, options = _address_of(connection), _request_options(connection)
    if not url:
        raise AirflowFailException(
            "no list of sensitive terms: set the Variable SENSITIVE_TERMS_URL or the connection "
            "sensitive_terms."
        )
    if url.startswith(("http://", "https://")):
        mask_address(url)
        problem = f"the list of sensitive terms ({setting}) cannot be read: "
        try:
            body = download(url, **options)
        except Retry as error:
            raise Retry(f"{problem}{error}", error.retry_after) from None
        except Fatal as error:
            raise Fatal(f"{problem}{error}") from None
    else:
        try:
            body = cast(UPath, ObjectStoragePath(url)).read_bytes()
        except FileNotFoundError:
            raise Fatal(f"the list of sensitive terms, {url}, is missing.") from None
    try:
        return parse_terms(body.decode("utf-8"))
    except UnicodeDecodeError:
        raise Fatal("the list of sensitive terms is not UTF-8.") from None


def unchanged_terms(digest: str) -> list[str]:
    """Fetch the list of sensitive terms again, in a later task of a run.

    Args:
        digest: Digest of the list when the run began; "" in a plan of an earlier release.

    Raises:
        Fatal: The list has changed. What the run has made so far belongs to the former list.
    """
    terms = sensitive_terms()
    if digest and digest_of(terms) != digest:
        raise Fatal(
            "the list of sensitive terms has changed since this run began. Put the former list back and "
            "clear this task, or trigger a new run."
        )
    return terms


def _address_of(connection: Any) -> str:
    """Return the URL of an HTTP connection. Its schema is the protocol (as in HttpHook) or the path."""
    host, schema = connection.host or "", connection.schema or ""
    is_protocol = schema in ("http", "https")
    if "://" not in host:
        host = f"{schema if is_protocol else 'https'}://{host}"
    port = f":{connection.port}" if connection.port else ""
    path = "" if is_protocol else schema.lstrip("/")
    return f"{host}{port}/{path}" if path or port else host


def _request_options(connection: Any) -> dict[str, Any]:
    """Return login and extras of an HTTP connection as arguments of `download`.

    As in Airflow's `HttpHook`, extras that are not arguments are headers. The hook itself does not accept a
    connection whose schema is a path.
    """
    extra = dict(connection.extra_dejson or {})
    proxies = extra.pop("proxy", None)
    options = {
        name: extra.pop(name)
        for name in ("timeout", "verify", "cert", "proxies", "allow_redirects")
        if name in extra
    }
    if proxies and "proxies" not in options:
        options["proxies"] = proxies if isinstance(proxies, dict) else {"http": proxies, "https": proxies}
    if connection.login:
        options["login"] = (connection.login, connection.password or "")
    return {**options, "headers": {name: str(value) for name, value in extra.items()}}
