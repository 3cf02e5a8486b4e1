"""The staging database's restoration against moto's RDS, and the deployment against a server that speaks GitHub's shapes."""

from datetime import UTC, datetime, timedelta

import boto3
import pytest
import requests
from botocore.stub import Stubber
from moto.server import ThreadedMotoServer
from pytest_httpserver import HTTPServer

from catalog.database import sample_data
from catalog.ingestion.errors import Fatal, Retry
from catalog.ingestion.secrets import Secret
from catalog.maintenance import snapshots
from catalog.maintenance.github import GitHub
from catalog.maintenance.staging import Databases, Deploy, Restore, deploy, forget_applications

pytestmark = pytest.mark.enable_socket
NAMES = Databases()


@pytest.fixture(scope="module")
def aws():
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def rds(aws):
    """Production with snapshots, and staging."""
    client = boto3.client(
        "rds", endpoint_url=aws, region_name="us-east-1", aws_access_key_id="testing", aws_secret_access_key="testing"
    )  # fmt: skip
    requests.post(f"{aws}/moto-api/reset", timeout=10)
    for name in (NAMES.production, NAMES.staging):
        client.create_db_instance(
            DBInstanceIdentifier=name, DBInstanceClass="db.t3.micro", Engine="postgres", AllocatedStorage=20
        )
    return client


def instances(rds):
    return {i["DBInstanceIdentifier"] for i in rds.describe_db_instances()["DBInstances"]}


def test_the_whole_way(rds):
    restore = Restore(rds, NAMES, "run")
    snapshot = restore.latest_snapshot()
    assert snapshot.startswith("rds:prod-openverse-db")
    assert restore.snapshot_ready(snapshot)
    details = restore.details()
    assert details["DBInstanceClass"] == "db.t3.micro"
    for _ in range(2):  # every step may be repeated
        restore.restore(snapshot, details)
    assert restore.available(NAMES.temporary)
    for _ in range(2):
        restore.rename(NAMES.staging, NAMES.old)
    assert not restore.available(NAMES.staging)
    for _ in range(2):
        restore.rename(NAMES.temporary, NAMES.staging)
    assert restore.available(NAMES.staging)
    assert not restore.roll_back()
    for _ in range(2):
        restore.delete_old()
    assert restore.gone()
    assert instances(rds) == {NAMES.production, NAMES.staging}


def test_back_when_the_second_rename_fails(rds):
    restore = Restore(rds, NAMES, "run")
    restore.restore(restore.latest_snapshot(), restore.details())
    restore.rename(NAMES.staging, NAMES.old)
    rds.delete_db_instance(DBInstanceIdentifier=NAMES.temporary, SkipFinalSnapshot=True)
    with pytest.raises(rds.exceptions.DBInstanceNotFoundFault):
        restore.rename(NAMES.temporary, NAMES.staging)
    assert restore.roll_back()
    assert instances(rds) == {NAMES.production, NAMES.staging}
    assert not restore.roll_back()


def test_another_runs_database_is_not_taken(rds):
    restore = Restore(rds, NAMES, "run")
    restore.restore(restore.latest_snapshot(), restore.details())
    with pytest.raises(Fatal, match="left by another run; delete it"):
        Restore(rds, NAMES, "another").restore(restore.latest_snapshot(), restore.details())


@pytest.mark.parametrize(
    "step",
    [
        lambda r: r.rename("prod-openverse-db", "dev-openverse-db"),
        lambda r: r.rename("dev-openverse-db", "x"),
    ],
)
def test_nothing_else_is_changed(rds, step):
    with pytest.raises(Fatal, match="not one of staging's"):
        step(Restore(rds, NAMES))
    with pytest.raises(Fatal, match="four different"):
        Restore(rds, Databases(staging="prod-openverse-db"))


def test_what_is_missing(rds):
    rds.delete_db_instance(DBInstanceIdentifier=NAMES.staging, SkipFinalSnapshot=True)
    with pytest.raises(Fatal, match="no database dev-openverse-db"):
        Restore(rds, NAMES).details()
    with pytest.raises(Fatal, match="no automated snapshot"):
        Restore(rds, Databases(production="nobody")).latest_snapshot()


@pytest.mark.database
def test_applications_are_forgotten(api):
    sample_data.fill(api, "api", 20)
    api.execute("insert into api_oauth2registration (name, description, email) values ('a', 'b', 'c')")
    api.execute(
        "insert into api_oauth2verification (associated_application_id, email, code) values (1, 'a', 'b')"
    )
    forget_applications(api)
    for table in ("api_throttledapplication", "api_oauth2registration", "api_oauth2verification"):
        assert api.execute(f"select count(*) from {table}").fetchone() == (0,)
    assert api.execute("select count(*) from image").fetchone() == (20,)


