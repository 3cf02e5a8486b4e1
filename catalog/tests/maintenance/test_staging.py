"""Restoring the staging database, against moto's RDS, and deploying, against a server like GitHub's."""

import threading
from datetime import UTC, datetime, timedelta

import boto3
import msgspec
import psycopg
import pytest
import requests
from botocore.stub import Stubber
from pytest_httpserver import HTTPServer
from werkzeug import Response

from catalog.core.errors import Fatal, Retry, UnexpectedResponse
from catalog.core.secrets import Secret
from catalog.core.setting_values import Databases, Deploy
from catalog.database import sample_data
from catalog.maintenance import snapshots
from catalog.maintenance.github import GitHub
from catalog.maintenance.rds_restore import RUN_TAG, Restore
from catalog.maintenance.staging import deploy, forget_applications
from catalog.tests.aws_server import aws_server

pytestmark = pytest.mark.enable_socket
NAMES = Databases()


@pytest.fixture(scope="module")
def aws():
    with aws_server() as address:
        yield address


@pytest.fixture(scope="module")
def client(aws):
    return boto3.client(
        "rds",
        endpoint_url=aws,
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )


@pytest.fixture
def rds(aws, client):
    """Production with snapshots, and staging."""
    requests.post(f"{aws}/moto-api/reset", timeout=10)
    for name in (NAMES.production, NAMES.staging):
        client.create_db_instance(
            DBInstanceIdentifier=name, DBInstanceClass="db.t3.micro", Engine="postgres", AllocatedStorage=20
        )
    return client


def instances(rds):
    return {i["DBInstanceIdentifier"] for i in rds.describe_db_instances()["DBInstances"]}


def restored_by(rds):
    """Return the run that restored each instance; "" for those that existed before."""
    found = rds.describe_db_instances()["DBInstances"]
    return {
        i["DBInstanceIdentifier"]: {t["Key"]: t["Value"] for t in i.get("TagList", [])}.get(RUN_TAG, "")
        for i in found
    }


STEPS = {
    "restore": lambda r: r.restore(r.latest_snapshot(), r.details()),
    "rename_staging_to_old": lambda r: r.move_staging_away(),
    "rename_temporary_to_staging": lambda r: r.move_restored_in(),
    "roll_back": lambda r: r.roll_back(),
    "delete_old": lambda r: r.delete_old(),
    "truncate_applications": lambda r: r.require_exchanged("staging.example"),
    "await_staging": lambda r: r.available("staging"),
    "await_temporary": lambda r: r.available("temporary"),
    "await_old": lambda r: r.available("old"),
}
P, S, T, OLD = NAMES.production, NAMES.staging, NAMES.temporary, NAMES.old
BEFORE, RESTORED, AWAY, EXCHANGED, ENDED = (
    {S: ""},
    {S: "", T: "run"},
    {OLD: "", T: "run"},
    {S: "run", OLD: ""},
    {S: "run"},
)
STATES = {
    "before": BEFORE,
    "restored": RESTORED,
    "staging is renamed": AWAY,
    "exchanged": EXCHANGED,
    "ended": ENDED,
    "the restored one is lost": {OLD: ""},
    "rolled back": RESTORED,
    "an old one was left": {S: "", T: "run", OLD: "earlier"},
    "another restored": {S: "", T: "another"},
    "another restored, after this": {S: "run", T: "another"},
    "another is exchanging": {OLD: "", T: "another"},
    "another is exchanging, after this": {OLD: "run", T: "another"},
    "another exchanged": {S: "another", OLD: ""},
    "another exchanged, after this": {S: "another", OLD: "run"},
    "another ended": {S: "another"},
    "staging by hand": {S: "", OLD: ""},
    "staging is lost": {},
    "only this run's is left": {T: "run"},
}
DUE = [  # all other pairs change nothing
    (BEFORE, "restore", RESTORED),
    (RESTORED, "rename_staging_to_old", AWAY),
    (AWAY, "rename_temporary_to_staging", EXCHANGED),
    (EXCHANGED, "delete_old", ENDED),
    (AWAY, "roll_back", RESTORED),
    ({OLD: ""}, "roll_back", BEFORE),
    ({T: "run"}, "rename_temporary_to_staging", ENDED),
    ({S: "another"}, "restore", {S: "another", T: "run"}),
    ({S: "another", OLD: ""}, "restore", {S: "another", OLD: "", T: "run"}),
    ({S: "another", OLD: "run"}, "restore", {S: "another", OLD: "run", T: "run"}),
    ({S: "", OLD: ""}, "restore", {S: "", OLD: "", T: "run"}),
]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("state", STATES)
def test_a_step_is_repeated_at_any_moment(rds, state, step):
    """It does what remains to be done, does nothing, or refuses; no database is lost or renamed wrongly."""
    wanted = STATES[state]
    rds.delete_db_instance(DBInstanceIdentifier=S, SkipFinalSnapshot=True)
    for name, run in wanted.items():
        rds.create_db_instance(
            DBInstanceIdentifier=name,
            DBInstanceClass="db.t3.micro",
            Engine="postgres",
            AllocatedStorage=20,
            Tags=[{"Key": RUN_TAG, "Value": run}] if run else [],
        )
    assert restored_by(rds) == {P: "", **wanted}
    for _ in range(2):
        try:
            STEPS[step](Restore(rds, NAMES, "run"))
        except (Fatal, Retry) as refusal:
            assert any(name in str(refusal) for name in (S, T, OLD))
        wanted = next((after for before, due, after in DUE if (before, due) == (wanted, step)), wanted)
        assert restored_by(rds) == {P: "", **wanted}


