"""Logins by AWS or Azure identity instead of a password: the one thing of a connection that Airflow's hook alone knows.

The rest of a connection is passed on by `catalog.core.connections`, not by `PostgresHook.get_conn`: the hook leaves
no room for defaults that extras may override (keepalives, time-outs, the application's name), lets an extra `options`
replace ours instead of adding to it, and hands libpq extras that it does not know, which fails.
"""

from typing import Any


def with_token(arguments: dict[str, Any], found: Any) -> dict[str, Any]:
    """The arguments of a connection, with a token instead of its password where its extra says `"iam": true`.

    Args:
        arguments: Of `psycopg.connect`.
        found: The Airflow connection they were made of.
    """
    if not (found.extra_dejson or {}).get("iam"):
        return arguments
    from airflow.providers.postgres.hooks.postgres import PostgresHook  # takes a while to import

    login, password, port = PostgresHook(found.conn_id).get_iam_token(found)
    return {**arguments, "user": login, "password": password, "port": port}
