"""Parse time of all DAG files, in a new process, without the import of Airflow."""

import os
import statistics
import subprocess
import sys
import tempfile

from catalog.local.stack import ROOT

SCRIPT = """
import time
began = time.perf_counter()
d = __import__("airflow.dag_processing.dagbag", fromlist=["DagBag"])
imported = time.perf_counter()
bag = d.DagBag()
parsed = time.perf_counter()
assert not bag.import_errors, bag.import_errors
print(len(bag.dags), imported - began, parsed - imported)
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        environment = os.environ | {
            "AIRFLOW_HOME": home,
            "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "catalog" / "dags"),
            "AIRFLOW__CORE__DAG_DISCOVERY_SAFE_MODE": "False",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/none.db",
        }
        runs = [
            subprocess.run(
                [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True
            ).stdout.split()[-3:]
            for _ in range(5)
        ]
    imported, parsed = (statistics.median(float(run[n]) for run in runs) for n in (1, 2))
    ratio = f"{parsed / imported:.2f} of importing Airflow, {imported:.2f} s"
    print(f"parsing {runs[0][0]} DAGs, median of 5: {parsed:.2f} s   ({ratio})")