def test_a_whole_restoration(rds):
    restore = Restore(rds, NAMES, "run")
    snapshot = restore.latest_snapshot()
    assert snapshot.startswith("rds:prod-openverse-db")
    assert restore.snapshot_ready(snapshot)
    details = restore.details()
    assert details["DBInstanceClass"] == "db.t3.micro"
    restore.restore(snapshot, details)
    assert restore.available("temporary")
    restore.move_staging_away()
    assert restore.available("old")
    assert not restore.available("staging")
    restore.move_restored_in()
    assert [restore.available(role) for role in ("staging", "temporary", "old")] == [True] * 3
    assert not restore.roll_back()
    restore.require_exchanged("pool.example")
    [staging] = rds.describe_db_instances(DBInstanceIdentifier=S)["DBInstances"]
    restore.require_exchanged(staging["Endpoint"]["Address"])
    with pytest.raises(
        Fatal, match=r"leads to prod\.1\.us-east-1\.rds\.amazonaws\.com, not to dev-openverse-db"
    ):
        restore.require_exchanged("prod.1.us-east-1.rds.amazonaws.com")
    restore.delete_old()
    assert restore.is_old_deleted()
    assert restored_by(rds) == {P: "", S: "run"}
    assert restore.source() == snapshot


def test_an_old_database_that_is_being_deleted_is_not_gone(aws_says):
    """It may still answer for a while."""
    client, answers = aws_says
    deleting = {"DBInstanceIdentifier": NAMES.old, "DBInstanceStatus": "deleting"}
    answers.add_response("describe_db_instances", {"DBInstances": [deleting]})
    assert not Restore(client, NAMES).is_old_deleted()


def test_a_new_run_with_the_id_of_an_earlier_one_restores_again(rds):
    """Airflow makes a deleted scheduled run again with its id."""
    arn = rds.describe_db_instances(DBInstanceIdentifier=S)["DBInstances"][0]["DBInstanceArn"]
    rds.add_tags_to_resource(ResourceName=arn, Tags=[{"Key": RUN_TAG, "Value": "run"}])
    restore = Restore(rds, NAMES, "run")
    restore.restore(restore.latest_snapshot(), restore.details())
    assert restored_by(rds) == {P: "", S: "run"}  # a cleared run has nothing to do
    restore.rename_earlier_run()
    restore.restore(restore.latest_snapshot(), restore.details())
    found = restored_by(rds)
    assert found[S].startswith("run before 2")
    assert found[T] == "run"
    restore.rename_earlier_run()
    with pytest.raises(Fatal, match=f"{T} already exists, left by another run"):
        restore.restore(restore.latest_snapshot(), restore.details())


