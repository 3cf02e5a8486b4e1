"""Whose runs, loads and rejects a user may see."""

from typing import Annotated

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import Depends

from catalog.plugins.dashboard.airflow_state import known_dags


def _readable_dags(user: GetUserDep) -> set[str]:
    # Airflow's own dependency reads the auth manager from the app's state, which a mounted app does not have.
    return get_auth_manager().get_authorized_dag_ids(user=user, method="GET")


ReadableDags = Annotated[set[str], Depends(_readable_dags)]


def _hidden_dags(session: SessionDep, readable: ReadableDags) -> set[str]:
    return known_dags(session) - readable


# Those that the user may not read. A DAG that Airflow does not know, as its file is broken, hides nothing.
HiddenDags = Annotated[set[str], Depends(_hidden_dags)]
