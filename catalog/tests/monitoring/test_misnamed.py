"""Names that look like a setting, and that nothing reads."""

import pytest

from catalog.core.settings import SETTINGS
from catalog.monitoring.misnamed import Given, from_environment, misnamed


def found(*given):
    return {one.subject: one.text.partition("; ")[2] for one in misnamed(given)}


def stored(place, *names):
    return [Given(place, name, name) for name in names]


@pytest.mark.parametrize(
    ("place", "name", "meant"),
    [
        ("Variable", "HELD_SCHEDULE", "HELD_SCHEDULES"),
        ("Variable", "held_schedules", "HELD_SCHEDULES"),
        ("Variable", "INGESTION_LIMT", "INGESTION_LIMIT"),
        ("connection", "slack_alert", "slack_alerts"),
        ("connection", "elasticsearch_http_prod", "elasticsearch_http_production"),
        ("environment variable", "DEFAULT_RETRY_COUNTS", "DEFAULT_RETRY_COUNT"),
        ("pool", "data-refresh", "data_refresh"),
    ],
)
def test_a_name_like_a_setting(place, name, meant):
    assert found(*stored(place, name)) == {name: f"did you mean {meant}?"}
    assert found(*stored(place, name, meant)) == {name: f"did you mean {meant}?"}


def test_names_of_environment_variables():
    """They are shown as they are set, in capitals."""
    names = [
        "AIRFLOW_VAR_INGESTION_LIMT",
        "AIRFLOW_CONN_SLACK_ALERT",
        "AIRFLOW_CONN_SLACK_NOTIFICATIONS",
        "PATH",
    ]
    assert found(*from_environment(names)) == {
        "AIRFLOW_VAR_INGESTION_LIMT": "did you mean INGESTION_LIMIT?",
        "AIRFLOW_CONN_SLACK_ALERT": "did you mean slack_alerts?",
    }


@pytest.mark.parametrize(
    ("place", "name", "where"),
    [
        (
            "environment variable",
            "HELD_SCHEDULES",
            "HELD_SCHEDULES is a Variable (in the environment, AIRFLOW_VAR_HELD_SCHEDULES)",
        ),
        ("Variable", "DEFAULT_RETRY_COUNT", "DEFAULT_RETRY_COUNT is an environment variable"),
        ("connection", "data_refresh", "data_refresh is a pool"),
    ],
)
def test_a_setting_in_the_wrong_place(place, name, where):
    assert found(*stored(place, name)) == {name: where}


def test_a_name_that_is_right_elsewhere_is_no_mistake():
    """Once it is set there, another program may read this one."""
    assert found(Given("Variable", "ENVIRONMENT", ""), *stored("environment variable", "ENVIRONMENT")) == {}


def test_names_that_are_right_or_of_others():
    """Settings, those of one kind that are written or named by providers, and what other programs read."""
    names = [setting.name for setting in SETTINGS if setting.kind.startswith("Variable")]
    others = ["API_KEY_X", "batched_update_start_x", "malformed_setting_TAG_POLICY", "DATASET", "x"]
    assert found(*stored("Variable", *names, *others)) == {}
    assert (
        found(*stored("connection", "aws_other", "postgres_default"), *from_environment(["AWS_REGION"])) == {}
    )
