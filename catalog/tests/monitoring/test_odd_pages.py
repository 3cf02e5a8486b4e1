"""Pages when something is odd or away: each shows the rest, and what could not be read is not called well."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import psycopg
import pytest
from psycopg.types.json import Jsonb

from catalog.data_refresh.search.client import connect
from catalog.data_refresh.search.indexes import Indexes
from catalog.database import sample_data
from catalog.monitoring import explore
from catalog.tests.conftest import database
from catalog.tests.monitoring.reports import report
from catalog.tests.plugins.searchable import make_searchable
from catalog.tests.plugins.website import Site, dag, run, website

pytestmark = [pytest.mark.database, pytest.mark.airflow, pytest.mark.enable_socket]
HELD = """{
    "stocksnap_workflow": "a run", "flickr_workflow": "trying it", "metropolitan_museum_workflow": "a",
    "flickr_workflw": "mistyped"
}"""
NOBODY = "00000000-0000-0000-0000-000000000000"


class Odd(msgspec.Struct, frozen=True):
    """A website and what it reads from."""

    site: Site
    catalog: psycopg.Connection[Any]
    search: Indexes
    keys: list[str]

    def text(self, path: str, status: int = 200) -> str:
        """Return the words of a page."""
        answer = self.site.get(path)
        assert answer.status_code == status, path
        return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.text))


@pytest.fixture(scope="module")
def odd(server, engine, tmp_path_factory) -> Iterator[Odd]:
    """Two providers that have been loaded, one of whose DAGs the user may not read, and one lost DAG."""
    now = datetime.now(UTC)
    scheme, _, address = engine.url.partition("://")
    host, _, port = address.partition(":")
    with (
        database(server, "migrated") as catalog_dsn,
        database(server, "migrated_api") as api_dsn,
        psycopg.connect(catalog_dsn, autocommit=True) as catalog,
        psycopg.connect(api_dsn, autocommit=True) as api,
    ):
        sample_data.fill(catalog, "catalog", 200)
        sample_data.fill(api, "api", 200)
        keys = [str(key) for (key,) in catalog.execute("select identifier from image order by 1 limit 20")]
        api.execute("update image set title = null, creator = null, removed_from_source = false")
        search = Indexes(connect(engine.url, engine="opensearch"))
        make_searchable(api, search)
        bare = {"title": None, "created_on": "2020-01-01T00:00:00Z"}
        for key in (NOBODY, "no-uuid"):
            search.client.index(index="image-shown", id=key, document=bare, refresh=True)
        report(catalog, "flickr", now - timedelta(hours=1), inserted=3, run_id="scheduled__[x]/?#%é 1+00:00")
        report(catalog, "met", now, dag_id="metropolitan_museum_workflow", run_id="hidden", rejected=1)
        connections = {
            "postgres_openledger_upstream": catalog_dsn,
            "postgres_openledger_api": api_dsn,
            "elasticsearch_http_production": f"{scheme}://{host}:{port}/?engine=opensearch",
        }
        hidden = "metropolitan_museum_workflow"
        dags = [
            dag("flickr_workflow", next_run=now),
            dag(hidden),
            dag("nappy_workflow", stale=True),
            dag("daily_digest", stale=True),
            dag("stocksnap_workflow"),
            dag("image_data_refresh"),
            dag("audio_data_refresh"),
            dag("wordpress_workflow"),
            dag("smk_workflow"),
        ]
        failed = run(hidden, "hidden", "failed", now - timedelta(hours=2), now, pull_image_data="failed")
        earlier, later = now - timedelta(hours=2), now - timedelta(hours=1)
        ended = run("stocksnap_workflow", "ended", "failed", earlier, later, pull_image_data="failed")
        queued = run("stocksnap_workflow", "queued", "queued", later, now)
        replay = run("stocksnap_workflow", "replay", "success", later, now) | {"conf": {"replay": "folder"}}
        narrowed = [
            run("stocksnap_workflow", key, "success", later, now) | {"conf": {key: value}}
            for key, value in (
                ("limit", 100),
                ("initial_query_params", {"page": 3}),
                ("query_params_list", [{"page": 3}]),
            )
        ]
        tried = run("stocksnap_workflow", "tried", "failed", later, now, pull_image_data="failed")
        tried |= {"conf": {"replay": "no folder"}}
        smk = run("smk_workflow", "failed", "failed", earlier, later, pull_image_data="failed")
        conf: dict[str, Any] = {
            "limit": 0,
            "initial_query_params": None,
            "query_params_list": [],
            "date": None,
        }
        unlimited = run("smk_workflow", "unlimited", "success", later, now) | {"conf": conf}
        why = "refused; trigger it again"
        about = ("wordpress_workflow", "cleared", "failed", earlier, now)
        cleared = run(*about, failure=why, pull_image_data="failed")
        newer = run("wordpress_workflow", "newer", "success", earlier, later)
        turn = "create_filtered_image_index (run a), audio_x (run b)"
        waiting = [
            run(
                "image_data_refresh",
                f"wait {state}",
                "running",
                earlier,
                now,
                wait_for_conflicting_dags=state,
            )
            | {"waits_for": turn if state != "success" else "one that has ended"}
            for state in ("up_for_reschedule", "success")
        ]
        waiting.append(run("image_data_refresh", "behind", "queued", later, now))
        secret = run(
            "audio_data_refresh", "wait", "running", earlier, now, wait_for_conflicting_dags="running"
        )
        waiting.append(secret | {"waits_for": f"{hidden} (run it)"})
        folder = tmp_path_factory.mktemp("odd")
        try:
            variables = {
                "HIDDEN_DAGS": hidden,
                "AIRFLOW_VAR_HELD_SCHEDULES": HELD,
                "AIRFLOW_CONN_SLACK_ALERT": "slack://x",
                "AIRFLOW_VAR_CONFIGURATION_OVERRIDES": '{"wordpress_flow": [{"timeout": "1d:0h:0m:0s"}]}',
            }
            runs = [failed, ended, queued, replay, *narrowed, tried, smk, unlimited, cleared, newer, *waiting]
            stored = ["ingestion_limit", "COLOUR"]
            with website(folder, connections, dags, runs, variables, stored) as site:
                yield Odd(site, catalog, search, keys)
        finally:
            search.client.indices.delete(index="image-*,audio-*", ignore_unavailable=True)
            search.client.close()


def test_results_without_title_creator_source_or_license(odd):
    shown = odd.text("/explore?page=9")
    assert "untitled" in shown
    assert "unknown creator" in shown
    assert "unknown license, unknown source" in shown


DEEP = "[" * 400 + "]" * 400
VERY_DEEP = "[" * 5000 + "]" * 5000
DIGITS = "1" * 5001
RECORDS = {
    "a huge integer": f"""meta_data = '{{"n": {DIGITS}}}'""",
    "nesting beyond the decoder": f"""meta_data = '{{"d": {VERY_DEEP}}}', tags = '{VERY_DEEP}'""",
    "a large integer": """meta_data = '{"n": 123456789012345678901234567890}'""",
    "deep nesting": f"""meta_data = '{{"d": {DEEP}}}'""",
    "an infinite accuracy": """tags = '[{"name": "a", "accuracy": 1e400}]'""",
    "odd tags": """tags = '[{"name": 1e30}, 5, null, [[]], {"name": "a", "provider": [1]}]'""",
    "the end of time": "updated_on = '9999-12-31 23:59:59+00', created_on = '0001-01-01'",
    "infinity": "created_on = 'infinity', updated_on = '-infinity'",
    "before Christ": "created_on = '0044-03-15 BC'",
    "no number": "standardized_popularity = 'nan'",
    "an empty license": "license = '', license_version = '', title = ''",
    "capitals": "license = 'BY-SA', license_version = '4.0'",
}


@pytest.mark.parametrize("name", RECORDS)
def test_odd_records(odd, name):
    key = odd.keys[1 + list(RECORDS).index(name)]
    odd.catalog.execute(f"update image set {RECORDS[name]} where identifier = %s", [key])
    shown = odd.text(f"/records/image/{key}")
    assert "All fields" in shown
    if name == "capitals":
        assert "CC BY-SA 4.0. To view the terms" in shown


def test_a_page_of_a_record_does_not_grow_with_its_values(odd):
    key = odd.keys[-1]
    odd.catalog.execute(
        "update image set meta_data = jsonb_build_object('text', repeat('x', 5000000)), tags = ("
        "select jsonb_agg(jsonb_build_object('name', n || repeat('y', 5000), 'provider', 'p'))"
        " from generate_series(1, 1100) n) where identifier = %s",
        [key],
    )
    shown = odd.text(f"/records/image/{key}")
    assert len(shown) < 1_500_000
    assert "characters are not shown" in shown
    assert "100 more are not shown. By the policy that is in force now" in shown


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("rejected_reasons", {"x": None}),
        ("rejected_reasons", {"x": "5"}),
        ("rejected_reasons", {"x": 0}),
        ("rejected_reasons", '{"x": -1e400, "y": 1}'),
        ("rejected_reasons", f'{{"x": {DIGITS}}}'),
        ("rejected_reasons", f'{{"x": {VERY_DEEP}}}'),
        ("skipped_reasons", ["a"]),
        ("cleaned_reasons", None),
        ("shortfalls", None),
        ("shortfalls", [{"a": 1}]),
        ("shortfalls", {"a": 1}),
        ("window_end", "infinity"),
        ("window_end", "9999-12-31"),
        ("finished_on", "-infinity"),
        ("finished_on", "infinity"),
        ("finished_on", "12000-01-01"),
        ("pull_seconds", "nan"),
        ("load_seconds", "infinity"),
        ("pull_seconds", 1e300),
        ("announced", 2**63 - 1),
    ],
)
def test_odd_reports_hide_nothing_else(odd, column, value):
    value = Jsonb(value) if isinstance(value, dict | list | None) else value
    odd.catalog.execute("create temp table kept as table ingestion_report")
    odd.catalog.execute("update ingestion_report set window_start = '2020-01-01', window_end = '2020-01-02'")
    odd.catalog.execute(f"update ingestion_report set {column} = %s where provider = 'flickr'", [value])
    try:
        for path in ("/", "/providers", "/providers/flickr"):
            shown = odd.text(path)
            assert "Not shown" not in shown
            assert "could not be checked" not in shown
            assert "flickr" in shown
    finally:
        odd.catalog.execute("delete from ingestion_report")
        odd.catalog.execute("insert into ingestion_report select * from kept")
        odd.catalog.execute("drop table kept")


def test_a_window_of_the_future_is_not_fresh(odd):
    odd.catalog.execute(
        "update ingestion_report set window_start = now() + interval '1 year', "
        "window_end = now() + interval '366 days' where provider = 'flickr'"
    )
    try:
        html = odd.site.get("/providers").text
        row = next(part for part in html.split("<tr>") if "providers/flickr" in part)
        assert "fresh" not in row
    finally:
        odd.catalog.execute("update ingestion_report set window_start = null, window_end = null")


@pytest.mark.parametrize(
    "plan",
    [
        {"media_type": "image", "mode": "quick", "documents": {"image": {"flickr": "many", "met": 5}}},
        {"media_type": "image", "documents": {"image": None}},
        {"media_type": "image", "documents": {"image": {"flickr": 10**400, "met": -5}}},
        {"media_type": "image", "documents": []},
    ],
)
def test_odd_refreshes_hide_nothing_else(odd, plan):
    query = "insert into turn (dag_id, run_id) values ('image_data_refresh', 'odd') returning number"
    number = odd.catalog.execute(query).fetchone()[0]
    odd.catalog.execute(
        "insert into refresh (number, plan, stage, begun_on) values (%s, %s, 'promoted', now())",
        [number, Jsonb(plan)],
    )
    try:
        assert "could not be checked" not in odd.text("/")
        assert "Not shown" not in odd.text("/refresh")
    finally:
        odd.catalog.execute("delete from turn where number = %s", [number])


@pytest.mark.parametrize(("before", "shown"), [({"flickr": 1000}, "1,000"), (None, "unknown")])
def test_documents_before_the_last_promoted_refresh_are_found_or_unknown(odd, before, shown):
    query = """
        with made as (
            insert into turn (dag_id, run_id)
            select 'image_data_refresh', 'n' || n from generate_series(1, 13) n returning number, run_id
        )
        insert into refresh (number, plan, stage, begun_on)
        select number, %s, case run_id when 'n1' then 'promoted' else 'working' end, now() from made
    """
    odd.catalog.execute(query, [Jsonb({"media_type": "image", "documents": {"image": before}})])
    try:
        assert shown in odd.text("/refresh?media=image").partition("Documents")[2]
    finally:
        odd.catalog.execute("delete from turn where run_id like 'n%'")


def test_the_last_page_of_results_can_be_shown(odd):
    last = explore.pages(10**6)
    assert odd.text(f"/explore?page={last}")
    assert [explore.pages(total) for total in (0, 1, explore.PAGE, explore.PAGE + 1)] == [0, 1, 1, 2]


@pytest.mark.parametrize(
    "policy", ["{", "[" * 15_000, '{"minimum_accuracy": ' + "1" * 5000 + "}", '{"minimum_accuracy": 1e999}']
)
def test_a_policy_that_cannot_be_read_is_explained(odd, policy):
    answer = odd.site.get("/refresh/policy", params={"policy": policy})
    assert answer.status_code == 200
    assert 'role="alert"' in answer.text
    assert "documents would change" not in answer.text


def test_dags_that_the_user_may_not_read_are_hidden(odd):
    home = odd.site.get("/").text
    assert "metropolitan_museum" not in home
    assert "flickr" in home
    assert "metropolitan_museum" not in odd.site.get("/providers").text
    assert "You may not read the DAGs" in odd.text("/providers/metropolitan_museum", 403)
    assert "auth/logout" in odd.site.get("/providers/metropolitan_museum").text


def test_what_may_not_be_read_is_not_called_missing(odd):
    """All loads but hidden ones are taken away for a moment."""
    odd.catalog.execute("update ingestion_report set provider = 'x' where provider = 'flickr'")
    try:
        shown = odd.text("/")
    finally:
        odd.catalog.execute("update ingestion_report set provider = 'flickr' where provider = 'x'")
    assert "No load yet of what you may read." in shown
    assert "Nothing has been loaded yet" not in shown


def test_a_provider_without_loads_says_how_to_begin_with_a_few_records(odd):
    """A dump is loaded as a whole."""
    advice = """./just trigger smk_workflow '{"limit": 100}'"""
    assert advice in odd.text("/providers/smk")
    shown = odd.text("/providers/inaturalist")
    assert "Nothing has been loaded yet. Airflow's form also turns" in shown
    assert "./just trigger" not in shown


def test_the_list_and_the_page_of_a_provider_agree_about_its_freshness(odd):
    """A load that was never whole is late after a while, unless the schedule is off."""
    try:
        for name, dag_id in (("stocksnap", "stocksnap_workflow"), ("nappy", "nappy_workflow")):
            report(odd.catalog, name, datetime.now(UTC) - timedelta(days=99), dag_id=dag_id, whole=False)
        rows = {row["about"]: row["state"] for row in freshness_of(odd)}
        assert (rows["stocksnap"], rows["nappy"]) == ("late", "schedule is off")
        assert "late whole pull" in odd.text("/providers/stocksnap")
        assert "none yet whole pull" in odd.text("/providers/nappy")
    finally:
        odd.catalog.execute("delete from ingestion_report where provider in ('stocksnap', 'nappy')")


def freshness_of(odd):
    """Yield the provider and the freshness of each row of the list of providers."""
    html = odd.site.get("/providers").text
    for row in re.findall(r'<th scope="row">(.*?)</tr>', html, re.DOTALL):
        cells = [re.sub(r"<[^>]+>", " ", cell).strip() for cell in re.split(r"</t[dh]>", row)]
        yield {"about": cells[0], "state": cells[8]}


def test_a_preview_does_not_call_the_default_policy_live(odd):
    """There is no index of audio, which would say which policy it was built with."""
    shown = odd.text("/refresh/policy?media=audio")
    assert "or it does not say, so the default policy is compared" in shown
    assert re.search(r"Default, +[0-9a-f]+", shown)
    assert re.search(r"Live, +[0-9a-f]+", odd.text("/refresh/policy"))


def test_a_lost_dag_is_a_finding(odd):
    shown = odd.text("/")
    assert "nappy_workflow : Airflow no longer finds this DAG" in shown
    assert "image_data_refresh : Airflow no longer finds this DAG" not in shown
    assert "daily_digest : Airflow no longer finds this DAG" in shown


def test_a_schedule_that_is_held_is_a_finding_unless_a_run_is_active(odd):
    shown = odd.text("/")
    assert "flickr_workflow : its scheduled runs skip all tasks" in shown
    assert "it: trying it" in shown
    assert "stocksnap_workflow : its scheduled runs skip" not in shown  # one of its runs is queued
    assert "metropolitan_museum_workflow" not in shown


def test_a_setting_that_names_no_dag_is_a_finding(odd):
    """It holds nothing. A suggestion names no DAG that the user may not read."""
    shown = odd.text("/")
    nothing = "does nothing, because there is no such DAG"
    assert f"HELD_SCHEDULES : its entry for flickr_workflw {nothing}; did you mean flickr_workflow" in shown
    assert f"CONFIGURATION_OVERRIDES : its entry for wordpress_flow {nothing}" in shown
    assert "flickr_workflw : its scheduled runs skip" not in shown


def test_a_name_that_nothing_reads_is_a_finding(odd):
    """Whether it is stored, or set by the environment."""
    shown = odd.text("/")
    nothing = "the catalog reads no {} of this name; did you mean {}?"
    assert f"ingestion_limit : {nothing.format('Variable', 'INGESTION_LIMIT')}" in shown
    assert f"AIRFLOW_CONN_SLACK_ALERT : {nothing.format('connection', 'slack_alerts')}" in shown
    assert "COLOUR" not in shown


def test_an_older_run_that_was_cleared_and_failed_again_is_a_finding(odd):
    shown = odd.text("/")
    assert "wordpress_workflow : the newest run failed in pull_image_data on 2" in shown
    assert ": refused; trigger it again" in shown


def test_a_failure_is_shown_until_a_newer_run_has_ended(odd):
    """One that waits says nothing yet; one that replays a recording, or is limited, does not ask for all."""
    shown = odd.text("/")
    assert "stocksnap_workflow : the newest run failed in pull_image_data" in shown
    assert "smk_workflow : the newest run failed" not in shown


def test_a_refresh_that_waits_says_since_when_and_for_what(odd):
    shown = odd.text("/refresh")
    assert re.search(
        r"waits since .{4,60} for create_filtered_image_index \(run a\), audio_x \(run b\) ?\. Run", shown
    )
    assert re.search(r"queued since .{4,60}\. Run", shown)
    assert "one that has ended" not in shown
    assert "for a run of a DAG that you may not read" in odd.text("/refresh?media=audio")
    assert "metropolitan_museum" not in odd.text("/refresh?media=audio")


def test_an_alias_on_two_indexes_is_a_finding_and_the_rest_is_shown(odd):
    odd.search.client.indices.create(index="image-second", aliases={"image": {}})
    try:
        assert "the alias image points at image-second" in odd.text("/")
        shown = odd.text("/refresh")
        assert "the alias image points at image-second" in shown
        assert "image-shown-filtered" in shown
    finally:
        odd.search.client.indices.delete(index="image-second")


@pytest.fixture(scope="module")
def away(tmp_path_factory) -> Iterator[Odd]:
    """A website whose databases and engine do not answer, with a malformed policy."""
    nowhere = "postgresql://u:hunter2@127.0.0.1:1/x"
    connections = {
        "postgres_openledger_upstream": nowhere,
        "postgres_openledger_api": nowhere,
        "elasticsearch_http_production": "http://u:hunter2@127.0.0.1:1/",
    }
    more = {"AIRFLOW_VAR_TAG_POLICY": "not json", "AIRFLOW_VAR_SKIPPED_INGESTION_ERRORS": "[1,2"}
    with website(tmp_path_factory.mktemp("away"), connections, [dag("flickr_workflow")], [], more) as site:
        yield Odd(site, None, None, [])  # type: ignore[arg-type]


def test_what_does_not_answer_is_not_called_well(away):
    shown = away.text("/")
    assert "Nothing needs you" not in shown
    assert "Not everything could be checked" in shown
    settings = ("TAG_POLICY", "SKIPPED_INGESTION_ERRORS")
    for part in ("the catalog database", "the search engine", "the live indexes", *settings):
        assert f"{part} : it could not be checked" in shown
    assert "unknown image" in shown
    assert "Nothing has been loaded yet" not in shown


def test_what_cannot_be_read_is_unknown(away):
    shown = away.text("/refresh")
    assert "No refresh yet" not in shown
    assert "No documents yet" not in shown
    assert shown.count("Unknown.") == 5
    assert "flickr" in away.text("/providers/flickr")
    assert "TAG_POLICY is malformed" in away.text("/refresh/policy")
    assert "could not be read" in away.text(f"/records/image/{NOBODY}", 503)


@pytest.mark.parametrize(
    "path", ["/", "/providers", "/providers/flickr", "/explore", "/refresh", "/refresh/policy"]
)
def test_no_password_is_shown(away, path):
    assert "hunter2" not in away.site.get(path).text


def test_results_are_not_called_deleted_when_the_catalog_does_not_answer(odd, tmp_path):
    """The engine answers, the catalog database does not."""
    node = odd.search.client.transport.node_pool.get().config
    connections = {
        "postgres_openledger_upstream": "postgresql://u:p@127.0.0.1:1/x",
        "postgres_openledger_api": "postgresql://u:p@127.0.0.1:1/x",
        "elasticsearch_http_production": f"http://{node.host}:{node.port}/?engine=opensearch",
    }
    with website(tmp_path, connections, [dag("flickr_workflow")], []) as site:
        html = site.get("/explore?q=").text
    assert "results" in html
    assert "not in the catalog any more" not in html
