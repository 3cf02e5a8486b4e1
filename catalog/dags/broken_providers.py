"""Shows providers that cannot be imported as an import error of Airflow.

`provider_workflows.py` leaves them out, so that one broken file costs one DAG and not all of them. This file
has no DAG.
"""

from catalog.ingestion.registry import broken_providers

if broken := broken_providers():
    raise ImportError("; ".join(map(str, broken.values())))
