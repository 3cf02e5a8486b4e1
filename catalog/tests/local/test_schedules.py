"""The Variable that holds schedules, which people edit as well."""

import json

import pytest
from werkzeug import Request, Response

from catalog.local import schedules
from catalog.local.airflow_api import AirflowApi, ApiError
from catalog.local.lifecycle import StackError
from catalog.local.stack import Stack

PATH = f"/api/v2/variables/{schedules.HELD}"
OURS = {"flickr_workflow": "the API is being migrated (Ada)"}


@pytest.fixture
def airflow(httpserver):
    """Return an API, and the requests that were sent to it; it answers as the given responses say."""
    asked: list[tuple[str, int]] = []

    def answering(*statuses):
        left = list(statuses)

        def answer(request: Request) -> Response:
            status = left.pop(0) if left else 200
            asked.append((request.method, status))
            return Response(
                json.dumps({"value": json.dumps(OURS)} if status == 200 else {"detail": "no"}), status
            )

        httpserver.expect_request(PATH).respond_with_handler(answer)
        return AirflowApi(httpserver.url_for("")), asked

    return answering


@pytest.mark.enable_socket
def test_the_entries_of_people_survive_an_api_that_is_not_ready(airflow):
    api, asked = airflow(503, 503)
    assert schedules._entries(api) == OURS
    assert asked == [("GET", 503), ("GET", 503), ("GET", 200)]


@pytest.mark.enable_socket
@pytest.mark.parametrize("status", [401, 500])
def test_an_error_does_not_mean_that_there_are_no_entries(airflow, tmp_path, status):
    api, asked = airflow(status)
    with pytest.raises(ApiError):
        schedules._write(Stack(tmp_path), api, {}, {})
    assert asked == [("GET", status)]


@pytest.mark.enable_socket
def test_without_the_variable_there_are_no_entries(airflow):
    assert schedules._entries(airflow(404)[0]) == {}


@pytest.mark.enable_socket
def test_reasons_that_the_api_hides_are_not_replaced_if_they_cannot_be_read(airflow, tmp_path, monkeypatch):
    def fail(_):
        raise StackError("`airflow variables export` failed")

    monkeypatch.setattr(schedules, "stored_variables", fail)
    api, asked = airflow()
    with pytest.raises(StackError):
        schedules._write(Stack(tmp_path), api, {"oauth2_token_refresh": "***"}, {})
    assert asked == []
