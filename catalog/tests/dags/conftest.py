"""Fixtures of the tests of DAGs."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from airflow.dag_processing.dagbag import DagBag

    from catalog.dags.dag_factory import DagSpec


@pytest.fixture(scope="session")
def dagbag() -> "DagBag":
    """Return all DAGs, parsed."""
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(collect_dags=True)


@pytest.fixture(scope="session")
def registry(dagbag: "DagBag") -> "dict[str, DagSpec]":
    """Return what each DAG has declared, by its id."""
    from catalog.dags.dag_factory import REGISTRY

    return REGISTRY
