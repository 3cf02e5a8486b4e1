"""Addresses as people write them: a libpq URI or string of a database, or an Airflow connection."""

import json
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec
import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from catalog.core.connections import KEEPALIVE_OPTIONS, KNOWN, arguments_of
from catalog.core.errors import Refused
from catalog.core.secrets import remember

_FORM = (
    "it should be postgresql://user:password@host:port/database, where @ : / # ? % of a password are written "
    "as %40 %3A %2F %23 %3F %25, or an Airflow connection as JSON"
)


class Fields(msgspec.Struct, forbid_unknown_fields=True):
    """The fields of an Airflow connection, named as in its JSON form."""

    host: str | None = None
    port: int | Literal[""] | None = None
    login: str | None = None
    password: str | None = None
    schema: str | None = None
    extra: dict[str, Any] | str | None = None
    conn_type: str = "postgres"
    conn_id: str = "of the address"
    description: str | None = None

    @property
    def extra_dejson(self) -> dict[str, Any]:
        found = json.loads(self.extra) if isinstance(self.extra, str) and self.extra else self.extra
        return found if isinstance(found, dict) else {}


def conninfo(dsn: str) -> str:
    """Convert a database address to a libpq connection string.

    Args:
        dsn: `postgresql://…`, `host=… dbname=…`, or an Airflow connection, as URI or as JSON.

    Raises:
        Refused: It has none of these forms. The message repeats nothing of it, because it may hold
            a password.
    """
    try:
        # UTF-8 whatever the role or the environment says: with SQL_ASCII, strings would be read as bytes.
        found = make_conninfo(_read(dsn), client_encoding="UTF8")
    except (psycopg.Error, ValueError):
        raise Refused(f"the address of the database cannot be read; {_FORM}.") from None
    remember(str(conninfo_to_dict(found).get("password", "")))
    return found


def _read(dsn: str) -> str:
    if dsn.lstrip().startswith("{"):
        return _of_fields(fields_of(dsn))
    if "://" in dsn:
        return _of_uri(dsn)
    return make_conninfo("", **{**KEEPALIVE_OPTIONS, **conninfo_to_dict(dsn)})


def _of_uri(uri: str) -> str:
    scheme, _, rest = uri.partition("://")
    if scheme.partition("+")[0] not in ("postgres", "postgresql"):
        raise ValueError
    parts = urlsplit(uri)
    if parts.netloc.count("@") > 1:
        raise ValueError  # ambiguous: a part of the password could be read as the host
    fields = fields_of(uri)  # raises ValueError for a bad port, which libpq reports much later
    if dict(parse_qsl(parts.query)).keys() <= KNOWN:
        arguments = conninfo_to_dict(f"postgresql://{rest}")
        options = str(arguments.get("options", ""))
        if "+" in options and " " not in options:  # Airflow writes spaces as +
            arguments["options"] = options.replace("+", " ")
        return make_conninfo("", **{**KEEPALIVE_OPTIONS, **arguments})
    return _of_fields(fields)


def fields_of(address: str) -> Fields:
    """Read an Airflow connection, which is JSON or a URI.

    Args:
        address: The connection, as in a variable `AIRFLOW_CONN_…`.

    Raises:
        ValueError: It is neither. The message may quote a part of it.
    """
    if address.lstrip().startswith("{"):
        return msgspec.json.decode(address, type=Fields, strict=False)
    kind, delimiter, rest = address.partition("://")
    if not delimiter:
        raise ValueError
    # The host may have a protocol of its own: http://https://host:9200.
    protocol = rest.partition("://")[0] + "://" if "://" in rest.partition("?")[0] else ""
    parts = urlsplit("//" + rest.removeprefix(protocol))
    several = "," in parts.netloc  # hosts, which libpq tries one after the other
    extra = dict(parse_qsl(parts.query))
    given = json.loads(extra.pop("__extra__", "{}"))
    return Fields(
        host=protocol + unquote(parts.hostname or "") or None,
        port=None if several else parts.port,
        login=unquote(parts.username or "") or None,
        password=unquote(parts.password or "") or None,
        schema=unquote(parts.path.lstrip("/")) or None,
        extra={**extra, **given},
        conn_type=kind,
    )


def _of_fields(fields: Fields) -> str:
    return make_conninfo(
        "", **{name: value for name, value in arguments_of(fields).items() if value is not None}
    )
