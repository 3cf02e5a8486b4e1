"""Paths of pages in Airflow's UI, whose ids may contain any character."""

from urllib.parse import quote


def dag_path(dag_id: str) -> str:
    """Return the path of a DAG."""
    return f"/dags/{quote(dag_id, safe='')}"


def run_path(dag_id: str, run_id: str, task_id: str = "", map_index: int = -1) -> str:
    """Return the path of a run, or of the log of a task.

    Args:
        dag_id: The DAG.
        run_id: The run.
        task_id: The task; "" for the run.
        map_index: Map index of the task; -1 if it is not mapped.
    """
    path = f"{dag_path(dag_id)}/runs/{quote(run_id, safe='')}"
    if task_id:
        path += f"/tasks/{quote(task_id, safe='')}"
        path += f"/mapped/{map_index}" if map_index >= 0 else ""
    return path
