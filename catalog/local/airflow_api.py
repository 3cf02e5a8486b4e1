"""The part of Airflow's REST API that the local commands and the end-to-end tests use."""

import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import requests

FINISHED = ("success", "failed")


class ApiError(Exception):
    """What the API answered instead; the text is Airflow's own."""


class AirflowApi:
    """base: address of the api-server of a local stack, which asks for no login."""

    def __init__(self, base: str) -> None:
        self._base, self._session = base.rstrip("/"), requests.Session()
        self._session.trust_env = False  # never through a proxy: it is on this machine

    def call(self, method: str, path: str, body: Any = None, **params: Any) -> Any:
        """JSON of the answer. Raises ApiError with the API's message for a 4xx or 5xx, and requests' errors when there is none."""
        answer = self._session.request(method, self._base + path, json=body, params=params, timeout=30)
        if answer.status_code >= 400:
            try:
                detail = answer.json().get("detail", answer.text)
            except ValueError:
                detail = answer.text
            raise ApiError(
                f"{answer.status_code}: {str(detail).partition(chr(10))[0]}"
            )  # jsonschema adds the whole schema
        return answer.json() if answer.content else None

    def healthy(self) -> bool:
        """All four components report healthy."""
        try:
            health = self.call("GET", "/api/v2/monitor/health")
        except (requests.RequestException, ApiError):
            return False
        return all(
            (health.get(p) or {}).get("status") == "healthy"
            for p in ("metadatabase", "scheduler", "triggerer", "dag_processor")
        )

    def dags(self) -> dict[str, dict[str, Any]]:
        """DAG id → what Airflow knows of it."""
        return {
            d["dag_id"]: d for d in self.call("GET", "/api/v2/dags", limit=1000, exclude_stale=True)["dags"]
        }

    def pause(self, dag_id: str, paused: bool) -> None:
        self.call("PATCH", f"/api/v2/dags/{dag_id}", {"is_paused": paused})

    def trigger(
        self, dag_id: str, conf: Mapping[str, Any] | None = None, logical_date: str | None = None
    ) -> str:
        """Run id of a new run. Raises ApiError when the conf is refused."""
        run = self.call(
            "POST", f"/api/v2/dags/{dag_id}/dagRuns", {"logical_date": logical_date, "conf": dict(conf or {})}
        )
        return str(run["dag_run_id"])

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        return self.call("GET", f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id)}")  # type: ignore[no-any-return]

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Task instances of a run, mapped ones included."""
        found: list[dict[str, Any]] = []
        while True:
            path = f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances"
            page = self.call("GET", path, limit=100, offset=len(found))
            found += page["task_instances"]
            if not page["task_instances"] or len(found) >= page["total_entries"]:
                return found

    def log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1) -> str:
        """Text of a task's log."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances/{task_id}/logs/{try_number}"
        content = self.call("GET", path, map_index=map_index)["content"]
        return "\n".join(
            str(line.get("event", line)) + str(line.get("error_detail") or "") for line in content
        )

    def clear(self, dag_id: str, run_id: str, task_ids: list[str], downstream: bool = True) -> None:
        """Clear tasks of a run, so that they run again."""
        body = {
            "dry_run": False,
            "dag_run_id": run_id,
            "task_ids": task_ids,
            "include_downstream": downstream,
            "only_failed": False,
            "reset_dag_runs": True,
        }
        self.call("POST", f"/api/v2/dags/{dag_id}/clearTaskInstances", body)

    def wait(
        self,
        dag_id: str,
        run_id: str,
        timeout: float = 600,
        each: Callable[[dict[str, Any]], None] = lambda _: None,
        interval: float = 0.5,
    ) -> str:
        """State of a run when it has finished. each: called with the run at every look. Raises TimeoutError."""
        deadline = time.monotonic() + timeout
        while True:
            run = self.run(dag_id, run_id)
            each(run)
            if run["state"] in FINISHED:
                return str(run["state"])
            if time.monotonic() > deadline:
                raise TimeoutError(f"{dag_id} {run_id} is {run['state']} after {timeout:.0f} s")
            time.sleep(interval)
