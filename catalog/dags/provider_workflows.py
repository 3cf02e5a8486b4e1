"""One DAG for each provider: pull from its API, load into the catalog, report."""

from catalog.dags.common.params import provider_params
from catalog.dags.dag_factory import catalog_dag, is_parsed_for
from catalog.dags.groups.ingestion import ingest
from catalog.dags.tasks.reports import report_load_completion
from catalog.ingestion.registry import api_names, dag_id_of, documentation, provider_class, provider_names


def provider_workflow(name: str) -> None:
    cls = provider_class(name)
    with catalog_dag(
        dag_id_of(name),
        "provider",
        schedule=cls.schedule,
        doc=documentation(cls),
        tags=(
            *(f"provider: {m}" for m in cls.catalog_names),
            f"ingestion: {'dated' if cls.dated else 'full'}",
        ),
        params=provider_params(dated=cls.dated, since=cls.since),
        example={"date": "2024-02-10"} if cls.dated else {"limit": 100},
        intervals=cls.dated,
        dated=cls.dated,
        catchup=cls.dated,
        media_types=tuple(cls.catalog_names),
        start_date=cls.start_date,
    ):
        ingest(name)() >> report_load_completion(dated=cls.dated)


# Dumps have a graph of their own; broken_providers.py names what is left out.
for provider in api_names(n for n in provider_names() if is_parsed_for(dag_id_of(n))):
    provider_workflow(provider)
