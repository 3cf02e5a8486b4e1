"""Replaces the staging database by a restored snapshot of production, in steps.

Only the instances that the Variable `STAGING_RESTORE_DATABASES` names as staging's are ever changed.
"""

from datetime import UTC, datetime, timedelta
from typing import Literal

from catalog.core.errors import Fatal, Retry
from catalog.core.jsontypes import JsonObject
from catalog.core.setting_values import Databases
from catalog.core.settings import STAGING_DB
from catalog.database.earlier_runs import earlier_name
from catalog.maintenance.snapshots import FAILED, RDS, listed

RUN_TAG = "catalog-run"  # the tag of an instance that holds the id of the run that restored it
SNAPSHOT_TAG = "catalog-snapshot"  # the one that holds the name of the snapshot, which tells its time
OLDEST = timedelta(days=2)  # age of production's newest snapshot; RDS takes one a day
_AGAIN = "trigger a new run"

Role = Literal["staging", "temporary", "old"]


class Restore:
    """The steps of a restore.

    Each step can be repeated at any later time: it does what is still to be done, or raises. A tag
    identifies the instance that this run restored, whatever its name is.

    Args:
        rds: boto3's client.
        databases: Identifiers of the instances.
        run: Id of the DAG run.

    Raises:
        Fatal: The identifiers are not four different ones.
    """

    def __init__(self, rds: RDS, databases: Databases, run: str = "") -> None:
        if databases.production in databases.ours or len(set(databases.ours)) < 3:
            raise Fatal(
                "STAGING_RESTORE_DATABASES: production, staging, temporary and old must be four different "
                "databases."
            )
        self._rds, self._names, self._run = rds, databases, run[:200]

    def latest_snapshot(self) -> str:
        """Return the identifier of production's newest automated snapshot, except failed ones.

        Raises:
            Fatal: There is none of the last two days: nobody may have noticed that backups have stopped.
        """
        found = [
            snapshot
            for snapshot in listed(self._rds, self._names.production, "automated")
            if snapshot.get("Status") != FAILED
        ]
        if not found:
            raise Fatal(
                f"{self._names.production} has no automated snapshot that has not failed; enable its "
                "backups, then clear this task."
            )
        newest = max(found, key=lambda s: s["SnapshotCreateTime"])
        name, taken = str(newest["DBSnapshotIdentifier"]), newest["SnapshotCreateTime"]
        if datetime.now(UTC) - taken > OLDEST:
            raise Fatal(
                f"the newest automated snapshot of {self._names.production}, {name}, is of "
                f"{taken:%Y-%m-%d %H:%M}: its backups have stopped. Enable them, then clear this task."
            )
        return name

    def snapshot_ready(self, snapshot: str) -> bool:
        """Return True if a snapshot is complete. Raises Fatal if it failed, or is gone."""
        try:
            [found] = self._rds.describe_db_snapshots(DBSnapshotIdentifier=snapshot)["DBSnapshots"]
        except self._rds.exceptions.DBSnapshotNotFoundFault:
            raise Fatal(
                f"the snapshot {snapshot} is gone, as after its retention; trigger a new run."
            ) from None
        if found["Status"] == FAILED:
            raise Fatal(f"the snapshot {snapshot} failed; {_AGAIN}, which takes the one before.")
        return bool(found["Status"] == "available")

    def details(self) -> JsonObject:
        """Return the properties that the restored instance must share with staging, as arguments of boto3."""
        instance = self._describe(self._names.staging)
        if instance is None:
            raise Fatal(
                f"there is no database {self._names.staging}; correct STAGING_RESTORE_DATABASES, or rename "
                "the old database by hand."
            )
        if instance.get("DeletionProtection"):
            raise Fatal(
                f"{self._names.staging} is protected against deletion, so it could not be deleted once it is "
                "replaced. Switch the protection off (modify-db-instance --no-deletion-protection), then "
                "clear this task."
            )
        kept = ("MultiAZ", "AvailabilityZone", "PubliclyAccessible", "DBInstanceClass", "AllocatedStorage")
        details = {key: instance[key] for key in kept if instance.get(key) is not None}
        if details.get("MultiAZ"):
            details.pop("AvailabilityZone", None)  # AWS accepts only one of the two
        details["VpcSecurityGroupIds"] = [
            group["VpcSecurityGroupId"] for group in instance.get("VpcSecurityGroups", [])
        ]
        groups = [group["DBParameterGroupName"] for group in instance.get("DBParameterGroups", [])]
        # A default one follows from the version of the engine, which may be another one in the snapshot.
        if own := [name for name in groups if not name.startswith("default.")]:
            details["DBParameterGroupName"] = own[0]
        if instance.get("DBSubnetGroup"):
            details["DBSubnetGroupName"] = instance["DBSubnetGroup"]["DBSubnetGroupName"]
        return details

    def rename_earlier_run(self) -> None:
        """Name another run in the tags of what an earlier run with this id has restored."""
        for name in (self._names.staging, self._names.temporary):
            found = self._describe(name)
            if found and self._is_own(found):
                tag = {"Key": RUN_TAG, "Value": earlier_name(self._run)}
                self._rds.add_tags_to_resource(ResourceName=found["DBInstanceArn"], Tags=[tag])

    def restore(self, snapshot: str, details: JsonObject) -> None:
        """Start to restore the temporary database, unless this run has already done so.

        Args:
            snapshot: Identifier of the snapshot.
            details: Properties of the instance, from `details`.

        Raises:
            Fatal: The temporary database exists and belongs to another run.
        """
        if self.exchanged():
            return
        if existing := self._describe(self._names.temporary):
            if not self._is_own(existing):
                raise Fatal(
                    f"{self._names.temporary} already exists, left by another run; delete it, then "
                    "clear this task."
                )
            return
        options = {k: v for k, v in details.items() if k != "AllocatedStorage"}
        self._rds.restore_db_instance_from_db_snapshot(
            DBInstanceIdentifier=self._names.temporary,
            DBSnapshotIdentifier=snapshot,
            CopyTagsToSnapshot=True,
            Tags=[{"Key": RUN_TAG, "Value": self._run}, {"Key": SNAPSHOT_TAG, "Value": snapshot}],
            **options,
        )

    def exchanged(self) -> bool:
        """Return True if staging is the database that this run restored."""
        return self._is_own(self._describe(self._names.staging))

    def source(self) -> str:
        """Return the snapshot that staging was restored from; "" if an earlier release has restored it."""
        tags = (self._describe(self._names.staging) or {}).get("TagList", [])
        return next((str(tag["Value"]) for tag in tags if tag["Key"] == SNAPSHOT_TAG), "")

    def available(self, role: Role) -> bool:
        """Return True if the next step can start.

        Args:
            role: The instance that the step needs; it is missing for a while after it was renamed.
        """
        if role != "staging" and self.exchanged():
            return True
        return _is_available(self._describe(getattr(self._names, role)))

    def move_staging_away(self) -> None:
        """Rename staging to the old name, so that the restored database can take its place.

        Raises:
            Fatal: The restored database does not exist, or the old name is taken.
            Retry: The restored database is not available.
        """
        staging, old = self._describe(self._names.staging), self._describe(self._names.old)
        if staging is None or self._is_own(staging):
            return
        restored = self._describe(self._names.temporary)
        if not self._is_own(restored):
            raise Fatal(f"{self._names.temporary} is not what this run restored, so staging stays; {_AGAIN}.")
        if not _is_available(restored):
            raise Retry(f"{self._names.temporary} is not available, so staging stays.")
        if old is not None:
            raise Fatal(f"{self._names.old} exists, left by another run; delete it, then clear this task.")
        self._rename(self._names.staging, self._names.old)

    def move_restored_in(self) -> None:
        """Rename the restored database to staging.

        Raises:
            Fatal: The name is taken, or this run has restored no database.
        """
        if staging := self._describe(self._names.staging):
            if self._is_own(staging):
                return
            raise Fatal(f"{self._names.staging} exists; clear rename_staging_to_old and all tasks after it.")
        if not self._is_own(self._describe(self._names.temporary)):
            raise Fatal(f"{self._names.temporary} is not what this run restored; {_AGAIN}.")
        self._rename(self._names.temporary, self._names.staging)

    def roll_back(self) -> bool:
        """Rename the old database back to staging if no database has that name.

        Returns:
            True if the database was renamed; False if staging exists.

        Raises:
            Fatal: Another run is about to exchange staging.
            Retry: No database has either name, as for a while after a rename.
        """
        if self._describe(self._names.staging) is not None:
            return False
        if self._describe(self._names.old) is None:
            raise Retry(
                f"there is no database {self._names.staging}, so staging is down, and none called "
                f"{self._names.old} that could take its place. Rename the one that should be staging, or "
                "correct STAGING_RESTORE_DATABASES."
            )
        restored = self._describe(self._names.temporary)
        if restored and not self._is_own(restored):
            raise Fatal(
                f"{self._names.temporary} belongs to another run, which is about to exchange staging."
            )
        self._rename(self._names.old, self._names.staging)
        return True

    def delete_old(self) -> None:
        """Delete the replaced database.

        Raises:
            Fatal: Staging is not what this run restored, or the old database is.
            Retry: Staging is not available.
        """
        old, staging = self._describe(self._names.old), self._describe(self._names.staging)
        if old is None or old["DBInstanceStatus"] == "deleting":
            return
        if not self._is_own(staging) or self._is_own(old):
            raise Fatal(
                f"{self._names.old} is kept: {self._names.staging} is not what this run restored. "
                "Check both; delete the old one by hand."
            )
        if not _is_available(staging):
            raise Retry(f"{self._names.old} is kept: {self._names.staging} is not available.")
        self._rds.delete_db_instance(
            DBInstanceIdentifier=self._guarded(self._names.old),
            SkipFinalSnapshot=True,
            DeleteAutomatedBackups=False,
        )

    def is_old_deleted(self) -> bool:
        """Return True if the replaced database does not exist; one that is being deleted may still answer."""
        return self._describe(self._names.old) is None

    def require_exchanged(self, host: str) -> None:
        """Check that staging is the database that this run restored, and that a connection leads there.

        Args:
            host: Host of the connection. Only the name of an instance of RDS tells where it leads.

        Raises:
            Fatal: One of both is not so.
        """
        staging = self._describe(self._names.staging)
        if not self._is_own(staging):
            raise Fatal(
                f"{self._names.staging} is not what this run restored, so it is not changed; {_AGAIN}."
            )
        address = ((staging or {}).get("Endpoint") or {}).get("Address", "")
        if ".rds.amazonaws.com" in host and host.lower() != address.lower():
            raise Fatal(
                f"the connection {STAGING_DB} leads to {host}, not to {address or self._names.staging}, so "
                "no keys were deleted there; correct it, then clear this task. Until then, production's "
                "keys work in staging."
            )

    def _rename(self, name: str, new: str) -> None:
        self._rds.modify_db_instance(
            DBInstanceIdentifier=self._guarded(name),
            NewDBInstanceIdentifier=self._guarded(new),
            ApplyImmediately=True,
        )

    def _guarded(self, name: str) -> str:
        if name not in self._names.ours:
            raise Fatal(f"{name} is not one of staging's databases, so it is not changed.")
        return name

    def _is_own(self, instance: JsonObject | None) -> bool:
        """Return True if this run restored the instance."""
        return instance is not None and {"Key": RUN_TAG, "Value": self._run} in instance.get("TagList", [])

    def _describe(self, name: str) -> JsonObject | None:
        try:
            [found] = self._rds.describe_db_instances(DBInstanceIdentifier=name)["DBInstances"]
        except self._rds.exceptions.DBInstanceNotFoundFault:
            return None
        return dict(found)


def _is_available(instance: JsonObject | None) -> bool:
    return bool(instance and instance["DBInstanceStatus"] == "available")