def test_the_deployment(httpserver: HTTPServer):
    """The newest version may have no tag; versions come in pages."""
    path = "/orgs/owner/packages/container/api/versions"
    second = [
        {"metadata": {"container": {"tags": ["latest", "v2"]}}},
        {"metadata": {"container": {"tags": ["v1"]}}},
    ]
    httpserver.expect_request(path, query_string={"per_page": "100", "page": "2"}).respond_with_json(second)
    link = f'<{httpserver.url_for(path)}?per_page=100&page=2>; rel="next"'
    httpserver.expect_request(path, query_string={"per_page": "100"}).respond_with_json(
        [{"metadata": {"container": {"tags": []}}}], headers={"Link": link}
    )
    dispatch = "/repos/owner/infrastructure/actions/workflows/deploy.yml/dispatches"
    wanted = {"ref": "main", "inputs": {"tag": "v2"}}
    httpserver.expect_request(
        dispatch, "POST", json=wanted, headers={"Authorization": "Bearer key"}
    ).respond_with_data("", 204)
    target = Deploy("owner/infrastructure", "deploy.yml", "api", httpserver.url_for("").rstrip("/"))
    assert deploy(target, GitHub(Secret("key"), target.api)) == "v2"


@pytest.mark.parametrize(
    ("status", "headers", "error", "text"),
    [
        (404, {}, Fatal, "knows no"), (401, {}, Fatal, "answered 401"), (403, {"x-ratelimit-remaining": "0"}, Retry, "answered 403"),
        (403, {}, Fatal, "answered 403"), (502, {}, Retry, "answered 502"), (429, {"retry-after": "7"}, Retry, "answered 429"),
    ],
)  # fmt: skip
def test_github_in_trouble(httpserver: HTTPServer, status, headers, error, text):
    httpserver.expect_request("/orgs/owner/packages/container/api/versions").respond_with_data(
        "{}", status, headers
    )
    target = Deploy("owner/x", "deploy.yml", "api", httpserver.url_for("").rstrip("/"))
    with pytest.raises(error, match=text) as caught:
        deploy(target, GitHub(Secret("key"), target.api))
    assert "key" not in str(caught.value)


def test_snapshots_rotate(aws, rds):
    """The newest of ours stay; other people's, automated ones and those of another instance are not ours to delete."""
    rds.create_db_snapshot(DBInstanceIdentifier=NAMES.production, DBSnapshotIdentifier="by-hand")
    rds.create_db_snapshot(
        DBInstanceIdentifier=NAMES.staging, DBSnapshotIdentifier="airflow-managed-20230101t000000"
    )
    for month in range(1, 8):
        for _ in range(2):
            snapshots.create(rds, NAMES.production, f"airflow-managed-2024010{month}t000000")
    assert snapshots.available(rds, "airflow-managed-20240107t000000")
    gone = snapshots.delete_previous(rds, NAMES.production, 3)
    assert sorted(gone) == [f"airflow-managed-2024010{month}t000000" for month in range(1, 5)]
    left = {s["DBSnapshotIdentifier"] for s in rds.describe_db_snapshots()["DBSnapshots"]}
    assert {
        "by-hand",
        "airflow-managed-20230101t000000",
        *(f"airflow-managed-2024010{n}t000000" for n in (5, 6, 7)),
    } <= left
    assert [s for s in left if s.startswith("rds:")]
    assert snapshots.delete_previous(rds, NAMES.production, 3) == []
    with pytest.raises(ValueError, match="at least one"):
        snapshots.delete_previous(rds, NAMES.production, 0)
    with pytest.raises(ValueError, match="called airflow-managed-"):
        snapshots.create(rds, NAMES.production, "mine")


def test_odd_snapshots_cost_themselves():
    """Being made, without a time, without a name, in use, gone meanwhile: the others are deleted, and none of these is a fault."""
    client = boto3.client("rds", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    then = datetime(2024, 1, 1, tzinfo=UTC)

    def ours(number, **changes):
        name = f"airflow-managed-{number}"
        whole = {
            "DBSnapshotIdentifier": name,
            "Status": "available",
            "SnapshotCreateTime": then + timedelta(number),
        }
        return {key: value for key, value in {**whole, **changes}.items() if value is not None}

    snapshots_there = [
        *(ours(n) for n in (1, 2, 3, 4)), ours(5, Status="creating", SnapshotCreateTime=None), ours(6, SnapshotCreateTime=None),
        ours(7, Status=None), ours(8, DBSnapshotIdentifier=None), {},
    ]  # fmt: skip
    with Stubber(client) as stub:
        stub.add_response("describe_db_snapshots", {"DBSnapshots": snapshots_there})
        stub.add_client_error("delete_db_snapshot", "InvalidDBSnapshotState")
        stub.add_client_error("delete_db_snapshot", "DBSnapshotNotFound")
        stub.add_response("delete_db_snapshot", {}, {"DBSnapshotIdentifier": "airflow-managed-1"})
        assert snapshots.delete_previous(client, "db", 1) == ["airflow-managed-1"]
        for found in ([], [{}], [{"Status": "creating"}]):
            stub.add_response("describe_db_snapshots", {"DBSnapshots": found})
            assert snapshots.available(client, "s") is False
        stub.add_response("describe_db_snapshots", {"DBSnapshots": [{"Status": "failed"}]})
        with pytest.raises(Fatal, match="the snapshot s failed; delete it"):
            snapshots.available(client, "s")