def test_the_old_database_comes_back_when_the_second_rename_fails(rds):
    restore = Restore(rds, NAMES, "run")
    restore.restore(restore.latest_snapshot(), restore.details())
    restore.move_staging_away()
    rds.delete_db_instance(DBInstanceIdentifier=T, SkipFinalSnapshot=True)
    with pytest.raises(Fatal, match=f"{T} is not what this run restored; trigger a new run"):
        restore.move_restored_in()
    with pytest.raises(Fatal, match=f"{S} is not what this run restored"):
        restore.require_exchanged("pool.example")
    assert restore.roll_back()
    assert instances(rds) == {P, S}
    assert not restore.roll_back()


def test_a_staging_that_is_down_is_not_called_there(rds):
    """Both names are missing, because somebody has deleted or renamed the old database, or corrected them."""
    restore = Restore(rds, NAMES, "run")
    rds.delete_db_instance(DBInstanceIdentifier=S, SkipFinalSnapshot=True)
    with pytest.raises(Retry, match=f"there is no database {S}, so staging is down, and none called {OLD}"):
        restore.roll_back()
    assert instances(rds) == {P}


def test_a_snapshot_that_was_deleted_is_not_waited_for(rds):
    name = "airflow-managed-20240101t000000"
    snapshots.create(rds, P, name)
    assert snapshots.available(rds, P, name)
    rds.delete_db_snapshot(DBSnapshotIdentifier=name)
    with pytest.raises(Retry, match=f"there is no snapshot {name} of {P}"):
        snapshots.available(rds, P, name)


def test_steps_wait_for_databases_that_are_not_available(rds, monkeypatch):
    """Staging stays until the restored database is available, and the old one until the new one is."""
    restore = Restore(rds, NAMES, "run")
    restore.restore(restore.latest_snapshot(), restore.details())
    status: dict[str, str] = {}
    described = rds.describe_db_instances

    def describe(**which):
        found = described(**which)
        for one in found["DBInstances"]:
            one["DBInstanceStatus"] = status.get(one["DBInstanceIdentifier"], one["DBInstanceStatus"])
        return found

    monkeypatch.setattr(rds, "describe_db_instances", describe)
    status[T] = "backing-up"
    with pytest.raises(Retry, match=f"{T} is not available, so staging stays"):
        restore.move_staging_away()
    status.clear()
    restore.move_staging_away()
    restore.move_restored_in()
    status[S] = "modifying"
    with pytest.raises(Retry, match=f"{OLD} is kept: {S} is not available"):
        restore.delete_old()
    status[OLD] = "deleting"
    restore.delete_old()
    assert set(instances(rds)) == {P, S, OLD}


def test_another_runs_database_is_not_taken(rds):
    restore = Restore(rds, NAMES, "run")
    restore.restore(restore.latest_snapshot(), restore.details())
    with pytest.raises(Fatal, match="left by another run; delete it"):
        Restore(rds, NAMES, "another").restore(restore.latest_snapshot(), restore.details())


@pytest.mark.parametrize("role", ["staging", "temporary", "old"])
@pytest.mark.parametrize("name", ["prod-openverse-db", "Prod-Openverse-DB"])
def test_production_cannot_have_a_role_of_staging(rds, role, name):
    """Names in upper case are refused as well, because RDS ignores case."""
    with pytest.raises(Fatal, match="four different"):
        Restore(rds, Databases(**{role: name}))
    with pytest.raises(Fatal, match="four different"):
        Restore(rds, Databases(production=name.upper(), **{role: name}))
    with pytest.raises(Fatal, match="four different"):
        Restore(rds, msgspec.convert({role: name}, Databases))


def test_names_in_upper_case(rds):
    restore = Restore(rds, Databases(*(name.upper() for name in (P, S, T, OLD))), "run")
    restore.restore(restore.latest_snapshot(), restore.details())
    restore.move_staging_away()
    restore.move_restored_in()
    restore.delete_old()
    assert restored_by(rds) == {P: "", S: "run"}


