"""What tests of DAGs share."""

import pytest


@pytest.fixture(scope="session")
def dagbag():
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(collect_dags=True)
