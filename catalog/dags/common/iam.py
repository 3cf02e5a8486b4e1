"""Logins by AWS or Azure identity: the part of a connection that only Airflow's hook can resolve.

`catalog.core.connections` passes on everything else, not `PostgresHook.get_conn`: the hook has no defaults
that extras may override (keepalives, timeouts, the application's name), lets an extra `options` replace ours
instead of adding to it, and passes extras to libpq that libpq refuses.
"""

from typing import Any


def with_token(arguments: dict[str, Any], connection: Any) -> dict[str, Any]:
    """Replace the password of a connection by a token if its extra has `"iam": true`.

    Args:
        arguments: Arguments of `psycopg.connect`.
        connection: The Airflow connection that they come from.
    """
    if not (connection.extra_dejson or {}).get("iam"):
        return arguments
    from airflow.providers.postgres.hooks.postgres import PostgresHook  # takes a while to import

    login, password, port = PostgresHook(connection.conn_id).get_iam_token(connection)
    return {**arguments, "user": login, "password": password, "port": port}
