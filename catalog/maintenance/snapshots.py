"""Snapshots of the catalog database in RDS: a new one each time, the oldest of ours deleted."""

import logging
from typing import Any

from catalog.core.errors import Fatal

log = logging.getLogger(__name__)
PREFIX = "airflow-managed-"  # what is not called so is somebody else's


def create(rds: Any, database: str, name: str) -> None:
    """Begin a snapshot; does nothing when it is there. rds: boto3's client."""
    if not name.startswith(PREFIX):
        raise ValueError(f"a snapshot of ours is called {PREFIX}…, not {name}")
    try:
        rds.create_db_snapshot(DBInstanceIdentifier=database, DBSnapshotIdentifier=name)
    except rds.exceptions.DBSnapshotAlreadyExistsFault:
        return


def available(rds: Any, name: str) -> bool:
    """Whether a snapshot is whole.

    Raises:
        Fatal: It will never be.
    """
    found = rds.describe_db_snapshots(DBSnapshotIdentifier=name)["DBSnapshots"]
    status = found[0].get("Status") if found else None
    if status == "failed":
        raise Fatal(f"the snapshot {name} failed; delete it, then clear the task that makes it.")
    return bool(status == "available")


def delete_previous(rds: Any, database: str, keep: int) -> list[str]:
    """Delete our snapshots but the newest `keep` available ones, and return their names."""
    if keep < 1:
        raise ValueError(f"at least one snapshot is kept, not {keep}")
    pages = rds.get_paginator("describe_db_snapshots").paginate(
        DBInstanceIdentifier=database, SnapshotType="manual"
    )
    ours = [
        s
        for page in pages
        for s in page["DBSnapshots"]
        if str(s.get("DBSnapshotIdentifier", "")).startswith(PREFIX)
        and s.get("Status") == "available"
        and s.get("SnapshotCreateTime")
    ]
    ours.sort(key=lambda s: s["SnapshotCreateTime"], reverse=True)
    deleted, faults = [], rds.exceptions
    for name in [s["DBSnapshotIdentifier"] for s in ours[keep:]]:
        try:
            rds.delete_db_snapshot(DBSnapshotIdentifier=name)
        except (faults.InvalidDBSnapshotStateFault, faults.DBSnapshotNotFoundFault) as error:
            log.warning(
                "%s is left: %s", name, type(error).__name__
            )  # in use, or gone already; the next run sees
        else:
            deleted.append(name)
    return deleted
