"""The staging database as a copy of production's newest snapshot.

Only databases that are named as staging's are ever changed.
"""

from typing import Any, Literal

from catalog.core.errors import Fatal, Retry
from catalog.core.session import Connection
from catalog.core.setting import Databases, Deploy
from catalog.maintenance.github import GitHub

TRUNCATED = (
    "api_throttledapplication",
    "api_oauth2registration",
)  # production's keys must not work in staging
RUN_TAG = "catalog-run"
_AGAIN = "trigger a new run"


Role = Literal["staging", "temporary", "old"]


class Restore:
    """The steps. Each can be repeated at any later time: it does what is still to be done, or refuses.

    rds: boto3's client; run: what this run is called. A tag tells the instance that it restored from all
    others, whatever their names are.
    """

    def __init__(self, rds: Any, databases: Databases, run: str = "") -> None:
        if databases.production in databases.ours or len(set(databases.ours)) < 3:
            raise Fatal(
                "STAGING_RESTORE_DATABASES: production, staging, temporary and old must be four different "
                "databases."
            )
        self._rds, self._names, self._run = rds, databases, run[:200]

    def latest_snapshot(self) -> str:
        """The newest automated snapshot of production. Raises Fatal when there is none."""
        pages = self._rds.get_paginator("describe_db_snapshots").paginate(
            DBInstanceIdentifier=self._names.production, SnapshotType="automated"
        )
        found = [s for page in pages for s in page["DBSnapshots"] if s.get("SnapshotCreateTime")]
        if not found:
            raise Fatal(f"{self._names.production} has no automated snapshot.")
        return str(max(found, key=lambda s: s["SnapshotCreateTime"])["DBSnapshotIdentifier"])

    def snapshot_ready(self, snapshot: str) -> bool:
        [found] = self._rds.describe_db_snapshots(DBSnapshotIdentifier=snapshot)["DBSnapshots"]
        return bool(found["Status"] == "available")

    def details(self) -> dict[str, Any]:
        """What the restored database must have in common with staging."""
        found = self._describe(self._names.staging)
        if found is None:
            raise Fatal(f"there is no database {self._names.staging}.")
        kept = ("MultiAZ", "AvailabilityZone", "PubliclyAccessible", "DBInstanceClass", "AllocatedStorage")
        details = {key: found[key] for key in kept if found.get(key) is not None}
        if details.get("MultiAZ"):
            details.pop("AvailabilityZone", None)  # AWS takes one or the other
        details["VpcSecurityGroupIds"] = [
            group["VpcSecurityGroupId"] for group in found.get("VpcSecurityGroups", [])
        ]
        if found.get("DBSubnetGroup"):
            details["DBSubnetGroupName"] = found["DBSubnetGroup"]["DBSubnetGroupName"]
        return details

    def restore(self, snapshot: str, details: dict[str, Any]) -> None:
        """Restore the temporary database, unless this run has begun to. Raises Fatal if another run has."""
        if self.exchanged():
            return
        if there := self._describe(self._names.temporary):
            if not self._is_ours(there):
                raise Fatal(
                    f"{self._names.temporary} is there already, left by another run; delete it, then "
                    "clear this task."
                )
            return
        options = {k: v for k, v in details.items() if k != "AllocatedStorage"}
        self._rds.restore_db_instance_from_db_snapshot(
            DBInstanceIdentifier=self._names.temporary,
            DBSnapshotIdentifier=snapshot,
            CopyTagsToSnapshot=True,
            Tags=[{"Key": RUN_TAG, "Value": self._run}],
            **options,
        )

    def exchanged(self) -> bool:
        """Whether staging is the database that this run restored."""
        return self._is_ours(self._describe(self._names.staging))

    def available(self, role: Role) -> bool:
        """Whether the next step may come. False also while a renamed database has not appeared yet."""
        if role != "staging" and self.exchanged():
            return True
        return _is_available(self._describe(getattr(self._names, role)))

    def move_staging_away(self) -> None:
        """Staging gets the old name, so that the restored database can take its place.

        Raises:
            Fatal: the restored database is not there, or the old name is taken.
            Retry: the restored database is not available.
        """
        staging, old = self._describe(self._names.staging), self._describe(self._names.old)
        if staging is None or self._is_ours(staging):
            return
        restored = self._describe(self._names.temporary)
        if not self._is_ours(restored):
            raise Fatal(f"{self._names.temporary} is not what this run restored, so staging stays; {_AGAIN}.")
        if not _is_available(restored):
            raise Retry(f"{self._names.temporary} is not available, so staging stays.")
        if old is not None:
            raise Fatal(f"{self._names.old} is there, left by another run; delete it, then clear this task.")
        self._rename(self._names.staging, self._names.old)

    def move_restored_in(self) -> None:
        """Give staging's name to the restored database. Raises Fatal if it is taken, or none is restored."""
        if staging := self._describe(self._names.staging):
            if self._is_ours(staging):
                return
            raise Fatal(
                f"{self._names.staging} is there; clear rename_staging_to_old and all tasks after it."
            )
        if not self._is_ours(self._describe(self._names.temporary)):
            raise Fatal(f"{self._names.temporary} is not what this run restored; {_AGAIN}.")
        self._rename(self._names.temporary, self._names.staging)

    def roll_back(self) -> bool:
        """Give the old database staging's name again, if nobody has that name: whether it was needed.

        Raises:
            Fatal: another run is at work.
        """
        if self._describe(self._names.staging) is not None or self._describe(self._names.old) is None:
            return False
        restored = self._describe(self._names.temporary)
        if restored and not self._is_ours(restored):
            raise Fatal(f"{self._names.temporary} is another run's, which is about to exchange staging.")
        self._rename(self._names.old, self._names.staging)
        return True

    def delete_old(self) -> None:
        """Delete what staging was.

        Raises:
            Fatal: staging is not what this run restored, or the old database is.
            Retry: staging is not available.
        """
        old = self._describe(self._names.old)
        if old is None or old["DBInstanceStatus"] == "deleting":
            return
        staging = self._describe(self._names.staging)
        if not self._is_ours(staging) or self._is_ours(old):
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

    def gone(self) -> bool:
        found = self._describe(self._names.old)
        return found is None or found["DBInstanceStatus"] == "deleting"

    def require_exchanged(self) -> None:
        """Raises Fatal when staging is not the database that this run restored."""
        if not self.exchanged():
            raise Fatal(
                f"{self._names.staging} is not what this run restored, so it stays as it is; {_AGAIN}."
            )

    def _rename(self, name: str, new: str) -> None:
        self._rds.modify_db_instance(
            DBInstanceIdentifier=self._guarded(name),
            NewDBInstanceIdentifier=self._guarded(new),
            ApplyImmediately=True,
        )

    def _guarded(self, name: str) -> str:
        if name not in self._names.ours:
            raise Fatal(f"refused to change {name}: it is not one of staging's databases.")
        return name

    def _is_ours(self, instance: dict[str, Any] | None) -> bool:
        """Whether this run restored it."""
        return bool(instance) and {"Key": RUN_TAG, "Value": self._run} in (instance or {}).get("TagList", [])

    def _describe(self, name: str) -> dict[str, Any] | None:
        try:
            [found] = self._rds.describe_db_instances(DBInstanceIdentifier=name)["DBInstances"]
        except self._rds.exceptions.DBInstanceNotFoundFault:
            return None
        return dict(found)


def _is_available(instance: dict[str, Any] | None) -> bool:
    return bool(instance and instance["DBInstanceStatus"] == "available")


def forget_applications(connection: Connection) -> None:
    """Empty the tables of applications and their keys. connection: to the staging database, in autocommit."""
    connection.execute("set statement_timeout = '5min'")
    connection.execute(f"truncate {', '.join(TRUNCATED)} restart identity cascade")


def deploy(target: Deploy, github: GitHub) -> str:
    """Deploy the newest version of the API to staging, which migrates the database: the tag."""
    tag = github.newest_tag(target.repository.partition("/")[0], target.package)
    github.dispatch(target.repository, target.workflow, {"tag": tag})
    return tag