def test_a_missing_database_or_snapshot_is_named(rds):
    rds.delete_db_instance(DBInstanceIdentifier=NAMES.staging, SkipFinalSnapshot=True)
    with pytest.raises(Fatal, match="no database dev-openverse-db"):
        Restore(rds, NAMES).details()
    with pytest.raises(Fatal, match="no automated snapshot"):
        Restore(rds, Databases(production="nobody")).latest_snapshot()


@pytest.fixture
def aws_says():
    """Return a client, and the answers that it gives."""
    client = boto3.client("rds", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    with Stubber(client) as stub:
        yield client, stub


def snapshot(name, days, status="available"):
    taken = datetime.now(UTC) - timedelta(days=days)
    return {"DBSnapshotIdentifier": name, "SnapshotCreateTime": taken, "Status": status}


def test_a_snapshot_that_is_old_is_no_backup(aws_says):
    client, answers = aws_says
    answers.add_response("describe_db_snapshots", {"DBSnapshots": [snapshot("rds:old", 3)]})
    with pytest.raises(Fatal, match=r"rds:old, is of .*: its backups have stopped"):
        Restore(client, NAMES).latest_snapshot()


def test_a_snapshot_that_failed_is_not_waited_for(aws_says):
    client, answers = aws_says
    found = [snapshot("rds:whole", 1), snapshot("rds:broken", 0.5, "failed")]
    answers.add_response("describe_db_snapshots", {"DBSnapshots": found})
    assert Restore(client, NAMES).latest_snapshot() == "rds:whole"
    for status, ready in (("creating", False), ("available", True)):
        answers.add_response("describe_db_snapshots", {"DBSnapshots": [snapshot("rds:new", 0, status)]})
        assert Restore(client, NAMES).snapshot_ready("rds:new") is ready
    answers.add_response("describe_db_snapshots", {"DBSnapshots": found[1:]})
    with pytest.raises(Fatal, match="the snapshot rds:broken failed; trigger a new run"):
        Restore(client, NAMES).snapshot_ready("rds:broken")
    answers.add_client_error("describe_db_snapshots", "DBSnapshotNotFound")
    with pytest.raises(Fatal, match="the snapshot rds:whole is gone, as after its retention; trigger a new"):
        Restore(client, NAMES).snapshot_ready("rds:whole")


@pytest.mark.parametrize(
    ("group", "kept"), [("default.postgres16", {}), ("ours", {"DBParameterGroupName": "ours"})]
)
def test_a_parameter_group_of_staging_stays(aws_says, group, kept):
    """A default one follows from the version of the engine."""
    client, answers = aws_says
    staging = {"DBInstanceClass": "db.t3.micro", "DBParameterGroups": [{"DBParameterGroupName": group}]}
    answers.add_response("describe_db_instances", {"DBInstances": [staging]})
    details = Restore(client, NAMES).details()
    assert details == {"DBInstanceClass": "db.t3.micro", "VpcSecurityGroupIds": [], **kept}


def test_staging_that_could_not_be_deleted_is_refused_before_it_is_replaced(aws_says):
    client, answers = aws_says
    staging = {"DBInstanceIdentifier": NAMES.staging, "DeletionProtection": True}
    answers.add_response("describe_db_instances", {"DBInstances": [staging]})
    with pytest.raises(Fatal, match="protected against deletion"):
        Restore(client, NAMES).details()


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


def test_production_s_applications_are_kept(api, api_dsn):
    """Even if the connection to staging leads there."""
    sample_data.fill(api, "api", 20)
    api.execute("insert into api_oauth2registration (name, description, email) values ('a', 'b', 'c')")
    with (
        psycopg.connect(api_dsn, autocommit=True) as production,
        pytest.raises(Fatal, match="leads to the production database of the API, so no keys were deleted"),
    ):
        forget_applications(api, production)
    assert api.execute("select count(*) from api_oauth2registration").fetchone() == (1,)
    with psycopg.connect(api_dsn, dbname="postgres", autocommit=True) as another:
        forget_applications(api, another)
    assert api.execute("select count(*) from api_oauth2registration").fetchone() == (0,)


def version(*tags, created_at="2024-03-03T00:00:00Z"):
    return {"created_at": created_at, "metadata": {"container": {"tags": list(tags)}}}


def test_odd_answers_of_github_are_no_tags(httpserver: HTTPServer):
    versions = [
        {"metadata": None, "created_at": "2024-03-03T00:00:00Z"},
        {"metadata": {"container": {"tags": "abc"}}, "created_at": "2024-03-02T00:00:00Z"},
        {"metadata": {"container": {"tags": [None, "v1"]}}, "created_at": "2024-03-01T00:00:00Z"},
    ]
    httpserver.expect_request("/orgs/owner/packages/container/api/versions").respond_with_json(versions)
    github = GitHub(Secret("key"), httpserver.url_for("").rstrip("/"))
    assert github.newest_tag("owner", "api") == "v1"


def test_a_list_that_leads_back_to_itself_ends(httpserver: HTTPServer):
    link = f'<{httpserver.url_for("/repos/o/r/pulls?page=2")}>; rel="next"'
    httpserver.expect_request("/repos/o/r/pulls").respond_with_data("[]", headers={"Link": link})
    github = GitHub(Secret("key"), httpserver.url_for("").rstrip("/"))
    with pytest.raises(UnexpectedResponse, match="lead back to one that was read"):
        github.pages("repos/o/r/pulls")
    assert len(httpserver.log) == 2


def test_the_deployment(httpserver: HTTPServer):
    """The newest version may have no tag; versions come in pages, and in any order."""
    path = "/orgs/owner/packages/container/api/versions"
    second = [
        version("v1", created_at="2024-03-01T00:00:00Z"),
        version("latest", "v2", created_at="2024-03-02T00:00:00+00:00"),
    ]
    httpserver.expect_request(path, query_string={"per_page": "100", "page": "2"}).respond_with_json(second)
    link = f'<{httpserver.url_for(path)}?per_page=100&page=2>; rel="next"'
    httpserver.expect_request(path, query_string={"per_page": "100"}).respond_with_json(
        [version(), version("v0", created_at="2024-02-29T00:00:00Z")], headers={"Link": link}
    )
    dispatch = "/repos/owner/infrastructure/actions/workflows/deploy.yml/dispatches"
    wanted = {"ref": "main", "inputs": {"tag": "v2"}}
    httpserver.expect_request(
        dispatch, "POST", json=wanted, headers={"Authorization": "Bearer key"}
    ).respond_with_data("", 204)
    target = Deploy("owner/infrastructure", "deploy.yml", "api", httpserver.url_for("").rstrip("/"))
    assert deploy(target, GitHub(Secret("key"), target.api)) == "v2"


@pytest.mark.parametrize("created_at", [None, 5, "yesterday"])
def test_a_version_that_does_not_say_when_it_was_created_is_not_deployed(httpserver: HTTPServer, created_at):
    versions = [version("v1"), version("v2", created_at=created_at)]
    httpserver.expect_request(VERSIONS).respond_with_json(versions)
    github = GitHub(None, httpserver.url_for("").rstrip("/"))
    with pytest.raises(UnexpectedResponse, match="when version v2 of owner/api was created"):
        github.newest_tag("owner", "api")


@pytest.mark.parametrize(
    ("status", "headers", "error", "text"),
    [
        (404, {}, Fatal, "knows no"),
        (401, {}, Fatal, "answered 401"),
        (403, {"x-ratelimit-remaining": "0"}, Retry, "answered 403"),
        (429, {}, Retry, "answered 429"),
        (403, {}, Fatal, "answered 403"),
        (502, {}, Retry, "answered 502"),
        (429, {"retry-after": "7"}, Retry, "answered 429"),
    ],
)
def test_github_in_trouble(httpserver: HTTPServer, status, headers, error, text):
    httpserver.expect_request("/orgs/owner/packages/container/api/versions").respond_with_data(
        "{}", status, headers
    )
    target = Deploy("owner/x", "deploy.yml", "api", httpserver.url_for("").rstrip("/"))
    with pytest.raises(error, match=text) as caught:
        deploy(target, GitHub(Secret("key"), target.api))
    assert "key" not in str(caught.value)


VERSIONS, DISPATCH = (
    "/orgs/owner/packages/container/api/versions",
    "/repos/owner/x/actions/workflows/deploy.yml/dispatches",
)


@pytest.fixture
def dispatch(httpserver: HTTPServer):
    """Return a function that deploys, where a handler answers the request for the deployment."""

    def dispatch(handler):
        httpserver.expect_request(VERSIONS).respond_with_json([version("v2")])
        httpserver.expect_request(DISPATCH, "POST").respond_with_handler(handler)
        target = Deploy("owner/x", "deploy.yml", "api", httpserver.url_for("").rstrip("/"))
        return deploy(target, GitHub(Secret("key"), target.api))

    return dispatch


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_deployment_that_may_have_begun_is_not_repeated(dispatch, status):
    with pytest.raises(Fatal, match=r"answered 5.. to POST .* look at the runs of deploy\.yml in owner/x"):
        dispatch(lambda _: Response("", status))


def test_a_deployment_without_an_answer_is_not_repeated(dispatch, monkeypatch):
    """GitHub has received the request; the answer comes too late."""
    monkeypatch.setattr("catalog.maintenance.github.TIMEOUT", 0.5)
    late, ended = threading.Event(), threading.Event()

    def handler(_):
        late.wait(30)
        ended.set()
        return Response("", 204)

    try:
        with pytest.raises(Fatal, match=r"does not answer: ReadTimeout.*may have started the workflow"):
            dispatch(handler)
    finally:
        late.set()
        ended.wait(30)


def test_a_deployment_that_has_not_begun_is_repeated(dispatch):
    """GitHub limits the rate, or is not there at all."""
    with pytest.raises(Retry, match="answered 429") as raised:
        dispatch(lambda _: Response("", 429, {"Retry-After": "7"}))
    assert raised.value.retry_after == 7
    with pytest.raises(Retry, match="does not answer"):
        GitHub(None, "http://127.0.0.1:9").dispatch("owner/x", "deploy.yml", {})


@pytest.mark.parametrize(
    ("status", "headers", "body", "wait"),
    [
        (403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1700001800"}, "{}", 1801),
        (429, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1600000000"}, "{}", 1),  # just now
        (403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "soon"}, "{}", 60),
        (403, {"x-ratelimit-remaining": "0"}, "{}", 60),
        (403, {"x-ratelimit-remaining": "0", "retry-after": "7"}, "{}", 7),
        (403, {"x-ratelimit-remaining": "57"}, '{"message": "You exceeded a secondary rate limit."}', 60),
        (429, {}, "", 60),
        (503, {"retry-after": "7.5"}, "", 7.5),
        (503, {}, "", None),
    ],
)
def test_how_long_to_wait_for_github(httpserver: HTTPServer, status, headers, body, wait):
    httpserver.expect_request("/x").respond_with_data(body, status, headers)
    github = GitHub(None, httpserver.url_for("").rstrip("/"), lambda: 1_700_000_000.0)
    with pytest.raises(Retry) as raised:
        github.call("GET", "x")
    assert raised.value.retry_after == wait


def test_a_netrc_does_not_take_the_place_of_the_token(httpserver: HTTPServer, tmp_path, monkeypatch):
    """It does not after a redirect either, as to a repository's new name; another host gets no token."""
    (tmp_path / ".netrc").write_text(
        "machine localhost login bob password pw\nmachine 127.0.0.1 login bob password pw\n"
    )
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    away = f"http://127.0.0.1:{httpserver.port}/new"
    for path, target in (("/old", "/new"), ("/gone", away)):
        httpserver.expect_request(path).respond_with_response(
            Response(status=301, headers={"Location": target})
        )
    httpserver.expect_request("/new").respond_with_json({})
    github = GitHub(Secret("ghp"), httpserver.url_for("").rstrip("/"))
    github.call("GET", "old")
    github.call("GET", "gone")
    assert [(r.path, r.headers.get("Authorization")) for r, _ in httpserver.log] == [
        ("/old", "Bearer ghp"),
        ("/new", "Bearer ghp"),
        ("/gone", "Bearer ghp"),
        ("/new", None),
    ]


def test_snapshots_rotate(aws, rds):
    """The newest of ours stay; automated ones, other people's and other instances' are never deleted."""
    rds.create_db_snapshot(DBInstanceIdentifier=NAMES.production, DBSnapshotIdentifier="by-hand")
    rds.create_db_snapshot(
        DBInstanceIdentifier=NAMES.staging, DBSnapshotIdentifier="airflow-managed-20230101t000000"
    )
    for month in range(1, 8):
        for _ in range(2):
            snapshots.create(rds, NAMES.production, f"airflow-managed-2024010{month}t000000")
    assert snapshots.available(rds, NAMES.production, "airflow-managed-20240107t000000")
    deleted = snapshots.delete_previous(rds, NAMES.production, 3)
    assert sorted(deleted) == [f"airflow-managed-2024010{month}t000000" for month in range(1, 5)]
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


def test_a_snapshot_of_another_catalog_is_not_taken_for_ours(rds):
    """Names are unique in an account, where two catalogs take snapshots at the same moment."""
    name = "airflow-managed-20240101t000000"
    databases = (NAMES.staging, NAMES.production)
    made = {database: snapshots.create(rds, database, name) for database in databases}
    assert made == {NAMES.staging: name, NAMES.production: f"{name}-{NAMES.production}"}
    for _ in range(2):
        assert {database: snapshots.create(rds, database, name) for database in databases} == made
    for database in databases:
        assert snapshots.available(rds, database, made[database])
        assert snapshots.delete_previous(rds, database, 1) == []
    another = "another"
    rds.create_db_instance(
        DBInstanceIdentifier=another, DBInstanceClass="db.t3.micro", Engine="postgres", AllocatedStorage=20
    )
    rds.create_db_snapshot(DBInstanceIdentifier=NAMES.staging, DBSnapshotIdentifier=f"{name}-{another}")
    with pytest.raises(Fatal, match="are snapshots of other instances"):
        snapshots.create(rds, another, name)


def test_odd_snapshots_affect_no_other():
    """Snapshots being created, in use, deleted meanwhile, or without a time or a name are not errors.

    The others are deleted.
    """
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
        *(ours(n) for n in (1, 2, 3, 4)),
        ours(5, Status="creating", SnapshotCreateTime=None),
        ours(6, SnapshotCreateTime=None),
        ours(7, Status=None),
        ours(8, DBSnapshotIdentifier=None),
        {},
    ]
    with Stubber(client) as stub:
        stub.add_response("describe_db_snapshots", {"DBSnapshots": snapshots_there})
        stub.add_client_error("delete_db_snapshot", "InvalidDBSnapshotState")
        stub.add_client_error("delete_db_snapshot", "DBSnapshotNotFound")
        stub.add_response("delete_db_snapshot", {}, {"DBSnapshotIdentifier": "airflow-managed-1"})
        assert snapshots.delete_previous(client, "db", 1) == ["airflow-managed-1"]
        ours_ = {"DBInstanceIdentifier": "db"}
        for found in (ours_, {"Status": "creating", **ours_}):
            stub.add_response("describe_db_snapshots", {"DBSnapshots": [found]})
            assert snapshots.available(client, "db", "s") is False
        missing: list[list[dict[str, str]]] = [
            [],
            [{"Status": "available", "DBInstanceIdentifier": "another"}],
        ]
        for none in missing:
            stub.add_response("describe_db_snapshots", {"DBSnapshots": none})
            with pytest.raises(Retry, match="there is no snapshot s of db; if it was deleted, clear"):
                snapshots.available(client, "db", "s")
        stub.add_response("describe_db_snapshots", {"DBSnapshots": [{"Status": "failed", **ours_}]})
        with pytest.raises(Fatal, match="the snapshot s failed; delete it"):
            snapshots.available(client, "db", "s")
