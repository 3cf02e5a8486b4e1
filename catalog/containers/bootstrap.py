"""What has to be there before Airflow's components start in containers; done by the image's `init`, and may be done again.

Schemas, pools, those Variables that have a default, so that the UI shows them with their meaning, the users
of the search engine, and the first user of the UI.
"""

import json
import logging
import os
import sys
from collections.abc import Iterator

import msgspec
import psycopg
from alembic.util import CommandError
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from catalog.cli import program
from catalog.core.errors import Fatal
from catalog.core.media import MEDIA_TYPES
from catalog.core.settings import SETTINGS
from catalog.data_refresh.client import ask, connect
from catalog.database import schema

log = logging.getLogger("bootstrap")
POOLS = (("data_refresh", 1, "DAGs that would disturb each other take turns here to decide who goes first"),)
CONNECTIONS = (
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN",
    *(f"AIRFLOW_CONN_POSTGRES_OPENLEDGER_{name}" for name in ("UPSTREAM", "API", "API_STAGING")),
)


def defaults() -> Iterator[tuple[str, str, str]]:
    """(name, value, meaning) of each Variable whose default is a text, a number or a switch."""
    for setting in SETTINGS:
        plain = isinstance(setting.value, str | int | float)
        if setting.kind.startswith("Variable") and plain and f"AIRFLOW_VAR_{setting.name}" not in os.environ:
            yield setting.name, setting.encode(setting.value), setting.plain_meaning.replace("`", "")


def logins() -> None:
    """Ask for each database with the role that is to use it.

    Raises:
        Fatal: One is refused; says how a volume of an earlier version is carried over, and how passwords are
            renewed.
    """
    for name in CONNECTIONS:
        if not (address := os.environ.get(name)):
            continue
        plain = address.replace("+psycopg2", "", 1)
        try:
            psycopg.connect(make_conninfo(plain, connect_timeout=15)).close()
        except psycopg.OperationalError as error:
            given = conninfo_to_dict(plain)
            raise Fatal(
                f"role {given['user']} cannot use the database {given['dbname']}: {str(error).splitlines()[-1].strip()}. "
                "If an earlier version made this volume, with one superuser: `./just compose exec postgres /opt/postgres/carry-over.sh`; "
                "if files below .secrets have changed: `./just compose exec postgres /opt/postgres/roles.sh`. Then start again."
            ) from None


def airflow_database() -> None:
    """Airflow's own schema, and our pools in it.

    Raises:
        Fatal: A newer Airflow has upgraded it; says how it goes back.
    """
    import airflow
    from airflow.models import Pool
    from airflow.utils import db

    try:
        db.initdb()
    except CommandError as error:
        if "Can't locate revision" not in str(error):
            raise
        raise Fatal(
            f"Airflow's database has been upgraded by a newer Airflow than this one, {airflow.__version__} ({error}). "
            f"Go back with the newer one: `airflow db downgrade --to-version {airflow.__version__} --yes`; "
            'see "Going back" in docs/running_in_production.md.'
        ) from None
    for name, slots, meaning in POOLS:
        Pool.create_or_update_pool(name, slots, meaning, include_deferred=False)
        log.info("pool %s: %d slots", name, slots)


def variables() -> None:
    """Those that are not set and have a default."""
    from airflow.models import Variable

    for name, value, meaning in defaults():
        if Variable.get(name, default_var=None) is None:
            Variable.set(name, value, description=meaning)
            log.info("Variable %s = %s", name, value)


def databases() -> None:
    """The catalog's schema; the API's only where it is ours to make (CATALOG_MAKES_API_TABLES)."""
    found = schema.upgrade(os.environ["AIRFLOW_CONN_POSTGRES_OPENLEDGER_UPSTREAM"])
    log.info("catalog database: %s", found)
    if os.environ.get("CATALOG_MAKES_API_TABLES", "").lower() == "true":
        for name in ("API", "API_STAGING"):
            found = schema.upgrade(os.environ[f"AIRFLOW_CONN_POSTGRES_OPENLEDGER_{name}"], "api")
            log.info("%s database: %s", name.lower(), found)


class SearchUsers(msgspec.Struct, frozen=True):
    """An engine of Elasticsearch's, its superuser, and the passwords that the two users are to have."""

    url: str
    login: str
    password: str
    catalog: str
    reader: str


def search_users(given: SearchUsers) -> None:
    """The user `catalog`, who owns the media's indexes, and `catalog_reader`, who reads them, for the dashboard.

    Cluster rights are what the refresh looks at before it begins: health, settings, and templates that would
    change its indexes.

    Raises:
        Fatal: The engine refuses; Retry: it does not answer.
    """
    client = connect(given.url, login=(given.login, given.password))
    names = [f"{media_type}*" for media_type in sorted(MEDIA_TYPES)]
    for user, password, cluster, indices in (
        ("catalog", given.catalog, ["monitor", "manage_index_templates"], ["all"]),
        ("catalog_reader", given.reader, [], ["read", "view_index_metadata"]),
    ):
        rights = [{"names": names, "privileges": indices}]
        ask(client.security.put_role, name=user, cluster=cluster, indices=rights)
        ask(client.security.put_user, username=user, password=password, roles=[user])
        log.info("search engine: user %s", user)


def ui_admin(username: str, password: str) -> None:
    """The first user of the UI; one who is there stays as he is, also his password."""
    from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder

    logging.getLogger("airflow.providers.fab").setLevel(logging.WARNING)  # it says each of hundreds of rights
    with get_application_builder() as builder:
        users = builder.sm
        if users.find_user(username=username):
            log.info("UI: user %s is there", username)
            return
        role = users.find_role("Admin")
        if not role or not users.add_user(username, username, "", f"{username}@localhost", role, password):
            raise Fatal(f"the user {username} of the UI could not be made; the lines above say why.")
        log.info("UI: user %s made; the password is in .secrets/admin_password", username)


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    logins()
    airflow_database()
    variables()
    databases()
    if given := os.environ.get("CATALOG_SEARCH_USERS"):
        search_users(msgspec.json.decode(given, type=SearchUsers))
    if given := os.environ.get("CATALOG_UI_ADMIN"):
        ui_admin(**json.loads(given))
    return 0


if __name__ == "__main__":
    program.run(main, "init")
