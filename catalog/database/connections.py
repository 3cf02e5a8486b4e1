"""What an Airflow connection says about a PostgreSQL server, as the arguments of `psycopg.connect`."""

import logging
from typing import Any, Protocol

from psycopg import pq

log = logging.getLogger(__name__)
KNOWN = frozenset(option.keyword.decode() for option in pq.Conninfo.get_defaults())
FIELDS = frozenset(("host", "port", "user", "password", "dbname"))  # an extra does not replace these


class ConnectionFields(Protocol):
    """The fields of an Airflow connection, whichever of its classes it is of."""

    conn_id: str
    host: str | None
    port: int | None
    login: str | None
    password: str | None
    schema: str | None

    @property
    def extra_dejson(self) -> dict[str, Any]: ...


def arguments_of(found: ConnectionFields, **ours: Any) -> dict[str, Any]:
    """The arguments of `psycopg.connect` for an Airflow connection.

    Every extra that libpq knows (`sslmode`, `sslcert`, `keepalives_idle`, …) is passed on: one that is dropped in
    silence may be what makes the connection safe. One it does not know is named in the log.

    Args:
        found: The connection.
        ours: Defaults; an extra of the connection comes before them, except that both `options` count.
    """
    extra = {name: value for name, value in (found.extra_dejson or {}).items() if name not in FIELDS}
    if unknown := sorted(extra.keys() - KNOWN):
        log.warning("Connection %s: libpq knows no %s; ignored.", found.conn_id, ", ".join(unknown))
    given = {name: value for name, value in extra.items() if name in KNOWN}
    if "options" in given and "options" in ours:
        given["options"] = f"{ours['options']} {given['options']}"
    return {
        **ours,
        **given,
        "host": found.host,
        "port": found.port or 5432,
        "user": found.login,
        "password": found.password,
        "dbname": found.schema,
    }
