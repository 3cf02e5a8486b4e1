"""Takes and deletes RDS snapshots of the catalog database.

Only snapshots whose name starts with `airflow-managed-` are ever deleted.
"""

import logging
from typing import Any, Literal, TypeAlias

from catalog.core.errors import Fatal, Retry

RDS: TypeAlias = Any  # boto3's client, which has no types
log = logging.getLogger(__name__)
FAILED = "failed"  # status of a snapshot
PREFIX = "airflow-managed-"  # other snapshots belong to others


def listed(rds: RDS, database: str, kind: Literal["automated", "manual"]) -> list[Any]:
    """Return what AWS says of the snapshots of an instance, but for those that have no time yet.

    Args:
        rds: boto3's client.
        database: Identifier of the RDS instance.
        kind: Who makes the snapshots: AWS, or others.
    """
    pages = rds.get_paginator("describe_db_snapshots").paginate(
        DBInstanceIdentifier=database, SnapshotType=kind
    )
    return [found for page in pages for found in page["DBSnapshots"] if found.get("SnapshotCreateTime")]


def create(rds: RDS, database: str, name: str) -> str:
    """Request a snapshot, unless it exists.

    Names are unique in an account and region, where another catalog may run the same DAG at the same moment.
    If a snapshot of another instance has the name, the instance is added to it.

    Args:
        rds: boto3's client.
        database: Identifier of the RDS instance.
        name: Identifier of the snapshot.

    Returns:
        The identifier of the snapshot of this instance.

    Raises:
        ValueError: The name does not start with `airflow-managed-`.
        Fatal: Snapshots of other instances have both names.
    """
    if not name.startswith(PREFIX):
        raise ValueError(f"a snapshot of the catalog must be called {PREFIX}…, not {name}")
    for candidate in (name, f"{name}-{database}"):
        try:
            rds.create_db_snapshot(DBInstanceIdentifier=database, DBSnapshotIdentifier=candidate)
        except rds.exceptions.DBSnapshotAlreadyExistsFault:
            if not _described(rds, database, candidate):
                continue
        return candidate
    raise Fatal(f"{name} and {name}-{database} are snapshots of other instances; trigger a new run.")


def _described(rds: RDS, database: str, name: str) -> list[Any]:
    """Return what AWS says of a snapshot; nothing if it is one of another instance."""
    found = rds.describe_db_snapshots(DBSnapshotIdentifier=name)["DBSnapshots"]
    return [snapshot for snapshot in found if snapshot.get("DBInstanceIdentifier") == database]


def available(rds: RDS, database: str, name: str) -> bool:
    """Return True if a snapshot of an instance is complete.

    Raises:
        Fatal: The snapshot failed.
        Retry: There is none, as for a moment after it was requested.
    """
    try:
        found = _described(rds, database, name)
    except rds.exceptions.DBSnapshotNotFoundFault:
        found = []
    if not found:
        raise Retry(
            f"there is no snapshot {name} of {database}; if it was deleted, clear the task that makes it."
        )
    status = found[0].get("Status")
    if status == FAILED:
        raise Fatal(f"the snapshot {name} failed; delete it, then clear the task that makes it.")
    return bool(status == "available")


def delete_previous(rds: RDS, database: str, keep: int) -> list[str]:
    """Delete all but the newest available snapshots that `create` made.

    A snapshot that is in use is logged and skipped; the next run tries again.

    Args:
        rds: boto3's client.
        database: Identifier of the RDS instance.
        keep: Number of snapshots to keep, at least 1.

    Returns:
        The names of the deleted snapshots.
    """
    if keep < 1:
        raise ValueError(f"at least one snapshot must be kept, not {keep}")
    managed = [
        s
        for s in listed(rds, database, "manual")
        if str(s.get("DBSnapshotIdentifier", "")).startswith(PREFIX) and s.get("Status") == "available"
    ]
    managed.sort(key=lambda s: s["SnapshotCreateTime"], reverse=True)
    deleted, faults = [], rds.exceptions
    for name in [s["DBSnapshotIdentifier"] for s in managed[keep:]]:
        try:
            rds.delete_db_snapshot(DBSnapshotIdentifier=name)
        except (faults.InvalidDBSnapshotStateFault, faults.DBSnapshotNotFoundFault) as error:
            # In use, or already deleted.
            log.warning("The snapshot %s is not deleted: %s", name, type(error).__name__)
        else:
            deleted.append(name)
    return deleted
