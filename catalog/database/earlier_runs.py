"""Records of an earlier run with the same id, which a new run must not take for its own.

Airflow makes a deleted scheduled run again with its id, people choose ids, and a new database of Airflow
knows none of those that were used. What an earlier run has finished gets another name, so that the new one
starts from the beginning.
"""

from datetime import UTC, datetime

from catalog.core.session import Connection


def earlier_name(run: str) -> str:
    """Return the name under which the records of an earlier run are kept; no run has an id of this form."""
    return f"{run} before {datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def rename_selections(connection: Connection, query_id: str, run: str) -> None:
    """Keep the records of an earlier run on a selection under another name.

    Args:
        connection: Connection to the catalog database.
        query_id: Name of the selection.
        run: Id of the run.
    """
    connection.execute(
        "update batched_update set run_id = %(name)s,"
        " query_id = case when query_id = %(id)s then query_id else %(id)s || ', ' || %(name)s end"
        " where run_id = %(run)s and query_id in (%(id)s, %(id)s || ', ' || %(run)s)",
        {"name": earlier_name(run), "id": query_id, "run": run},
    )
