"""Client of Airflow's REST API, as far as the local commands and the end-to-end tests need it."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

JsonObject = dict[str, Any]
FINISHED = ("success", "failed")
# The api-server answers 503 while its database does not, for a few seconds.
_RETRIES = Retry(
    4, connect=0, read=0, backoff_factor=0.3, status_forcelist=(502, 503, 504), raise_on_status=False
)


class ApiError(Exception):
    """A 4xx or 5xx of the API, with Airflow's message.

    Attributes:
        status: The HTTP status.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


def may_pass(error: Exception) -> bool:
    """Return whether a failed call may succeed later: the API did not answer, or not for now."""
    if isinstance(error, ApiError):
        return error.status >= 500
    return isinstance(error, requests.RequestException)


def api_path(dag_id: str, run_id: str) -> str:
    """Return the path of a run in the API."""
    return f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id)}"


def _task_path(task: JsonObject) -> str:
    return f"{api_path(task['dag_id'], task['dag_run_id'])}/taskInstances/{task['task_id']}"


def _all_pages(page_at: Callable[[int], JsonObject], name: str) -> list[JsonObject]:
    """Return all items of a list.

    Args:
        page_at: Requests the page that begins at an offset.
        name: Key of the items in a page.
    """
    items: list[JsonObject] = []
    while True:
        page = page_at(len(items))
        items += page[name]
        if not page[name] or len(items) >= page["total_entries"]:
            return items


