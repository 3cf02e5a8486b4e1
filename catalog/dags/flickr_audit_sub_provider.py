"""Suggests institutions of the Flickr Commons as sub-providers.

Once a month the DAG checks the members of the Flickr Commons that have no source name of their own in the
catalog. One Slack message (an alert) names those with at least 300 photos under a license that the catalog
accepts, with the number of their photos. To accept a suggestion, add its account to `SOURCES` in
`catalog/providers/flickr/provider.py`; to decline it permanently, add it to `EXCLUDED` in `audit.py` beside
it. Nothing is written. The requests count towards the hourly limit of the Flickr key.
"""

import logging

from airflow.sdk import task
from airflow.sdk.exceptions import AirflowSkipException

from catalog.dags.common.context import GIVEN, DagRun, Params
from catalog.dags.common.params import REPLAY
from catalog.dags.dag_factory import catalog_dag
from catalog.dags.operators.slack import deliver
from catalog.dags.tasks.provider_run import provider_client
from catalog.ingestion.assemble import replay_of
from catalog.ingestion.registry import provider_class
from catalog.notifications.alerts import flickr_suggestions
from catalog.providers.flickr.audit import suggestions

log = logging.getLogger(__name__)


@task
def audit_flickr_sub_providers(params: Params = GIVEN, dag_run: DagRun = GIVEN) -> str:
    """Return the text of the message; skipped if there is nothing to suggest."""
    flickr = provider_class("flickr")
    client = provider_client(flickr, replay_of(flickr.name, params.get("replay")))
    found = suggestions(client, lambda number, of: log.info("institution %d of %d", number, of))
    if not found:
        raise AirflowSkipException("no institution to suggest.")
    message = flickr_suggestions(dag_run.dag_id, "audit_flickr_sub_providers", found)
    return deliver(message)


with catalog_dag(
    "flickr_audit_sub_provider_workflow",
    "maintenance",
    schedule="@monthly",
    doc=(__doc__ or "").strip(),
    params={"replay": REPLAY},
):
    audit_flickr_sub_providers()
