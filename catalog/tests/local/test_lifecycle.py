"""When a stack counts as ready."""

import pytest

from catalog.ingestion.provider import provider_names
from catalog.local import lifecycle


@pytest.fixture
def dags():
    """DAG id → what Airflow knows of it, once every file is parsed: one DAG a file, and those of the providers."""
    folder = lifecycle.ROOT / "catalog" / "dags"
    files = {path.stem for path in folder.glob("*.py")} - {"__init__", "dag_factory"}
    found = {file: {"fileloc": str(folder / f"{file}.py")} for file in files}
    workflows = {
        f"{name}_workflow": {"fileloc": str(folder / "provider_workflows.py")} for name in provider_names()
    }
    return {**found, **workflows}


def test_every_dag_is_waited_for(dags):
    """However many others are there: what is triggered next must be."""
    assert lifecycle._late(dags) == []
    del dags["flickr_workflow"]
    assert lifecycle._late(dags) == ["flickr_workflow"]
    del dags["popularity_refresh"]
    assert lifecycle._late(dags) == ["popularity_refresh.py"]
    assert len(lifecycle._late({})) > 10
