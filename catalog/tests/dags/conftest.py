"""Fixtures of the tests of DAGs."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from airflow.dag_processing.dagbag import DagBag


@pytest.fixture(scope="session")
def dagbag() -> "DagBag":
    """Return all DAGs, parsed."""
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(collect_dags=True)
