"""Preparation of a deployment before Airflow's components start: the image's `init`. It may be repeated.

It creates or upgrades the database schemas, and creates the pools, an empty Variable for each that has a
default (so that the UI shows it with its meaning), the users of the search engine, and the first user of the
UI.
"""

import json
import logging
import os
import sys
from collections.abc import Iterator

import msgspec
import psycopg
from alembic.util import CommandError
from psycopg.conninfo import conninfo_to_dict

from catalog.cli import program
from catalog.core import airflow_names
from catalog.core.conninfo import conninfo
from catalog.core.errors import Fatal
from catalog.core.media import MEDIA_TYPES
from catalog.core.settings import (
    API_DB,
    CATALOG_DB,
    SETTINGS,
    STAGING_DB,
    airflow_variable,
    connection_variable,
)
from catalog.data_refresh.search.client import ask, connect
from catalog.database import schema

log = logging.getLogger("bootstrap")
POOLS = (("data_refresh", 1, "serializes the tasks that decide which of several conflicting DAGs runs"),)
CONNECTIONS = (airflow_names.ADDRESS, *map(connection_variable, (CATALOG_DB, API_DB, STAGING_DB)))


def defaults() -> Iterator[tuple[str, str, str]]:
    """Return name, value and meaning of each Variable whose default is a string, number or boolean."""
    for setting in SETTINGS:
        plain = isinstance(setting.value, str | int | float)
        if setting.kind.startswith("Variable") and plain and airflow_variable(setting.name) not in os.environ:
            yield setting.name, setting.encode(setting.value), setting.plain_meaning.replace("`", "")


def check_logins() -> None:
    """Connect to each database with the role that uses it.

    Raises:
        Fatal: A login is refused. The message says how to migrate a volume of an earlier version, and how to
            renew passwords.
    """
    for name in CONNECTIONS:
        if not (address := os.environ.get(name)):
            continue
        plain = conninfo(address.replace("+psycopg2", "", 1))
        try:
            psycopg.connect(plain, connect_timeout=15).close()
        except psycopg.OperationalError as error:
            given = conninfo_to_dict(plain)
            reason = str(error).strip().rpartition("\n")[2].strip().rstrip(".")
            raise Fatal(
                f"role {given.get('user')} cannot use the database {given.get('dbname')}: {reason}. "
                "If an earlier version made this volume, with one superuser: "
                "`./just compose exec postgres /opt/postgres/carry-over.sh`; "
                "if files below .secrets have changed: "
                "`./just compose exec postgres /opt/postgres/roles.sh`. Then start again."
            ) from None


def prepare_airflow_database() -> None:
    """Create or upgrade Airflow's schema, and create our pools in it.

    Raises:
        Fatal: A newer Airflow has upgraded it. The message says how to downgrade it.
    """
    import airflow
    from airflow.models import Pool
    from airflow.utils import db

    try:
        db.initdb()
    except CommandError as error:
        if "Can't locate revision" not in str(error):
            raise
        version = airflow.__version__
        raise Fatal(
            f"Airflow's database has been upgraded by a newer Airflow than this one, {version} ({error}). "
            f"Downgrade it with the newer one: `airflow db downgrade --to-version {version} --yes`; "
            'see "Going back" in docs/running_in_production.md.'
        ) from None
    for name, slots, meaning in POOLS:
        Pool.create_or_update_pool(name, slots, meaning, include_deferred=False)
        log.info("pool %s: %d slots", name, slots)


def show_variables() -> None:
    """Create the Variables that have a default, empty, with their meaning and their default as description.

    An empty Variable is not set, so a release with another default takes effect. A value that a person has
    set stays, even the default itself. An earlier release stored the defaults; where one of them is still
    there, with the description of that release, it is emptied.
    """
    from airflow.models import Variable
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        described = dict(session.execute(select(Variable.key, Variable.description)).tuples().all())
    for name, value, meaning in defaults():
        text = f"{meaning}; empty: {value}"
        # Also from a secrets backend; None if it cannot be decrypted.
        found = Variable.get(name, default_var=None)
        if name in described:
            ours = found == "" or (found, described[name]) == (value, meaning)
        else:
            ours = found is None
        if ours and (found, described.get(name)) != ("", text):
            Variable.set(name, "", description=text)
            log.info("Variable %s: %s", name, text)


def upgrade_databases() -> None:
    """Upgrade the catalog's schema; with CATALOG_MAKES_API_TABLES, the API's as well."""
    upgraded = schema.upgrade(os.environ[connection_variable(CATALOG_DB)])
    log.info("catalog database: %s", upgraded)
    if os.environ.get("CATALOG_MAKES_API_TABLES", "").lower() == "true":
        for name, conn_id in (("api", API_DB), ("api_staging", STAGING_DB)):
            upgraded = schema.upgrade(os.environ[connection_variable(conn_id)], "api")
            log.info("%s database: %s", name, upgraded)


class SearchUsers(msgspec.Struct, frozen=True):
    """Address and superuser of an Elasticsearch, and the passwords of the two users to create."""

    url: str
    login: str
    password: str
    catalog: str
    reader: str


def create_search_users(given: SearchUsers) -> None:
    """Create the users `catalog`, who owns the indexes, and `catalog_reader`, who reads them (dashboard).

    The cluster privileges of `catalog` are those of the refresh's preflight, which reads health, settings,
    and templates that would change its indexes. The dashboard looks at health, disks, blocks and sizes.

    Raises:
        Fatal: The engine refuses.
        Retry: The engine does not answer.
    """
    client = connect(given.url, login=(given.login, given.password))
    names = [f"{media_type}*" for media_type in sorted(MEDIA_TYPES)]
    for user, password, cluster, indices in (
        ("catalog", given.catalog, ["monitor", "manage_index_templates"], ["all"]),
        ("catalog_reader", given.reader, ["monitor"], ["read", "view_index_metadata", "monitor"]),
    ):
        rights = [{"names": names, "privileges": indices}]
        ask(client.security.put_role, name=user, cluster=cluster, indices=rights)
        ask(client.security.put_user, username=user, password=password, roles=[user])
        log.info("search engine: user %s", user)


def create_ui_admin(username: str, password: str) -> None:
    """Create the first user of the UI; an existing user is left unchanged, password included.

    Raises:
        Fatal: The user could not be created.
    """
    from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder

    logging.getLogger("airflow.providers.fab").setLevel(logging.WARNING)  # INFO logs hundreds of permissions
    with get_application_builder() as builder:
        users = builder.sm
        if users.find_user(username=username):
            log.info("UI: user %s exists", username)
            return
        role = users.find_role("Admin")
        if not role or not users.add_user(username, username, "", f"{username}@localhost", role, password):
            raise Fatal(f"the user {username} of the UI could not be created; see the log lines above.")
        log.info("UI: user %s created; the password is in .secrets/admin_password", username)


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    check_logins()
    prepare_airflow_database()
    show_variables()
    upgrade_databases()
    if given := os.environ.get("CATALOG_SEARCH_USERS"):
        create_search_users(msgspec.json.decode(given, type=SearchUsers))
    if given := os.environ.get("CATALOG_UI_ADMIN"):
        create_ui_admin(**json.loads(given))
    return 0


if __name__ == "__main__":
    program.run(main, "init")
