"""A refresh makes tables and indexes live in an order in which those that are live are always whole."""

from itertools import pairwise
from pathlib import Path

import pytest

import catalog

pytestmark = pytest.mark.airflow
ORDER = (
    "wait_for_conflicting_dags",
    "begin_refresh",
    "copy_tables",
    "create_index",
    "index_range",
    "check_index",
    "create_filtered_index",
    "open_indexes",
    "promote_tables",
    "update_indexes",
    "promote_indexes",
    "delete_old",
)


@pytest.mark.parametrize("dag_id", ["image_data_refresh", "audio_data_refresh"])
def test_nothing_is_promoted_before_it_is_whole_or_deleted_before_its_successor_is_live(dag_id):
    from airflow.dag_processing.dagbag import DagBag

    file = Path(catalog.__file__).parent / "dags/data_refresh.py"
    dag = DagBag(dag_folder=str(file), collect_dags=True).dags[dag_id]
    for before, after in pairwise(ORDER):
        assert before in dag.get_task(after).get_flat_relative_ids(upstream=True), (before, after)
