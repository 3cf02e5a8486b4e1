"""Whose runs a user may see."""

from typing import Annotated

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import Depends


def _readable_dags(user: GetUserDep) -> set[str]:
    # Airflow's own dependency reads the auth manager from the app's state, which a mounted app does not have.
    return get_auth_manager().get_authorized_dag_ids(user=user, method="GET")


ReadableDags = Annotated[set[str], Depends(_readable_dags)]
