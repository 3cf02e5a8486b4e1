"""What has to be there before Airflow's components start in containers; done by the image's `init`, and may be done again.

Schemas, pools, the bucket of the TSV parts, and those Variables that have a default, so that the UI shows them with their meaning.
"""

import logging
import os
import sys
from collections.abc import Iterator

from catalog.database import schema
from catalog.settings import SETTINGS

log = logging.getLogger("bootstrap")
POOLS = (("data_refresh", 1, "DAGs that would disturb each other take turns here to decide who goes first"),)


def defaults() -> Iterator[tuple[str, str, str]]:
    """(name, value, meaning) of each Variable whose default is a text, a number or a switch."""
    for setting in SETTINGS:
        plain = isinstance(setting.value, str | int | float)
        if setting.kind.startswith("Variable") and plain and f"AIRFLOW_VAR_{setting.name}" not in os.environ:
            yield setting.name, setting.encode(setting.value), setting.plain_meaning.replace("`", "")


def airflow_database() -> None:
    """Airflow's own schema, and our pools in it."""
    from airflow.models import Pool
    from airflow.utils import db

    db.initdb()
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
    log.info("catalog database: %s", found.current)
    if os.environ.get("CATALOG_MAKES_API_TABLES", "").lower() == "true":
        for name in ("API", "API_STAGING"):
            found = schema.upgrade(os.environ[f"AIRFLOW_CONN_POSTGRES_OPENLEDGER_{name}"], "api")
            log.info("%s database: %s", name.lower(), found.current)


def bucket() -> None:
    """The bucket of OBJECT_STORAGE, when it is on S3 and not there."""
    root = os.environ.get("AIRFLOW_VAR_OBJECT_STORAGE", "")
    if not root.startswith("s3://"):
        return
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    conn_id, _, name = root.removeprefix("s3://").partition("/")[0].rpartition("@")
    hook = S3Hook(conn_id or "aws_default")
    if not hook.check_for_bucket(name):
        hook.create_bucket(bucket_name=name)
        log.info("bucket %s made", name)


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    airflow_database()
    variables()
    databases()
    bucket()
    return 0


if __name__ == "__main__":
    sys.exit(main())