class AirflowApi:
    """Client of one local stack, whose api-server requires no login."""

    def __init__(self, base: str) -> None:
        """Create a client.

        Args:
            base: Address of the api-server, such as `http://127.0.0.1:9090`.
        """
        self._base, self._session = base.rstrip("/"), requests.Session()
        self._session.trust_env = False  # the server is on this machine: never use a proxy
        self._session.mount("http://", HTTPAdapter(max_retries=_RETRIES))

    def call(self, method: str, path: str, body: object = None, **params: object) -> Any:
        """Send a request and decode the response.

        Args:
            method: HTTP method.
            path: Path below the base address.
            body: Sent as JSON.
            params: Query parameters.

        Returns:
            The decoded JSON; None if the response is empty.

        Raises:
            ApiError: A 4xx or 5xx; the message is the API's.
            requests.RequestException: No response.
        """
        url = self._base + path
        response = self._session.request(method, url, json=body, params=params, timeout=30)  # type: ignore[arg-type]
        if response.status_code >= 400:
            try:
                detail = response.json().get("detail", response.text)
            except ValueError:
                detail = response.text
            if isinstance(detail, dict):  # as of a database that does not answer
                detail = detail.get("reason", detail)
            first_line = str(detail).partition("\n")[0]  # jsonschema appends the whole schema
            raise ApiError(response.status_code, first_line)
        return response.json() if response.content else None

    def healthy(self) -> bool:
        """Return True if all four components report healthy."""
        try:
            health = self.call("GET", "/api/v2/monitor/health")
        except (requests.RequestException, ApiError):
            return False
        return all(
            (health.get(p) or {}).get("status") == "healthy"
            for p in ("metadatabase", "scheduler", "triggerer", "dag_processor")
        )

    def dags(self) -> dict[str, JsonObject]:
        """Return the DAGs that Airflow knows, by DAG id."""
        return {dag["dag_id"]: dag for dag in self.all("/api/v2/dags", "dags", exclude_stale=True)}

    def all(self, path: str, name: str, **params: object) -> list[JsonObject]:
        """Return all items of a list, of which the API gives 100 at most at a time, whatever is asked for.

        Args:
            path: Path of the list.
            name: Key of its items.
            params: Query parameters.
        """
        return _all_pages(lambda offset: self.call("GET", path, limit=100, offset=offset, **params), name)

    def pause(self, dag_id: str, paused: bool) -> None:
        self.call("PATCH", f"/api/v2/dags/{dag_id}", {"is_paused": paused})

    def trigger(
        self, dag_id: str, conf: Mapping[str, object] | None = None, logical_date: str | None = None
    ) -> str:
        """Trigger a DAG and return the run id.

        Raises:
            ApiError: The conf is refused, among others.
        """
        body = {"logical_date": logical_date, "conf": dict(conf or {})}
        return str(self.call("POST", f"/api/v2/dags/{dag_id}/dagRuns", body)["dag_run_id"])

    def run(self, dag_id: str, run_id: str) -> JsonObject:
        found: JsonObject = self.call("GET", api_path(dag_id, run_id))
        return found

    def tasks(self, dag_id: str, run_id: str) -> list[JsonObject]:
        """Return the task instances of a run, mapped ones included."""
        return self.tasks_of([(dag_id, run_id)])

    def tasks_of(self, runs: Sequence[tuple[str, str]]) -> list[JsonObject]:
        """Return the task instances of several runs, mapped ones included.

        This is asked often. One POST for all runs costs the server a fraction of a GET for each, because
        FastAPI inspects dozens of optional parameters at each GET.

        Args:
            runs: DAG id and run id of each run.
        """
        wanted = {
            "dag_ids": sorted({dag_id for dag_id, _ in runs}),
            "dag_run_ids": sorted({run_id for _, run_id in runs}),
        }

        def page_at(offset: int) -> JsonObject:
            body = {**wanted, "order_by": "map_index", "page_limit": 100, "page_offset": offset}
            page: JsonObject = self.call("POST", "/api/v2/dags/~/dagRuns/~/taskInstances/list", body)
            return page

        # Runs of different DAGs may have the same id.
        tasks = _all_pages(page_at, "task_instances")
        return [task for task in tasks if (task["dag_id"], task["dag_run_id"]) in runs]

    def log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1) -> str:
        """Return the log of one attempt of a task."""
        path = f"{api_path(dag_id, run_id)}/taskInstances/{task_id}/logs/{try_number}"
        content = self.call("GET", path, map_index=map_index)["content"]
        return "\n".join(
            str(line.get("event", line)) + str(line.get("error_detail") or "") for line in content
        )

    def last_error(self, task: JsonObject) -> str:
        """Return why a task instance's last attempt failed: the last exception in its log, or the last error.

        What libraries log when the process ends, such as metrics that could not be sent, comes after the
        exception and is not why. The result is "" if there is no error.
        """
        path = f"{_task_path(task)}/logs/{task['try_number']}"
        lines = self.call("GET", path, map_index=task["map_index"])["content"][::-1]
        for line in lines:
            for error in line.get("error_detail") or []:  # followed by what it came from
                return f"{error['exc_type']}: {error['exc_value']}"
        return next((str(line["event"]) for line in lines if line.get("level") in ("error", "critical")), "")

    def result(self, task: JsonObject) -> Any:
        """Return what a task instance returned; None if it returned nothing."""
        path = f"{_task_path(task)}/xcomEntries/return_value"
        try:
            return self.call("GET", path, map_index=task["map_index"])["value"]
        except ApiError:
            return None

    def params(self, dag_id: str) -> JsonObject:
        """Return the fields of a DAG's trigger form."""
        found: JsonObject = self.call("GET", f"/api/v2/dags/{dag_id}/details")["params"] or {}
        return found

    def clear(
        self, dag_id: str, run_id: str, task_ids: Sequence[str | list[str | int]], downstream: bool = True
    ) -> None:
        """Clear tasks of a run, so that they run again.

        Args:
            dag_id: DAG of the run.
            run_id: The run.
            task_ids: Ids of the tasks; of one instance of a mapped task, a list of id and map index.
            downstream: Clear all tasks after them, too.
        """
        body = {
            "dry_run": False,
            "dag_run_id": run_id,
            "task_ids": list(task_ids),
            "include_downstream": downstream,
            "only_failed": False,
            "reset_dag_runs": True,
        }
        self.call("POST", f"/api/v2/dags/{dag_id}/clearTaskInstances", body)

    def wait(self, dag_id: str, run_id: str, timeout: float = 600) -> str:
        """Wait until a run has finished.

        Args:
            dag_id: DAG of the run.
            run_id: Run to wait for.
            timeout: Seconds.

        Returns:
            The final state of the run.

        Raises:
            TimeoutError: The run has not finished in time.
        """
        deadline = time.monotonic() + timeout
        while True:
            run = self.run(dag_id, run_id)
            if run["state"] in FINISHED:
                return str(run["state"])
            if time.monotonic() > deadline:
                raise TimeoutError(f"{dag_id} {run_id} is {run['state']} after {timeout:.0f} s")
            time.sleep(0.25)
