"""Suggests institutions of the Flickr Commons as sub-providers.

Once a month, the members of the Flickr Commons that have no source name of their own in the catalog are looked at. Those with at least 300
photos under a license the catalog accepts are named in one message to Slack (alerts), with their number of photos. To accept a suggestion,
enter its account in `SOURCES` of `catalog/providers/flickr/provider.py`; to decline it for good, in `LEFT_OUT` of `audit.py` beside it.
Nothing is written anywhere. The requests count towards the hourly limit of the Flickr key.
"""

import logging
from typing import Any

from airflow.sdk import get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from catalog.dags.dag_factory import catalog_dag
from catalog.dags.groups.ingestion import REPLAY, client_of
from catalog.dags.operators.running import task_failures
from catalog.dags.operators.slack import send
from catalog.ingestion.assemble import replay_of
from catalog.ingestion.provider import provider_class
from catalog.notifications.messages import flickr_suggestions

log = logging.getLogger(__name__)


@task
def audit_flickr_sub_providers() -> str:
    """The text of the message; skips when there is nothing to suggest."""
    from catalog.providers.flickr.audit import suggestions

    context: Any = get_current_context()
    flickr = provider_class("flickr")
    with task_failures():
        client = client_of(flickr, replay_of(flickr.name, context["params"].get("replay")))
        found = suggestions(client, lambda number, of: log.info("institution %d of %d", number, of))
    if not found:
        raise AirflowSkipException("no institution to suggest.")
    message = flickr_suggestions(context["dag_run"].dag_id, "audit_flickr_sub_providers", found)
    send(message)
    return message.text


with catalog_dag(
    "flickr_audit_sub_provider_workflow", "maintenance", schedule="@monthly", doc=(__doc__ or "").strip(), params={"replay": REPLAY},
):  # fmt: skip
    audit_flickr_sub_providers()
