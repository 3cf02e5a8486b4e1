"""The staging database as a copy of production's newest snapshot: made beside the old one, exchanged by renaming, taken back on failure.

Only databases that are named as staging's are ever changed.
"""

from typing import Annotated, Any

import msgspec
import psycopg

from catalog.ingestion.errors import Fatal
from catalog.maintenance.github import API, GitHub

Name = Annotated[str, msgspec.Meta(pattern="^[a-zA-Z][a-zA-Z0-9-]{0,62}$")]
TRUNCATED = (
    "api_throttledapplication",
    "api_oauth2registration",
)  # production's keys must not work in staging
RUN_TAG = "catalog-run"


class Databases(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Identifiers of the instances. temporary: what is restored until it takes staging's name; old: staging meanwhile."""

    production: Name = "prod-openverse-db"
    staging: Name = "dev-openverse-db"
    temporary: Name = "dev-next-openverse-db"
    old: Name = "dev-old-openverse-db"

    @property
    def ours(self) -> tuple[str, str, str]:
        return self.staging, self.temporary, self.old


class Deploy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The workflow that deploys staging's API. repository: `owner/name`; package: of the API's image, whose newest tag is deployed."""

    repository: str
    workflow: str
    package: str
    api: str = API


class Restore:
    """The steps, each of which may be repeated. rds: boto3's client; run: what this run is called, to know its own instance again."""

    def __init__(self, rds: Any, databases: Databases, run: str = "") -> None:
        if databases.production in databases.ours or len(set(databases.ours)) < 3:
            raise Fatal(
                "STAGING_RESTORE_DATABASES: production, staging, temporary and old must be four different databases."
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
        """The temporary database; one that this run has begun is left to grow. Raises Fatal when there is somebody else's."""
        self._guard(self._names.temporary)
        if there := self._describe(self._names.temporary):
            if {"Key": RUN_TAG, "Value": self._run} not in there.get("TagList", []):
                raise Fatal(
                    f"{self._names.temporary} is there already, left by another run; delete it, then clear this task."
                )
            return
        options = {k: v for k, v in details.items() if k != "AllocatedStorage"}
        self._rds.restore_db_instance_from_db_snapshot(
            DBInstanceIdentifier=self._names.temporary, DBSnapshotIdentifier=snapshot, CopyTagsToSnapshot=True,
            Tags=[{"Key": RUN_TAG, "Value": self._run}], **options,
        )  # fmt: skip

    def available(self, name: str) -> bool:
        """False also while a renamed one has not appeared yet."""
        found = self._describe(name)
        return bool(found and found["DBInstanceStatus"] == "available")

    def rename(self, name: str, new: str) -> None:
        """Does nothing when it has been done."""
        self._guard(name, new)
        if self._describe(name) is None and self._describe(new) is not None:
            return
        self._rds.modify_db_instance(
            DBInstanceIdentifier=name, NewDBInstanceIdentifier=new, ApplyImmediately=True
        )

    def roll_back(self) -> bool:
        """Give the old database staging's name again, if nobody has that name: whether it was needed."""
        self._guard(self._names.old, self._names.staging)
        if self._describe(self._names.staging) is not None or self._describe(self._names.old) is None:
            return False
        self.rename(self._names.old, self._names.staging)
        return True

    def delete_old(self) -> None:
        self._guard(self._names.old)
        if self._describe(self._names.old) is not None and not self.gone():
            self._rds.delete_db_instance(
                DBInstanceIdentifier=self._names.old, SkipFinalSnapshot=True, DeleteAutomatedBackups=False
            )

    def gone(self) -> bool:
        found = self._describe(self._names.old)
        return found is None or found["DBInstanceStatus"] == "deleting"

    def _guard(self, *names: str) -> None:
        if foreign := [name for name in names if name not in self._names.ours]:
            raise Fatal(f"refused to change {foreign[0]}: it is not one of staging's databases.")

    def _describe(self, name: str) -> dict[str, Any] | None:
        try:
            [found] = self._rds.describe_db_instances(DBInstanceIdentifier=name)["DBInstances"]
        except self._rds.exceptions.DBInstanceNotFoundFault:
            return None
        return dict(found)


def forget_applications(connection: psycopg.Connection[Any]) -> None:
    """Empty the tables of applications and their keys. connection: to the staging database, in autocommit."""
    connection.execute("set statement_timeout = '5min'")
    connection.execute(f"truncate {', '.join(TRUNCATED)} restart identity cascade")


def deploy(target: Deploy, github: GitHub) -> str:
    """Deploy the newest version of the API to staging, which migrates the database: the tag."""
    tag = github.newest_tag(target.repository.partition("/")[0], target.package)
    github.dispatch(target.repository, target.workflow, {"tag": tag})
    return tag
