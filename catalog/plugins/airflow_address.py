"""The address of Airflow's UI, from its configuration."""

from urllib.parse import urlsplit

from airflow.configuration import conf


def base_url() -> str:
    """Return the address without a slash at its end; "" if none is set."""
    return conf.get("api", "base_url", fallback="").rstrip("/")


def base_path() -> str:
    """Return the path of the address, such as that behind a proxy; "" at the root of the host."""
    return urlsplit(base_url()).path
